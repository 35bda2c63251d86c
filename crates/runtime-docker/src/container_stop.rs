//! `stop_container`, `remove_container` and `update_container_resources`.

use std::time::Duration;

use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::StopContainerOptionsBuilder;
use runtime::{ContainerId, Error, Resources, Result};

use crate::client::{DockerRuntime, TIMEOUT};
use crate::error;

impl DockerRuntime {
    pub(crate) async fn stop(&self, id: &ContainerId, timeout: Duration) -> Result<()> {
        // The engine counts whole seconds; a started one counts.
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let options =
            StopContainerOptionsBuilder::default().t(seconds.try_into().unwrap_or(i32::MAX)).build();
        // It answers when the container has stopped, so it may take as long as the grace.
        let patient = self.client.clone().with_timeout(TIMEOUT + timeout);
        match patient.stop_container(id.as_str(), Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if error::is_status(&error, 404) || error::is_status(&error, 304) => Ok(()),
            Err(error) => Err(error::other("stop container")(error)),
        }
    }

    pub(crate) async fn update(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let body = ContainerUpdateBody {
            cpu_shares: resources.cpu_shares.and_then(|n| n.try_into().ok()),
            cpu_quota: resources.cpu_quota,
            cpu_period: resources.cpu_period.and_then(|n| n.try_into().ok()),
            cpuset_cpus: resources.cpuset_cpus.clone(),
            memory: resources.memory_limit,
            memory_swap: resources.memory_swap_limit,
            pids_limit: resources.pids_limit,
            ..ContainerUpdateBody::default()
        };
        self.client.update_container(id.as_str(), body).await.map_err(|error| {
            if error::is_status(&error, 400) {
                Error::Invalid { message: error::message(&error) }
            } else {
                error::container("update container", id.as_str())(error)
            }
        })
    }
}
