//! Which pods go first when there are too many.
//!
//! **Upstream**: `controller.ActivePodsWithRanks`.

use crate::workload::availability::ready_since;
use api::pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// The annotation by which users say what a pod's end costs.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts pods so that those to be deleted first come first; `related` are pods of the same workload, which count when
/// it is asked where many sit together.
pub(super) fn sort(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *on_node.entry(pod::node_name(pod)).or_default() += 1;
    }
    let crowd = |pod: &Pod| on_node.get(pod::node_name(pod)).copied().unwrap_or(0);
    pods.sort_by(|a, b| compare(a, b, &crowd, now));
}

/// `Less` if `a` is to go before `b`.
fn compare(a: &Pod, b: &Pod, crowd: &impl Fn(&Pod) -> usize, now: Timestamp) -> Ordering {
    let by = |measure: fn(&Pod) -> i64| measure(a).cmp(&measure(b));
    by(|pod| i64::from(!pod::node_name(pod).is_empty()))
        .then_with(|| by(progress))
        .then_with(|| by(|pod| i64::from(pod::is_ready(pod))))
        .then_with(|| by(deletion_cost))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| match (ready_since(a), ready_since(b)) {
            (Some(a_since), Some(b_since)) => younger(a, b, Some(a_since), Some(b_since), now),
            _ => Ordering::Equal,
        })
        .then_with(|| by(|pod| -i64::from(most_restarts(pod))))
        .then_with(|| younger(a, b, created(a), created(b), now))
}

fn progress(pod: &Pod) -> i64 {
    match pod::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i64 {
    let cost = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse::<i32>().ok()).map_or(0, i64::from)
}

fn most_restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The younger goes first, by orders of magnitude of age; within one, chance (the identity) decides.
fn younger(
    a: &Pod,
    b: &Pod,
    a_time: Option<Timestamp>,
    b_time: Option<Timestamp>,
    now: Timestamp,
) -> Ordering {
    let (Some(a_time), Some(b_time)) = (a_time, b_time) else {
        return a_time.is_some().cmp(&b_time.is_some());
    };
    if a_time == b_time {
        return Ordering::Equal;
    }
    magnitude(now.duration_since(a_time).as_nanos())
        .cmp(&magnitude(now.duration_since(b_time).as_nanos()))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// The logarithm to base two, -1 of nothing.
fn magnitude(nanoseconds: i128) -> i64 {
    u128::try_from(nanoseconds).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use testkit::build::{self, Builder, at};

    fn running(name: &str) -> Builder<Pod> {
        build::pod(name).uid(name).on("n1").phase("Running").condition("Ready", "True").with(|pod| {
            pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_transition_time =
                Some(Time(at(0)));
        })
    }

    #[test]
    fn the_least_useful_go_first() {
        let ready_at = |name: &str, seconds| {
            running(name).with(|pod| {
                pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_transition_time =
                    Some(Time(at(seconds)));
            })
        };
        let restarted = |name: &str, times: i32| {
            running(name).with(|pod| {
                let status = serde_json::json!([{"name": "main", "restartCount": times, "image": "", "imageID": "", "ready": true}]);
                pod.status.as_mut().unwrap().container_statuses = Some(serde_json::from_value(status).unwrap());
            })
        };
        let pairs = [
            ("unassigned before assigned", build::pod("a"), build::pod("b").on("n1")),
            ("pending before unknown", build::pod("a").on("n1"), build::pod("b").on("n1").phase("Unknown")),
            ("unknown before running", build::pod("a").on("n1").phase("Unknown"), running("b")),
            ("unready before ready", build::pod("a").on("n1").phase("Running"), running("b")),
            ("cheap before dear", running("a").annotation(DELETION_COST, "-5"), running("b")),
            ("crowded before lonely", running("a"), running("b").on("n2")),
            ("newly ready before long ready", ready_at("a", 990), ready_at("b", 0)),
            ("restarted before steady", restarted("a", 3), restarted("b", 1)),
            ("new before old", running("a").created(at(999)), running("b").created(at(0))),
        ];
        let related = [Arc::new(running("x").get()), Arc::new(running("y").get())];
        for (name, first, second) in pairs {
            let (first, second) = (Arc::new(first.get()), Arc::new(second.get()));
            for mut pods in [[first.clone(), second.clone()], [second.clone(), first.clone()]] {
                sort(&mut pods, &related, at(1000));
                assert_eq!(pods[0].metadata.name, first.metadata.name, "{name}");
            }
        }
    }
}
