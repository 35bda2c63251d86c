//! Two pods cannot claim the same port of a node.

use crate::framework::{ClusterEvent, CycleState, NodeInfo, Plugin, PodInfo, Rejection};

const NAME: &str = "NodePorts";

pub(crate) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let taken = |wanted| node.used_ports().any(|used| used.conflicts_with(wanted));
        if pod.host_ports.iter().any(taken) {
            return Err(Rejection::new(NAME, "node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::AssignedPodGone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_port_is_taken_by_address_and_protocol() {
        let with = |port: serde_json::Value| pod(json!({"containers": [{"name": "c", "ports": [port]}]}));
        let mut busy = node(json!({}));
        busy.add_pod(with(
            json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1", "protocol": "TCP"}),
        ));
        for (port, takes) in [
            (json!({"containerPort": 80, "hostPort": 80}), false),
            (json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.2"}), true),
            (json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}), true),
            (json!({"containerPort": 80, "hostPort": 81}), true),
            (json!({"containerPort": 80}), true),
        ] {
            let got = NodePorts.filter(&CycleState::default(), &with(port.clone()), &busy);
            assert_eq!(got.is_ok(), takes, "{port}");
        }
    }
}
