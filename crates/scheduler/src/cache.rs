//! What the scheduler knows of nodes and pods, assumptions of its own included.
//!
//! **Contract**: pure. An assumed pod counts on its node from the decision on; it is confirmed by the watch, or
//! forgotten when its binding failed.
//! **Upstream**: `pkg/scheduler/backend/cache`.

use crate::framework::{ClusterEvent, NodeInfo, PodInfo};
use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::pod::{is_terminal, node_name};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Nodes by name, and where each pod is.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    /// Node of every pod that counts, by pod UID.
    placed: HashMap<String, String>,
}

impl Cache {
    /// All nodes that exist.
    pub(crate) fn nodes(&self) -> Vec<&NodeInfo> {
        self.nodes.values().filter(|n| n.node.is_some()).collect()
    }

    /// A node is new or changed; says what may help pods that wait.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) -> Vec<ClusterEvent> {
        let info = self.nodes.entry(node.metadata.name.clone().unwrap_or_default()).or_default();
        let events = match &info.node {
            None => vec![ClusterEvent::NodeAdded],
            Some(old) => node_events(old, &node),
        };
        info.set_node(node);
        events
    }

    /// A node is gone; its pods count until they are gone too.
    pub(crate) fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.node = None;
            if info.pods().next().is_none() {
                self.nodes.remove(name);
            }
        }
    }

    /// A pod with a node is new or changed. Says whether room became free.
    pub(crate) fn set_pod(&mut self, pod: &Arc<Pod>) -> bool {
        if is_terminal(pod) {
            return self.remove_pod(pod.metadata.uid.as_deref().unwrap_or_default());
        }
        let info = PodInfo::new(pod.clone());
        let (uid, node) = (info.uid().to_owned(), node_name(pod).to_owned());
        let moved = self.placed.get(&uid).filter(|at| **at != node).cloned();
        if let Some(at) = &moved {
            self.take_off(&uid, at);
        }
        self.nodes.entry(node.clone()).or_default().add_pod(info);
        self.placed.insert(uid, node);
        moved.is_some()
    }

    /// A pod is gone, or its assumption failed. Says whether it counted.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(node) = self.placed.remove(uid) else { return false };
        self.take_off(uid, &node);
        true
    }

    /// Counts a pod on a node before its binding is known.
    pub(crate) fn assume(&mut self, pod: PodInfo, node: &str) {
        self.placed.insert(pod.uid().to_owned(), node.to_owned());
        self.nodes.entry(node.to_owned()).or_default().add_pod(pod);
    }

    /// Whether a pod counts on some node.
    pub(crate) fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn take_off(&mut self, uid: &str, node: &str) {
        if let Some(info) = self.nodes.get_mut(node) {
            info.remove_pod(uid);
            if info.node.is_none() && info.pods().next().is_none() {
                self.nodes.remove(node);
            }
        }
    }
}

fn node_events(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let mut events = Vec::new();
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    let barriers = |n: &Node| n.spec.as_ref().map(|s| (s.taints.clone(), s.unschedulable));
    if allocatable(old) != allocatable(new) {
        events.push(ClusterEvent::NodeAllocatable);
    }
    if old.metadata.labels != new.metadata.labels {
        events.push(ClusterEvent::NodeLabels);
    }
    if barriers(old) != barriers(new) {
        events.push(ClusterEvent::NodeTaints);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(cpu: &str, unschedulable: bool) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": "n"}, "spec": {"unschedulable": unschedulable},
                "status": {"allocatable": {"cpu": cpu}}
            }))
            .expect("a node"),
        )
    }

    fn pod(uid: &str, node: &str, phase: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": uid, "namespace": "ns", "uid": uid}, "status": {"phase": phase},
                "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}
            }))
            .expect("a pod"),
        )
    }

    fn requested(cache: &Cache) -> i64 {
        cache.nodes()[0].requested.milli_cpu
    }

    #[test]
    fn an_assumed_pod_counts_once_when_it_is_confirmed() {
        let mut cache = Cache::default();
        cache.set_node(node("4", false));
        cache.assume(PodInfo::new(pod("a", "", "Pending")), "n");
        assert_eq!(requested(&cache), 1000);
        cache.set_pod(&pod("a", "n", "Running"));
        assert_eq!(requested(&cache), 1000);
        assert!(cache.set_pod(&pod("a", "n", "Succeeded")));
        assert_eq!(requested(&cache), 0);
    }

    #[test]
    fn a_forgotten_pod_counts_no_more() {
        let mut cache = Cache::default();
        cache.set_node(node("4", false));
        cache.assume(PodInfo::new(pod("a", "", "Pending")), "n");
        assert!(cache.remove_pod("a"));
        assert_eq!((requested(&cache), cache.is_placed("a")), (0, false));
    }

    #[test]
    fn tells_what_changed_about_a_node() {
        let mut cache = Cache::default();
        assert_eq!(cache.set_node(node("4", false)), [ClusterEvent::NodeAdded]);
        assert_eq!(cache.set_node(node("4", false)), []);
        assert_eq!(
            cache.set_node(node("5", true)),
            [ClusterEvent::NodeAllocatable, ClusterEvent::NodeTaints]
        );
        cache.remove_node("n");
        assert!(cache.nodes().is_empty());
    }
}
