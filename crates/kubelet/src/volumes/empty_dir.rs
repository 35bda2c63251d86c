//! `emptyDir`: a folder that lives as long as the pod, on disk or in memory.
//!
//! **Contract**: in memory it is a tmpfs of the size limit. Without the right to mount it is a folder of `/dev/shm`, which
//! is memory, too; the limit is then the eviction manager's to watch.
//! **Upstream**: `pkg/volume/emptydir`.

use super::{Error, Mounted, Plugin, SetUp, blocking, mount, set_mode};
use api::k8s_openapi::api::core::v1::Volume;
use api::pod::parse_quantity;
use async_trait::async_trait;
use std::path::{Path, PathBuf};

/// What everybody may write to and is memory.
const SHARED_MEMORY: &str = "/dev/shm";

pub(super) struct EmptyDirPlugin;

#[async_trait]
impl Plugin for EmptyDirPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/empty-dir"
    }

    fn takes(&self, volume: &Volume) -> bool {
        let medium = volume.empty_dir.as_ref().map(|source| source.medium.as_deref().unwrap_or_default());
        matches!(medium, Some("" | "Memory"))
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.empty_dir.clone().unwrap_or_default();
        let in_memory = source.medium.as_deref() == Some("Memory");
        let limit = source.size_limit.as_ref().map(|limit| parse_quantity(limit).value());
        let limit = limit.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        let (folder, ownership, may_mount) = (at.folder.clone(), at.ownership.clone(), at.node.may_mount);
        let uid = at.pod.metadata.uid.clone().unwrap_or_default();
        let name = volume.name.clone();
        let path = blocking("make", &at.folder, move || {
            std::fs::create_dir_all(&folder)?;
            let path = match (in_memory, may_mount) {
                (true, true) => {
                    mount::tmpfs(&folder, limit)?;
                    folder
                }
                (true, false) => shared_memory(&uid, &name)?,
                (false, _) => folder,
            };
            set_mode(&path, 0o777)?;
            ownership.apply(&path)?;
            Ok(path)
        })
        .await?;
        Ok(Mounted::at(path))
    }
}

/// A folder in memory, named so that it is found when the pod goes.
fn shared_memory(uid: &str, name: &str) -> std::io::Result<PathBuf> {
    let path = Path::new(SHARED_MEMORY).join(format!("minik-{uid}-{name}"));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Removes what a pod has in shared memory.
pub(super) fn remove_shared_memory(uid: &str) -> std::io::Result<()> {
    let prefix = format!("minik-{uid}-");
    let entries = match std::fs::read_dir(SHARED_MEMORY) {
        Ok(entries) => entries,
        Err(_) => return Ok(()),
    };
    for entry in entries {
        let entry = entry?;
        if !uid.is_empty() && entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
