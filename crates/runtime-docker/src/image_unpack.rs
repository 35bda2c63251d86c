//! The files of an image in a folder, as an image volume shows them.
//!
//! Contract: layers are applied in their order, with their whiteouts; nothing is written or removed outside of the folder,
//! whatever an image's links say. The engine's own way (a mount of type `image`) exists since API 1.48 only.
//!
//! Upstream: OCI image specification, "Image Layer Filesystem Changeset"; Docker image specification v1.2.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use runtime::{Error, ImageId, Result};
use serde_json::Value;
use tar::{Archive, EntryType};

use crate::client::DockerRuntime;

/// What begins the name of a file that says: this one is gone.
const WHITEOUT: &str = ".wh.";
/// Says that the folder has nothing of the layers below.
const OPAQUE: &str = ".wh..wh..opq";

impl DockerRuntime {
    pub(crate) async fn unpack(&self, image: &ImageId, into: &Path) -> Result<()> {
        let failed =
            |error: io::Error| Error::Other { operation: "unpack image", message: error.to_string() };
        let archive = into.with_extension("tar");
        let written = async {
            let mut file = tokio::fs::File::create(&archive).await.map_err(failed)?;
            self.save_images(&[image.to_string()], &mut file).await?;
            let (path, folder) = (archive.clone(), into.to_owned());
            let applied = tokio::task::spawn_blocking(move || apply_all(&path, &folder)).await;
            applied.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
        };
        let result = written.await;
        let _ = tokio::fs::remove_file(&archive).await;
        result
    }
}

/// Applies the layers of an archive as `docker save` writes it.
fn apply_all(archive: &Path, folder: &Path) -> io::Result<()> {
    let mut file = BufReader::new(File::open(archive)?);
    let layers = layers(&mut file)?;
    fs::create_dir_all(folder)?;
    let folder = fs::canonicalize(folder)?;
    for layer in layers {
        file.rewind()?;
        let mut outer = Archive::new(&mut file);
        let mut found = false;
        for entry in outer.entries()? {
            let entry = entry?;
            if entry.path()? == Path::new(&layer) {
                let mut layer = BufReader::new(entry);
                let compressed = io::BufRead::fill_buf(&mut layer)?.starts_with(&[0x1f, 0x8b]);
                match compressed {
                    true => apply(MultiGzDecoder::new(layer), &folder)?,
                    false => apply(layer, &folder)?,
                }
                found = true;
                break;
            }
        }
        if !found {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the archive lacks {layer}")));
        }
    }
    Ok(())
}

/// The layers' paths within the archive, the lowest first.
fn layers(file: &mut (impl Read + Seek)) -> io::Result<Vec<String>> {
    let mut outer = Archive::new(&mut *file);
    for entry in outer.entries()? {
        let entry = entry?;
        if entry.path()? == Path::new("manifest.json") {
            let manifest: Value = serde_json::from_reader(entry)?;
            let layers = manifest[0]["Layers"].as_array().cloned().unwrap_or_default();
            return Ok(layers.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the archive has no manifest.json"))
}

/// Applies one layer.
fn apply(layer: impl Read, folder: &Path) -> io::Result<()> {
    let mut archive = Archive::new(layer);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
    archive.set_unpack_xattrs(false);
    archive.set_overwrite(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kind = entry.header().entry_type();
        if name == OPAQUE {
            for below in within(folder, path.parent())?.into_iter().flat_map(fs::read_dir).flatten() {
                remove(&below?.path())?;
            }
        } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
            if let Some(parent) = within(folder, path.parent())? {
                remove(&parent.join(gone))?;
            }
        } else if !matches!(kind, EntryType::Block | EntryType::Char | EntryType::Fifo) {
            // A folder may have been a file in the layer below, and the other way round.
            if let Some(parent) = within(folder, path.parent())?.filter(|_| !name.is_empty()) {
                let old = parent.join(name);
                let was = fs::symlink_metadata(&old).ok();
                if was.is_some_and(|was| !(was.is_dir() && kind.is_dir())) {
                    remove(&old)?;
                }
            }
            entry.unpack_in(folder)?;
        }
    }
    Ok(())
}

/// A folder of the image that is there and, links resolved, within.
fn within(folder: &Path, inner: Option<&Path>) -> io::Result<Option<PathBuf>> {
    match fs::canonicalize(folder.join(inner.unwrap_or(Path::new("")))) {
        Ok(path) => Ok(path.starts_with(folder).then_some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer: paths with content, a folder where there is none, a link where it begins with `->`.
    fn layer(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_uid(rustix::process::geteuid().as_raw().into());
            header.set_gid(rustix::process::getegid().as_raw().into());
            header.set_mode(0o755);
            let link = content.and_then(|content| content.strip_prefix("->"));
            if let Some(to) = link {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, to).expect("appended");
                continue;
            }
            header.set_entry_type(if content.is_some() { EntryType::Regular } else { EntryType::Directory });
            let content = content.unwrap_or_default();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_bytes()).expect("appended");
        }
        builder.into_inner().expect("a layer")
    }

    #[test]
    fn later_layers_change_earlier_ones_and_nothing_outside() {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, outside) = (root.path().join("image"), root.path().join("outside"));
        fs::create_dir(&folder).expect("made");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("precious"), "x").expect("written");
        let to_outside = format!("->{}", outside.display());
        for entries in [
            &[
                ("a", None),
                ("a/one", Some("1")),
                ("a/two", Some("2")),
                ("b", None),
                ("b/old", Some("x")),
                ("c", Some("c")),
            ][..],
            &[
                ("a/.wh.one", Some("")),
                ("b/.wh..wh..opq", Some("")),
                ("b/new", Some("n")),
                ("c", None),
                ("c/d", Some("d")),
            ],
            &[("out", Some(&to_outside)), ("out/.wh.precious", Some(""))],
        ] {
            apply(&layer(entries)[..], &folder).expect("applied");
        }
        // Whether it is refused or skipped is the archive library's affair.
        let _ = apply(&layer(&[("out/evil", Some("e"))])[..], &folder);
        let there = |path: &str| folder.join(path).exists();
        assert_eq!(["a/one", "a/two", "b/old", "b/new", "c/d"].map(there), [false, true, false, true, true]);
        let left: Vec<_> =
            fs::read_dir(&outside).expect("there").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(left, ["precious"]);
    }
}
