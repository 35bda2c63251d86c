//! Folders of this machine under other names, for as long as a cluster runs: `mounts` of a file, `--mount-string`.
//!
//! **Contract**: what is mounted is on record in the profile before it is, so that the next start, stop or delete takes away
//! what a crash has left; only that is: a folder that is another by now is left alone.
//! **Upstream**: kind's `extraMounts`, minikube's `--mount-string`.

use crate::problem::Problem;
use crate::profile::{Profile, write_private};
use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// A folder of this machine, and where the nodes have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// The folder.
    pub host_path: PathBuf,
    /// Its second path, which `hostPath` volumes may name.
    #[serde(alias = "containerPath")]
    pub node_path: PathBuf,
    /// Whether nobody may write by the second path.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

impl FromStr for Mount {
    type Err = String;

    /// `SOURCE:TARGET[:ro]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        let invalid = || format!("{text:?} does not name two folders");
        let (source, target) = paths.split_once(':').ok_or_else(invalid)?;
        if source.is_empty() || !target.starts_with('/') {
            return Err(invalid());
        }
        Ok(Self { host_path: source.into(), node_path: target.into(), read_only })
    }
}

/// Whether they can be mounted, as far as that is known before.
pub(crate) fn check(mounts: &[Mount]) -> Result<()> {
    let hint = "give folders as in hostPath: /home/me/data, nodePath: /mnt/data";
    for (index, mount) in mounts.iter().enumerate() {
        let target = mount.node_path.display();
        let ups = mount.node_path.components().any(|part| part == Component::ParentDir);
        if !mount.node_path.is_absolute() || ups || mount.node_path.parent().is_none() {
            return Err(Problem::error(format!("{target} cannot be a mount's nodePath"), hint));
        }
        if !mount.host_path.is_dir() {
            return Err(Problem::error(
                format!("{:?} is no folder", mount.host_path),
                "name a folder of this machine",
            ));
        }
        if mounts[..index].iter().any(|other| other.node_path == mount.node_path) {
            return Err(Problem::error(format!("two folders cannot both be mounted on {target}"), hint));
        }
    }
    if !mounts.is_empty() && !rustix::process::geteuid().is_root() {
        return Err(may_not(&mounts[0], Errno::PERM));
    }
    Ok(())
}

fn may_not(mount: &Mount, error: Errno) -> anyhow::Error {
    let (source, target) = (mount.host_path.display(), mount.node_path.display());
    Problem::error(
        format!("cannot mount {source} on {target}: {error}"),
        format!("only root may mount; a hostPath volume reaches {source} without it"),
    )
}

/// A mount as it was made.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    target: PathBuf,
    /// Which folder it shows: device and number.
    shows: (u64, u64),
    /// Folders that were made for it, the innermost first.
    folders: Vec<PathBuf>,
}

impl Made {
    fn plan(mount: &Mount) -> Result<Self> {
        let missing = mount.node_path.ancestors().take_while(|folder| !folder.exists());
        Ok(Self {
            target: mount.node_path.clone(),
            shows: identity(&mount.host_path)
                .with_context(|| format!("look at {}", mount.host_path.display()))?,
            folders: missing.map(Path::to_owned).collect(),
        })
    }

    /// Mounts; what fails may have happened in part, and is undone like the whole.
    fn make(&self, mount: &Mount) -> Result<()> {
        let target = &mount.node_path;
        std::fs::create_dir_all(target).with_context(|| format!("create {}", target.display()))?;
        mount_bind(&mount.host_path, target).map_err(|error| may_not(mount, error))?;
        if mount.read_only {
            mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "")
                .map_err(|error| may_not(mount, error))?;
        }
        Ok(())
    }

    fn undo(&self) -> Result<()> {
        while identity(&self.target).is_ok_and(|shown| shown == self.shows) {
            match unmount(&self.target, UnmountFlags::DETACH) {
                Ok(()) => {}
                // It is that folder itself, by another name.
                Err(Errno::INVAL) => break,
                Err(error) => {
                    return Err(error).with_context(|| format!("unmount {}", self.target.display()));
                }
            }
        }
        for folder in &self.folders {
            // Somebody may use it by now.
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }
}

fn identity(folder: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(folder).map(|found| (found.dev(), found.ino()))
}

/// A mount that lasts as long as the value.
pub(crate) struct Held(Made);

impl Held {
    /// Mounts one folder.
    pub(crate) fn mount(mount: &Mount) -> Result<Self> {
        let held = Self(Made::plan(mount)?);
        held.0.make(mount)?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.0.undo() {
            tracing::warn!("{error:#}");
        }
    }
}

/// A profile's mounts, for as long as the value lives.
pub(crate) struct Mounts<'a>(&'a Profile);

impl<'a> Mounts<'a> {
    /// Mounts what is asked for; what an earlier server has left goes first.
    pub(crate) fn mount(profile: &'a Profile, mounts: &[Mount]) -> Result<Self> {
        sweep(profile)?;
        let held = Self(profile);
        let mut record = Vec::new();
        for mount in mounts {
            let made = Made::plan(mount)?;
            record.push(made);
            let text = serde_json::to_vec(&record).context("record the mounts")?;
            write_private(&profile.path(RECORD), &text)?;
            if let Some(made) = record.last() {
                made.make(mount)?;
            }
        }
        Ok(held)
    }
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        if let Err(error) = sweep(self.0) {
            tracing::warn!("{error:#}");
        }
    }
}

/// The profile's record of what is mounted.
const RECORD: &str = "mounts.json";

/// Takes away what a profile's servers have mounted.
pub(crate) fn sweep(profile: &Profile) -> Result<()> {
    let path = profile.path(RECORD);
    let text = match std::fs::read(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        text => text.with_context(|| format!("read {}", path.display()))?,
    };
    let made: Vec<Made> =
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    for made in made.iter().rev() {
        made.undo()?;
    }
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_two_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().display().to_string();
        let mount: Mount = format!("{here}:/mnt/x:ro").parse().expect("two folders");
        assert!(mount.read_only && mount.node_path == Path::new("/mnt/x"));
        for text in ["", "/a", ":/b", "/a:b"] {
            assert!(text.parse::<Mount>().is_err(), "{text:?}");
        }
        let of = |source: &str, target: &str| Mount {
            host_path: source.into(),
            node_path: target.into(),
            read_only: false,
        };
        for (mounts, why) in [
            (vec![of("/nowhere", "/mnt/x")], "is no folder"),
            (vec![of(&here, "/")], "cannot be a mount's nodePath"),
            (vec![of(&here, "/mnt/../x")], "cannot be a mount's nodePath"),
            (vec![of(&here, "mnt")], "cannot be a mount's nodePath"),
            (vec![of(&here, "/mnt/x"), of(&here, "/mnt/x")], "two folders"),
        ] {
            let error = check(&mounts).expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_a_record_names_is_left_alone_when_it_is_something_else() {
        let home = tempfile::tempdir().expect("a folder");
        let profile = Profile::new(home.path(), "p").expect("a name");
        profile.create().expect("a folder");
        sweep(&profile).expect("nothing to do");
        let target = home.path().join("made/target");
        let made = |shows| {
            std::fs::create_dir_all(&target).expect("made");
            let folders = vec![target.clone(), home.path().join("made")];
            let record = [Made { target: target.clone(), shows, folders }];
            write_private(&profile.path(RECORD), &serde_json::to_vec(&record).expect("JSON"))
                .expect("written");
        };
        made((0, 0));
        std::fs::write(target.join("f"), "the user's").expect("written");
        sweep(&profile).expect("swept");
        assert!(target.join("f").exists() && !profile.path(RECORD).exists());
        std::fs::remove_file(target.join("f")).expect("removed");
        made((0, 0));
        sweep(&profile).expect("swept");
        assert!(!home.path().join("made").exists());
    }
}
