//! Mounts of this machine: tmpfs for what must not reach a disk, binds for parts of volumes, and their end.
//!
//! **Contract**: only a process that may mount does; others get plain folders from their callers. A folder with mounts
//! below it is removed only after the last of them is gone: nothing behind a bind mount is ever deleted.
//! **Upstream**: `k8s.io/mount-utils`.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Whether this process may mount (CAP_SYS_ADMIN).
pub(crate) fn may_mount() -> bool {
    const SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    set >> SYS_ADMIN & 1 == 1
}

/// Whether something is mounted exactly here.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(path);
    Ok(fs::symlink_metadata(path)?.dev() != fs::symlink_metadata(parent)?.dev())
}

/// Mounts a tmpfs of at most so many bytes (0: the kernel's default, half the memory) unless one is there.
pub(crate) fn tmpfs(path: &Path, size: u64) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_mount_point(path)? {
        return Ok(());
    }
    let data = if size == 0 { "mode=0777".to_owned() } else { format!("mode=0777,size={size}") };
    let data = std::ffi::CString::new(data).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = MountFlags::empty();
    Ok(rustix::mount::mount("tmpfs", path, "tmpfs", flags, Some(data.as_c_str()))?)
}

/// Mounts the part `inner` of the folder `base` at `target`. No symbolic link leads out of `base`, also not one that is
/// made meanwhile: what is opened is what is mounted.
pub(crate) fn bind_within(base: &Path, inner: &Path, target: &Path) -> io::Result<()> {
    let folder = rustix::fs::open(base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let inner = if inner.as_os_str().is_empty() { Path::new(".") } else { inner };
    let part = rustix::fs::openat2(&folder, inner, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", part.as_raw_fd()));
    let made_of = fs::metadata(&source)?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if made_of.is_dir() {
        fs::create_dir_all(target)?;
    } else if !target.exists() {
        fs::write(target, b"")?;
    }
    // What an earlier attempt of the container has mounted may be outdated.
    unmount(target)?;
    Ok(rustix::mount::mount_bind_recursive(&source, target)?)
}

/// Mounts what is at `source`, with every mount below it, at `target`, and forbids writing to all of it.
pub(crate) fn bind_read_only(source: &Path, target: &Path) -> io::Result<()> {
    if target != source {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if fs::metadata(source)?.is_dir() {
            fs::create_dir_all(target)?;
        } else if !target.exists() {
            fs::write(target, b"")?;
        }
        unmount(target)?;
        rustix::mount::mount_bind_recursive(source, target)?;
    }
    // Nothing that is mounted later may appear below it.
    rustix::mount::mount_change(target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let target = fs::canonicalize(target)?;
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    for line in text.lines() {
        if let Some(point) = mount_point(line).filter(|point| point.starts_with(&target)) {
            let flags = kept_flags(line) | MountFlags::BIND | MountFlags::RDONLY;
            rustix::mount::mount_remount(&point, flags, c"")?;
        }
    }
    Ok(())
}

/// The flags of a line of `mountinfo` that another mount of the same must not lose.
fn kept_flags(line: &str) -> MountFlags {
    let known = [
        ("nosuid", MountFlags::NOSUID),
        ("nodev", MountFlags::NODEV),
        ("noexec", MountFlags::NOEXEC),
        ("noatime", MountFlags::NOATIME),
        ("nodiratime", MountFlags::NODIRATIME),
        ("relatime", MountFlags::RELATIME),
    ];
    let words = line.split(' ').nth(5).unwrap_or_default().split(',');
    words.filter_map(|word| known.iter().find(|(name, _)| *name == word)).map(|(_, flag)| *flag).collect()
}

/// Mounts a file system of huge pages of so many bytes each, unless one is there.
pub(crate) fn huge_pages(path: &Path, page: u64) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_mount_point(path)? {
        return Ok(());
    }
    let data = std::ffi::CString::new(format!("pagesize={page}")).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = MountFlags::empty();
    Ok(rustix::mount::mount("nodev", path, "hugetlbfs", flags, Some(data.as_c_str()))?)
}

/// Lets mounts that are made later below a folder be seen by whoever has it mounted, and theirs here.
pub(crate) fn make_shared(path: &Path) -> io::Result<()> {
    if !is_mount_point(path)? && !listed()?.iter().any(|point| point == path) {
        rustix::mount::mount_bind_recursive(path, path)?;
    }
    Ok(rustix::mount::mount_change(path, MountPropagationFlags::SHARED | MountPropagationFlags::REC)?)
}

fn unmount(path: &Path) -> io::Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        // Nothing is mounted there.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a folder with everything in it, after ending every mount below it.
pub(crate) fn remove_tree(root: &Path) -> io::Result<()> {
    let root = match fs::canonicalize(root) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let below = || -> io::Result<Vec<PathBuf>> {
        Ok(listed()?.into_iter().filter(|point| point.starts_with(&root)).collect())
    };
    // The last that was mounted first; one that covers another takes a second round.
    for point in below()?.iter().rev() {
        unmount(point)?;
    }
    if let Some(left) = below()?.first() {
        let message = format!("{} is still mounted", left.display());
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
    }
    match fs::remove_dir_all(&root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Every mount point of this process, in the order of mounting.
fn listed() -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(mount_point).collect())
}

/// The fifth field of a line of `mountinfo`, its octal escapes resolved.
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?.as_bytes();
    let mut path = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let escaped = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let octal =
            escaped.and_then(|o| std::str::from_utf8(o).ok()).and_then(|o| u8::from_str_radix(o, 8).ok());
        match octal {
            Some(byte) => {
                path.push(byte);
                at += 4;
            }
            None => {
                path.push(field[at]);
                at += 1;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from(String::from_utf8(path).ok()?)))
}

/// What kind of file is at a path; none: nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Directory,
    File,
    Socket,
    CharDevice,
    BlockDevice,
    Other,
}

/// The kind of the file at a path, links followed.
pub(crate) fn kind_of(path: &Path) -> io::Result<Option<FileKind>> {
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(match () {
        () if kind.is_dir() => FileKind::Directory,
        () if kind.is_file() => FileKind::File,
        () if kind.is_socket() => FileKind::Socket,
        () if kind.is_char_device() => FileKind::CharDevice,
        () if kind.is_block_device() => FileKind::BlockDevice,
        () => FileKind::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mount_points() {
        let line = r"36 35 98:0 /mnt1 /mnt\040two/x rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from("/mnt two/x")));
        assert_eq!(mount_point("36 35"), None);
    }

    #[test]
    fn a_remount_keeps_what_a_mount_forbids() {
        let line = "36 35 98:0 / /mnt rw,nosuid,nodev,relatime shared:1 - tmpfs tmpfs rw";
        assert_eq!(kept_flags(line), MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RELATIME);
    }

    #[test]
    fn a_tree_without_mounts_goes_and_a_missing_one_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let tree = dir.path().join("pod");
        fs::create_dir_all(tree.join("a/b")).expect("made");
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists());
        remove_tree(&tree).expect("nothing to do");
    }
}
