//! `hostPath`: a file or folder of this node.
//!
//! **Upstream**: `pkg/volume/hostpath`, messages included.

use super::mount::{FileKind, kind_of};
use super::{Error, Mounted, Plugin, SetUp, blocking, set_mode};
use api::k8s_openapi::api::core::v1::Volume;
use async_trait::async_trait;
use std::path::Path;

const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

pub(super) struct HostPathPlugin;

#[async_trait]
impl Plugin for HostPathPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/host-path"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.host_path.is_some()
    }

    async fn set_up(&self, _: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.host_path.clone().unwrap_or_default();
        check(&source.path, source.type_.as_deref().unwrap_or_default()).await?;
        Ok(Mounted::at(source.path))
    }
}

/// Makes sure that a path is of its type; two types make what is missing.
pub(super) async fn check(path: &str, kind: &str) -> Result<(), Error> {
    let (at, wanted) = (Path::new(path).to_owned(), kind.to_owned());
    let found = blocking("inspect", Path::new(path), move || {
        let found = kind_of(&at)?;
        match (found, wanted.as_str()) {
            (None, "DirectoryOrCreate") => {
                std::fs::create_dir_all(&at)?;
                set_mode(&at, FOLDER_MODE)?;
                Ok(Some(FileKind::Directory))
            }
            (None, "FileOrCreate") => {
                std::fs::write(&at, b"")?;
                set_mode(&at, FILE_MODE)?;
                Ok(Some(FileKind::File))
            }
            _ => Ok(found),
        }
    })
    .await?;
    match mismatch(found, kind) {
        None => Ok(()),
        Some(what) => Err(Error::Refused(format!("hostPath type check failed: {path} is not {what}"))),
    }
}

/// What the path should be and is not.
fn mismatch(found: Option<FileKind>, kind: &str) -> Option<&'static str> {
    let (expected, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (FileKind::Directory, "a directory"),
        "File" | "FileOrCreate" => (FileKind::File, "a file"),
        "Socket" => (FileKind::Socket, "a socket file"),
        "CharDevice" => (FileKind::CharDevice, "a character device"),
        "BlockDevice" => (FileKind::BlockDevice, "a block device"),
        _ => return None,
    };
    (found != Some(expected)).then_some(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        let folder = path("");
        for (path, kind, right) in [
            (folder.as_str(), "", true),
            (&path("none"), "", true),
            (&folder, "Directory", true),
            (&folder, "File", false),
            (&path("none"), "Directory", false),
            (&path("none"), "File", false),
            (&path("made"), "DirectoryOrCreate", true),
            (&path("made"), "FileOrCreate", false),
            (&path("file"), "FileOrCreate", true),
            (&path("file"), "File", true),
            (&path("file"), "Socket", false),
            ("/dev/null", "CharDevice", true),
            ("/dev/null", "BlockDevice", false),
        ] {
            assert_eq!(check(path, kind).await.is_ok(), right, "{path} {kind}");
        }
        let error = check(&path("none"), "Directory").await.expect_err("it is not there").to_string();
        assert!(
            error.starts_with("hostPath type check failed: ") && error.ends_with("is not a directory"),
            "{error}"
        );
    }
}
