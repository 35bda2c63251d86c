//! A cordoned node takes nothing new, unless the pod tolerates that.

use super::taint_toleration::tolerates;
use crate::framework::{ClusterEvent, CycleState, NodeInfo, Plugin, PodInfo, Rejection};
use api::k8s_openapi::api::core::v1::Taint;

const NAME: &str = "NodeUnschedulable";
/// `TaintNodeUnschedulable`
const TAINT: &str = "node.kubernetes.io/unschedulable";

pub(crate) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let taint = Taint { key: TAINT.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        if !node.is_unschedulable() || tolerates(pod, &taint) {
            return Ok(());
        }
        Err(Rejection::new(NAME, "node(s) were unschedulable"))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodUpdated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cordoned_node_takes_who_tolerates_it() {
        let cordoned = node(json!({"spec": {"unschedulable": true}}));
        let tolerant = pod(json!({"tolerations": [{"key": TAINT, "operator": "Exists"}]}));
        let plugin = NodeUnschedulable;
        assert!(plugin.filter(&CycleState::default(), &pod(json!({})), &cordoned).is_err());
        assert!(plugin.filter(&CycleState::default(), &tolerant, &cordoned).is_ok());
        assert!(plugin.filter(&CycleState::default(), &pod(json!({})), &node(json!({}))).is_ok());
    }
}
