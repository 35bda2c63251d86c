//! A Service's pods in the older form: ready and unready addresses by ports.
//!
//! **Upstream**: `pkg/controller/endpoint/endpoints_controller.go`, `pkg/api/v1/endpoints` (`RepackSubsets`).

use crate::controllers::endpoint_slice::plan::{
    HEADLESS, address, families, hostname, is_headless, port, selects, target,
};
use api::pod;
use api::well_known::annotation;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Says who keeps Endpoints.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// Addresses of one Endpoints object (`maxCapacity`).
const MOST: usize = 1000;

/// Name, number, protocol and application protocol of each.
type Ports = Vec<(String, i32, String, Option<String>)>;
/// Ready ones and others.
type Addresses = (Vec<EndpointAddress>, Vec<EndpointAddress>);

/// The Endpoints of a Service, as they should be; whatever else `known` has stays.
pub(super) fn wanted(service: &Service, pods: &[Arc<Pod>], known: Option<&Endpoints>) -> Endpoints {
    let mut subsets = subsets(service, pods);
    let truncated = truncate(&mut subsets);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let mut metadata = known.map(|known| known.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    });
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    if truncated {
        annotations.insert(annotation::ENDPOINTS_OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(annotation::ENDPOINTS_OVER_CAPACITY);
    }
    metadata.annotations = metadata.annotations.filter(|annotations| !annotations.is_empty());
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let spec = service.spec.clone().unwrap_or_default();
    let always = spec.publish_not_ready_addresses == Some(true);
    let address_type = families(service)[0];
    let mut by_ports: BTreeMap<Ports, Addresses> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| selects(service, pod) && !pod::is_terminal(pod)) {
        let Some(ip) = address(pod, address_type).filter(|_| always || !pod::is_terminating(pod)) else {
            continue;
        };
        let service_ports = spec.ports.as_deref().unwrap_or_default();
        let mut ports: Vec<_> = service_ports
            .iter()
            .filter_map(|service_port| {
                Some((
                    service_port.name.clone().unwrap_or_default(),
                    port(pod, service_port)?,
                    service_port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                    service_port.app_protocol.clone(),
                ))
            })
            .collect();
        if ports.is_empty() && !(service_ports.is_empty() && is_headless(service)) {
            continue;
        }
        ports.sort();
        let node = Some(pod::node_name(pod)).filter(|node| !node.is_empty());
        let address = EndpointAddress {
            ip: ip.to_owned(),
            node_name: node.map(str::to_owned),
            target_ref: Some(target(pod)),
            hostname: hostname(service, pod),
        };
        let (ready, unready) = by_ports.entry(ports).or_default();
        if always || pod::is_ready(pod) { ready.push(address) } else { unready.push(address) }
    }
    by_ports.into_iter().map(|(ports, addresses)| subset(ports, addresses)).collect()
}

fn subset(ports: Ports, (ready, unready): Addresses) -> EndpointSubset {
    let ports: Vec<_> = ports
        .into_iter()
        .map(|(name, port, protocol, app_protocol)| EndpointPort {
            name: (!name.is_empty()).then_some(name),
            port,
            protocol: Some(protocol),
            app_protocol,
        })
        .collect();
    let sorted = |mut addresses: Vec<EndpointAddress>| {
        addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        (!addresses.is_empty()).then_some(addresses)
    };
    EndpointSubset {
        addresses: sorted(ready),
        not_ready_addresses: sorted(unready),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

/// Leaves [`MOST`] addresses, ready ones first; whether there were more.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let mut room = MOST;
    let mut cut = false;
    let mut keep = |addresses: &mut Option<Vec<EndpointAddress>>| {
        let Some(list) = addresses else { return };
        cut |= list.len() > room;
        list.truncate(room);
        room -= list.len();
        if list.is_empty() {
            *addresses = None;
        }
    };
    subsets.iter_mut().for_each(|subset| keep(&mut subset.addresses));
    subsets.iter_mut().for_each(|subset| keep(&mut subset.not_ready_addresses));
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::build;

    #[test]
    fn addresses_are_ready_or_not_and_at_most_a_thousand() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "default", "labels": {"l": "v"}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }))
        .unwrap();
        let pod = |number: usize, ready: bool| {
            let pod = build::pod(&format!("p{number}")).label("app", "web").on("n").with(|pod| {
                pod.status.as_mut().unwrap().pod_ip = Some(format!("10.0.{}.{}", number / 250, number % 250));
            });
            Arc::new(if ready { pod.condition("Ready", "True") } else { pod }.get())
        };
        // Of several families, the first.
        let mut six = service.clone();
        six.spec.as_mut().unwrap().ip_families = Some(vec!["IPv6".to_owned(), "IPv4".to_owned()]);
        assert_eq!(wanted(&six, &[pod(1, true)], None).subsets, None);

        let few = wanted(&service, &[pod(1, true), pod(2, false)], None);
        let subset = &few.subsets.unwrap()[0];
        assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);
        assert_eq!(subset.addresses.as_ref().unwrap()[0].ip, "10.0.0.1");
        assert_eq!(subset.not_ready_addresses.as_ref().unwrap()[0].ip, "10.0.0.2");
        assert_eq!(few.metadata.annotations, None);

        let many: Vec<_> = (0..1100).map(|number| pod(number, number >= 200)).collect();
        let many = wanted(&service, &many, None);
        let subset = &many.subsets.unwrap()[0];
        assert_eq!(subset.addresses.as_ref().unwrap().len(), 900);
        assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 100);
        assert_eq!(many.metadata.annotations.unwrap()[annotation::ENDPOINTS_OVER_CAPACITY], "truncated");
    }
}
