//! A pod that names its node goes nowhere else.

use crate::framework::{ClusterEvent, CycleState, NodeInfo, Plugin, PodInfo, Rejection};

const NAME: &str = "NodeName";

pub(crate) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let wanted = api::pod::node_name(&pod.pod);
        if wanted.is_empty() || wanted == node.name() {
            return Ok(());
        }
        Err(Rejection::new(NAME, "node(s) didn't match the requested node name"))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::NodeAdded
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_named_node_will_do() {
        for (spec, takes) in
            [(json!({}), true), (json!({"nodeName": "n"}), true), (json!({"nodeName": "m"}), false)]
        {
            let got = NodeName.filter(&CycleState::default(), &pod(spec), &node(json!({})));
            assert_eq!(got.is_ok(), takes);
        }
    }
}
