//! A whole profile at once: for stopping and deleting a cluster without its kubelet.

use std::path::PathBuf;

use futures::future::try_join_all;
use runtime::{Result, StringMap};

use crate::client::DockerRuntime;
use crate::error;
use crate::labels;

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
        Ok(removed)
    }

    /// Removes all that the engine has of the profile: containers, then the network.
    pub async fn remove_profile(&self) -> Result<()> {
        self.remove_containers().await?;
        self.remove_network().await
    }

    /// The engine's data directory.
    pub(crate) async fn root_dir(&self) -> Result<&PathBuf> {
        self.root_dir
            .get_or_try_init(|| async {
                let info = self.client.info().await.map_err(error::other("info"))?;
                Ok(PathBuf::from(info.docker_root_dir.unwrap_or_else(|| "/var/lib/docker".to_owned())))
            })
            .await
    }
}
