//! Which pods nobody will end or keep.
//!
//! **Upstream**: `pkg/controller/podgc/gc_controller.go`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a node must be missing before its pods go (`quarantineTime`).
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);

/// Nodes that pods name and that do not exist, since when.
pub(super) type Quarantine = BTreeMap<String, Timestamp>;

/// Why a pod may be collected by itself, whatever its node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has ended: it goes when there are too many of those.
    Finished,
    /// It was deleted before it had a node: no kubelet will end it.
    Unscheduled,
}

impl End {
    /// The value in an index.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Unscheduled => "unscheduled",
        }
    }
}

/// What a pod has come to.
pub(super) fn ends_of(pod: &Pod) -> impl Iterator<Item = End> {
    let finished = api::pod::is_terminal(pod).then_some(End::Finished);
    let lost = api::pod::is_terminating(pod) && api::pod::node_name(pod).is_empty();
    finished.into_iter().chain(lost.then_some(End::Unscheduled))
}

/// How many finished pods are over the threshold; 0 as a threshold keeps all.
pub(super) fn excess(finished: usize, threshold: usize) -> usize {
    if threshold == 0 { 0 } else { finished.saturating_sub(threshold) }
}

/// So many of the finished pods: evicted ones, then the oldest.
pub(super) fn first_to_go(mut finished: Vec<Arc<Pod>>, count: usize) -> Vec<Arc<Pod>> {
    let age = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    finished.sort_by_key(|pod| (!is_evicted(pod), age(pod), pod.metadata.name.clone()));
    finished.truncate(count);
    finished
}

fn is_evicted(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

/// Keeps the quarantine up to date; the nodes that are over it, to be looked up before anything is deleted.
pub(super) fn out_of_quarantine(
    missing: impl Iterator<Item = String>,
    quarantine: &mut Quarantine,
    now: Timestamp,
) -> Vec<String> {
    let since = |node: &String| quarantine.get(node).copied().unwrap_or(now);
    *quarantine = missing.map(|node| (since(&node), node)).map(|(since, node)| (node, since)).collect();
    let over = quarantine.iter().filter(|(_, since)| now.duration_since(**since) >= QUARANTINE);
    over.map(|(node, _)| node.clone()).collect()
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
        let pods = [
            pod("young", "Succeeded", 10),
            pod("old", "Failed", 30),
            pod("running", "Running", 99),
            pod("middle", "Succeeded", 20),
            evicted,
        ]
        .map(|pod| Arc::new(pod.get()));
        let finished: Vec<_> =
            pods.into_iter().filter(|pod| ends_of(pod).any(|end| end == End::Finished)).collect();
        for (threshold, wanted) in [
            (0, vec![]),
            (4, vec![]),
            (3, vec!["evicted"]),
            (2, vec!["evicted", "old"]),
            (1, vec!["evicted", "old", "middle"]),
        ] {
            let excess = excess(finished.len(), threshold);
            assert_eq!(names(&first_to_go(finished.clone(), excess)), wanted, "threshold {threshold}");
        }
    }

    #[test]
    fn pods_are_found_by_what_they_have_come_to() {
        for (pod, wanted) in [
            (build::pod("waiting"), vec![]),
            (build::pod("lost").deleted(at(0)), vec![End::Unscheduled]),
            (build::pod("kubelet's").on("n").deleted(at(0)), vec![]),
            (build::pod("done").on("n").phase("Succeeded"), vec![End::Finished]),
            (build::pod("both").phase("Failed").deleted(at(0)), vec![End::Finished, End::Unscheduled]),
        ] {
            let pod = pod.get();
            assert_eq!(ends_of(&pod).collect::<Vec<_>>(), wanted, "{:?}", pod.metadata.name);
        }
    }

    #[test]
    fn pods_of_a_node_go_forty_seconds_after_it() {
        let mut quarantine = Quarantine::new();
        let mut over = |missing: &[&str], second| {
            let missing = missing.iter().map(|node| (*node).to_owned());
            out_of_quarantine(missing, &mut quarantine, at(second))
        };
        assert!(over(&["gone"], 0).is_empty());
        assert!(over(&["gone", "later"], 39).is_empty());
        assert_eq!(over(&["gone", "later"], 40), ["gone"]);
        // A node that comes back starts over.
        assert!(over(&["later"], 41).is_empty());
        assert!(over(&["gone"], 60).is_empty());
    }
}
