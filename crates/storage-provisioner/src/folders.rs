//! Volumes on disk: a folder each.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Whoever a container runs as may write, as in minikube's.
const MODE: u32 = 0o777;

/// Makes a volume's folder; it may be there.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
}

/// Removes a volume's folder with all that is in it; it may be gone. What is mounted in it is not touched.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    // Names of volumes have no characters that the kernel escapes.
    if let Some(point) = points.into_iter().find(|point| point.contains(&format!("/{name}/"))) {
        return Err(io::Error::new(ErrorKind::ResourceBusy, format!("{point} is still mounted")));
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes the folders that nothing was ever written into and that are no volume's.
pub(crate) fn sweep(root: &Path, keep: &HashSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
            match fs::remove_dir(entry.path()) {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_and_goes_and_what_has_data_is_never_swept() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["known", "empty", "full"] {
            make(&at(name)).unwrap();
            make(&at(name)).unwrap();
        }
        assert_eq!(fs::metadata(at("full")).unwrap().permissions().mode() & 0o7777, 0o777);
        fs::write(at("full").join("data"), "x").unwrap();
        sweep(root.path(), &HashSet::from(["known".to_owned()])).unwrap();
        let left = |name: &str| at(name).exists();
        assert_eq!([left("known"), left("empty"), left("full")], [true, false, true]);
        remove(&at("full")).unwrap();
        remove(&at("full")).unwrap();
        assert!(!left("full"));
        sweep(&at("none"), &HashSet::new()).unwrap();
    }
}
