//! Which programs a kubeconfig may run for credentials.
//!
//! **Upstream.** `client-go/plugin/pkg/client/auth/exec` (behaviour and words).

use std::path::{Path, PathBuf};

use super::Preferences;
use crate::terminal::Terminal;

/// What the preferences say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Every program.
    #[default]
    AllowAll,
    /// None.
    DenyAll,
    /// These, by path or by a name in the user's `PATH`.
    Allowlist(Vec<String>),
}

impl Policy {
    /// Reads it, and refuses lists that do not belong to it.
    pub(super) fn of(preferences: &Preferences) -> Result<Self, String> {
        let policy = preferences.policy.as_deref().unwrap_or("");
        match (policy, &preferences.allowlist) {
            ("Allowlist", None) => {
                Err("credential plugin policy set to \"Allowlist\", but allowlist is unspecified".to_owned())
            }
            ("Allowlist", Some(list)) if list.is_empty() => Err(
                "credential plugin policy set to \"Allowlist\", but allowlist is empty; use \"DenyAll\" policy instead"
                    .to_owned(),
            ),
            ("Allowlist", Some(list)) => match list.iter().position(String::is_empty) {
                Some(at) => {
                    Err(format!("misconfigured credential plugin allowlist: empty allowlist entry #{}", at + 1))
                }
                None => Ok(Self::Allowlist(list.clone())),
            },
            ("" | "AllowAll" | "DenyAll", Some(_)) => Err(format!(
                "misconfigured credential plugin allowlist: plugin policy is {policy:?} but allowlist is non-nil"
            )),
            ("" | "AllowAll", None) => Ok(Self::AllowAll),
            ("DenyAll", None) => Ok(Self::DenyAll),
            (other, _) => Err(format!("unknown plugin policy: {other:?}")),
        }
    }

    /// Whether a program may run.
    pub(crate) fn check(&self, program: &str, terminal: &Terminal) -> Result<(), String> {
        match self {
            Self::AllowAll => Ok(()),
            Self::DenyAll => Err(format!("plugin {program:?} not allowed: policy set to \"DenyAll\"")),
            Self::Allowlist(entries) => {
                let path = resolved(program, terminal);
                if entries.iter().any(|entry| resolved(entry, terminal) == path) {
                    return Ok(());
                }
                let path = path.display().to_string();
                Err(format!("plugin path {path:?} is not permitted by the credential plugin allowlist"))
            }
        }
    }
}

/// Where a program lies; one that is not found stays as it is.
fn resolved(program: &str, terminal: &Terminal) -> PathBuf {
    let path = Path::new(program);
    if program.contains('/') {
        return path.to_owned();
    }
    std::env::split_paths(terminal.variable("PATH").unwrap_or(""))
        .map(|folder| folder.join(path))
        .find(|path| path.is_file())
        .unwrap_or_else(|| path.to_owned())
}
