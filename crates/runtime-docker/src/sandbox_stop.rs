//! `stop_pod_sandbox` and `remove_pod_sandbox`: the pause container and whatever is left around it.

use std::collections::HashMap;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures::future::try_join_all;
use runtime::{Result, SandboxId, StringMap};

use crate::client::DockerRuntime;
use crate::{error, labels, pod_cgroup};

/// The pause program ends at once on SIGTERM; this many seconds only guard against a stuck engine.
const GRACE: i32 = 2;

impl DockerRuntime {
    pub(crate) async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        let inside = self.containers_of(id, false).await?;
        try_join_all(inside.iter().map(|id| self.kill(id))).await?;
        let options = StopContainerOptionsBuilder::default().t(GRACE).build();
        match self.client.stop_container(id.as_str(), Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if error::is_status(&error, 404) || error::is_status(&error, 304) => Ok(()),
            Err(error) => Err(error::other("stop pod sandbox")(error)),
        }
    }

    pub(crate) async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        let inside = self.containers_of(id, true).await?;
        let cgroup = self.pod_cgroup_of(id.as_str()).await?;
        try_join_all(inside.iter().map(|id| self.remove_by_force(id))).await?;
        self.remove_by_force(id.as_str()).await?;
        if let Some(cgroup) = cgroup {
            pod_cgroup::remove(&cgroup).await;
        }
        Ok(())
    }

    /// Removes a container, running or not, with its anonymous volumes. One that is gone, or going: success.
    pub(crate) async fn remove_by_force(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.client.remove_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if error::is_status(&error, 404) => Ok(()),
            Err(error)
                if error::is_status(&error, 409)
                    && error::message(&error).contains("already in progress") =>
            {
                Ok(())
            }
            Err(error) => Err(error::other("remove container")(error)),
        }
    }

    async fn kill(&self, id: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        match self.client.kill_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            // 409: it does not run.
            Err(error) if error::is_status(&error, 404) || error::is_status(&error, 409) => Ok(()),
            Err(error) => Err(error::other("kill container")(error)),
        }
    }

    async fn containers_of(&self, sandbox: &SandboxId, all: bool) -> Result<Vec<String>> {
        let label = StringMap::from([(labels::SANDBOX_ID.to_owned(), sandbox.to_string())]);
        let filters = labels::filter(&self.config, Some(labels::TYPE_CONTAINER), &label);
        let found = self.list(filters, all).await?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    /// Containers of the engine, with `all` also those that do not run.
    pub(crate) async fn list(
        &self,
        filters: HashMap<String, Vec<String>>,
        all: bool,
    ) -> Result<Vec<ContainerSummary>> {
        let options = ListContainersOptionsBuilder::default().all(all).filters(&filters).build();
        self.client.list_containers(Some(options)).await.map_err(error::other("list containers"))
    }
}
