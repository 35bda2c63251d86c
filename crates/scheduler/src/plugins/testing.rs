//! Pods and nodes for plugins' tables.

use crate::framework::{NodeInfo, PodInfo};
use serde_json::Value;
use std::sync::Arc;

/// A pod with this spec.
pub(crate) fn pod(mut spec: Value) -> PodInfo {
    if spec.get("containers").is_none() {
        spec["containers"] = Value::Array(Vec::new());
    }
    let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p"}, "spec": spec});
    PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
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
