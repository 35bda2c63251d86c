//! A pod's volumes on this node: made before its containers, kept up to date while it runs, gone with it.
//!
//! **Contract**: [`PLUGINS`] is THE LIST, a file a plugin. Setting up may be repeated at any time and changes only what
//! differs; what an object's change asks for is done when the object changes. A volume's folder is
//! `pods/UID/volumes/PLUGIN/NAME`, as upstream's.
//! **Not here**: the watches (`references`), where a container sees a volume (`container_mounts`).
//! **Upstream**: `pkg/volume`, `pkg/kubelet/volumemanager`.

mod atomic_writer;
mod config_map;
mod container_mounts;
mod downward_api;
mod empty_dir;
mod env_files;
mod host_path;
mod image;
pub(crate) mod mount;
mod ownership;
mod persistent_volume_claim;
mod projected;
mod secret;
mod token;
mod usage;

pub(crate) use config_map::data_of as config_map_data;
pub(crate) use container_mounts::{container_devices, container_mounts, is_recursively_read_only};
#[cfg(test)]
pub(crate) use env_files::EnvFile;
pub(crate) use env_files::{EnvFiles, env_files};
pub(crate) use secret::data_of as secret_data;
pub(crate) use usage::{FolderUsage, Registry, usage_of};

use ownership::Ownership;
use token::Tokens;

use crate::pod_worker::Node;
use crate::references::{Held, Missing};
use api::k8s_openapi::api::core::v1::{Pod, Volume};
use async_trait::async_trait;
use atomic_writer::Payload;
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// THE LIST.
const PLUGINS: [&dyn Plugin; 9] = [
    &config_map::ConfigMapPlugin,
    &downward_api::DownwardApiPlugin,
    &empty_dir::EmptyDirPlugin,
    &persistent_volume_claim::EphemeralPlugin,
    &host_path::HostPathPlugin,
    &image::ImagePlugin,
    &persistent_volume_claim::PersistentVolumeClaimPlugin,
    &projected::ProjectedPlugin,
    &secret::SecretPlugin,
];

/// Why a volume is not there. The text follows `MountVolume.SetUp failed for volume "v" : `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An object that the volume shows is not there.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The pod asks for what cannot be; or not yet. Upstream's words.
    #[error("{0}")]
    Refused(String),
    /// A file operation failed.
    #[error("{operation} {}: {source}", path.display())]
    Files {
        /// As an infinitive: `write`.
        operation: &'static str,
        /// Of what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A request to the API server failed.
    #[error("{operation}: {message}")]
    Api {
        /// Upstream's words for it.
        operation: &'static str,
        /// The server's.
        message: String,
    },
}

/// A kind of volume.
#[async_trait]
trait Plugin: Sync {
    /// Upstream's name; in the volume's path a tilde stands for the slash.
    fn name(&self) -> &'static str;

    /// Whether the volume is of this kind.
    fn takes(&self, volume: &Volume) -> bool;

    /// Whether the volume's content follows objects of the API.
    fn is_live(&self) -> bool {
        false
    }

    /// Makes the volume, or brings it up to date.
    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error>;
}

/// What a plugin works with.
struct SetUp<'a> {
    node: &'a Node,
    pod: &'a Pod,
    held: &'a Held,
    tokens: &'a mut Tokens,
    /// Resolves when the pod is to end, so that what may take long can give way.
    doom: Doom<'a>,
    /// The volume's folder.
    folder: PathBuf,
    ownership: Ownership,
}

/// Waits until a pod is to end.
pub(crate) type Doom<'a> = &'a (dyn Fn() -> BoxFuture<'static, ()> + Send + Sync);

/// A volume that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// What containers see.
    pub(crate) path: PathBuf,
    /// No container may write, whatever its mount says.
    pub(crate) readonly: bool,
    /// It is a device, not a folder.
    pub(crate) block: bool,
    /// When its content must be made anew.
    refresh_at: Option<Timestamp>,
}

impl Mounted {
    fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readonly: false, block: false, refresh_at: None }
    }
}

/// The volumes of one pod.
#[derive(Default)]
pub(crate) struct Volumes {
    mounted: BTreeMap<String, Mounted>,
    tokens: Tokens,
}

/// Whether this kubelet has a plugin for the volume.
pub(crate) fn is_supported(volume: &Volume) -> bool {
    plugin_of(volume).is_some()
}

fn plugin_of(volume: &Volume) -> Option<&'static dyn Plugin> {
    PLUGINS.into_iter().find(|plugin| plugin.takes(volume))
}

/// A volume's folder below the pod's.
fn folder(pod_dir: &Path, plugin: &str, volume: &str) -> PathBuf {
    pod_dir.join("volumes").join(plugin.replace('/', "~")).join(volume)
}

impl Volumes {
    /// Makes what is missing and brings up to date what is live. Gives what failed, by volume; a live volume that is
    /// there already goes on to show what it showed.
    pub(crate) async fn set_up(
        &mut self,
        node: &Node,
        pod: &Pod,
        pod_dir: &Path,
        held: &Held,
        doom: Doom<'_>,
    ) -> Vec<(String, Error)> {
        let mut failed = Vec::new();
        let Some(spec) = &pod.spec else { return failed };
        for volume in spec.volumes.iter().flatten() {
            let Some(plugin) = plugin_of(volume) else {
                let refused = Error::Refused("no volume plugin matched".to_owned());
                failed.push((volume.name.clone(), refused));
                continue;
            };
            if self.mounted.contains_key(&volume.name) && !plugin.is_live() {
                continue;
            }
            let mut at = SetUp {
                node,
                pod,
                held,
                tokens: &mut self.tokens,
                doom,
                folder: folder(pod_dir, plugin.name(), &volume.name),
                ownership: Ownership::of(spec),
            };
            match plugin.set_up(&mut at, volume).await {
                Ok(mounted) => {
                    self.mounted.insert(volume.name.clone(), mounted);
                }
                Err(error) => failed.push((volume.name.clone(), error)),
            }
        }
        node.volumes.note(&crate::static_pods::runtime_uid(pod), &self.mounted);
        failed
    }

    /// The volumes that are there, by name.
    pub(crate) fn mounted(&self) -> &BTreeMap<String, Mounted> {
        &self.mounted
    }

    /// When some content must be made anew.
    pub(crate) fn refresh_at(&self) -> Option<Timestamp> {
        self.mounted.values().filter_map(|mounted| mounted.refresh_at).min()
    }
}

impl SetUp<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Writes files that come from the API. `memory`: they must not reach a disk.
    async fn write(&self, payload: Payload, memory: InMemory) -> Result<Mounted, Error> {
        let now = self.node.context.clock.now();
        // Upstream's `..2006_01_02_15_04_05.` with a random end.
        let time = now.strftime("%Y_%m_%d_%H_%M_%S");
        let stamp = format!("..{time}.{}", self.node.context.rng.below(1 << 32));
        // What comes from the API is nobody's to change: the group may read it, no more.
        let (folder, ownership) =
            (self.folder.clone(), Ownership { readonly: true, ..self.ownership.clone() });
        let in_memory = memory == InMemory::Yes && self.node.may_mount;
        blocking("write", &self.folder, move || {
            std::fs::create_dir_all(&folder)?;
            if in_memory {
                mount::tmpfs(&folder, 0)?;
            }
            set_mode(&folder, 0o777)?;
            ownership.apply_to_folder(&folder)?;
            atomic_writer::write(&folder, &payload, &stamp, &ownership)
        })
        .await?;
        Ok(Mounted::at(&self.folder))
    }
}

/// Whether files must not reach a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InMemory {
    Yes,
    No,
}

/// Does something with files where waiting for a disk holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let failed = |source| Error::Files { operation, path: path.to_owned(), source };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(failed),
        Err(error) => Err(failed(io::Error::other(error))),
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Removes a pod's volumes, its mounts first; what else it has on this node's disk stays.
pub(crate) async fn tear_down_volumes(pod_dir: &Path) -> Result<(), Error> {
    let root = pod_dir.to_owned();
    blocking("remove the volumes of", pod_dir, move || {
        for part in ["volume-subpaths", "volumes"] {
            mount::remove_tree(&root.join(part))?;
        }
        empty_dir::remove_shared_memory(&root.file_name().unwrap_or_default().to_string_lossy())
    })
    .await
}

/// Removes everything a pod has on this node's disk, its mounts first.
pub(crate) async fn tear_down(pod_dir: &Path) -> Result<(), Error> {
    tear_down_volumes(pod_dir).await?;
    let root = pod_dir.to_owned();
    blocking("remove", pod_dir, move || mount::remove_tree(&root)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_plugin_takes_its_own_and_nothing_else() {
        for (source, name) in [
            (json!({"emptyDir": {}}), Some("kubernetes.io/empty-dir")),
            (json!({"hostPath": {"path": "/x"}}), Some("kubernetes.io/host-path")),
            (json!({"configMap": {"name": "x"}}), Some("kubernetes.io/configmap")),
            (json!({"secret": {"secretName": "x"}}), Some("kubernetes.io/secret")),
            (json!({"downwardAPI": {}}), Some("kubernetes.io/downward-api")),
            (json!({"projected": {}}), Some("kubernetes.io/projected")),
            (json!({"image": {"reference": "x"}}), Some("kubernetes.io/image")),
            (json!({"persistentVolumeClaim": {"claimName": "x"}}), Some("kubernetes.io/local-volume")),
            (json!({"nfs": {"path": "/", "server": "s"}}), None),
            (json!({"emptyDir": {"medium": "HugePages-2Mi"}}), Some("kubernetes.io/empty-dir")),
            (json!({"emptyDir": {"medium": "Paper"}}), Some("kubernetes.io/empty-dir")),
        ] {
            let mut volume = source.clone();
            volume["name"] = "v".into();
            let volume: Volume = serde_json::from_value(volume).expect("a volume");
            let found: Vec<_> = PLUGINS.iter().filter(|p| p.takes(&volume)).map(|p| p.name()).collect();
            assert_eq!(found, name.into_iter().collect::<Vec<_>>(), "{source}");
        }
    }
}
