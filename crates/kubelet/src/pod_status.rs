//! A pod's status from its spec and what the runtime has of it.
//!
//! **Contract**: pure; `old` is the status last known, from which transition times and others' conditions are kept.
//! **Upstream**: `generateAPIPodStatus`, `getPhase` of `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status/generate.go`.

mod conditions;

use crate::ephemeral;
use crate::health::Health;
use crate::limits::Pending;
use crate::observed::Observed;
use crate::restart::{Role, restarts};
use crate::volumes::is_recursively_read_only;
use api::k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus as ApiContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec,
    PodStatus, VolumeMountStatus,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::pod::is_sidecar;
use conditions::conditions;
use jiff::Timestamp;
use runtime::{ContainerState, ContainerStatus};
use std::collections::{BTreeMap, BTreeSet};

/// Why a container waits: reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What the worker knows beyond the runtime's state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knowledge {
    /// Containers that wait for more than their creation.
    pub(crate) waiting: BTreeMap<String, Waiting>,
    /// Last words of containers that have ended, by container id.
    pub(crate) termination_messages: BTreeMap<String, String>,
    /// A phase that does not follow from the containers: refused, or out of time.
    pub(crate) failed: Option<(String, String)>,
    /// No container will be started again, whatever the restart policy says.
    pub(crate) stopping: bool,
    /// Every container has stopped, and nothing will start: what did not end by itself has ended now.
    pub(crate) stopped: bool,
    /// All containers are being removed, to start anew.
    pub(crate) restarting: bool,
    /// What probes have found out.
    pub(crate) health: Health,
    /// Containers, by name, that have the resources which the pod asks for.
    pub(crate) settled: BTreeSet<String>,
    /// Why the pod does not get the resources that it asks for.
    pub(crate) pending: Option<Pending>,
    /// The pod is removed from this node for the node's own sake: the message of its condition.
    pub(crate) disrupted: Option<String>,
    /// The node's address.
    pub(crate) host_ips: Vec<String>,
    /// `docker`: the scheme of container ids.
    pub(crate) scheme: String,
    /// Whether volumes can be made read-only with all that is mounted in them.
    pub(crate) may_mount: bool,
}

/// `MaxPodTerminationMessageLogLength`: what the messages of a pod's containers may be together.
const MESSAGES_MAX: usize = 12 * 1024;

/// Whether two statuses say the same of what this kubelet decides.
pub(crate) fn agree(a: &PodStatus, b: &PodStatus) -> bool {
    let conditions = |status: &PodStatus| -> BTreeMap<String, String> {
        let own = status.conditions.iter().flatten().filter(|c| is_own(&c.type_));
        own.map(|c| (c.type_.clone(), c.status.clone())).collect()
    };
    a.phase == b.phase
        && a.container_statuses == b.container_statuses
        && a.init_container_statuses == b.init_container_statuses
        && conditions(a) == conditions(b)
}

/// The strategic merge patch that writes a status and leaves alone what others have written.
pub(crate) fn patch(uid: &str, old: Option<&PodStatus>, status: &PodStatus) -> serde_json::Value {
    let mut own = status.clone();
    let is_ours = |c: &PodCondition| is_own(&c.type_) || conditions::is_disruption(c);
    own.conditions.iter_mut().for_each(|list| list.retain(is_ours));
    let mut status = serde_json::json!(own);
    let old = serde_json::json!(old);
    // What is over is taken back: conditions, and what was said of them and of the pod.
    take_back(&mut status, &old);
    if let Some(list) = status["conditions"].as_array_mut() {
        let old = old["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        for condition in list.iter_mut() {
            if let Some(before) = old.iter().find(|before| before["type"] == condition["type"]) {
                take_back(condition, before);
            }
        }
        for kind in conditions::PASSING {
            if old.iter().any(|c| c["type"] == kind) && !list.iter().any(|c| c["type"] == kind) {
                list.push(serde_json::json!({ "type": kind, "$patch": "delete" }));
            }
        }
    }
    // Lists that would be merged, so that an address of an earlier sandbox would stay.
    for field in ["podIPs", "hostIPs"] {
        if let Some(list) = status[field].as_array_mut() {
            list.insert(0, serde_json::json!({ "$patch": "replace" }));
        }
    }
    serde_json::json!({ "metadata": { "uid": uid }, "status": status })
}

/// Asks for the removal of fields that were there and are not any more.
fn take_back(now: &mut serde_json::Value, before: &serde_json::Value) {
    let Some(now) = now.as_object_mut() else { return };
    for (field, _) in before.as_object().into_iter().flatten() {
        now.entry(field.as_str()).or_insert(serde_json::Value::Null);
    }
}

/// The API's times have whole seconds; with more, a status would differ from itself once it was stored.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The status that the API is to show.
pub(crate) fn pod_status(pod: &Pod, observed: &Observed, know: &Knowledge, now: Timestamp) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let Some(spec) = &pod.spec else { return old };
    let now = seconds(now);
    let old_statuses =
        old.container_statuses.iter().flatten().chain(old.init_container_statuses.iter().flatten());
    let old_statuses = old_statuses.chain(old.ephemeral_container_statuses.iter().flatten());
    let old_by_name: BTreeMap<&str, &ApiContainerStatus> =
        old_statuses.map(|s| (s.name.as_str(), s)).collect();

    let init: Vec<_> = spec.init_containers.iter().flatten().collect();
    let has_init = !init.is_empty();
    let restarting = know.restarting || conditions::is_restarting_all(&old);
    let view = View { has_init, restarting, observed, know, old: &old_by_name };
    let mut init_statuses: Vec<_> = init.iter().map(|c| view.status_of(c, Role::Init)).collect();
    let mut statuses: Vec<_> = spec.containers.iter().map(|c| view.status_of(c, Role::Main)).collect();
    let mut ephemeral: Vec<_> =
        ephemeral::containers(spec).map(|c| view.status_of(&c, Role::Ephemeral)).collect();
    let share = MESSAGES_MAX / (init_statuses.len() + statuses.len()).max(1);
    for status in init_statuses.iter_mut().chain(&mut statuses).chain(&mut ephemeral) {
        for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
            let message = state.terminated.as_mut().and_then(|end| end.message.as_mut());
            if let Some(message) = message.filter(|message| message.len() > share) {
                message.truncate(message.floor_char_boundary(share));
            }
        }
    }

    // A terminal phase promises that nothing runs any more.
    let failed = know.failed.as_ref().filter(|_| observed.running().next().is_none());
    let mut phase = match failed {
        Some(_) => "Failed",
        None => match phase(spec, &init_statuses, &statuses, know) {
            // Sidecars are still to stop.
            "Succeeded" | "Failed" if observed.running().next().is_some() => "Running",
            phase => phase,
        },
    };
    if let Some(end @ ("Succeeded" | "Failed")) = old.phase.as_deref() {
        // Terminal is terminal.
        phase = if end == "Failed" { "Failed" } else { "Succeeded" };
    }

    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        start_time: old.start_time.clone().or(Some(now.clone())),
        observed_generation: pod.metadata.generation,
        ..old.clone()
    };
    if let Some((reason, message)) = failed {
        status.reason = Some(reason.clone());
        status.message = Some(message.clone());
    }
    if let Some(first) = know.host_ips.first() {
        status.host_ip = Some(first.clone());
        status.host_ips = Some(know.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    }
    let ips = pod_ips(spec, observed, know);
    if !ips.is_empty() {
        status.pod_ip = ips.first().cloned();
        status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect());
    }
    // A pod that was refused before anything ran has no container statuses.
    if know.failed.is_none() || !observed.is_empty() || old.container_statuses.is_some() {
        status.container_statuses = Some(statuses);
        if has_init {
            status.init_container_statuses = Some(init_statuses);
        }
        if !ephemeral.is_empty() {
            status.ephemeral_container_statuses = Some(ephemeral);
        }
    }
    status.conditions = Some(conditions(pod, &status, observed, know, &old, &now));
    status
}

fn pod_ips(spec: &PodSpec, observed: &Observed, know: &Knowledge) -> Vec<String> {
    match observed.ready_sandbox() {
        Some(_) if spec.host_network == Some(true) => know.host_ips.clone(),
        Some(sandbox) => sandbox.ips.iter().map(ToString::to_string).collect(),
        None => Vec::new(),
    }
}

/// What container statuses are made from.
struct View<'a> {
    has_init: bool,
    /// What is not there any more was removed, to start anew.
    restarting: bool,
    observed: &'a Observed,
    know: &'a Knowledge,
    old: &'a BTreeMap<&'a str, &'a ApiContainerStatus>,
}

impl View<'_> {
    fn status_of(&self, container: &Container, role: Role) -> ApiContainerStatus {
        let (observed, know) = (self.observed, self.know);
        let old = self.old.get(container.name.as_str()).copied();
        let mut status = ApiContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            started: Some(false),
            // Upstream always writes the field.
            last_state: Some(ApiContainerState::default()),
            volume_mounts: mounts(container, know.may_mount),
            ..Default::default()
        };
        let held = know.waiting.get(&container.name).map(|w| waiting(w.reason, &w.message));

        let Some(latest) = observed.latest(&container.name) else {
            // Known to the API, unknown to the runtime: it ran and its record is lost, or it never ran.
            if let Some(old) = old.filter(|old| old.container_id.is_some()) {
                return if self.restarting && !know.stopping { removed(old) } else { lost(old, know) };
            }
            if let Some(old) = old.filter(|old| was_removed(old)) {
                status.restart_count = old.restart_count;
                status.last_state.clone_from(&old.last_state);
            }
            status.state = Some(held.unwrap_or_else(|| match (self.has_init, role) {
                (true, Role::Init | Role::Main) => waiting("PodInitializing", ""),
                _ => waiting("ContainerCreating", ""),
            }));
            return status;
        };

        status.restart_count = i32::try_from(latest.metadata.attempt).unwrap_or(i32::MAX);
        status.container_id = Some(format!("{}://{}", know.scheme, latest.id));
        status.image_id = format!("{}://{}", know.scheme, latest.image_ref);
        if !latest.image.is_empty() {
            status.image.clone_from(&latest.image);
        }
        if let Some(previous) = observed.previous(&container.name) {
            status.last_state = Some(terminated(previous, know));
        } else if let Some(old) = old.filter(|old| was_removed(old)) {
            status.last_state.clone_from(&old.last_state);
        }
        match latest.state {
            ContainerState::Running => {
                // Others have no probes.
                let stays = role == Role::Main || role == Role::Init && is_sidecar(container);
                status.started = Some(!stays || know.health.has_started(container, &latest.id));
                status.ready = stays && know.health.is_ready(container, &latest.id);
                status.state = Some(ApiContainerState {
                    running: Some(ContainerStateRunning { started_at: latest.started_at.map(seconds) }),
                    ..Default::default()
                });
                self.show_resources(container, &mut status, old);
            }
            ContainerState::Exited => {
                status.ready = role == Role::Init && !is_sidecar(container) && latest.exit_code == 0;
                match held.filter(|_| !know.stopping) {
                    Some(held) => {
                        status.state = Some(held);
                        status.last_state = Some(terminated(latest, know));
                    }
                    None => status.state = Some(terminated(latest, know)),
                }
            }
            ContainerState::Created | ContainerState::Unknown => {
                status.container_id = None;
                status.state = Some(held.unwrap_or_else(|| waiting("ContainerCreating", "")));
            }
        }
        status
    }

    /// What a container that runs has been given: what it asks for, once it has it.
    fn show_resources(
        &self,
        container: &Container,
        status: &mut ApiContainerStatus,
        old: Option<&ApiContainerStatus>,
    ) {
        let shown = old.and_then(|old| old.resources.clone());
        if shown.is_none() || self.know.settled.contains(&container.name) {
            let resources = container.resources.clone().unwrap_or_default();
            status.allocated_resources = resources.requests.clone();
            status.resources = Some(resources);
        } else {
            status.allocated_resources = old.and_then(|old| old.allocated_resources.clone());
            status.resources = shown;
        }
    }
}

fn waiting(reason: &str, message: &str) -> ApiContainerState {
    ApiContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()).filter(|m| !m.is_empty()),
        }),
        ..Default::default()
    }
}

fn mounts(container: &Container, may_mount: bool) -> Option<Vec<VolumeMountStatus>> {
    let status = |mount: &api::k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|readonly| *readonly),
        recursive_read_only: (mount.read_only == Some(true)).then(|| {
            let recursive = is_recursively_read_only(mount, may_mount).unwrap_or_default();
            if recursive { "Enabled" } else { "Disabled" }.to_owned()
        }),
        ..Default::default()
    };
    container.volume_mounts.as_ref().map(|list| list.iter().map(status).collect())
}

/// The reason of containers that were removed to start anew.
const RESTARTING: &str = "RestartingAllContainers";

/// A container that was removed, for all to start anew.
fn removed(old: &ApiContainerStatus) -> ApiContainerStatus {
    let message = "The container is removed because RestartAllContainers in place";
    let terminated = ContainerStateTerminated {
        exit_code: 137,
        reason: Some(RESTARTING.to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    };
    ApiContainerStatus {
        container_id: None,
        ready: false,
        started: Some(false),
        restart_count: old.restart_count + 1,
        state: Some(waiting(RESTARTING, message)),
        last_state: Some(ApiContainerState { terminated: Some(terminated), ..Default::default() }),
        ..old.clone()
    }
}

/// Whether a container's last attempt was removed, for all to start anew.
fn was_removed(status: &ApiContainerStatus) -> bool {
    let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|end| end.reason.as_deref() == Some(RESTARTING))
}

/// A container that the API says ran and of which the runtime knows nothing any more.
fn lost(old: &ApiContainerStatus, know: &Knowledge) -> ApiContainerStatus {
    let mut status = old.clone();
    let ended = old.state.as_ref().is_some_and(|s| s.terminated.is_some());
    if !ended {
        let state = ApiContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                container_id: old.container_id.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        if know.stopping {
            status.state = Some(state);
        } else {
            status.last_state = Some(state);
            status.state = Some(ApiContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some("ContainerCreating".to_owned()),
                    message: None,
                }),
                ..Default::default()
            });
        }
    }
    status.ready = false;
    status.started = Some(false);
    status
}

fn terminated(status: &ContainerStatus, know: &Knowledge) -> ApiContainerState {
    let words = know.termination_messages.get(status.id.as_str()).filter(|m| !m.is_empty());
    let message = if status.message.is_empty() { words.cloned() } else { Some(status.message.clone()) };
    ApiContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: status.exit_code,
            reason: Some(status.reason.clone()).filter(|r| !r.is_empty()),
            message,
            started_at: status.started_at.map(seconds),
            finished_at: status.finished_at.map(seconds),
            container_id: Some(format!("{}://{}", know.scheme, status.id)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// C1 of the phases: what the containers say together.
fn phase(
    spec: &PodSpec,
    init: &[ApiContainerStatus],
    main: &[ApiContainerStatus],
    know: &Knowledge,
) -> &'static str {
    let ended = |s: &ApiContainerStatus| s.state.as_ref().and_then(|s| s.terminated.clone());
    let ran = |s: &ApiContainerStatus| s.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
    let has_main = main.iter().any(|s| s.container_id.is_some());
    for (container, status) in spec.init_containers.iter().flatten().zip(init) {
        let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        if is_sidecar(container) {
            let started = running && status.started == Some(true);
            if !started && !ran(status) && ended(status).is_none() && !know.stopped {
                return "Pending";
            }
            continue;
        }
        match ended(status) {
            Some(end) if end.exit_code == 0 => {}
            Some(end) if !restarts(spec, container, Role::Init, end.exit_code) && !has_main => {
                return "Failed";
            }
            _ if know.stopped => return "Failed",
            // What initialises it anew does not undo that the pod was initialised.
            _ if main.iter().any(was_removed) => {}
            _ => return "Pending",
        }
    }
    let (mut running, mut waiting, mut stopped, mut succeeded, mut restarting) = (0, 0, 0, 0, 0);
    for (container, status) in spec.containers.iter().zip(main) {
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            running += 1;
        } else if let Some(end) = state.terminated {
            stopped += 1;
            let condemned = end.container_id.as_deref().is_some_and(|id| {
                let id = id.rsplit("://").next().unwrap_or(id);
                know.health.failure(&id.into()).is_some()
            });
            let again = |code: i32| restarts(spec, container, Role::Main, code);
            restarting += usize::from(again(end.exit_code) || condemned && again(137));
            succeeded += usize::from(end.exit_code == 0);
        } else if ran(status) {
            // Held back, to run again.
            stopped += 1;
            restarting += 1;
        } else {
            waiting += 1;
        }
    }
    if know.stopped && running == 0 {
        return if waiting == 0 && succeeded == main.len() { "Succeeded" } else { "Failed" };
    }
    if waiting > 0 {
        return "Pending";
    }
    if running > 0 || stopped == 0 || restarting > 0 {
        return "Running";
    }
    if stopped == succeeded { "Succeeded" } else { "Failed" }
}

/// Whether this kubelet decides a condition.
pub(crate) fn is_own(condition: &str) -> bool {
    conditions::OWN.contains(&condition)
}

#[cfg(test)]
mod tests;
