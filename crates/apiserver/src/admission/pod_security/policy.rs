//! What a namespace's labels say: a level and a version for each of enforce, audit and warn.
//!
//! **Contract**: there is always a policy; labels that cannot be read are errors, and count as the strictest level for
//! `enforce` and as the laxest for the others.
//! **Upstream**: `k8s.io/pod-security-admission/api`.

use api::field::{Error, ErrorList, Path};
use api::meta;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// The minor version whose rules `latest` means.
const LATEST: u32 = 36;
const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much is allowed, the laxest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// What is not known to lead to more rights.
    Baseline,
    /// Hardened pods.
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

/// Of which Kubernetes the rules are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// This server's.
    #[default]
    Latest,
    /// Those of 1.x.
    Minor(u32),
}

impl Version {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let error = "must be \"latest\" or \"v1.x\"";
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let digits = text.strip_prefix("v1.").ok_or(error)?;
        let canonical = digits == "0" || !digits.starts_with('0');
        let minor = digits.parse().ok().filter(|_| canonical && digits.bytes().all(|b| b.is_ascii_digit()));
        minor.map(Self::Minor).ok_or(error)
    }

    /// The minor version whose rules hold; those of the future are not known yet.
    pub(super) fn minor(self) -> u32 {
        match self {
            Self::Latest => LATEST,
            Self::Minor(minor) => minor.min(LATEST),
        }
    }
}

/// A level as of a version: `restricted:latest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            Version::Latest => f.write_str(":latest"),
            Version::Minor(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

/// What holds in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Defaults")]
pub(in super::super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

/// The same as a configuration spells it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Defaults {
    enforce: Option<String>,
    enforce_version: Option<String>,
    audit: Option<String>,
    audit_version: Option<String>,
    warn: Option<String>,
    warn_version: Option<String>,
}

impl TryFrom<Defaults> for Policy {
    type Error = String;

    fn try_from(given: Defaults) -> Result<Self, String> {
        let read = |mode: &str, level: Option<String>, version: Option<String>| {
            let invalid = |field: &str, value: &str, why: &str| {
                format!("defaults.{field}: Invalid value: {value:?}: {why}")
            };
            let (level, version) = (level.unwrap_or("privileged".into()), version.unwrap_or("latest".into()));
            Ok::<_, String>(Standard {
                level: Level::parse(&level).map_err(|why| invalid(mode, &level, why))?,
                version: Version::parse(&version)
                    .map_err(|why| invalid(&format!("{mode}-version"), &version, why))?,
            })
        };
        Ok(Self {
            enforce: read("enforce", given.enforce, given.enforce_version)?,
            audit: read("audit", given.audit, given.audit_version)?,
            warn: read("warn", given.warn, given.warn_version)?,
        })
    }
}

impl Policy {
    pub(super) fn of(namespace: &Value, defaults: &Self) -> (Self, ErrorList) {
        let mut reader = Labels { namespace, errors: ErrorList::new() };
        let mut policy = *defaults;
        let enforced = reader.read("enforce", &mut policy.enforce, Level::Restricted);
        reader.read("audit", &mut policy.audit, Level::Privileged);
        let warned = reader.read("warn", &mut policy.warn, Level::Privileged);
        // Who enforces more than he warns of wants to be warned as well.
        if warned.level.is_none() && enforced.level == Some(true) && policy.enforce.level > policy.warn.level
        {
            policy.warn.level = policy.enforce.level;
            if warned.version.is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, reader.errors)
    }

    /// The warning that the labels of an exempt namespace have no effect.
    pub(super) fn ignored(&self, namespace: &Value, defaults: &Self) -> Option<String> {
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        if self == defaults || modes.iter().all(|(_, standard)| standard.level == Level::Privileged) {
            return None;
        }
        let labelled = |mode: &str| {
            [mode.to_owned(), format!("{mode}-version")]
                .iter()
                .any(|key| meta::label(namespace, &format!("{PREFIX}{key}")).is_some())
        };
        let parts: Vec<String> = modes
            .into_iter()
            .filter(|(mode, standard)| standard.level != Level::Privileged && labelled(mode))
            .map(|(mode, standard)| format!("{mode}={standard}"))
            .collect();
        Some(format!(
            "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
            meta::name(namespace),
            parts.join(", ")
        ))
    }
}

/// Whether a mode's labels are there, and can be read.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    level: Option<bool>,
    version: Option<bool>,
}

struct Labels<'a> {
    namespace: &'a Value,
    errors: ErrorList,
}

impl Labels<'_> {
    fn read(&mut self, mode: &str, standard: &mut Standard, unreadable: Level) -> Found {
        let level = self.label(mode, Level::parse);
        let version = self.label(&format!("{mode}-version"), Version::parse);
        if let Some(level) = level {
            standard.level = level.unwrap_or(unreadable);
        }
        if let Some(version) = version {
            standard.version = version.unwrap_or_default();
        }
        Found { level: level.map(|l| l.is_some()), version: version.map(|v| v.is_some()) }
    }

    /// `Some(None)`: there is a label, and it cannot be read.
    fn label<T>(&mut self, name: &str, parse: fn(&str) -> Result<T, &'static str>) -> Option<Option<T>> {
        let key = format!("{PREFIX}{name}");
        let value = meta::label(self.namespace, &key)?;
        match parse(value) {
            Ok(parsed) => Some(Some(parsed)),
            Err(detail) => {
                let path = Path::new("metadata").child("labels").key(&key);
                self.errors.push(Error::invalid(&path, value, detail));
                Some(None)
            }
        }
    }
}
