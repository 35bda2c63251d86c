//! Containers on paper: start, end, stop.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Compact, EndSignal, Memory, State};
use crate::script::{OnTerm, Script};
use crate::*;

pub(super) struct Contained {
    pub(super) sandbox: SandboxId,
    name: String,
    pub(super) metadata: ContainerMetadata,
    state: ContainerState,
    created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    exit_code: i32,
    reason: String,
    message: String,
    image: String,
    pub(super) image_id: ImageId,
    pub(super) labels: Compact,
    annotations: Compact,
    resources: Option<Box<Resources>>,
    mounts: Vec<Mount>,
    pub(super) script: Arc<Script>,
    pub(super) ended: EndSignal,
}

impl Contained {
    pub(super) fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }

    pub(super) fn matches(&self, id: &ContainerId, filter: &ContainerFilter) -> bool {
        filter.id.as_ref().is_none_or(|wanted| wanted == id)
            && filter.state.is_none_or(|wanted| wanted == self.state)
            && filter.pod_sandbox_id.as_ref().is_none_or(|wanted| *wanted == self.sandbox)
            && self.labels.has_all(&filter.labels)
    }

    pub(super) fn summary(&self, id: &ContainerId) -> Container {
        Container {
            id: id.clone(),
            pod_sandbox_id: self.sandbox.clone(),
            metadata: self.metadata.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            state: self.state,
            created_at: self.created_at,
            labels: self.labels.to_map(),
            annotations: self.annotations.to_map(),
        }
    }

    pub(super) fn status(&self, id: &ContainerId) -> ContainerStatus {
        ContainerStatus {
            id: id.clone(),
            pod_sandbox_id: self.sandbox.clone(),
            metadata: self.metadata.clone(),
            state: self.state,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            exit_code: self.exit_code,
            reason: self.reason.clone(),
            message: self.message.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            image_ref: self.image_id.to_string(),
            labels: self.labels.to_map(),
            annotations: self.annotations.to_map(),
            mounts: self.mounts.clone(),
            resources: self.resources.as_deref().cloned().unwrap_or_default(),
            log_path: String::new(),
        }
    }

    pub(super) fn update_resources(&mut self, new: &Resources) {
        let now = self.resources.get_or_insert_default();
        let Resources {
            cpu_shares,
            cpu_quota,
            cpu_period,
            cpuset_cpus,
            memory_limit,
            memory_swap_limit,
            oom_score_adj,
            pids_limit,
            huge_pages,
        } = new.clone();
        now.cpu_shares = cpu_shares.or(now.cpu_shares);
        now.cpu_quota = cpu_quota.or(now.cpu_quota);
        now.cpu_period = cpu_period.or(now.cpu_period);
        now.cpuset_cpus = cpuset_cpus.or(now.cpuset_cpus.take());
        now.memory_limit = memory_limit.or(now.memory_limit);
        now.memory_swap_limit = memory_swap_limit.or(now.memory_swap_limit);
        now.oom_score_adj = oom_score_adj.or(now.oom_score_adj);
        now.pids_limit = pids_limit.or(now.pids_limit);
        now.huge_pages.extend(huge_pages);
    }
}

impl State {
    pub(super) fn all_in(&self, sandbox: &SandboxId) -> Vec<ContainerId> {
        self.sandboxes.get(sandbox).map_or_else(Vec::new, |sandbox| sandbox.containers.clone())
    }
}

impl Memory {
    pub(super) fn create(
        &self,
        sandbox_id: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId> {
        let mut state = self.state();
        let sandbox =
            state.sandboxes.get(sandbox_id).ok_or_else(|| Error::sandbox_not_found(sandbox_id.as_str()))?;
        if !sandbox.is_ready() {
            return Err(Error::Invalid { message: format!("sandbox {sandbox_id} is not running") });
        }
        let pod = sandbox.metadata.clone();
        let name = format!("{}_{}_{}", config.metadata.name, pod.uid, config.metadata.attempt);
        if let Some(id) = state.names.get(&name) {
            return Err(Error::AlreadyExists { id: id.clone(), name });
        }
        let image = state.images.status(&config.image)?.ok_or_else(|| Error::ImageNotFound {
            image: config.image.clone(),
            message: format!("No such image: {}", config.image),
        })?;
        let mut labels = config.labels.clone();
        labels.insert(labels::POD_NAME.into(), pod.name);
        labels.insert(labels::POD_NAMESPACE.into(), pod.namespace);
        labels.insert(labels::POD_UID.into(), pod.uid);
        labels.insert(labels::CONTAINER_NAME.into(), config.metadata.name.clone());
        let user_image = if config.user_image.is_empty() { &config.image } else { &config.user_image };
        let id = ContainerId::from(self.next_id(&mut state));
        state.names.insert(name.clone(), id.to_string());
        if let Some(sandbox) = state.sandboxes.get_mut(sandbox_id) {
            sandbox.containers.push(id.clone());
        }
        let container = Contained {
            sandbox: sandbox_id.clone(),
            name,
            metadata: config.metadata.clone(),
            state: ContainerState::Created,
            created_at: self.now(),
            started_at: None,
            finished_at: None,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: user_image.clone(),
            image_id: image.id,
            labels: Compact::new(&labels),
            annotations: Compact::new(&config.annotations),
            resources: (config.resources != Resources::default()).then(|| Box::new(config.resources.clone())),
            mounts: config.mounts.clone(),
            script: Arc::new((self.inner.config.behaviour)(config, sandbox_config)),
            ended: watch::Sender::new(false),
        };
        state.containers.insert(id.clone(), Box::new(container));
        self.emit_container(&mut state, &id, RuntimeEventKind::Created, None);
        Ok(id)
    }

    pub(super) fn start(&self, id: &ContainerId) -> Result<()> {
        let now = self.now();
        let mut state = self.state();
        let container =
            state.containers.get_mut(id).ok_or_else(|| Error::container_not_found(id.as_str()))?;
        match container.state {
            ContainerState::Running => return Ok(()),
            ContainerState::Created => {}
            ContainerState::Exited | ContainerState::Unknown => {
                return Err(Error::Invalid { message: format!("container {id} has already run") });
            }
        }
        if let Some(message) = container.script.cannot_start.clone() {
            container.state = ContainerState::Exited;
            container.exit_code = 127;
            container.reason = reason::CONTAINER_CANNOT_RUN.to_owned();
            container.message.clone_from(&message);
            container.finished_at = Some(now);
            container.ended.send_replace(true);
            return Err(Error::CannotStart { message, exit_code: 127 });
        }
        container.state = ContainerState::Running;
        container.started_at = Some(now);
        let ends = container.script.ends_after();
        self.emit_container(&mut state, id, RuntimeEventKind::Started, None);
        if let Some((after, code)) = ends {
            // A weak handle: a runtime that is dropped does not live on in its timers.
            let (inner, id) = (Arc::downgrade(&self.inner), id.clone());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                if let Some(inner) = inner.upgrade() {
                    let memory = Memory { inner };
                    let why = if code == 0 { reason::COMPLETED } else { reason::ERROR };
                    memory.finish(&mut memory.state(), &id, code, why);
                }
            });
        }
        Ok(())
    }

    pub(super) async fn stop(&self, id: &ContainerId, timeout: Duration) {
        let (on_term, mut ended) = {
            let state = self.state();
            let Some(container) = state.containers.get(id).filter(|container| container.is_running()) else {
                return;
            };
            (container.script.on_term, container.ended.subscribe())
        };
        if let (OnTerm::Exit(code), false) = (on_term, timeout.is_zero()) {
            let why = if code == 0 { reason::COMPLETED } else { reason::ERROR };
            self.finish(&mut self.state(), id, code, why);
            return;
        }
        if tokio::time::timeout(timeout, ended.wait_for(|ended| *ended)).await.is_err() {
            self.finish(&mut self.state(), id, 137, reason::ERROR);
        }
    }

    pub(super) fn finish(&self, state: &mut State, id: &ContainerId, exit_code: i32, why: &str) -> bool {
        let now = self.now();
        let Some(container) = state.containers.get_mut(id).filter(|container| container.is_running()) else {
            return false;
        };
        container.state = ContainerState::Exited;
        container.exit_code = exit_code;
        container.reason = why.to_owned();
        container.finished_at = Some(now);
        container.ended.send_replace(true);
        if why == reason::OOM_KILLED {
            self.emit_container(state, id, RuntimeEventKind::OomKilled, None);
        }
        self.emit_container(state, id, RuntimeEventKind::Stopped, Some(exit_code));
        true
    }

    pub(super) fn remove(&self, state: &mut State, id: &ContainerId) {
        self.finish(state, id, 137, reason::ERROR);
        if let Some(container) = state.containers.get(id) {
            container.ended.send_replace(true);
            self.emit_container(state, id, RuntimeEventKind::Deleted, None);
            if let Some(gone) = state.containers.remove(id) {
                state.names.remove(&gone.name);
                if let Some(sandbox) = state.sandboxes.get_mut(&gone.sandbox) {
                    sandbox.containers.retain(|other| other != id);
                }
            }
        }
    }

    fn emit_container(
        &self,
        state: &mut State,
        id: &ContainerId,
        kind: RuntimeEventKind,
        exit_code: Option<i32>,
    ) {
        let container = &state.containers[id];
        let event = RuntimeEvent {
            kind,
            container_id: Some(id.clone()),
            sandbox_id: container.sandbox.clone(),
            pod_uid: container.labels.get(labels::POD_UID).unwrap_or_default().to_owned(),
            exit_code,
            time: self.now(),
        };
        self.emit(state, event);
    }
}
