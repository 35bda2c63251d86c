//! Writes a set of files so that a reader sees all of the old ones or all of the new ones.
//!
//! **Contract**: files lie in a folder of their own whose name begins with `..` and a time; `..data` is a link to it, and
//! each file of the volume a link through `..data`. A new set is complete, with modes and owners, before one rename of
//! `..data` makes it the current one. A set that is already there is left alone.
//! **Upstream**: `pkg/volume/util/atomic_writer.go`.

use super::ownership::Ownership;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
    /// Its owner; none: this process's user.
    pub(crate) owner: Option<u32>,
}

/// Files by their path below the volume.
pub(crate) type Payload = BTreeMap<String, File>;

/// Makes the folder show exactly these files. `stamp` names the new set; it is used once.
pub(crate) fn write(folder: &Path, payload: &Payload, stamp: &str, ownership: &Ownership) -> io::Result<()> {
    for path in payload.keys() {
        if !is_inside(path) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {path:?}")));
        }
    }
    let old = fs::read_link(folder.join(DATA)).ok();
    if let Some(old) = &old
        && holds(&folder.join(old), payload)?
    {
        return link_names(folder, payload);
    }
    let new = folder.join(stamp);
    fs::create_dir(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let at = new.join(path);
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&at, &file.bytes)?;
        // Not at creation, where the umask would take from it.
        fs::set_permissions(&at, fs::Permissions::from_mode(file.mode))?;
        if let Some(owner) = file.owner {
            ownership.tolerate(chown(&at, Some(owner), None))?;
        }
    }
    ownership.apply(&new)?;
    let temporary = folder.join(NEW_DATA);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(stamp, &temporary)?;
    fs::rename(&temporary, folder.join(DATA))?;
    link_names(folder, payload)?;
    remove_others(folder, stamp)
}

/// Whether a path stays below where it begins and is no name of the writer's own.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with("..")
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a folder holds exactly these files.
fn holds(folder: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    walk(folder, folder, &mut found)?;
    if found.len() != payload.len() {
        return Ok(false);
    }
    for (path, file) in payload {
        if !found.contains(path) || fs::read(folder.join(path))? != file.bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(root, &entry.path(), found)?;
        } else if let Ok(path) = entry.path().strip_prefix(root) {
            found.insert(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// The links that users see: the first part of each path, through `..data`; none for what is gone.
fn link_names(folder: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let (link, target) = (folder.join(name), Path::new(DATA).join(name));
        if fs::read_link(&link).ok().as_deref() != Some(&target) {
            match symlink(&target, &link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    fs::remove_file(&link)?;
                    symlink(&target, &link)?;
                }
                result => result?,
            }
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with("..") && !wanted.contains(&*text) {
            fs::remove_file(folder.join(&name))?;
        }
    }
    Ok(())
}

/// Removes every set but the current one, also those that a killed process has left half written.
fn remove_others(folder: &Path, current: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let own = name.to_string_lossy().starts_with("..") && entry.file_type()?.is_dir();
        if own && name != *current {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.into(), mode: 0o640, owner: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn read(folder: &Path) -> Vec<(String, String)> {
        let names = fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name());
        let mut all: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("..") && folder.join(name).is_file())
            .map(|name| (name.clone(), fs::read_to_string(folder.join(&name)).expect("text")))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_new_set_replaces_the_old_one_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path();
        let none = Ownership::default();
        write(folder, &payload(&[("a", "1"), ("b", "2"), ("d/e", "3")]), "..one", &none).expect("written");
        assert_eq!(read(folder), [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(fs::read_to_string(folder.join("d/e")).expect("text"), "3");
        let mode = fs::metadata(folder.join("a")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);

        write(folder, &payload(&[("a", "1"), ("b", "2"), ("d/e", "3")]), "..same", &none).expect("written");
        assert_eq!(fs::read_link(folder.join(DATA)).expect("a link"), Path::new("..one"));

        fs::create_dir(folder.join("..left-by-a-crash")).expect("made");
        write(folder, &payload(&[("a", "new")]), "..two", &none).expect("written");
        assert_eq!(read(folder), [("a".into(), "new".into())]);
        let mut left: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["..data", "..two", "a"]);
    }

    #[test]
    fn nothing_is_written_outside() {
        let dir = tempfile::tempdir().expect("a folder");
        for path in ["../x", "/x", "a/../../x", "", "..data"] {
            let result = write(dir.path(), &payload(&[(path, "")]), "..one", &Ownership::default());
            assert!(result.is_err(), "{path}");
        }
    }
}
