//! Whom a volume's files belong to: the pod's `fsGroup`.
//!
//! **Contract**: every file gets the group, and the group the owner's rights (`0660`, folders `0770` and setgid). A process
//! that may not give files away widens their rights instead, below a folder that only its own user can enter.
//! **Upstream**: `pkg/volume/volume_linux.go`, `SetVolumeOwnership`.

use api::k8s_openapi::api::core::v1::PodSpec;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const EXECUTE: u32 = 0o110;
const SET_GID: u32 = 0o2000;

/// What the pod's security context says of its volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub(crate) group: Option<u32>,
    /// The user of all containers, if they agree: the owner of a token.
    pub(crate) user: Option<u32>,
    /// The group may read, no more.
    pub(crate) readonly: bool,
    /// Nothing is done where the folder itself is right already.
    pub(crate) on_root_mismatch: bool,
}

impl Ownership {
    pub(crate) fn of(spec: &PodSpec) -> Self {
        let security = spec.security_context.as_ref();
        let pod_user = security.and_then(|s| s.run_as_user);
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mut users =
            containers.map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(pod_user));
        let first = users.next().flatten();
        let user = first.filter(|_| users.all(|user| user == first));
        let id = |n: i64| u32::try_from(n).ok();
        Self {
            group: security.and_then(|s| s.fs_group).and_then(id),
            user: user.and_then(id),
            readonly: false,
            on_root_mismatch: security.and_then(|s| s.fs_group_change_policy.as_deref())
                == Some("OnRootMismatch"),
        }
    }

    /// A result that may say that this process may not give files away, which is made good by wider rights.
    pub(crate) fn tolerate(&self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && !rustix::process::geteuid().is_root() =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Gives a folder and everything in it to the group.
    pub(crate) fn apply(&self, root: &Path) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        if self.on_root_mismatch {
            let found = fs::metadata(root)?;
            let wanted = self.added(true);
            if found.gid() == group && found.mode() & wanted == wanted {
                return Ok(());
            }
        }
        self.give(root, group)
    }

    /// Gives a folder to the group, without what is in it.
    pub(crate) fn apply_to_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        self.claim(folder, &fs::metadata(folder)?, group)
    }

    fn added(&self, folder: bool) -> u32 {
        let mask = if self.readonly { READ_ONLY } else { READ_WRITE };
        if folder { mask | EXECUTE | SET_GID } else { mask }
    }

    fn give(&self, path: &Path, group: u32) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        if found.is_symlink() {
            return self.tolerate(lchown(path, None, Some(group)));
        }
        self.claim(path, &found, group)?;
        if found.is_dir() {
            for entry in fs::read_dir(path)? {
                self.give(&entry?.path(), group)?;
            }
        }
        Ok(())
    }

    fn claim(&self, path: &Path, found: &fs::Metadata, group: u32) -> io::Result<()> {
        // Changing the group takes away setgid, so the mode comes after it.
        let given = chown(path, None, Some(group));
        let mut mode = found.mode() & 0o7777 | self.added(found.is_dir());
        if given.is_err() {
            mode |= (mode >> 3) & 0o7;
        }
        self.tolerate(given)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tokens_owner_is_the_user_of_all_containers() {
        for (pod_user, users, expected) in [
            (None, vec![None], None),
            (Some(5), vec![None, None], Some(5)),
            (Some(5), vec![Some(6), None], None),
            (None, vec![Some(6), Some(6)], Some(6)),
            (None, vec![Some(6), None], None),
        ] {
            let containers: Vec<_> = users
                .iter()
                .map(|user| json!({"name": "c", "securityContext": {"runAsUser": user}}))
                .collect();
            let spec: PodSpec = serde_json::from_value(
                json!({"securityContext": {"runAsUser": pod_user}, "containers": containers}),
            )
            .expect("a spec");
            assert_eq!(Ownership::of(&spec).user, expected, "{pod_user:?} {users:?}");
        }
    }

    #[test]
    fn the_group_gets_the_owners_rights() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = fs::metadata(dir.path()).expect("a folder").gid();
        let file = dir.path().join("f");
        fs::write(&file, "").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        let ownership = Ownership { group: Some(own), ..Ownership::default() };
        ownership.apply(dir.path()).expect("applied");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
        assert_eq!(mode(&file), 0o660);
        assert_eq!(mode(dir.path()) & 0o2770, 0o2770);

        for (own_mode, expected) in [(0o400, 0o440), (0o440, 0o440), (0o644, 0o644), (0o600, 0o640)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(own_mode)).expect("set");
            let to_read = Ownership { readonly: true, ..ownership.clone() };
            to_read.apply(dir.path()).expect("applied");
            assert_eq!(mode(&file), expected, "{own_mode:o}");
        }
    }
}
