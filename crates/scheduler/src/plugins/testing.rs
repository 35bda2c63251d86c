//! Pods, nodes and whole clusters for plugins' tables.

use crate::framework::{NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, View};
use serde_json::{Value, json};
use std::sync::Arc;

/// A pod with this spec.
pub(crate) fn pod(spec: Value) -> Arc<PodInfo> {
    named("p", spec)
}

/// A pod with this name and spec.
pub(crate) fn named(name: &str, spec: Value) -> Arc<PodInfo> {
    full(json!({"metadata": {"name": name}, "spec": spec}))
}

/// A pod with these labels and this spec.
pub(crate) fn labelled(name: &str, labels: Value, spec: Value) -> Arc<PodInfo> {
    full(json!({"metadata": {"name": name, "labels": labels}, "spec": spec}))
}

/// A pod from its JSON; namespace `ns`, and its name for its identity, unless it says otherwise.
pub(crate) fn full(mut pod: Value) -> Arc<PodInfo> {
    if pod["spec"].get("containers").is_none() {
        pod["spec"]["containers"] = json!([]);
    }
    if pod["metadata"]["namespace"].is_null() {
        pod["metadata"]["namespace"] = json!("ns");
    }
    pod["metadata"]["uid"] = pod["metadata"]["name"].clone();
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a pod"))))
}

/// A node from its JSON; it is called `n` unless it says otherwise.
pub(crate) fn node(mut node: Value) -> NodeInfo {
    if node["metadata"]["name"].is_null() {
        node["metadata"]["name"] = Value::from("n");
    }
    let mut info = NodeInfo::default();
    info.set_node(Arc::new(serde_json::from_value(node).expect("a node")));
    info
}

/// A snapshot under construction.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) snapshot: Snapshot,
}

impl Cluster {
    /// Of these nodes.
    pub(crate) fn of(nodes: &[Value]) -> Self {
        let mut cluster = Self::default();
        for node in nodes {
            let node = self::node(node.clone()).node.expect("a node");
            cluster.snapshot.set_node(node);
        }
        cluster.snapshot.refresh();
        cluster
    }

    /// Nodes in zones: `[("a", "n1"), …]`, each with its name as host name.
    pub(crate) fn zoned(nodes: &[(&str, &str)]) -> Self {
        let node = |(zone, name): &(&str, &str)| {
            json!({"metadata": {"name": name, "labels": {"zone": zone, "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": zone}}})
        };
        Self::of(&nodes.iter().map(node).collect::<Vec<_>>())
    }

    /// With a pod on a node.
    pub(crate) fn with(mut self, node: &str, pod: Arc<PodInfo>) -> Self {
        self.snapshot.add_pod(&pod, node);
        self
    }

    /// What a plugin says about every node, by name: its reason, or nothing.
    pub(crate) fn filter(&self, plugin: &dyn Plugin, pod: &Arc<PodInfo>) -> Vec<(String, Option<String>)> {
        let state = match plugin.pre_filter(pod, &self.snapshot) {
            Ok(PreFilter::Skip) => return self.each(|_| None),
            Ok(PreFilter::Run(state) | PreFilter::Only(_, state)) => state,
            Err(rejection) => return self.each(|_| Some(text(&rejection))),
        };
        let view = View { pod, cluster: &self.snapshot, state: &*state };
        self.each(|node| plugin.filter(&view, node).err().as_ref().map(text))
    }

    /// The names of the nodes that a plugin lets through.
    pub(crate) fn passing(&self, plugin: &dyn Plugin, pod: &Arc<PodInfo>) -> Vec<String> {
        self.filter(plugin, pod).into_iter().filter(|(_, why)| why.is_none()).map(|(name, _)| name).collect()
    }

    /// A plugin's normalised scores, by name of the node; none if it does not score the pod.
    pub(crate) fn scores(&self, plugin: &dyn Plugin, pod: &Arc<PodInfo>) -> Option<Vec<(String, i64)>> {
        let nodes: Vec<&NodeInfo> = self.snapshot.nodes().collect();
        let state = plugin.pre_score(pod, &self.snapshot, &nodes)?;
        let view = View { pod, cluster: &self.snapshot, state: &*state };
        let mut scores: Vec<i64> = nodes.iter().map(|node| plugin.score(&view, node)).collect();
        plugin.normalize(&view, &nodes, &mut scores);
        let mut named: Vec<_> = nodes.iter().map(|n| n.name().to_owned()).zip(scores).collect();
        named.sort();
        Some(named)
    }

    fn each(&self, answer: impl Fn(&NodeInfo) -> Option<String>) -> Vec<(String, Option<String>)> {
        let mut all: Vec<_> =
            self.snapshot.nodes().map(|node| (node.name().to_owned(), answer(node))).collect();
        all.sort();
        all
    }
}

/// Why a single node does not take a pod; nothing if it does.
pub(crate) fn refusal(plugin: &dyn Plugin, pod: &Arc<PodInfo>, node: &NodeInfo) -> Option<Rejection> {
    let snapshot = Snapshot::default();
    match plugin.pre_filter(pod, &snapshot) {
        Ok(PreFilter::Skip) => None,
        Ok(PreFilter::Run(state) | PreFilter::Only(_, state)) => {
            plugin.filter(&View { pod, cluster: &snapshot, state: &*state }, node).err()
        }
        Err(rejection) => Some(rejection),
    }
}

fn text(rejection: &Rejection) -> String {
    rejection.reasons.join(", ")
}
