//! How many pods to make, which to delete, and what to say about it.
//!
//! **Upstream**: `pkg/controller/replicaset/replica_set.go` (`manageReplicas`), `replica_set_utils.go`.

use super::rank;
use crate::workload::availability::is_available;
use crate::workload::pod_control::BURST;
use crate::workload::seconds;
use api::pod;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

pub(super) use k8s_openapi::api::apps::v1::ReplicaSetCondition as Condition;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// So many pods are to be made.
    pub(super) create: usize,
    /// These pods are to be deleted.
    pub(super) delete: Vec<Arc<Pod>>,
}

/// What went wrong while a plan was carried out.
pub(super) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Decides; `active` are the set's pods that neither ended nor are about to, `related` those of its whole workload.
pub(super) fn manage(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Plan {
    let wanted = usize::try_from(replicas(set)).unwrap_or(0);
    if active.len() <= wanted {
        return Plan { create: (wanted - active.len()).min(BURST), delete: Vec::new() };
    }
    let surplus = (active.len() - wanted).min(BURST);
    let mut pods = active.to_vec();
    if surplus < pods.len() {
        rank::sort(&mut pods, &related(), now);
    }
    pods.truncate(surplus);
    Plan { create: 0, delete: pods }
}

/// How many pods the set is to have.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// For how long a pod must be ready.
pub(super) fn min_ready_seconds(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

/// The status of a set with these pods.
pub(super) fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let template =
        set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let min_ready = min_ready_seconds(set);
    let labeled = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        template.into_iter().flatten().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    };
    let count = |matching: &dyn Fn(&Pod) -> bool| number(active.iter().filter(|pod| matching(pod)).count());
    let known = set.status.clone().unwrap_or_default();
    let mut conditions = known.conditions.unwrap_or_default();
    let failed = conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        Some(failure) if !failed => conditions.push(Condition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message),
            last_transition_time: Some(seconds(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: some(count(&labeled)),
        ready_replicas: some(count(&pod::is_ready)),
        available_replicas: some(count(&|pod| is_available(pod, min_ready, now))),
        terminating_replicas: Some(number(terminating)),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What is zero is left out, as upstream's encoder does.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::build::{self, at};

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 3},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}},
            },
        }))
        .unwrap()
    }

    fn pods(count: usize) -> Vec<Arc<Pod>> {
        let pod = |index| {
            let pod = build::pod(&format!("p{index}")).label("app", "web");
            Arc::new(
                if index == 0 { pod } else { pod.on("n").phase("Running").condition("Ready", "True") }.get(),
            )
        };
        (0..count).map(pod).collect()
    }

    #[test]
    fn makes_what_lacks_and_deletes_the_surplus() {
        for (wanted, there, create, delete) in [
            (3, 0, 3, 0),
            (3, 2, 1, 0),
            (3, 3, 0, 0),
            (3, 5, 0, 2),
            (0, 4, 0, 4),
            (900, 0, 500, 0),
            (0, 600, 0, 500),
        ] {
            let plan = manage(&set(wanted), &pods(there), Vec::new, at(0));
            assert_eq!((plan.create, plan.delete.len()), (create, delete), "{wanted} {there}");
        }
        let plan = manage(&set(2), &pods(3), Vec::new, at(0));
        assert_eq!(plan.delete[0].metadata.name.as_deref(), Some("p0"), "the one that does not run yet");
    }

    #[test]
    fn the_status_counts_and_tells_of_failures() {
        let mut set = set(3);
        let failure = || Failure { reason: "FailedCreate", message: "quota".to_owned() };
        let first = status(&set, &pods(3), 2, Some(failure()), at(0));
        assert_eq!(
            serde_json::to_value(&first).unwrap(),
            json!({
                "replicas": 3, "readyReplicas": 2, "availableReplicas": 2, "terminatingReplicas": 2,
                "observedGeneration": 3, "conditions": [{
                    "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            })
        );
        set.status = Some(first.clone());
        assert_eq!(status(&set, &pods(3), 2, Some(failure()), at(60)), first, "the first failure stays");
        assert_eq!(status(&set, &pods(3), 2, None, at(60)).conditions, None);
    }
}
