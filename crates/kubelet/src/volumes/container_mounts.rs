//! Where a container sees its pod's volumes.
//!
//! **Contract**: a `subPath` stays inside its volume: no path that leaves it is taken, and where this process may mount,
//! a link that is swapped in meanwhile cannot lead out, either.
//! **Upstream**: `makeMounts` of `pkg/kubelet/kubelet_pods.go`, `pkg/volume/util/subpath`.

use super::{Mounted, blocking, mount};
use crate::container_config::expand_strict;
use api::k8s_openapi::api::core::v1::{Container, VolumeDevice, VolumeMount};
use runtime::{Device, EnvVar, Mount, MountPropagation};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// The mounts of a container. `Err`: upstream's message of a `CreateContainerConfigError`.
pub(crate) async fn container_mounts(
    container: &Container,
    env: &[EnvVar],
    volumes: &BTreeMap<String, Mounted>,
    pod_dir: &Path,
    may_mount: bool,
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
        let Some(volume) = volumes.get(&wanted.name) else {
            let name = &container.name;
            return Err(format!("cannot find volume {:?} to mount into container {name:?}", wanted.name));
        };
        if volume.block {
            let name = &wanted.name;
            return Err(format!("volume {name} has volumeMode Block, but is specified in volumeMounts"));
        }
        let propagation = propagation(wanted);
        if propagation != MountPropagation::Private && may_mount && volume.path.starts_with(pod_dir) {
            let path = volume.path.clone();
            let shared = blocking("share", &volume.path, move || mount::make_shared(&path)).await;
            shared.map_err(|error| error.to_string())?;
        }
        let sub_path = sub_path(wanted, container, env)?;
        let host_path = if sub_path.is_empty() {
            volume.path.clone()
        } else {
            let target = pod_dir.join("volume-subpaths").join(&wanted.name).join(&container.name);
            let (base, target) = (volume.path.clone(), target.join(index.to_string()));
            let inside = blocking("prepare subPath for", &volume.path, move || {
                prepare(&base, Path::new(&sub_path), may_mount.then_some(&target))
            });
            inside.await.map_err(|error| {
                tracing::warn!(container = container.name, "{error}");
                let (mount, container) = (&wanted.name, &container.name);
                format!("failed to prepare subPath for volumeMount {mount:?} of container {container:?}")
            })?
        };
        let host_path = if is_recursively_read_only(wanted, may_mount)? {
            let target = pod_dir.join("volume-subpaths").join(&wanted.name).join(&container.name);
            let (source, target) = (host_path, target.join(index.to_string()));
            let path = target.clone();
            blocking("mount", &path, move || mount::bind_read_only(&source, &target))
                .await
                .map_err(|error| error.to_string())?;
            path
        } else {
            host_path
        };
        mounts.push(Mount {
            container_path: absolute(&wanted.mount_path),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: wanted.read_only == Some(true) || volume.readonly,
            propagation,
        });
    }
    Ok(mounts)
}

/// Whether nothing below a mount may be written to, either. `Err`: it must be so and cannot.
pub(crate) fn is_recursively_read_only(mount: &VolumeMount, may_mount: bool) -> Result<bool, String> {
    match mount.recursive_read_only.as_deref() {
        _ if mount.read_only != Some(true) => Ok(false),
        Some("Enabled") if !may_mount => Err(format!(
            "failed to resolve recursive read-only mode: volume {:?} requested recursive read-only mode, but it is not \
             supported by the runtime",
            mount.name
        )),
        Some("Enabled" | "IfPossible") => Ok(may_mount),
        _ => Ok(false),
    }
}

/// The devices of a container. `Err`: upstream's message of a `CreateContainerConfigError`.
pub(crate) fn container_devices(
    container: &Container,
    volumes: &BTreeMap<String, Mounted>,
) -> Result<Vec<Device>, String> {
    let wanted = container.volume_devices.iter().flatten();
    let device = |wanted: &VolumeDevice| match volumes.get(&wanted.name) {
        Some(volume) if volume.block => Ok(Device {
            container_path: wanted.device_path.clone(),
            host_path: volume.path.to_string_lossy().into_owned(),
            permissions: if volume.readonly { "r" } else { "mrw" }.to_owned(),
        }),
        Some(_) => {
            let name = &wanted.name;
            Err(format!("volume {name} has volumeMode Filesystem, but is specified in volumeDevices"))
        }
        None => {
            let name = &container.name;
            Err(format!("cannot find volume {:?} to pass into container {name:?}", wanted.name))
        }
    };
    wanted.map(device).collect()
}

fn propagation(mount: &VolumeMount) -> MountPropagation {
    match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::HostToContainer,
        Some("Bidirectional") => MountPropagation::Bidirectional,
        _ => MountPropagation::Private,
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The part of the volume that is asked for, variables replaced; empty: all of it.
fn sub_path(mount: &VolumeMount, container: &Container, env: &[EnvVar]) -> Result<String, String> {
    let mut path = mount.sub_path.clone().unwrap_or_default();
    if let Some(expression) = mount.sub_path_expr.as_deref().filter(|e| !e.is_empty()) {
        let vars: HashMap<&str, &str> = env.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
        path = expand_strict(expression, &vars).ok_or_else(|| {
            let (mount, container) = (&mount.name, &container.name);
            format!("failed to expand subPath for volumeMount {mount:?} of container {container:?}")
        })?;
    }
    if path.starts_with('/') {
        return Err(format!("error SubPath `{path}` must not be an absolute path"));
    }
    if Path::new(&path).components().any(|part| part == Component::ParentDir) {
        return Err(format!("unable to provision SubPath `{path}`: must not contain '..'"));
    }
    Ok(path)
}

/// The part of a volume, made a folder if it is missing. With a `target` it is mounted there.
fn prepare(base: &Path, sub_path: &Path, target: Option<&PathBuf>) -> io::Result<PathBuf> {
    let base = fs::canonicalize(base)?;
    let wanted = base.join(sub_path);
    if fs::symlink_metadata(&wanted).is_err() {
        make_inside(&base, sub_path)?;
    }
    let found = fs::canonicalize(&wanted)?;
    let Ok(inner) = found.strip_prefix(&base) else {
        let message = format!("{} is not within the volume", wanted.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    };
    match target {
        Some(target) => {
            mount::bind_within(&base, inner, target)?;
            Ok(target.clone())
        }
        None => Ok(found),
    }
}

/// Makes the folders of a path one by one, each with the volume's own rights, none through a link that leads out.
fn make_inside(base: &Path, path: &Path) -> io::Result<()> {
    let mode = fs::metadata(base)?.mode() & 0o7777;
    let mut at = base.to_owned();
    for part in path.components() {
        at.push(part);
        match fs::DirBuilder::new().mode(mode).create(&at) {
            Ok(()) => super::set_mode(&at, mode)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                at = fs::canonicalize(&at)?;
                if !at.starts_with(base) {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sub_path_stays_inside() {
        let env = [EnvVar::new("A", "x"), EnvVar::new("UP", ".."), EnvVar::new("ROOT", "/tmp")];
        for (fields, expected) in [
            (json!({"subPath": "a/b"}), Ok("a/b")),
            (json!({"subPathExpr": "d/$(A)"}), Ok("d/x")),
            (
                json!({"subPathExpr": "$(NONE)"}),
                Err("failed to expand subPath for volumeMount \"v\" of container \"c\""),
            ),
            (json!({"subPathExpr": "$(ROOT)"}), Err("error SubPath `/tmp` must not be an absolute path")),
            (json!({"subPathExpr": "$(UP)"}), Err("unable to provision SubPath `..`: must not contain '..'")),
        ] {
            let mut mount = fields.clone();
            mount["name"] = "v".into();
            mount["mountPath"] = "/m".into();
            let mount: VolumeMount = serde_json::from_value(mount).expect("a mount");
            let container = Container { name: "c".into(), ..Container::default() };
            let got = sub_path(&mount, &container, &env);
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{fields}");
        }
    }

    #[test]
    fn no_link_leads_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().join("volume");
        fs::create_dir(&base).expect("made");
        std::os::unix::fs::symlink("/etc", base.join("out")).expect("linked");
        std::os::unix::fs::symlink("in", base.join("link")).expect("linked");
        fs::create_dir(base.join("in")).expect("made");
        assert!(prepare(&base, Path::new("out"), None).is_err());
        assert!(prepare(&base, Path::new("out/new"), None).is_err());
        let inside = prepare(&base, Path::new("link"), None).expect("inside");
        assert_eq!(inside, fs::canonicalize(base.join("in")).expect("there"));
        assert!(prepare(&base, Path::new("new/deep"), None).expect("made").is_dir());
    }
}
