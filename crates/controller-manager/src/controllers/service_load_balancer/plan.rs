//! What the status of a Service of type LoadBalancer should be.

use crate::controllers::endpoint_slice::plan::{families, family};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Node, Service};
use std::sync::Arc;

/// A class means that somebody else provides the load balancer. **Upstream**: `spec.loadBalancerClass`.
fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let type_ = spec.and_then(|spec| spec.type_.as_deref());
    type_ == Some("LoadBalancer") && spec.is_none_or(|spec| spec.load_balancer_class.is_none())
}

/// The addresses at which a Service should be reachable, if they are not what its status says.
pub(super) fn wanted(service: &Service, nodes: &[Arc<Node>]) -> Option<LoadBalancerStatus> {
    let present = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let present = present.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    let class = service.spec.as_ref().is_some_and(|spec| spec.load_balancer_class.is_some());
    let ingress = match (is_ours(service) && service.metadata.deletion_timestamp.is_none(), class) {
        (true, _) => addresses(service, nodes)?,
        // Of somebody else, who keeps its status.
        (false, true) => return None,
        (false, false) => Vec::new(),
    };
    (present != ingress).then(|| LoadBalancerStatus { ingress: (!ingress.is_empty()).then_some(ingress) })
}

/// The first node's of each of the Service's families: all of them are on one machine. None while there is no node.
fn addresses(service: &Service, nodes: &[Arc<Node>]) -> Option<Vec<LoadBalancerIngress>> {
    let addresses = nodes.iter().filter_map(|node| node.status.as_ref()?.addresses.as_ref()).flatten();
    let internal: Vec<&String> =
        addresses.filter(|address| address.type_ == "InternalIP").map(|address| &address.address).collect();
    let of = |wanted| internal.iter().filter(|address| family(address) == Some(wanted)).min();
    let ingress = families(service).into_iter().filter_map(of).map(|ip| LoadBalancerIngress {
        ip: Some((*ip).clone()),
        ip_mode: Some("VIP".to_owned()),
        ..LoadBalancerIngress::default()
    });
    Some(ingress.collect()).filter(|all: &Vec<_>| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value, ip: Option<&str>) -> Service {
        let ingress: Vec<Value> = ip.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        let status = json!({"loadBalancer": {"ingress": ingress}});
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec, "status": status})).unwrap()
    }

    #[test]
    fn load_balancers_have_the_nodes_address() {
        let node = json!({"status": {"addresses": [
            {"type": "InternalIP", "address": "192.0.2.2"}, {"type": "InternalIP", "address": "2001:db8::2"},
            {"type": "Hostname", "address": "n"}]}});
        let nodes = [Arc::new(serde_json::from_value(node).unwrap())];
        let (balancer, other) = (
            json!({"type": "LoadBalancer"}),
            json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}),
        );
        for (what, service, nodes, expected) in [
            ("new", service(balancer.clone(), None), &nodes[..], Some(Some("192.0.2.2"))),
            ("done", service(balancer.clone(), Some("192.0.2.2")), &nodes[..], None),
            ("moved", service(balancer.clone(), Some("192.0.2.9")), &nodes[..], Some(Some("192.0.2.2"))),
            ("no node yet", service(balancer, None), &[][..], None),
            ("of a class", service(other, Some("192.0.2.9")), &nodes[..], None),
            ("no more one", service(json!({"type": "ClusterIP"}), Some("192.0.2.2")), &nodes[..], Some(None)),
            ("never one", service(json!({"type": "ClusterIP"}), None), &nodes[..], None),
        ] {
            let wanted = wanted(&service, nodes);
            let ips = wanted.map(|status| status.ingress.and_then(|ingress| ingress[0].ip.clone()));
            assert_eq!(ips, expected.map(|ip| ip.map(str::to_owned)), "{what}");
        }
        let both = service(json!({"type": "LoadBalancer", "ipFamilies": ["IPv6", "IPv4"]}), None);
        let ingress = wanted(&both, &nodes).and_then(|status| status.ingress).unwrap();
        let ips: Vec<_> = ingress.into_iter().filter_map(|ingress| ingress.ip).collect();
        assert_eq!(ips, ["2001:db8::2", "192.0.2.2"]);
    }
}
