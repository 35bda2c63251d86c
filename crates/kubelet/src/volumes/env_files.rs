//! The files of variables that a container's environment names, read from its pod's volumes.
//!
//! **Contract**: a path stays inside its volume: links are followed as if the volume were the whole file system.
//! **Upstream**: the `FileKeyRef` part of `makeEnvironmentVariables`, `pkg/kubelet/kubelet_pods.go`.

use super::{Mounted, blocking};
use api::k8s_openapi::api::core::v1::Container;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More is no file of variables.
const LONGEST: u64 = 1 << 20;

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvFile {
    /// Its path on the node.
    pub(crate) path: PathBuf,
    /// None: there is no such file.
    pub(crate) text: Option<String>,
}

/// Files by volume and path.
pub(crate) type EnvFiles = BTreeMap<(String, String), EnvFile>;

/// Reads all that a container's environment names. `Err`: upstream's message of a `CreateContainerConfigError`.
pub(crate) async fn env_files(
    container: &Container,
    volumes: &BTreeMap<String, Mounted>,
) -> Result<EnvFiles, String> {
    let mut files = EnvFiles::new();
    let sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
    for wanted in sources.filter_map(|source| source.file_key_ref.as_ref()) {
        let key = (wanted.volume_name.clone(), wanted.path.clone());
        if files.contains_key(&key) {
            continue;
        }
        let volume = volumes.get(&wanted.volume_name).filter(|volume| !volume.block);
        let volume = volume.ok_or_else(|| {
            format!("cannot find the volume {:?} referenced by FileKeyRef", wanted.volume_name)
        })?;
        let (root, inner) = (volume.path.clone(), PathBuf::from(&wanted.path));
        let path = root.join(&inner);
        let text = blocking("read", &path, move || read_within(&root, &inner)).await;
        let text = text.map_err(|error| {
            tracing::warn!(container = container.name, "{error}");
            "couldn't parse env file".to_owned()
        })?;
        files.insert(key, EnvFile { path, text });
    }
    Ok(files)
}

fn read_within(root: &Path, inner: &Path) -> io::Result<Option<String>> {
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // A pipe that nobody writes to must not hold up anybody.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat2(&folder, inner, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than a mebibyte"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_only_from_within_its_volume() {
        let dir = tempfile::tempdir().expect("a folder");
        let volume = dir.path().join("volume");
        std::fs::create_dir_all(volume.join("etc")).expect("made");
        std::fs::write(volume.join("etc/env"), "A='1'").expect("written");
        std::fs::write(dir.path().join("secret"), "B='2'").expect("written");
        std::os::unix::fs::symlink("/etc/env", volume.join("absolute")).expect("linked");
        std::os::unix::fs::symlink("../secret", volume.join("out")).expect("linked");
        let read = |inner: &str| read_within(&volume, Path::new(inner)).expect("an answer");
        assert_eq!(read("etc/env").as_deref(), Some("A='1'"));
        assert_eq!(read("absolute").as_deref(), Some("A='1'"));
        assert_eq!((read("out"), read("none")), (None, None));
        assert!(read_within(&volume, Path::new("etc")).is_err());
    }
}
