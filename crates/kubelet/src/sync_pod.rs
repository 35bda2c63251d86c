//! What to do next for one pod: the decision at the heart of the kubelet.
//!
//! **Contract**: pure. Pod, observation, back-off and time in, a [`Plan`] out; the worker carries it out, observes
//! again and asks again, until the plan is empty. Nothing is remembered between two calls but the back-off.
//! **Not here**: how a pod is stopped (`pod_worker`), what its status says (`pod_status`).
//! **Upstream**: `computePodActions` of `pkg/kubelet/kuberuntime`.

use crate::backoff::{Backoff, go_duration};
use crate::container_config::{self, HASH_ANNOTATION};
use crate::observed::Observed;
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use jiff::Timestamp;
use runtime::{ContainerId, ContainerState, ContainerStatus, SandboxId};

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Containers to stop although the pod goes on.
    pub(crate) stop: Vec<Stop>,
    /// Attempts that nobody will ask about again.
    pub(crate) remove: Vec<ContainerId>,
    /// Sandboxes that were replaced and whose containers are all removed.
    pub(crate) remove_sandboxes: Vec<SandboxId>,
    /// The attempt number of a new sandbox.
    pub(crate) create_sandbox: Option<u32>,
    /// Containers to start, in order.
    pub(crate) start: Vec<Start>,
    /// Containers that wait, and why.
    pub(crate) waiting: Vec<Held>,
    /// When to ask again although nothing happened.
    pub(crate) wake_at: Option<Timestamp>,
}

impl Plan {
    /// Whether there is nothing to do now.
    pub(crate) fn is_idle(&self) -> bool {
        self.stop.is_empty()
            && self.remove.is_empty()
            && self.remove_sandboxes.is_empty()
            && self.create_sandbox.is_none()
            && self.start.is_empty()
    }
}

/// A container to stop.
#[derive(Debug, PartialEq)]
pub(crate) struct Stop {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    /// Text of the `Killing` event.
    pub(crate) message: String,
}

/// A container to start.
#[derive(Debug, PartialEq)]
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) init: bool,
    pub(crate) attempt: u32,
    /// When the attempt before ended.
    pub(crate) failed_at: Option<Timestamp>,
    /// Created earlier, but never started.
    pub(crate) created: Option<ContainerId>,
}

/// A container held back after a crash.
#[derive(Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) name: String,
    pub(crate) message: String,
}

/// How a pod treats containers that end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    pub(crate) fn of(spec: &PodSpec) -> Self {
        match spec.restart_policy.as_deref() {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether a main container that ended with this code runs again.
    pub(crate) fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// `pod_namespace(uid)`, as back-off messages name a pod.
pub(crate) fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

/// The key under which a container's crashes are counted.
pub(crate) fn backoff_key(container: &str, hash: &str) -> String {
    format!("{container}/{hash}")
}

/// What to do next for a pod that is to run.
pub(crate) fn sync_pod(pod: &Pod, observed: &Observed, backoff: &Backoff, now: Timestamp) -> Plan {
    let Some(spec) = &pod.spec else { return Plan::default() };
    let mut plan =
        Plan { remove: outdated(observed), remove_sandboxes: replaced(observed), ..Plan::default() };
    let policy = RestartPolicy::of(spec);

    let in_sandbox = match observed.ready_sandbox() {
        Some(sandbox) => Some(&sandbox.id),
        None => {
            if !wants_sandbox(spec, observed, policy) {
                return plan;
            }
            // What still runs belongs to a sandbox that is gone.
            plan.stop.extend(observed.running().map(|c| Stop {
                id: c.id.clone(),
                name: c.metadata.name.clone(),
                message: "Pod sandbox changed, it will be killed and re-created.".to_owned(),
            }));
            plan.create_sandbox = Some(observed.sandboxes.first().map_or(0, |s| s.metadata.attempt + 1));
            None
        }
    };
    let here = |c: &&ContainerStatus| in_sandbox.is_some_and(|id| *id == c.pod_sandbox_id);
    let mut step = Step { pod, policy, backoff, now, plan: &mut plan };

    let main_started = spec.containers.iter().any(|c| observed.latest(&c.name).filter(here).is_some());
    if !main_started {
        for init in spec.init_containers.iter().flatten() {
            let latest = observed.latest(&init.name);
            match latest.filter(here) {
                Some(status) if status.state == ContainerState::Exited && status.exit_code == 0 => {}
                Some(status) if status.state == ContainerState::Exited => {
                    if policy != RestartPolicy::Never {
                        step.restart(init, true, status);
                    }
                    return plan;
                }
                Some(status) if status.state == ContainerState::Running => return plan,
                _ => {
                    step.start(init, true, latest);
                    return plan;
                }
            }
        }
    }

    for container in &spec.containers {
        match observed.latest(&container.name) {
            Some(status) if status.state == ContainerState::Running && here(&status) => {
                if hash_of(status) != container_config::hash(container) {
                    step.plan.stop.push(Stop {
                        id: status.id.clone(),
                        name: container.name.clone(),
                        message: format!(
                            "Container {} definition changed, will be restarted",
                            container.name
                        ),
                    });
                    step.start(container, false, Some(status));
                }
            }
            Some(status) if status.state == ContainerState::Exited => {
                if policy.restarts(status.exit_code) {
                    step.restart(container, false, status);
                }
            }
            latest => step.start(container, false, latest),
        }
    }
    plan
}

/// Whether anything is left to run, so that a pod without a sandbox needs one.
fn wants_sandbox(spec: &PodSpec, observed: &Observed, policy: RestartPolicy) -> bool {
    let init_failed = spec.init_containers.iter().flatten().any(|c| {
        observed.latest(&c.name).is_some_and(|s| s.state == ContainerState::Exited && s.exit_code != 0)
    });
    if init_failed && policy == RestartPolicy::Never {
        return false;
    }
    spec.containers.iter().any(|container| match observed.latest(&container.name) {
        Some(status) if status.state == ContainerState::Exited => policy.restarts(status.exit_code),
        _ => true,
    })
}

/// One walk over a pod's containers, filling the plan.
struct Step<'a> {
    pod: &'a Pod,
    policy: RestartPolicy,
    backoff: &'a Backoff,
    now: Timestamp,
    plan: &'a mut Plan,
}

impl Step<'_> {
    /// Starts a container; one that was created and never started is finished, not created again.
    fn start(&mut self, container: &Container, init: bool, latest: Option<&ContainerStatus>) {
        let created = latest.filter(|s| s.state == ContainerState::Created);
        self.plan.start.push(Start {
            name: container.name.clone(),
            init,
            attempt: match latest {
                Some(status) if status.state == ContainerState::Created => status.metadata.attempt,
                Some(status) => status.metadata.attempt + 1,
                None => next_attempt(self.pod, &container.name),
            },
            failed_at: None,
            created: created.filter(|_| self.plan.create_sandbox.is_none()).map(|s| s.id.clone()),
        });
        if self.plan.create_sandbox.is_some()
            && let Some(status) = created
        {
            self.plan.remove.push(status.id.clone());
        }
    }

    /// Starts a container that has ended again, unless it is held back.
    fn restart(&mut self, container: &Container, init: bool, status: &ContainerStatus) {
        debug_assert!(self.policy != RestartPolicy::Never);
        let failed_at = status.finished_at.unwrap_or(status.created_at);
        let key = backoff_key(&container.name, &container_config::hash(container));
        if let Some((delay, until)) = self.backoff.waiting(&key, failed_at, self.now) {
            self.plan.waiting.push(Held {
                name: container.name.clone(),
                message: format!(
                    "back-off {} restarting failed container={} pod={}",
                    go_duration(delay),
                    container.name,
                    full_name(self.pod)
                ),
            });
            self.plan.wake_at = Some(self.plan.wake_at.map_or(until, |at| at.min(until)));
            return;
        }
        self.plan.start.push(Start {
            name: container.name.clone(),
            init,
            attempt: status.metadata.attempt + 1,
            failed_at: Some(failed_at),
            created: None,
        });
    }
}

/// Attempts older than the latest and the one before it: `MaxPerPodContainerCount` is 1 dead container.
fn outdated(observed: &Observed) -> Vec<ContainerId> {
    let old = observed.containers.values().flat_map(|attempts| attempts.iter().skip(2));
    old.filter(|c| c.state != ContainerState::Running).map(|c| c.id.clone()).collect()
}

/// Sandboxes but the newest that no container needs any more.
fn replaced(observed: &Observed) -> Vec<SandboxId> {
    let needed = |id: &SandboxId| observed.containers.values().flatten().any(|c| c.pod_sandbox_id == *id);
    observed.sandboxes.iter().skip(1).filter(|s| !needed(&s.id)).map(|s| s.id.clone()).collect()
}

/// The attempt of a container that the runtime knows nothing of: one more than the API remembers, if it ever ran.
fn next_attempt(pod: &Pod, name: &str) -> u32 {
    let statuses = pod.status.iter().flat_map(|s| {
        s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten())
    });
    let ran = statuses.filter(|s| s.name == name && s.container_id.is_some()).map(|s| s.restart_count).next();
    ran.map_or(0, |count| u32::try_from(count).unwrap_or(0) + 1)
}

fn hash_of(status: &ContainerStatus) -> &str {
    status.annotations.get(HASH_ANNOTATION).map_or("", String::as_str)
}

#[cfg(test)]
mod tests;
