//! When a node counts as silent, and which taints it should have.
//!
//! **Upstream**: `pkg/controller/nodelifecycle/node_lifecycle_controller.go`.

use api::well_known::taint;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// Conditions that become unknown when a node falls silent.
const HEARTBEAT_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Condition, its value, and the taint that this means (`nodeConditionToTaintKeyStatusMap`).
const CONDITION_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", taint::NOT_READY),
    ("Ready", "Unknown", taint::UNREACHABLE),
    ("MemoryPressure", "True", taint::MEMORY_PRESSURE),
    ("DiskPressure", "True", taint::DISK_PRESSURE),
    ("NetworkUnavailable", "True", taint::NETWORK_UNAVAILABLE),
    ("PIDPressure", "True", taint::PID_PRESSURE),
];

/// What is known of a node's signs of life, by this process's clock: the node's own is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    heartbeat: Option<Timestamp>,
    renewed: Option<Timestamp>,
    /// When the last new sign was seen.
    pub(super) probe: Timestamp,
}

/// How long a node may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    pub(super) monitor: SignedDuration,
    pub(super) startup: SignedDuration,
}

/// Takes note of a node and its lease; `now` does not count the time that this machine slept.
pub(super) fn observe(known: Option<&Health>, node: &Node, lease: Option<&Lease>, now: Timestamp) -> Health {
    let ready = condition(node, "Ready");
    let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0);
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref()).map(|time| time.0);
    let probe = match known {
        Some(known) if known.heartbeat == heartbeat && renewed <= known.renewed => known.probe,
        Some(_) => now,
        None if ready.is_some() => now,
        None => node.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0),
    };
    Health { heartbeat, renewed: renewed.max(known.and_then(|known| known.renewed)), probe }
}

/// The conditions of a node that has been silent too long; none if it has not, or they say so already.
///
/// `awake` is the time as [`observe`] is told it, `now` what the conditions are to say.
pub(super) fn silent(
    node: &Node,
    health: &Health,
    grace: Grace,
    awake: Timestamp,
    now: Timestamp,
) -> Option<Vec<NodeCondition>> {
    let grace = if condition(node, "Ready").is_some() { grace.monitor } else { grace.startup };
    if awake.duration_since(health.probe) <= grace {
        return None;
    }
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for kind in HEARTBEAT_CONDITIONS {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(Time(now));
                changed = true;
            }
            None => {
                conditions.push(NodeCondition {
                    type_: kind.to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(Time(now)),
                });
                changed = true;
            }
        }
    }
    changed.then_some(conditions)
}

/// Whether pods may be driven from nodes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    Allowed,
    Held,
}

/// The taints that a node should have; none if it has them.
///
/// A `NoExecute` taint is taken away or exchanged at once, but only added when eviction is allowed.
pub(super) fn taints(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let known = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    // A node that never told whether it is ready keeps what it was admitted with.
    let judged = condition(node, "Ready").is_some();
    let mut wanted = Vec::new();
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((taint::UNSCHEDULABLE, NO_SCHEDULE));
    }
    for (kind, value, key) in CONDITION_TAINTS {
        if condition(node, kind).is_some_and(|condition| condition.status == value) {
            wanted.push((key, NO_SCHEDULE));
        }
    }
    let driven = known.iter().any(is_driving);
    if let Some(key) = drives_out(node).filter(|_| driven || eviction == Eviction::Allowed) {
        wanted.push((key, NO_EXECUTE));
    }
    let same = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let ours = |taint: &Taint| {
        let by_condition = CONDITION_TAINTS.iter().any(|(kind, _, key)| {
            taint.key == *key && taint.effect == NO_SCHEDULE && (judged || *kind != "Ready")
        });
        by_condition || same(taint, (taint::UNSCHEDULABLE, NO_SCHEDULE)) || (judged && is_driving(taint))
    };
    let mut taints: Vec<_> = known
        .iter()
        .filter(|taint| !ours(taint) || wanted.iter().any(|want| same(taint, *want)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| same(taint, (key, effect))) {
            let time_added = Some(Time(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    (taints != known).then_some(taints)
}

/// Whether a node should get a `NoExecute` taint that it has in no form.
pub(super) fn awaits_eviction(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    drives_out(node).is_some() && !taints.iter().any(is_driving)
}

fn drives_out(node: &Node) -> Option<&'static str> {
    match condition(node, "Ready")?.status.as_str() {
        "False" => Some(taint::NOT_READY),
        "Unknown" => Some(taint::UNREACHABLE),
        _ => None,
    }
}

fn is_driving(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && [taint::NOT_READY, taint::UNREACHABLE].contains(&taint.key.as_str())
}

/// Whether the node said last that it is ready.
pub(super) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests;
