//! The logs of containers where collectors of logs look for them: links to the files that the runtime writes.
//!
//! `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log` leads to the runtime's file, and
//! `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log` to that. **Contract**: links go when their container does, and all of a
//! pod's when the pod does; what is no link is left alone. **Not here**: who may write there (the launcher says where, if
//! anywhere), reading logs (`server/logs.rs`), their rotation (the runtime).
//! **Upstream**: `BuildPodLogsDirectory` of `pkg/kubelet/kuberuntime/helpers.go`, `legacy.go`; with Docker, cri-dockerd's
//! `createContainerLogSymlink`.

use crate::observed::Observed;
use api::k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const PODS: &str = "pods";
const CONTAINERS: &str = "containers";

/// What each link leads to, by its path below the folder of logs.
pub(crate) type Links = BTreeMap<PathBuf, PathBuf>;

/// The links that a pod should have.
pub(crate) fn links(log_dir: &Path, pod: &Pod, pod_uid: &str, observed: &Observed) -> Links {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let folder = Path::new(PODS).join(format!("{namespace}_{name}_{pod_uid}"));
    let logged = observed.containers.values().flatten().filter(|container| !container.log_path.is_empty());
    let pairs = logged.flat_map(|container| {
        let file = folder.join(&container.metadata.name).join(format!("{}.log", container.metadata.attempt));
        let flat = format!("{name}_{namespace}_{}-{}.log", container.metadata.name, container.id);
        let to_file = (Path::new(CONTAINERS).join(flat), log_dir.join(&file));
        [(file, PathBuf::from(&container.log_path)), to_file]
    });
    pairs.collect()
}

/// Makes the links that should be there, and removes those of before that should not.
pub(crate) fn update(log_dir: &Path, before: &Links, now: &Links) -> io::Result<()> {
    for link in before.keys().filter(|link| !now.contains_key(*link)) {
        remove_link(&log_dir.join(link))?;
    }
    for (link, target) in now.iter().filter(|(link, target)| before.get(*link) != Some(*target)) {
        let path = log_dir.join(link);
        if fs::read_link(&path).is_ok_and(|present| present == *target) {
            continue;
        }
        remove_link(&path)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        symlink(target, &path)?;
    }
    Ok(())
}

/// Removes all links of a pod, whoever made them.
pub(crate) fn remove(log_dir: &Path, pod_uid: &str) -> io::Result<()> {
    let ending = format!("_{pod_uid}");
    for folder in entries(&log_dir.join(PODS))?.into_iter().filter(|path| ends_with(path, &ending)) {
        for link in entries(&log_dir.join(CONTAINERS))? {
            if fs::read_link(&link).is_ok_and(|target| target.starts_with(&folder)) {
                remove_link(&link)?;
            }
        }
        for container in entries(&folder)? {
            for link in entries(&container)? {
                remove_link(&link)?;
            }
            remove_empty(&container)?;
        }
        remove_empty(&folder)?;
    }
    Ok(())
}

fn ends_with(path: &Path, ending: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ending))
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Removes a link, if it is one.
fn remove_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => gone(fs::remove_file(path)),
        Ok(_) => Ok(()),
        Err(error) => gone(Err(error)),
    }
}

/// Removes a folder, unless somebody has put a file into it.
fn remove_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory) => {
            Ok(())
        }
        removed => gone(removed),
    }
}

/// Two may remove the same.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use runtime::{ContainerMetadata, ContainerState, ContainerStatus};

    fn observed(attempts: &[u32]) -> Observed {
        let status = |attempt: &u32| ContainerStatus {
            id: format!("id{attempt}").into(),
            metadata: ContainerMetadata { name: "main".into(), attempt: *attempt },
            log_path: format!("/engine/id{attempt}.log"),
            pod_sandbox_id: "s".into(),
            state: ContainerState::Running,
            created_at: Timestamp::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: "i".into(),
            image_id: "sha256:1".into(),
            image_ref: "sha256:1".into(),
            labels: Default::default(),
            annotations: Default::default(),
            mounts: Vec::new(),
            resources: Default::default(),
        };
        let containers = [("main".to_owned(), attempts.iter().map(status).collect())].into();
        Observed { containers, ..Observed::default() }
    }

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("space".into());
        pod.metadata.name = Some("web".into());
        pod
    }

    fn found(folder: &Path) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for path in entries(&next).unwrap() {
                match fs::read_link(&path) {
                    Ok(target) => {
                        let strip =
                            |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
                        all.push((strip(&path), strip(&target)));
                    }
                    Err(_) => folders.push(path),
                }
            }
        }
        all.sort();
        all
    }

    #[test]
    fn links_follow_the_containers_and_go_with_the_pod() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        let mut before = Links::new();
        for (attempts, expected) in [
            (&[][..], vec![]),
            (
                &[0],
                vec![
                    ("containers/web_space_main-id0.log", "pods/space_web_u1/main/0.log"),
                    ("pods/space_web_u1/main/0.log", "/engine/id0.log"),
                ],
            ),
            (
                &[2, 1],
                vec![
                    ("containers/web_space_main-id1.log", "pods/space_web_u1/main/1.log"),
                    ("containers/web_space_main-id2.log", "pods/space_web_u1/main/2.log"),
                    ("pods/space_web_u1/main/1.log", "/engine/id1.log"),
                    ("pods/space_web_u1/main/2.log", "/engine/id2.log"),
                ],
            ),
        ] {
            let now = links(dir, &pod(), "u1", &observed(attempts));
            update(dir, &before, &now).unwrap();
            // A kubelet that starts anew finds them.
            update(dir, &Links::new(), &now).unwrap();
            let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(found(dir), expected);
            before = now;
        }
        let other = links(dir, &pod(), "u2", &observed(&[7]));
        update(dir, &Links::new(), &other).unwrap();
        fs::write(dir.join("pods/space_web_u1/main/notes"), "mine").unwrap();
        remove(dir, "u1").unwrap();
        remove(dir, "u1").unwrap();
        let left: Vec<_> = found(dir).into_iter().map(|(link, _)| link).collect();
        assert_eq!(left, ["containers/web_space_main-id7.log", "pods/space_web_u2/main/7.log"]);
        assert!(dir.join("pods/space_web_u1/main/notes").exists(), "what is no link is left alone");
    }
}
