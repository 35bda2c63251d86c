//! Two pods cannot claim the same port of a node.

use crate::framework::{ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, View};

pub(super) const NAME: &str = "NodePorts";

pub(crate) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, _: &Snapshot) -> Result<PreFilter, Rejection> {
        Ok(if pod.host_ports.is_empty() { PreFilter::Skip } else { PreFilter::run() })
    }

    fn is_local(&self) -> bool {
        true
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let taken = |wanted| node.used_ports().any(|used| used.conflicts_with(wanted));
        if view.pod.host_ports.iter().any(taken) {
            return Err(Rejection::new(NAME, "node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::AssignedPodDeleted(other) => {
                other.host_ports.iter().any(|port| pod.host_ports.iter().any(|own| own.conflicts_with(port)))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{named, node, refusal};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_port_is_taken_by_address_and_protocol() {
        let with = |name: &str, port: serde_json::Value| {
            named(name, json!({"containers": [{"name": "c", "ports": [port]}]}))
        };
        let mut busy = node(json!({}));
        let holder = with(
            "holder",
            json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1", "protocol": "TCP"}),
        );
        busy.add_pod(holder.clone());
        for (port, takes) in [
            (json!({"containerPort": 80, "hostPort": 80}), false),
            (json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.2"}), true),
            (json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}), true),
            (json!({"containerPort": 80, "hostPort": 81}), true),
            (json!({"containerPort": 80}), true),
        ] {
            let pod = with("p", port.clone());
            assert_eq!(refusal(&NodePorts, &pod, &busy).is_none(), takes, "{port}");
            let gone = ClusterEvent::AssignedPodDeleted(holder.clone());
            assert_eq!(NodePorts.may_help(&pod, &gone), !takes, "{port}");
        }
    }
}
