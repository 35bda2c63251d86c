//! The conditions of a pod.
//!
//! **Upstream**: `pkg/kubelet/status/generate.go`.

use super::Knowledge;
use crate::limits;
use crate::observed::Observed;
use crate::restart::may_restart_all;
use api::k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::pod::is_sidecar;

/// The conditions that this kubelet decides; all others are somebody else's.
pub(super) const OWN: [&str; 8] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
];
/// Those of them that are there only while they hold.
pub(super) const PASSING: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// True, or why not: reason and message, both possibly empty.
type Verdict = Result<(), (&'static str, String)>;

/// All conditions, others' included.
pub(super) fn conditions(
    pod: &Pod,
    status: &PodStatus,
    observed: &Observed,
    know: &Knowledge,
    old: &PodStatus,
    now: &Time,
) -> Vec<PodCondition> {
    let sandboxed = if observed.ready_sandbox().is_some() { Ok(()) } else { Err(("", String::new())) };
    let containers_ready = containers_ready(pod, status);
    let ready = match &containers_ready {
        Ok(()) => gates(pod, old),
        not => not.clone(),
    };
    let mut verdicts = vec![
        ("PodReadyToStartContainers", sandboxed),
        ("Initialized", initialized(pod, status)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        // Whoever named the node: it is here.
        ("PodScheduled", Ok(())),
    ];
    let mut list = Vec::new();
    let mut add = |kind: &str, status: &str, reason: Option<String>, message: Option<String>| {
        let before = old.conditions.iter().flatten().find(|c| c.type_ == kind);
        list.push(PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message,
            last_transition_time: before
                .filter(|c| c.status == status)
                .and_then(|c| c.last_transition_time.clone())
                .or_else(|| Some(now.clone())),
            observed_generation: pod.metadata.generation,
            ..Default::default()
        });
    };
    for (kind, verdict) in verdicts.drain(..) {
        match verdict {
            Ok(()) => add(kind, "True", None, None),
            Err((reason, message)) => add(
                kind,
                "False",
                Some(reason.to_owned()).filter(|r| !r.is_empty()),
                Some(message).filter(|m| !m.is_empty()),
            ),
        }
    }
    if let Some(pending) = &know.pending {
        let reason = Some(pending.reason.to_owned());
        add("PodResizePending", "True", reason, Some(pending.message.clone()));
    } else if is_resizing(pod, status, know) {
        add("PodResizeInProgress", "True", None, None);
    }
    if pod.spec.as_ref().is_some_and(may_restart_all) {
        let kind = "AllContainersRestarting";
        if know.restarting && !observed.containers.is_empty() {
            let reason = Some("RestartAllContainersStarted".to_owned());
            add(kind, "True", reason, Some("container exited with restart policy rule".to_owned()));
        } else {
            add(kind, "False", ended(status).map(|(reason, _)| reason.to_owned()), None);
        }
    }
    if let Some(message) = &know.disrupted {
        let reason = Some("TerminationByKubelet".to_owned());
        add("DisruptionTarget", "True", reason, Some(message.clone()));
    }
    let own: Vec<String> = list.iter().map(|c| c.type_.clone()).collect();
    let foreign = old.conditions.iter().flatten();
    let foreign = foreign.filter(|c| !own.contains(&c.type_) && !PASSING.contains(&c.type_.as_str()));
    list.extend(foreign.cloned());
    list
}

/// Whether a status says that all containers are being removed, to start anew.
pub(super) fn is_restarting_all(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|c| c.type_ == "AllContainersRestarting" && c.status == "True")
}

/// Whether a condition says that this kubelet takes the pod from its node.
pub(super) fn is_disruption(condition: &PodCondition) -> bool {
    condition.type_ == "DisruptionTarget" && condition.reason.as_deref() == Some("TerminationByKubelet")
}

/// Whether a container that runs does not have yet what its pod asks for.
fn is_resizing(pod: &Pod, status: &PodStatus, know: &Knowledge) -> bool {
    !know.settled.is_empty() && limits::is_asked_for(pod, status)
}

/// A pod that has ended is not ready, for this reason.
fn ended(status: &PodStatus) -> Option<(&'static str, String)> {
    match status.phase.as_deref() {
        Some("Succeeded") => Some(("PodCompleted", String::new())),
        Some("Failed") => Some(("PodFailed", String::new())),
        _ => None,
    }
}

fn containers_ready(pod: &Pod, status: &PodStatus) -> Verdict {
    if let Some(end) = ended(status) {
        return Err(end);
    }
    let Some(main) = &status.container_statuses else {
        return Err(("UnknownContainerStatuses", String::new()));
    };
    let sidecars = sidecars(pod, status);
    let unready: Vec<&str> = sidecars.chain(main).filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    match unready.as_slice() {
        [] => Ok(()),
        names => Err(("ContainersNotReady", listed("unready", names))),
    }
}

fn listed(what: &str, names: &[&str]) -> String {
    format!("containers with {what} status: [{}]", names.join(" "))
}

fn initialized(pod: &Pod, status: &PodStatus) -> Verdict {
    let is_done = |s: &ContainerStatus| {
        if is_sidecar_of(pod, &s.name) { s.started == Some(true) } else { s.ready }
    };
    let init = status.init_container_statuses.iter().flatten();
    let incomplete: Vec<&str> = init.filter(|s| !is_done(s)).map(|s| s.name.as_str()).collect();
    // Once a main container ran, the beginning is over, whatever sidecars do.
    let mut main = status.container_statuses.iter().flatten();
    let begun = main.any(|s| s.container_id.is_some() || super::was_removed(s));
    if incomplete.is_empty() || begun {
        return Ok(());
    }
    match ended(status) {
        Some(("PodCompleted", _)) => Ok(()),
        Some(end) => Err(end),
        None => Err(("ContainersNotInitialized", listed("incomplete", &incomplete))),
    }
}

fn is_sidecar_of(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.iter();
    let mut init = spec.flat_map(|s| s.init_containers.iter().flatten());
    init.any(|c| c.name == name && is_sidecar(c))
}

fn sidecars<'a>(pod: &'a Pod, status: &'a PodStatus) -> impl Iterator<Item = &'a ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    init.filter(|s| is_sidecar_of(pod, &s.name))
}

/// Conditions that others must set before the pod is ready.
fn gates(pod: &Pod, old: &PodStatus) -> Verdict {
    let spec = pod.spec.iter();
    let mut missing = Vec::new();
    for gate in spec.flat_map(|s| s.readiness_gates.iter().flatten()) {
        let kind = &gate.condition_type;
        match old.conditions.iter().flatten().find(|c| c.type_ == *kind) {
            Some(condition) if condition.status == "True" => {}
            Some(condition) => missing.push(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                condition.status
            )),
            None => missing
                .push(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(("ReadinessGatesNotReady", missing.join(", "))) }
}
