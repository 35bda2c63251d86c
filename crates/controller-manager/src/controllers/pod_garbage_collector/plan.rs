//! Which pods nobody will end or keep.
//!
//! **Upstream**: `pkg/controller/podgc/gc_controller.go`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a node must be missing before its pods go (`quarantineTime`).
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);

/// Nodes that pods name and that do not exist, since when.
pub(super) type Quarantine = BTreeMap<String, Timestamp>;

/// The oldest finished pods over the threshold; evicted ones go first. 0 keeps all.
pub(super) fn terminated(pods: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    let mut finished: Vec<_> = pods.iter().filter(|pod| api::pod::is_terminal(pod)).cloned().collect();
    let excess = finished.len().saturating_sub(threshold);
    if threshold == 0 || excess == 0 {
        return Vec::new();
    }
    let age = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    finished.sort_by_key(|pod| (!is_evicted(pod), age(pod), pod.metadata.name.clone()));
    finished.truncate(excess);
    finished
}

fn is_evicted(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

/// Pods that were deleted before they had a node: no kubelet will end them.
pub(super) fn unscheduled_terminating(pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let lost = |pod: &&Arc<Pod>| api::pod::is_terminating(pod) && api::pod::node_name(pod).is_empty();
    pods.iter().filter(lost).cloned().collect()
}

/// Keeps the quarantine up to date; the nodes that are over it, to be looked up before anything is deleted.
pub(super) fn missing_nodes(
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    quarantine: &mut Quarantine,
    now: Timestamp,
) -> Vec<String> {
    let known: BTreeSet<&str> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    let named = pods.iter().map(|pod| api::pod::node_name(pod));
    let missing: BTreeSet<&str> = named.filter(|node| !node.is_empty() && !known.contains(node)).collect();
    quarantine.retain(|node, _| missing.contains(node.as_str()));
    for node in missing {
        quarantine.entry(node.to_owned()).or_insert(now);
    }
    let over = quarantine.iter().filter(|(_, since)| now.duration_since(**since) >= QUARANTINE);
    over.map(|(node, _)| node.clone()).collect()
}

/// The pods of a node.
pub(super) fn on_node(pods: &[Arc<Pod>], node: &str) -> Vec<Arc<Pod>> {
    pods.iter().filter(|pod| api::pod::node_name(pod) == node).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::build::{self, at};

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
    }

    #[test]
    fn the_oldest_finished_pods_over_the_threshold_go() {
        let pod = |name: &str, phase: &str, age: i64| build::pod(name).phase(phase).created(at(-age));
        let evicted = pod("evicted", "Failed", 1)
            .with(|pod| pod.status.as_mut().unwrap().reason = Some("Evicted".to_owned()));
        let pods: Vec<_> = [
            pod("young", "Succeeded", 10),
            pod("old", "Failed", 30),
            pod("running", "Running", 99),
            pod("middle", "Succeeded", 20),
            evicted,
        ]
        .map(|pod| Arc::new(pod.get()))
        .into();
        for (threshold, wanted) in [
            (0, vec![]),
            (4, vec![]),
            (3, vec!["evicted"]),
            (2, vec!["evicted", "old"]),
            (1, vec!["evicted", "old", "middle"]),
        ] {
            assert_eq!(names(&terminated(&pods, threshold)), wanted, "threshold {threshold}");
        }
    }

    #[test]
    fn a_deleted_pod_without_a_node_goes() {
        let pods = [
            build::pod("waiting"),
            build::pod("lost").deleted(at(0)),
            build::pod("kubelet's").on("n").deleted(at(0)),
        ]
        .map(|pod| Arc::new(pod.get()));
        assert_eq!(names(&unscheduled_terminating(&pods)), ["lost"]);
    }

    #[test]
    fn pods_of_a_node_go_forty_seconds_after_it() {
        let pods = [build::pod("a").on("there"), build::pod("b").on("gone"), build::pod("c")]
            .map(|pod| Arc::new(pod.get()));
        let nodes = [Arc::new(build::node("there").get())];
        let mut quarantine = Quarantine::new();
        assert!(missing_nodes(&pods, &nodes, &mut quarantine, at(0)).is_empty());
        assert!(missing_nodes(&pods, &nodes, &mut quarantine, at(39)).is_empty());
        assert_eq!(missing_nodes(&pods, &nodes, &mut quarantine, at(40)), ["gone"]);
        assert_eq!(names(&on_node(&pods, "gone")), ["b"]);
        // A node that comes back starts over.
        let back = [nodes[0].clone(), Arc::new(build::node("gone").get())];
        assert!(missing_nodes(&pods, &back, &mut quarantine, at(41)).is_empty());
        assert!(missing_nodes(&pods, &nodes, &mut quarantine, at(60)).is_empty());
    }
}
