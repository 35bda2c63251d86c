//! Files into an archive and out of one.
//!
//! **Contract.** Nothing is written outside of the destination; links are not made.
//! **Upstream.** `kubectl/pkg/cmd/cp` (`makeTar`, `untarAll`; behaviour).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use super::paths;

/// Writes a file or folder under another name.
pub(super) fn pack(source: &str, destination: &str, into: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(into);
    archive.follow_symlinks(false);
    let (_, name) = paths::split(&paths::clean(destination));
    add(&mut archive, Path::new(&paths::clean(source)), &name)?;
    archive.into_inner()?.flush()
}

fn add(archive: &mut Builder<impl Write>, source: &Path, name: &str) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    let mut header = Header::new_gnu();
    header.set_metadata(&metadata);
    if metadata.is_dir() {
        let mut entries = fs::read_dir(source)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        if entries.is_empty() {
            header.set_size(0);
            return archive.append_data(&mut header, format!("{name}/"), io::empty());
        }
        for entry in entries {
            let below = format!("{name}/{}", entry.file_name().to_string_lossy());
            add(archive, &entry.path(), &below)?;
        }
        return Ok(());
    }
    if metadata.is_symlink() {
        header.set_size(0);
        return archive.append_link(&mut header, name, fs::read_link(source)?);
    }
    archive.append_data(&mut header, name, File::open(source)?)
}

/// What is told of an archive that is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A file that would go elsewhere.
    Outside(String),
    /// A link, and where it points.
    Link(String, String),
}

/// Writes the files of an archive; `prefix` is what their names begin with.
pub(super) fn unpack(
    from: impl Read,
    prefix: &str,
    destination: &str,
    mut note: impl FnMut(Note),
) -> io::Result<()> {
    let mut archive = Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let rest = name.strip_prefix(prefix).ok_or_else(|| io::Error::other("tar contents corrupted"))?;
        let file = paths::join(destination, &rest.replace('\\', "/"));
        if !paths::is_below(destination, &file) {
            note(Note::Outside(file));
            continue;
        }
        let path = Path::new(&file);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(path)?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                note(Note::Link(file, String::from_utf8_lossy(&target).into_owned()));
            }
            _ => {
                io::copy(&mut entry, &mut File::create(path)?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(at("src/sub/empty")).unwrap();
        fs::write(at("src/a"), "one").unwrap();
        fs::write(at("src/sub/b"), "two").unwrap();
        std::os::unix::fs::symlink("a", at("src/link")).unwrap();
        let mut bytes = Vec::new();
        pack(&at("src"), "/tmp/dst", &mut bytes).unwrap();
        let mut notes = Vec::new();
        unpack(&*bytes, "dst", &at("back"), |note| notes.push(note)).unwrap();
        assert_eq!(fs::read_to_string(at("back/a")).unwrap(), "one");
        assert_eq!(fs::read_to_string(at("back/sub/b")).unwrap(), "two");
        assert!(Path::new(&at("back/sub/empty")).is_dir());
        assert_eq!(notes, [Note::Link(at("back/link"), "a".to_owned())]);
        let corrupted = unpack(&*bytes, "other", &at("x"), |_| {}).unwrap_err();
        assert_eq!(corrupted.to_string(), "tar contents corrupted");
    }

    #[test]
    fn a_file_that_would_go_elsewhere_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut header = Header::new_gnu();
        header.set_size(1);
        // Written by hand: the library refuses to make such an archive.
        header.as_old_mut().name[..13].copy_from_slice(b"p/../../evil\0");
        header.set_cksum();
        let mut archive = Builder::new(Vec::new());
        archive.append(&header, &b"x"[..]).unwrap();
        let bytes = archive.into_inner().unwrap();
        let destination = folder.path().join("in").to_str().unwrap().to_owned();
        let mut notes = Vec::new();
        unpack(&*bytes, "p", &destination, |note| notes.push(note)).unwrap();
        assert!(matches!(notes.as_slice(), [Note::Outside(_)]), "{notes:?}");
        assert!(!folder.path().join("evil").exists());
    }
}
