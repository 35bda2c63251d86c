//! What volumes take of their disks.
//!
//! **Contract**: a folder is gone through without recursion: how deep it is, its pod decides.
//! **Upstream**: `MetricsDu` of `pkg/volume`, `pkg/volume/util/fs`.

use super::Mounted;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What is in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FolderUsage {
    /// On the disk, as `du` counts; a folder's own block is no use of its pod's.
    pub(crate) bytes: u64,
    /// Files and folders, itself included.
    pub(crate) inodes: u64,
}

/// Goes through a folder, or looks at a file.
pub(crate) fn usage_of(path: &Path) -> FolderUsage {
    use std::os::unix::fs::MetadataExt;
    let mut usage = FolderUsage::default();
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        usage.inodes += 1;
        if found.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else {
            usage.bytes += found.blocks() * 512;
        }
    }
    usage
}

/// The volumes that are there, for whoever asks what they take; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<String, BTreeMap<String, PathBuf>>>>);

impl Registry {
    /// The volumes of a pod, by its UID.
    pub(super) fn note(&self, pod: &str, mounted: &BTreeMap<String, Mounted>) {
        let folders = mounted.iter().filter(|(_, volume)| !volume.block);
        let folders = folders.map(|(name, volume)| (name.clone(), volume.path.clone())).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.to_owned(), folders);
    }

    /// A pod has none any more.
    pub(crate) fn forget(&self, pod: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);
    }

    /// Where a pod's volumes are, by name.
    pub(crate) fn of(&self, pod: &str) -> BTreeMap<String, PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pod).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_what_its_files_take() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut deep = dir.path().to_owned();
        for _ in 0..200 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).expect("made");
        fs::write(deep.join("f"), vec![1; 100_000]).expect("written");
        std::os::unix::fs::symlink("/", dir.path().join("link")).expect("linked");
        let usage = usage_of(dir.path());
        assert_eq!(usage.inodes, 203);
        assert!((100_000..120_000).contains(&usage.bytes), "{usage:?}");
        assert_eq!(usage_of(&dir.path().join("none")), FolderUsage::default());
    }
}
