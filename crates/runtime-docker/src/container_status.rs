//! `container_status`: everything from one inspection.

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as EngineState, HostConfig};
use jiff::Timestamp;
use runtime::{
    ContainerId, ContainerMetadata, ContainerState, ContainerStatus, Error, ImageId, Mount, MountPropagation,
    Resources, Result, reason,
};

use crate::client::DockerRuntime;
use crate::naming::Name;
use crate::{error, labels, time};

impl DockerRuntime {
    pub(crate) async fn status_of(&self, id: &ContainerId) -> Result<ContainerStatus> {
        let found = self.client.inspect_container(id.as_str(), None).await;
        let found = found.map_err(error::container("inspect container", id.as_str()))?;
        let mut status = describe(found).ok_or_else(|| Error::container_not_found(id.as_str()))?;
        status.image_ref = self.image_ref(status.image_id.as_str());
        Ok(status)
    }

    /// `repository@digest` if it is known, else the id.
    fn image_ref(&self, image_id: &str) -> String {
        let digests = self.digests.lock().expect("no panic while the lock is held");
        digests.get(image_id).cloned().unwrap_or_else(|| image_id.to_owned())
    }
}

/// None: the name is not one of ours.
fn describe(found: ContainerInspectResponse) -> Option<ContainerStatus> {
    let name = Name::parse(found.name.as_deref()?)?;
    let config = found.config.unwrap_or_default();
    let all = config.labels.unwrap_or_default();
    let sandbox = all.get(labels::SANDBOX_ID).cloned().unwrap_or_default();
    let image = all.get(labels::USER_IMAGE).cloned().or(config.image).unwrap_or_default();
    let (labels, annotations) = labels::split(all);
    let created_at = time::parse(found.created.as_deref()).unwrap_or(Timestamp::UNIX_EPOCH);
    let life = life(found.state.unwrap_or_default(), created_at);
    let host = found.host_config.unwrap_or_default();
    let mounts = found.mounts.unwrap_or_default().into_iter().map(|mount| Mount {
        container_path: mount.destination.unwrap_or_default(),
        host_path: mount.source.unwrap_or_default(),
        readonly: mount.rw == Some(false),
        propagation: match mount.propagation.as_deref() {
            Some("rslave") => MountPropagation::HostToContainer,
            Some("rshared") => MountPropagation::Bidirectional,
            _ => MountPropagation::Private,
        },
    });
    Some(ContainerStatus {
        id: found.id?.into(),
        pod_sandbox_id: sandbox.into(),
        metadata: ContainerMetadata { name: name.container, attempt: name.attempt },
        state: life.state,
        created_at,
        started_at: life.started_at,
        finished_at: life.finished_at,
        exit_code: life.exit_code,
        reason: life.reason.to_owned(),
        message: life.message,
        image,
        image_id: ImageId::from(found.image.unwrap_or_default()),
        image_ref: String::new(),
        labels,
        annotations,
        mounts: mounts.collect(),
        resources: resources(host),
        log_path: found.log_path.unwrap_or_default(),
    })
}

#[derive(Debug, Default, PartialEq)]
struct Life {
    state: ContainerState,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    exit_code: i32,
    reason: &'static str,
    message: String,
}

/// Upstream: dockershim's `ContainerStatus`.
fn life(state: bollard::models::ContainerState, created_at: Timestamp) -> Life {
    let started_at = time::parse(state.started_at.as_deref());
    let exit_code = state.exit_code.unwrap_or(0).try_into().unwrap_or(-1);
    let message = state.error.unwrap_or_default();
    match state.status {
        Some(EngineState::RUNNING | EngineState::PAUSED | EngineState::RESTARTING) => {
            Life { state: ContainerState::Running, started_at, ..Life::default() }
        }
        // It was started and the engine could not: it will never run.
        Some(EngineState::CREATED) if exit_code != 0 || !message.is_empty() => Life {
            state: ContainerState::Exited,
            started_at: Some(created_at),
            finished_at: Some(created_at),
            exit_code,
            reason: reason::CONTAINER_CANNOT_RUN,
            message,
        },
        Some(EngineState::CREATED) => Life { state: ContainerState::Created, ..Life::default() },
        Some(EngineState::EXITED | EngineState::DEAD | EngineState::REMOVING) => Life {
            state: ContainerState::Exited,
            started_at,
            finished_at: time::parse(state.finished_at.as_deref()).or(started_at).or(Some(created_at)),
            exit_code,
            reason: if state.oom_killed == Some(true) {
                reason::OOM_KILLED
            } else if started_at.is_none() {
                reason::CONTAINER_CANNOT_RUN
            } else if exit_code == 0 {
                reason::COMPLETED
            } else {
                reason::ERROR
            },
            message,
        },
        _ => Life { exit_code, message, ..Life::default() },
    }
}

fn resources(host: HostConfig) -> Resources {
    // The engine says zero for what was not set.
    let set = |n: Option<i64>| n.filter(|n| *n != 0);
    let unsigned = |n: Option<i64>| set(n).and_then(|n| n.try_into().ok());
    Resources {
        cpu_shares: unsigned(host.cpu_shares),
        cpu_quota: set(host.cpu_quota),
        cpu_period: unsigned(host.cpu_period),
        cpuset_cpus: host.cpuset_cpus.filter(|cpus| !cpus.is_empty()),
        memory_limit: set(host.memory),
        memory_swap_limit: set(host.memory_swap),
        oom_score_adj: set(host.oom_score_adj).and_then(|n| n.try_into().ok()),
        pids_limit: set(host.pids_limit),
        // No engine knows of them.
        huge_pages: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: &str = "0001-01-01T00:00:00Z";
    const LATER: &str = "2026-11-21T06:00:00Z";

    fn engine(
        status: EngineState,
        started: &str,
        exit_code: i64,
        error: &str,
    ) -> bollard::models::ContainerState {
        bollard::models::ContainerState {
            status: Some(status),
            started_at: Some(started.into()),
            finished_at: Some(started.into()),
            exit_code: Some(exit_code),
            error: Some(error.into()),
            ..Default::default()
        }
    }

    #[test]
    fn reads_a_containers_life() {
        let at = Timestamp::UNIX_EPOCH;
        for (state, expected, why) in [
            (engine(EngineState::CREATED, NEVER, 0, ""), ContainerState::Created, ""),
            (engine(EngineState::RUNNING, LATER, 0, ""), ContainerState::Running, ""),
            (engine(EngineState::EXITED, LATER, 0, ""), ContainerState::Exited, "Completed"),
            (engine(EngineState::EXITED, LATER, 3, ""), ContainerState::Exited, "Error"),
            (
                engine(EngineState::CREATED, NEVER, 127, "no such file"),
                ContainerState::Exited,
                "ContainerCannotRun",
            ),
        ] {
            let life = life(state, at);
            assert_eq!((life.state, life.reason), (expected, why));
        }
        let mut killed = engine(EngineState::EXITED, LATER, 137, "");
        killed.oom_killed = Some(true);
        assert_eq!(life(killed, at).reason, "OOMKilled");
    }
}
