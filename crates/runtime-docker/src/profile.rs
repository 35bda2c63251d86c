//! A whole profile at once, for stopping and deleting a cluster without its kubelet; and the engine's facts.

use std::path::PathBuf;

use bollard::models::{
    SystemInfoCgroupDriverEnum as CgroupDriver, SystemInfoCgroupVersionEnum as CgroupVersion,
};
use futures::future::try_join_all;
use runtime::{Result, StringMap};

use crate::client::DockerRuntime;
use crate::{error, labels, pod_cgroup};

impl DockerRuntime {
    /// Removes all containers of the profile (and node, if one is configured), by force. Returns how many there were.
    pub async fn remove_containers(&self) -> Result<usize> {
        let of_type = |kind| labels::filter(&self.config, Some(kind), &StringMap::new());
        let (containers, sandboxes) = tokio::try_join!(
            self.list(of_type(labels::TYPE_CONTAINER), true),
            self.list(of_type(labels::TYPE_SANDBOX), true)
        )?;
        let mut removed = 0;
        for group in [containers, sandboxes] {
            let ids: Vec<_> = group.into_iter().filter_map(|container| container.id).collect();
            removed += ids.len();
            try_join_all(ids.iter().map(|id| self.remove_by_force(id))).await?;
        }
        pod_cgroup::remove_all(&self.config.profile).await;
        Ok(removed)
    }

    /// Freezes every running container of the profile; returns how many there were.
    pub async fn pause_containers(&self) -> Result<usize> {
        let ids = self.in_state("running").await?;
        let freeze = |id: String| async move { self.client.pause_container(&id).await };
        try_join_all(ids.iter().cloned().map(freeze)).await.map_err(error::other("pause"))?;
        Ok(ids.len())
    }

    /// Lets every frozen container of the profile go on; returns how many there were.
    pub async fn unpause_containers(&self) -> Result<usize> {
        let ids = self.in_state("paused").await?;
        let thaw = |id: String| async move { self.client.unpause_container(&id).await };
        try_join_all(ids.iter().cloned().map(thaw)).await.map_err(error::other("unpause"))?;
        Ok(ids.len())
    }

    /// The ids of the profile's containers that are in this state.
    async fn in_state(&self, state: &str) -> Result<Vec<String>> {
        let mut filter = labels::filter(&self.config, None, &StringMap::new());
        filter.insert("status".to_owned(), vec![state.to_owned()]);
        Ok(self.list(filter, true).await?.into_iter().filter_map(|container| container.id).collect())
    }

    /// Removes all that the engine has of the profile: containers, then the network.
    pub async fn remove_profile(&self) -> Result<()> {
        self.remove_containers().await?;
        self.remove_network().await
    }

    /// What does not change while the engine lives; asked once, because the question is dear.
    pub(crate) async fn facts(&self) -> Result<&Facts> {
        self.facts
            .get_or_try_init(|| async {
                let (info, version) = tokio::try_join!(self.client.info(), self.client.version())
                    .map_err(error::other("info"))?;
                Ok(Facts {
                    has_recursive_read_only: is_at_least(&version.api_version.unwrap_or_default(), (1, 44)),
                    root_dir: info.docker_root_dir.unwrap_or_else(|| "/var/lib/docker".to_owned()).into(),
                    cgroup_driver: match info.cgroup_driver {
                        Some(CgroupDriver::CGROUPFS) => "cgroupfs",
                        Some(CgroupDriver::SYSTEMD) => "systemd",
                        _ => "",
                    },
                    cgroup_version: match info.cgroup_version {
                        Some(CgroupVersion::_1) => 1,
                        Some(CgroupVersion::_2) => 2,
                        _ => 0,
                    },
                })
            })
            .await
    }
}

/// What does not change while the engine lives.
pub(crate) struct Facts {
    pub(crate) root_dir: PathBuf,
    pub(crate) cgroup_driver: &'static str,
    pub(crate) cgroup_version: u8,
    /// Whether a read-only mount is so with all that is mounted below, unless it says otherwise (API 1.44).
    pub(crate) has_recursive_read_only: bool,
}

/// Whether a version of the engine's API, as `1.41`, is this one or a later.
fn is_at_least(version: &str, wanted: (u32, u32)) -> bool {
    let numbers = version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    numbers.is_some_and(|numbers| numbers >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        for (version, expected) in [
            ("1.41", false),
            ("1.43", false),
            ("1.44", true),
            ("1.51", true),
            ("1.100", true),
            ("2.0", true),
            ("", false),
        ] {
            assert_eq!(is_at_least(version, (1, 44)), expected, "{version}");
        }
    }
}
