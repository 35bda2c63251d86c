//! What to do next for one pod: the decision at the heart of the kubelet.
//!
//! **Contract**: pure. Pod, observation, back-off and time in, a [`Plan`] out; the worker carries it out, observes
//! again and asks again, until the plan is empty. Nothing is remembered between two calls but the back-off.
//! **Not here**: how a pod is stopped (`pod_worker`), what its status says (`pod_status`).
//! **Upstream**: `computePodActions` of `pkg/kubelet/kuberuntime`.

use crate::backoff::{Backoff, go_duration};
use crate::container_config::{self, HASH_ANNOTATION};
use crate::ephemeral;
use crate::health::Health;
use crate::limits::Limits;
use crate::observed::Observed;
use crate::restart::{Role, restarts, restarts_all};
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use api::pod::is_sidecar;
use jiff::{SignedDuration, Timestamp};
use runtime::{ContainerId, ContainerState, ContainerStatus, Resources, SandboxId};

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Containers to stop although the pod goes on.
    pub(crate) stop: Vec<Stop>,
    /// Attempts that nobody will ask about again.
    pub(crate) remove: Vec<ContainerId>,
    /// Sandboxes that were replaced and whose containers are all removed.
    pub(crate) remove_sandboxes: Vec<SandboxId>,
    /// All containers are to go, so that they start anew.
    pub(crate) reset: Option<Reset>,
    /// The attempt number of a new sandbox.
    pub(crate) create_sandbox: Option<u32>,
    /// Containers whose limits change.
    pub(crate) resize: Vec<Resize>,
    /// Containers to start, in order.
    pub(crate) start: Vec<Start>,
    /// Containers that wait, and why.
    pub(crate) waiting: Vec<Held>,
    /// When to ask again although nothing happened.
    pub(crate) wake_at: Option<Timestamp>,
    /// Nothing is left to run: what still does, sidecars, is to stop, and the pod has ended.
    pub(crate) finished: bool,
}

impl Plan {
    /// Whether there is nothing to do now.
    pub(crate) fn is_idle(&self) -> bool {
        self.stop.is_empty()
            && self.remove.is_empty()
            && self.remove_sandboxes.is_empty()
            && self.reset.is_none()
            && self.create_sandbox.is_none()
            && self.resize.is_empty()
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
    /// Seconds of grace, where a probe has its own.
    pub(crate) grace: Option<i64>,
}

/// A container has ended in a way after which all start anew, in the sandbox that is there.
#[derive(Debug, PartialEq)]
pub(crate) struct Reset {
    /// Whose end it was.
    pub(crate) name: String,
    /// When that was.
    pub(crate) failed_at: Timestamp,
    /// What the runtime has, in the order in which it is removed: whose end it was comes last, so that a try that
    /// was interrupted is taken up again.
    pub(crate) remove: Vec<ContainerId>,
}

/// A container to start.
#[derive(Debug, PartialEq)]
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) attempt: u32,
    /// When the attempt before ended.
    pub(crate) failed_at: Option<Timestamp>,
    /// Created earlier, but never started.
    pub(crate) created: Option<ContainerId>,
}

/// A container whose limits change while it runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Resize {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) resources: Resources,
}

/// A container held back after a crash.
#[derive(Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) name: String,
    pub(crate) message: String,
}

/// What a plan is made from besides the pod and the runtime's state.
pub(crate) struct Circumstances<'a> {
    pub(crate) backoff: &'a Backoff,
    pub(crate) health: &'a Health,
    pub(crate) limits: &'a Limits,
    /// What was last said of the pod.
    pub(crate) status: Option<&'a PodStatus>,
    pub(crate) now: Timestamp,
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
pub(crate) fn sync_pod(pod: &Pod, observed: &Observed, given: &Circumstances<'_>) -> Plan {
    let Some(spec) = &pod.spec else { return Plan::default() };
    let mut plan =
        Plan { remove: outdated(observed), remove_sandboxes: replaced(observed), ..Plan::default() };
    if !wants_to_run(spec, observed, given.health) {
        plan.finished = true;
        return plan;
    }
    let in_sandbox = match observed.ready_sandbox() {
        Some(sandbox) => Some(&sandbox.id),
        None => {
            // What still runs belongs to a sandbox that is gone.
            plan.stop.extend(observed.running().map(|c| Stop {
                id: c.id.clone(),
                name: c.metadata.name.clone(),
                message: "Pod sandbox changed, it will be killed and re-created.".to_owned(),
                grace: None,
            }));
            plan.create_sandbox = Some(observed.sandboxes.first().map_or(0, |s| s.metadata.attempt + 1));
            None
        }
    };
    let mut step = Step { pod, spec, observed, given, in_sandbox, plan: &mut plan };
    if step.reset() {
        return plan;
    }
    // Whoever looks into a pod that does not come up comes first.
    for container in ephemeral::containers(spec) {
        if step.here(&container.name).is_none_or(|status| status.state == ContainerState::Created) {
            step.start(&container, Role::Ephemeral, observed.latest(&container.name));
        }
    }
    let initialized = spec.containers.iter().any(|c| step.here(&c.name).is_some());
    for container in spec.init_containers.iter().flatten() {
        let goes_on = if is_sidecar(container) {
            step.keep_running(container, Role::Init)
        } else {
            initialized || step.run_once(container)
        };
        if !goes_on && !initialized {
            return plan;
        }
    }
    for container in &spec.containers {
        step.keep_running(container, Role::Main);
    }
    plan
}

/// Whether anything is left to run. Sidecars do not count: they serve the others.
fn wants_to_run(spec: &PodSpec, observed: &Observed, health: &Health) -> bool {
    let ended = |name: &str| observed.latest(name).filter(|s| s.state == ContainerState::Exited);
    let once = spec.init_containers.iter().flatten().filter(|c| !is_sidecar(c));
    let failed_for_good = once.clone().any(|c| {
        ended(&c.name).is_some_and(|s| s.exit_code != 0 && !runs_again(spec, c, Role::Init, s, health))
    });
    let has_main = spec.containers.iter().any(|c| observed.latest(&c.name).is_some());
    if failed_for_good && !has_main {
        return false;
    }
    spec.containers.iter().any(|container| match ended(&container.name) {
        Some(status) => runs_again(spec, container, Role::Main, status, health),
        None => true,
    })
}

/// Whether a container that has ended runs again. One that a probe has condemned did not succeed, whatever it says.
pub(crate) fn runs_again(
    spec: &PodSpec,
    container: &Container,
    role: Role,
    status: &ContainerStatus,
    health: &Health,
) -> bool {
    let condemned = health.failure(&status.id).is_some();
    restarts(spec, container, role, status.exit_code) || condemned && restarts(spec, container, role, KILLED)
}

/// The exit code of a container that did not end by itself.
const KILLED: i32 = 137;

/// One walk over a pod's containers, filling the plan.
struct Step<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    observed: &'a Observed,
    given: &'a Circumstances<'a>,
    /// The sandbox that containers run in, if there is one.
    in_sandbox: Option<&'a SandboxId>,
    plan: &'a mut Plan,
}

impl<'a> Step<'a> {
    /// The newest attempt of a container, if it is in the present sandbox.
    fn here(&self, name: &str) -> Option<&'a ContainerStatus> {
        self.observed.latest(name).filter(|c| self.in_sandbox.is_some_and(|id| *id == c.pod_sandbox_id))
    }

    /// Whether all containers are to start anew now.
    fn reset(&mut self) -> bool {
        let all = self.spec.init_containers.iter().flatten().chain(&self.spec.containers);
        let mut ended = all.filter_map(|container| {
            let status =
                self.here(&container.name).filter(|status| status.state == ContainerState::Exited)?;
            restarts_all(container, status.exit_code).then_some((container, status))
        });
        let Some((container, status)) = ended.next() else { return false };
        let failed_at = status.finished_at.unwrap_or(status.created_at);
        if let Some((_, until)) = self.held_back(container, failed_at) {
            // Until then it waits as if it were alone.
            self.wake_at(until);
            return false;
        }
        let is_source = |status: &&ContainerStatus| status.metadata.name == container.name;
        let ephemeral = |status: &&ContainerStatus| {
            ephemeral::containers(self.spec).any(|c| c.name == status.metadata.name)
        };
        let attempts = || self.observed.containers.values().flatten().filter(|c| !ephemeral(c));
        let others = attempts().filter(|status| !is_source(status));
        let own: Vec<_> = attempts().filter(is_source).collect();
        let remove = others.chain(own.into_iter().rev()).map(|status| status.id.clone()).collect();
        self.plan.reset = Some(Reset { name: container.name.clone(), failed_at, remove });
        true
    }

    /// The delay in force for a container that ended at this time, and when it is over.
    fn held_back(&self, container: &Container, at: Timestamp) -> Option<(SignedDuration, Timestamp)> {
        let key = backoff_key(&container.name, &container_config::hash(container));
        self.given.backoff.waiting(&key, at, self.given.now)
    }

    fn wake_at(&mut self, until: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(until, |at| at.min(until)));
    }

    /// One container that must succeed before the next. Whether it has.
    fn run_once(&mut self, container: &Container) -> bool {
        match self.here(&container.name) {
            Some(status) if status.state == ContainerState::Exited => {
                if status.exit_code != 0
                    && runs_again(self.spec, container, Role::Init, status, self.given.health)
                {
                    self.restart(container, Role::Init, status);
                }
                status.exit_code == 0
            }
            Some(status) if status.state == ContainerState::Running => false,
            _ => {
                self.start(container, Role::Init, self.observed.latest(&container.name));
                false
            }
        }
    }

    /// One container that runs beside the others. Whether it has started.
    fn keep_running(&mut self, container: &Container, role: Role) -> bool {
        let latest = self.observed.latest(&container.name);
        let Some(status) = latest else {
            self.start(container, role, None);
            return false;
        };
        match (status.state, self.here(&container.name).is_some()) {
            (ContainerState::Running, true) => {
                self.check(container, role, status);
                self.given.health.has_started(container, &status.id)
            }
            (ContainerState::Exited, _) => {
                if runs_again(self.spec, container, role, status, self.given.health) {
                    self.restart(container, role, status);
                }
                false
            }
            _ => {
                self.start(container, role, latest);
                false
            }
        }
    }

    /// Whether a container that runs may go on as it is.
    fn check(&mut self, container: &Container, role: Role, status: &ContainerStatus) {
        let again =
            |what: String, again: bool| if again { format!("{what}, will be restarted") } else { what };
        let name = &container.name;
        if hash_of(status) != container_config::hash(container) {
            self.stop(status, format!("Container {name} definition changed, will be restarted"), None);
            self.start(container, role, Some(status));
        } else if let Some(failure) = self.given.health.failure(&status.id) {
            let what = format!("Container {name} failed {} probe", failure.probe.as_str());
            let restarts = restarts(self.spec, container, role, KILLED);
            self.stop(status, again(what, restarts), failure.grace);
        } else if let Some(change) = self.given.limits.change(container, status) {
            if change.restart {
                self.stop(status, format!("Container {name} resize requires restart"), None);
                self.start(container, role, Some(status));
            } else {
                let (id, name) = (status.id.clone(), name.clone());
                self.plan.resize.push(Resize { id, name, resources: change.resources });
            }
        }
    }

    fn stop(&mut self, status: &ContainerStatus, message: String, grace: Option<i64>) {
        let (id, name) = (status.id.clone(), status.metadata.name.clone());
        self.plan.stop.push(Stop { id, name, message, grace });
    }

    /// Starts a container; one that was created and never started is finished, not created again.
    fn start(&mut self, container: &Container, role: Role, latest: Option<&ContainerStatus>) {
        let created = latest.filter(|s| s.state == ContainerState::Created);
        self.plan.start.push(Start {
            name: container.name.clone(),
            role,
            attempt: match latest {
                Some(status) if status.state == ContainerState::Created => status.metadata.attempt,
                Some(status) => status.metadata.attempt + 1,
                None => next_attempt(self.given.status, &container.name),
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
    fn restart(&mut self, container: &Container, role: Role, status: &ContainerStatus) {
        let failed_at = status.finished_at.unwrap_or(status.created_at);
        if let Some((delay, until)) = self.held_back(container, failed_at) {
            self.plan.waiting.push(Held {
                name: container.name.clone(),
                message: format!(
                    "back-off {} restarting failed container={} pod={}",
                    go_duration(delay),
                    container.name,
                    full_name(self.pod)
                ),
            });
            self.wake_at(until);
            return;
        }
        self.plan.start.push(Start {
            name: container.name.clone(),
            role,
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

/// The attempt of a container that the runtime knows nothing of: one more than the API remembers, if it ever ran. One
/// without an id was counted when it was removed.
fn next_attempt(status: Option<&PodStatus>, name: &str) -> u32 {
    let statuses = status.iter().flat_map(|s| {
        let ephemeral = s.ephemeral_container_statuses.iter().flatten();
        let init = s.init_container_statuses.iter().flatten();
        init.chain(s.container_statuses.iter().flatten()).chain(ephemeral)
    });
    let known = statuses.filter(|s| s.name == name).map(|s| {
        let count = u32::try_from(s.restart_count).unwrap_or(0);
        if s.container_id.is_some() { count + 1 } else { count }
    });
    known.take(1).sum()
}

fn hash_of(status: &ContainerStatus) -> &str {
    status.annotations.get(HASH_ANNOTATION).map_or("", String::as_str)
}

#[cfg(test)]
mod tests;
