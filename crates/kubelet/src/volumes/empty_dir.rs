//! `emptyDir`: a folder that lives as long as the pod, on disk or in memory.
//!
//! **Contract**: in memory it is a tmpfs of the size limit. Without the right to mount it is a folder of `/dev/shm`, which
//! is memory, too; the limit is then the eviction manager's to watch. In huge pages it is a hugetlbfs of the size that the
//! pod asks for.
//! **Upstream**: `pkg/volume/emptydir`.

use super::{Error, Mounted, Plugin, SetUp, blocking, mount, set_mode};
use api::k8s_openapi::api::core::v1::{Pod, Volume};
use api::pod::parse_quantity;
use api::quantity::Quantity;
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What everybody may write to and is memory.
const SHARED_MEMORY: &str = "/dev/shm";
/// A medium: `HugePages`, or `HugePages-2Mi` where a pod asks for several sizes.
const HUGE_PAGES: &str = "HugePages";

pub(super) struct EmptyDirPlugin;

#[async_trait]
impl Plugin for EmptyDirPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/empty-dir"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.empty_dir.is_some()
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.empty_dir.clone().unwrap_or_default();
        let medium = source.medium.as_deref().unwrap_or_default();
        if !matches!(medium, "" | "Memory") && !medium.starts_with(HUGE_PAGES) {
            return Err(Error::Refused(format!("unknown storage medium {medium:?}")));
        }
        let in_memory = medium == "Memory";
        let page = page_size(medium, at.pod).map_err(Error::Refused)?;
        if page.is_some() && !at.node.may_mount {
            return Err(Error::Refused("huge pages are mounted by root only".to_owned()));
        }
        let limit = source.size_limit.as_ref().map(|limit| parse_quantity(limit).value());
        let limit = limit.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        let (folder, ownership, may_mount) = (at.folder.clone(), at.ownership.clone(), at.node.may_mount);
        let uid = at.pod.metadata.uid.clone().unwrap_or_default();
        let name = volume.name.clone();
        let path = blocking("make", &at.folder, move || {
            std::fs::create_dir_all(&folder)?;
            let path = match (in_memory, may_mount) {
                _ if page.is_some() => {
                    mount::huge_pages(&folder, page.unwrap_or_default())?;
                    folder
                }
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

/// Bytes of a huge page, if the medium asks for one. `Err`: upstream's message.
fn page_size(medium: &str, pod: &Pod) -> Result<Option<u64>, String> {
    let Some(size) = medium.strip_prefix(HUGE_PAGES) else { return Ok(None) };
    let spec = pod.spec.iter();
    let of_pod = spec.clone().filter_map(|spec| spec.resources.as_ref());
    let containers = spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let resources = containers.filter_map(|c| c.resources.as_ref()).chain(of_pod);
    let asked: BTreeSet<&str> = resources
        .flat_map(|resources| resources.requests.iter().chain(&resources.limits).flatten())
        .filter_map(|(name, _)| name.strip_prefix("hugepages-"))
        .collect();
    let size = match (size.strip_prefix('-'), asked.len()) {
        (Some(size), _) if asked.contains(size) => size,
        (Some(_), _) => return Err(format!("medium {medium:?} is not requested by any container")),
        (None, 1) => asked.first().copied().unwrap_or_default(),
        (None, 0) => {
            return Err(
                "hugePages storage requested, but there is no resource request for huge pages".to_owned()
            );
        }
        (None, _) => {
            return Err(format!(
                "medium {medium:?} can be used only if container requests use only one huge page size"
            ));
        }
    };
    let bytes = size.parse::<Quantity>().ok().and_then(|size| u64::try_from(size.value()).ok());
    bytes.filter(|bytes| *bytes > 0).map(Some).ok_or_else(|| format!("medium {medium:?} names no size"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_medium_names_the_size_of_its_pages_or_the_pod_has_one() {
        let pod = |sizes: &[&str]| -> Pod {
            let limits: serde_json::Map<_, _> =
                sizes.iter().map(|size| (format!("hugepages-{size}"), json!("4Mi"))).collect();
            serde_json::from_value(
                json!({"spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]}}),
            )
            .expect("a pod")
        };
        for (medium, sizes, expected) in [
            ("Memory", &[][..], Ok(None)),
            ("HugePages", &["2Mi"], Ok(Some(2 << 20))),
            ("HugePages-1Gi", &["2Mi", "1Gi"], Ok(Some(1 << 30))),
            ("HugePages", &[], Err("no resource request")),
            ("HugePages", &["2Mi", "1Gi"], Err("only one huge page size")),
            ("HugePages-1Gi", &["2Mi"], Err("is not requested")),
        ] {
            match (page_size(medium, &pod(sizes)), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{medium} {sizes:?}"),
                (Err(got), Err(part)) => assert!(got.contains(part), "{got}"),
                (got, _) => panic!("{medium} {sizes:?}: {got:?}"),
            }
        }
    }
}
