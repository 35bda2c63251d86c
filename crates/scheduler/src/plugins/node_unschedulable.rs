//! A cordoned node takes nothing new, unless the pod tolerates that.

use crate::framework::{ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, View};
use api::k8s_openapi::api::core::v1::Taint;
use api::scheduling::tolerates;

pub(super) const NAME: &str = "NodeUnschedulable";
/// `TaintNodeUnschedulable`
const TAINT: &str = "node.kubernetes.io/unschedulable";

pub(crate) struct NodeUnschedulable;

fn tolerated(pod: &PodInfo) -> bool {
    let taint = Taint { key: TAINT.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    pod.tolerations().iter().any(|toleration| tolerates(toleration, &taint))
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, _: &Snapshot) -> Result<PreFilter, Rejection> {
        Ok(if tolerated(pod) { PreFilter::Skip } else { PreFilter::run() })
    }

    fn sees_pods(&self) -> bool {
        false
    }

    fn is_local(&self) -> bool {
        true
    }

    fn filter(&self, _: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        if !node.is_unschedulable {
            return Ok(());
        }
        Err(Rejection::unresolvable(NAME, "node(s) were unschedulable"))
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        let open = |node: &api::k8s_openapi::api::core::v1::Node| {
            !node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
        };
        match event {
            ClusterEvent::PodUpdated(_) => tolerated(pod),
            event => event.node_taints().is_some_and(|node| open(node) || tolerated(pod)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod, refusal};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cordoned_node_takes_who_tolerates_it() {
        let cordoned = node(json!({"spec": {"unschedulable": true}}));
        let tolerant = pod(json!({"tolerations": [{"key": TAINT, "operator": "Exists"}]}));
        assert!(refusal(&NodeUnschedulable, &pod(json!({})), &cordoned).is_some());
        assert!(refusal(&NodeUnschedulable, &tolerant, &cordoned).is_none());
        assert!(refusal(&NodeUnschedulable, &pod(json!({})), &node(json!({}))).is_none());
    }
}
