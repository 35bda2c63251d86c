//! A pod that names its node goes nowhere else.

use crate::framework::{ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, View};

pub(super) const NAME: &str = "NodeName";

pub(crate) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, _: &Snapshot) -> Result<PreFilter, Rejection> {
        let named = !pod.node().is_empty();
        Ok(if named { PreFilter::run() } else { PreFilter::Skip })
    }

    fn sees_pods(&self) -> bool {
        false
    }

    fn is_local(&self) -> bool {
        true
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        if view.pod.node() == node.name() {
            return Ok(());
        }
        Err(Rejection::unresolvable(NAME, "node(s) didn't match the requested node name"))
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        let wanted = pod.node();
        matches!(event, ClusterEvent::NodeAdded(node) if node.metadata.name.as_deref() == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod, refusal};
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_named_node_will_do() {
        for (spec, takes) in
            [(json!({}), true), (json!({"nodeName": "n"}), true), (json!({"nodeName": "m"}), false)]
        {
            assert_eq!(refusal(&NodeName, &pod(spec), &node(json!({}))).is_none(), takes);
        }
    }
}
