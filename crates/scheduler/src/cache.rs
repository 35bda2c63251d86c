//! What the scheduler knows of nodes and pods, assumptions of its own included.
//!
//! **Contract**: pure. An assumed pod counts on its node from the decision on; it is confirmed by the watch, or
//! forgotten when its binding failed.
//! **Upstream**: `pkg/scheduler/backend/cache`.

use crate::framework::{ClusterEvent, PodInfo, Snapshot};
use api::k8s_openapi::api::core::v1::Node;
use std::collections::HashMap;
use std::sync::Arc;

/// The snapshot, and where each pod is.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) snapshot: Snapshot,
    /// Every pod that counts, by its UID.
    placed: HashMap<String, Placed>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    /// Decided, and not yet shown by the API.
    assumed: bool,
}

impl Cache {
    /// A node is new or changed; says what may help pods that wait.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) -> ClusterEvent {
        match self.snapshot.set_node(node.clone()) {
            None => ClusterEvent::NodeAdded(node),
            Some(old) => ClusterEvent::NodeUpdated { old, new: node },
        }
    }

    /// A node is gone; its pods count until they are gone too.
    pub(crate) fn remove_node(&mut self, name: &str) -> Option<ClusterEvent> {
        self.snapshot.remove_node(name).map(ClusterEvent::NodeDeleted)
    }

    /// A pod with a node is new or changed; says what may help pods that wait.
    pub(crate) fn set_pod(&mut self, pod: Arc<PodInfo>) -> Option<ClusterEvent> {
        if pod.is_terminal() {
            return self.remove_pod(pod.uid());
        }
        let node = pod.node().to_owned();
        let known = self.placed.get(pod.uid()).map(|placed| placed.assumed);
        let old = known.and_then(|_| self.take_off(pod.uid()));
        self.snapshot.add_pod(&pod, &node);
        self.placed.insert(pod.uid().to_owned(), Placed { node, assumed: false });
        Some(match (old, known) {
            (Some(old), Some(false)) => ClusterEvent::AssignedPodUpdated { old, new: pod },
            _ => ClusterEvent::AssignedPodAdded(pod),
        })
    }

    /// A pod is gone, or its assumption failed; says what may help pods that wait.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> Option<ClusterEvent> {
        self.take_off(uid).map(ClusterEvent::AssignedPodDeleted)
    }

    /// Counts a pod on a node before its binding is known.
    pub(crate) fn assume(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.snapshot.add_pod(pod, node);
        let placed = Placed { node: node.to_owned(), assumed: true };
        self.placed.insert(pod.uid().to_owned(), placed);
    }

    /// Whether a pod counts on some node.
    pub(crate) fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn take_off(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let placed = self.placed.remove(uid)?;
        self.snapshot.remove_pod(uid, &placed.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(zone: &str, name: &str) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"allocatable": {"cpu": "4"}}
            }))
            .expect("a node"),
        )
    }

    fn pod(uid: &str, node: &str, phase: &str) -> Arc<PodInfo> {
        let pod = json!({
            "metadata": {"name": uid, "namespace": "ns", "uid": uid}, "status": {"phase": phase},
            "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}
        });
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a pod"))))
    }

    fn requested(cache: &Cache) -> i64 {
        cache.snapshot.node("n").expect("the node").requested.milli_cpu
    }

    #[test]
    fn an_assumed_pod_counts_once_when_it_is_confirmed() {
        let mut cache = Cache::default();
        cache.set_node(node("a", "n"));
        cache.assume(&pod("a", "", "Pending"), "n");
        assert_eq!(requested(&cache), 1000);
        assert!(matches!(cache.set_pod(pod("a", "n", "Running")), Some(ClusterEvent::AssignedPodAdded(_))));
        assert_eq!(requested(&cache), 1000);
        assert!(matches!(
            cache.set_pod(pod("a", "n", "Running")),
            Some(ClusterEvent::AssignedPodUpdated { .. })
        ));
        assert!(matches!(
            cache.set_pod(pod("a", "n", "Succeeded")),
            Some(ClusterEvent::AssignedPodDeleted(_))
        ));
        assert_eq!(requested(&cache), 0);
        assert_eq!(cache.snapshot.classes().count(), 0);
    }

    #[test]
    fn a_forgotten_pod_counts_no_more() {
        let mut cache = Cache::default();
        cache.set_node(node("a", "n"));
        cache.assume(&pod("a", "", "Pending"), "n");
        assert!(cache.remove_pod("a").is_some());
        assert_eq!((requested(&cache), cache.is_placed("a")), (0, false));
    }

    #[test]
    fn nodes_come_zone_by_zone_in_turn_and_slots_are_used_again() {
        let mut cache = Cache::default();
        for (zone, name) in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")] {
            assert!(matches!(cache.set_node(node(zone, name)), ClusterEvent::NodeAdded(_)));
        }
        let order = |cache: &mut Cache| -> Vec<String> {
            cache.snapshot.refresh();
            cache.snapshot.nodes().map(|node| node.name().to_owned()).collect()
        };
        assert_eq!(order(&mut cache), ["a1", "b1", "a2", "a3"]);
        cache.remove_node("a1");
        assert_eq!(order(&mut cache), ["a2", "b1", "a3"]);
        cache.set_node(node("b", "b2"));
        assert_eq!(cache.snapshot.slots(), 4);
        assert_eq!(cache.snapshot.topology("topology.kubernetes.io/zone").size, 2);
        // A pod on a node that is gone keeps the slot until it is gone too.
        cache.set_pod(pod("p", "a2", "Running"));
        cache.remove_node("a2");
        assert_eq!(order(&mut cache).len(), 3);
        cache.set_node(node("a", "a2"));
        assert_eq!(cache.snapshot.node("a2").expect("it is back").pods().len(), 1);
    }
}
