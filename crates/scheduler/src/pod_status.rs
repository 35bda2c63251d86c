//! What the scheduler writes into the status of pods: why they wait, where room is made for them, that they must go.
//!
//! **Upstream**: `handleSchedulingFailure` of `pkg/scheduler/schedule_one.go`, `prepareCandidate` of `preemption`.

use api::k8s_openapi::api::core::v1::Pod;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::pod::condition;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// Reads a pod's place in the API.
pub(crate) fn pods(client: kube::Client, pod: &Pod) -> (Api<Pod>, &str) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    (Api::namespaced(client, namespace), pod.metadata.name.as_deref().unwrap_or_default())
}

/// The change by which a pod says why it is not scheduled, and where room is kept for it if that is to change. None if
/// it says so already.
pub(crate) fn unscheduled(
    pod: &Pod,
    reason: &str,
    message: &str,
    nominated: Option<&str>,
    now: Timestamp,
) -> Option<Value> {
    let known = condition(pod, "PodScheduled");
    let told = known.is_some_and(|known| {
        known.status == "False"
            && known.reason.as_deref() == Some(reason)
            && known.message.as_deref() == Some(message)
    });
    let kept = pod.status.as_ref().and_then(|s| s.nominated_node_name.as_deref()).unwrap_or_default();
    let moved = nominated.filter(|node| *node != kept);
    if told && moved.is_none() {
        return None;
    }
    let mut status = json!({"conditions": [changed(pod, "PodScheduled", "False", reason, message, now)]});
    if let Some(node) = moved {
        status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { json!(node) };
    }
    Some(status)
}

/// The change by which a pod says that it has to make room.
pub(crate) fn disrupted(pod: &Pod, scheduler: &str, now: Timestamp) -> Value {
    let message = format!("{scheduler}: preempting to accommodate a higher priority pod");
    json!({"conditions": [changed(pod, "DisruptionTarget", "True", crate::preemption::REASON, &message, now)]})
}

fn changed(pod: &Pod, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let known = condition(pod, kind).filter(|known| known.status == status);
    let since = known.and_then(|known| known.last_transition_time.clone()).unwrap_or(Time(now));
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastProbeTime": null,
        "lastTransitionTime": since, "observedGeneration": pod.metadata.generation,
    })
}

/// Writes a change of a pod's status; other conditions than those in it stay.
pub(crate) async fn write(client: kube::Client, pod: &Pod, status: Value) -> Result<(), kube::Error> {
    let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let (pods, name) = pods(client, pod);
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_only_what_is_new() {
        let pod = |nominated: &str| -> Pod {
            serde_json::from_value(json!({"status": {"nominatedNodeName": nominated, "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .expect("a pod")
        };
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let change = |nominated: &str, message: &str, node: Option<&str>| {
            unscheduled(&pod(nominated), "Unschedulable", message, node, now)
        };
        assert_eq!(change("", "no", None), None);
        assert_eq!(change("n", "no", Some("n")), None);
        let told = change("", "other", None).expect("a change");
        assert_eq!(told["conditions"][0]["message"], "other");
        // It has been unscheduled since then.
        assert_eq!(told["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert!(told.get("nominatedNodeName").is_none());
        assert_eq!(change("", "no", Some("n")).expect("a change")["nominatedNodeName"], "n");
        assert_eq!(change("n", "no", Some("")).expect("a change")["nominatedNodeName"], Value::Null);
    }
}
