//! Stock kubectls of this machine: those named in `MINIK_KUBECTLS` (paths, colon-separated), else the one on PATH.

use crate::profile::{Profile, Said};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A stock kubectl.
#[derive(Clone, Debug)]
pub struct Kubectl {
    /// Where it is.
    pub path: PathBuf,
    /// The minor version, 20 for 1.20.
    pub minor: u32,
}

/// Every stock kubectl to test with.
///
/// # Panics
/// If there is none: `tests/kubectl/fetch` gets some from Debian.
pub fn all() -> Vec<Kubectl> {
    let named = std::env::var("MINIK_KUBECTLS").unwrap_or_else(|_| "kubectl".to_owned());
    let paths = named.split(':').filter(|path| !path.is_empty()).map(PathBuf::from);
    let found: Vec<Kubectl> = paths.map(|path| Kubectl { minor: minor(&path), path }).collect();
    assert!(!found.is_empty(), "no kubectl: run tests/kubectl/fetch and set MINIK_KUBECTLS");
    found
}

fn minor(path: &Path) -> u32 {
    let output = Command::new(path)
        .args(["version", "--client", "-o", "json"])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run tests/kubectl/fetch", path.display()));
    let version: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("kubectl prints its version");
    let minor = version["clientVersion"]["minor"].as_str().expect("a minor version");
    minor.trim_end_matches('+').parse().expect("a number")
}

impl Kubectl {
    /// Runs it on a profile.
    pub fn run(&self, profile: &Profile, arguments: &[&str]) -> Said {
        Said::of(profile.command(&self.path).args(arguments).output().expect("kubectl runs"))
    }
}
