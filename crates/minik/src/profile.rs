//! A profile's folder: where it is, what is in it, and how it was started.
//!
//! ```text
//! $MINIK_HOME/profiles/NAME/
//!   profile.json  how it was started (0600)      minik.pid   the server's process id, locked while it runs
//!   mounts.json   what is mounted for it
//!   pki/          keys and certificates (0700)   server.log  what the server has to say
//!   store.redb    the cluster's state            kubelet/    files of pods        etcd/  data of its own etcd
//!   volumes/      persistent volumes, a folder each       registry/   images that were pushed
//! ```

use crate::cluster::{IpFamily, ServiceRange};
pub use crate::feature_gates::FeatureGates;
pub use crate::mounts::Mount;
pub use crate::ports::PortMapping;
pub use crate::registries::Registries;
use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The profile that is meant when none is named.
pub const DEFAULT: &str = "minik";
/// Port of the default profile's API server; others take the next that is free.
pub const DEFAULT_PORT: u16 = 6443;

/// Port of the registry addon. **Upstream**: minikube's.
pub const DEFAULT_REGISTRY_PORT: u16 = 5000;

/// Which container runtime a profile's nodes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Real containers in the Docker engine.
    #[default]
    Docker,
    /// Pods that only exist on paper.
    Simulated,
}

/// Where a profile's cluster keeps its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In one file of the profile's folder.
    #[default]
    Embedded,
    /// In the server's memory: gone when it stops.
    Memory,
    /// In etcd: the servers given, or one of its own.
    Etcd,
}

/// How a profile was started; kept, so that the next start is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Nodes with a real runtime.
    pub nodes: u32,
    /// Nodes that only exist on paper.
    pub simulated_nodes: u32,
    /// What runs containers.
    pub runtime: RuntimeKind,
    /// Where state is kept.
    pub store: StoreKind,
    /// etcd servers; empty: one of the profile's own.
    pub etcd_servers: Vec<String>,
    /// Port of the API server; 0: not chosen yet.
    pub api_port: u16,
    /// The families of addresses that pods and services have.
    #[serde(skip_serializing_if = "is_ipv4")]
    pub ip_family: IpFamily,
    /// Addresses of services; none: kubeadm's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cluster_ip_range: Option<String>,
    /// Whether the built-in ingress controller runs (`minik addons enable ingress`); it listens from the first Ingress on.
    pub ingress: bool,
    /// Whether the kinds of the Gateway API are installed at each start.
    pub gateway_api: bool,
    /// Whether pods have the cluster's names (`minik addons enable dns`).
    pub dns: bool,
    /// Whether claims get volumes (`minik addons enable storage`).
    pub storage: bool,
    /// Whether a registry takes images (`minik addons enable registry`).
    pub registry: bool,
    /// Its port on this machine.
    pub registry_port: u16,
    /// Nodes that were stopped by themselves (`minik node stop`); `minik start` starts all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped_nodes: Vec<String>,
    /// Flags of components, `apiserver.audit-policy-file=/path` each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_config: Vec<String>,
    /// Ports of this machine that lead to the nodes'.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Folders of this machine that have a second path while the cluster runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Where images come from.
    #[serde(skip_serializing_if = "Registries::is_empty")]
    pub registries: Registries,
    /// Feature gates that were asked for; they are what minik does.
    #[serde(skip_serializing_if = "FeatureGates::is_empty")]
    pub feature_gates: FeatureGates,
}

fn is_ipv4(family: &IpFamily) -> bool {
    *family == IpFamily::Ipv4
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 1,
            simulated_nodes: 0,
            runtime: RuntimeKind::default(),
            store: StoreKind::default(),
            etcd_servers: Vec::new(),
            api_port: 0,
            ip_family: IpFamily::default(),
            service_cluster_ip_range: None,
            ingress: true,
            gateway_api: false,
            dns: true,
            storage: true,
            registry: false,
            registry_port: DEFAULT_REGISTRY_PORT,
            stopped_nodes: Vec::new(),
            extra_config: Vec::new(),
            ports: Vec::new(),
            mounts: Vec::new(),
            registries: Registries::default(),
            feature_gates: FeatureGates::new(),
        }
    }
}

impl Settings {
    /// Addresses of services.
    pub fn service_range(&self) -> Result<ServiceRange> {
        let parse = |text: &String| text.parse().map_err(|error: String| anyhow!(error));
        self.service_cluster_ip_range.as_ref().map_or_else(|| Ok(ServiceRange::default()), parse)
    }

    /// How many nodes are to run.
    pub fn running_nodes(&self) -> usize {
        let all = (self.nodes + self.simulated_nodes) as usize;
        all.saturating_sub(self.stopped_nodes.len())
    }
}

/// A named profile under a home folder.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name; the name of its kubeconfig context, too.
    pub name: String,
    dir: PathBuf,
}

impl Profile {
    /// A profile of this home folder. The name becomes a folder, a context and part of host names.
    pub fn new(home: &Path, name: &str) -> Result<Self> {
        let complaints = api::names::dns_label(name, false);
        if !complaints.is_empty() {
            bail!("invalid profile name {name:?}: {}", complaints.join("; "));
        }
        Ok(Self { name: name.to_owned(), dir: home.join("profiles").join(name) })
    }

    /// All profiles of a home folder, by name.
    pub fn all(home: &Path) -> Result<Vec<Self>> {
        let dir = home.join("profiles");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("read {}", dir.display()))?,
        };
        let mut profiles = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(profile) = name.to_str().and_then(|name| Self::new(home, name).ok()) {
                profiles.push(profile);
            }
        }
        profiles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(profiles)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether it was ever started.
    pub fn exists(&self) -> bool {
        self.dir.exists()
    }

    /// Makes the folder, for nobody else to read.
    pub fn create(&self) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("create {}", self.dir.display()))
    }

    /// How it was started last; `None` if never.
    pub fn settings(&self) -> Result<Option<Settings>> {
        let path = self.path("profile.json");
        let text = match fs::read(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            text => text.with_context(|| format!("read {}", path.display()))?,
        };
        let settings = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(settings))
    }

    /// Keeps how it was started.
    pub fn save(&self, settings: &Settings) -> Result<()> {
        let text = serde_json::to_vec_pretty(settings).context("write the profile's settings")?;
        write_private(&self.path("profile.json"), &text)
    }

    /// The process id of its server, if one runs.
    pub fn running(&self) -> Result<Option<u32>> {
        let path = self.path("minik.pid");
        let mut file = match File::open(&path) {
            // Also when the profile's folder is none; whoever uses it will say so.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            file => file.with_context(|| format!("read {}", path.display()))?,
        };
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
        text.trim().parse().map(Some).map_err(|_| anyhow!("{} holds no process id", path.display()))
    }

    /// Claims the profile for this process, for as long as the value lives.
    pub fn claim(&self) -> Result<Claim> {
        let path = self.path("minik.pid");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!("profile {:?} is already running", self.name),
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        file.set_len(0).with_context(|| format!("write {}", path.display()))?;
        writeln!(file, "{}", std::process::id()).with_context(|| format!("write {}", path.display()))?;
        Ok(Claim { path, _file: file })
    }
}

/// A running server's hold on its profile; the file goes with it.
pub struct Claim {
    path: PathBuf,
    _file: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A file that stays is harmless: without the lock it counts for nothing.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes a file that only its owner may read, all of it or nothing.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_profile_is_running_until_the_claim_ends() {
        let home = tempfile::tempdir().expect("a folder");
        let profile = Profile::new(home.path(), "p").expect("a name");
        profile.create().expect("a folder");
        assert_eq!(profile.running().expect("asked"), None);
        let claim = profile.claim().expect("claimed");
        assert_eq!(profile.running().expect("asked"), Some(std::process::id()));
        assert!(profile.claim().is_err());
        drop(claim);
        assert_eq!(profile.running().expect("asked"), None);
    }

    #[test]
    fn settings_survive_and_unknown_profiles_have_none() {
        let home = tempfile::tempdir().expect("a folder");
        let profile = Profile::new(home.path(), "p").expect("a name");
        assert_eq!(profile.settings().expect("read"), None);
        profile.create().expect("a folder");
        let settings = Settings { nodes: 3, api_port: 7000, ..Settings::default() };
        profile.save(&settings).expect("written");
        assert_eq!(profile.settings().expect("read"), Some(settings));
    }

    #[test]
    fn refuses_names_that_are_no_dns_labels() {
        let home = tempfile::tempdir().expect("a folder");
        for name in ["", "../x", "A", "a b", "-"] {
            assert!(Profile::new(home.path(), name).is_err(), "{name}");
        }
    }
}
