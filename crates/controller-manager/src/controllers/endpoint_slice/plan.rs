//! The endpoints that a Service has by its pods.
//!
//! **Upstream**: `endpointslice/utils.go`, `pkg/api/v1/pod.FindPort`, `trafficdist`.

use super::slices::Group;
use crate::workload::owned;
use api::pod;
use api::well_known::label;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Who keeps these slices.
pub(super) const MANAGED_BY: &str = "endpointslice-controller.k8s.io";
/// On what belongs to a Service without an address.
pub(in crate::controllers) const HEADLESS: &str = "service.kubernetes.io/headless";

/// Whether the Service finds its endpoints by a selector.
pub(in crate::controllers) fn has_selector(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
            && spec.type_.as_deref() != Some("ExternalName")
    })
}

/// Whether a pod is one of the Service's.
pub(in crate::controllers) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = pod.metadata.labels.as_ref();
    has_selector(service)
        && selector.into_iter().flatten().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
}

pub(in crate::controllers) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether a change of a pod can change an endpoint.
pub(in crate::controllers) fn differs(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| {
        let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
        (
            (pod::is_ready(pod), pod::is_terminal(pod), pod::is_terminating(pod)),
            status.and_then(|status| status.pod_ips.clone()),
            status.and_then(|status| status.pod_ip.clone()),
            pod::node_name(pod).to_owned(),
            spec.map(|spec| (spec.hostname.clone(), spec.subdomain.clone())),
            pod.metadata.labels.clone(),
        )
    };
    facts(old) != facts(new)
}

/// A pod's address of a family.
pub(in crate::controllers) fn address<'a>(pod: &'a Pod, address_type: &str) -> Option<&'a str> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut all = all.chain(status.pod_ip.as_deref());
    all.find(|ip| family(ip) == Some(address_type))
}

/// `IPv4` or `IPv6`.
pub(in crate::controllers) fn family(address: &str) -> Option<&'static str> {
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

/// The families of a Service's addresses, the first first.
pub(in crate::controllers) fn families(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let known = |named: &String| ["IPv4", "IPv6"].into_iter().find(|family| family == named);
    let families: Vec<_> = named.iter().filter_map(known).collect();
    if families.is_empty() { vec!["IPv4"] } else { families }
}

/// The number of a Service's port at a pod; none if the pod has no port of that name.
pub(in crate::controllers) fn port(pod: &Pod, service_port: &ServicePort) -> Option<i32> {
    match &service_port.target_port {
        None => Some(service_port.port),
        Some(IntOrString::Int(0)) => Some(service_port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten().filter(|c| pod::is_sidecar(c));
            let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
            let protocol = |protocol: Option<&str>| protocol.unwrap_or("TCP").to_owned();
            let wanted = protocol(service_port.protocol.as_deref());
            let matching = ports.find(|port| {
                port.name.as_ref() == Some(name) && protocol(port.protocol.as_deref()) == wanted
            });
            matching.map(|port| port.container_port)
        }
    }
}

/// The hostname by which a headless Service's name server knows a pod.
pub(in crate::controllers) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let in_domain = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|hostname| in_domain && !hostname.is_empty())
}

/// A pod as the target of an endpoint.
pub(in crate::controllers) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let found = ports.filter_map(|service_port| {
        Some(EndpointPort {
            name: Some(service_port.name.clone().unwrap_or_default()),
            port: Some(port(pod, service_port)?),
            protocol: Some(service_port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: service_port.app_protocol.clone(),
        })
    });
    found.collect()
}

fn endpoint(service: &Service, pod: &Pod, address: &str, zone: Option<&str>) -> Endpoint {
    let spec = service.spec.as_ref();
    let (serving, terminating) = (pod::is_ready(pod), pod::is_terminating(pod));
    let always = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let ready = always || (serving && !terminating);
    let node = Some(pod::node_name(pod)).filter(|node| !node.is_empty());
    let distribution = spec.and_then(|spec| spec.traffic_distribution.as_deref());
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: hints(distribution.filter(|_| ready), zone, node),
        hostname: hostname(service, pod),
        node_name: node.map(str::to_owned),
        target_ref: Some(target(pod)),
        zone: zone.map(str::to_owned),
        deprecated_topology: None,
    }
}

/// Who should use an endpoint, by the Service's `trafficDistribution`.
fn hints(distribution: Option<&str>, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let hints = match distribution? {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones, for_nodes: None },
        "PreferSameNode" => {
            EndpointHints { for_zones, for_nodes: node.map(|node| vec![ForNode { name: node.to_owned() }]) }
        }
        _ => return None,
    };
    (hints.for_zones.is_some() || hints.for_nodes.is_some()).then_some(hints)
}

/// The endpoints of a Service, by family and ports.
pub(super) fn groups(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Vec<Group> {
    let mut all = Vec::new();
    for address_type in families(service) {
        let mut groups: Vec<Group> = Vec::new();
        for pod in pods.iter().filter(|pod| selects(service, pod) && !pod::is_terminal(pod)) {
            let Some(address) = address(pod, address_type) else { continue };
            let node = node(pod::node_name(pod));
            let labels = node.as_ref().and_then(|node| node.metadata.labels.as_ref());
            let zone = labels.and_then(|labels| labels.get(label::TOPOLOGY_ZONE));
            let endpoint = endpoint(service, pod, address, zone.map(String::as_str));
            let ports = ports(service, pod);
            match groups.iter_mut().find(|group| group.ports == ports) {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group { address_type, ports, endpoints: vec![endpoint] }),
            }
        }
        if groups.is_empty() {
            groups.push(Group { address_type, ports: Vec::new(), endpoints: Vec::new() });
        }
        all.extend(groups);
    }
    all
}

/// Labels that say whose a slice is; they are not taken from the Service.
const OWN_LABELS: [&str; 3] = [HEADLESS, label::SERVICE_NAME, label::ENDPOINTSLICE_MANAGED_BY];

/// What the slices of a Service have in common.
pub(super) fn like(service: &Service) -> ObjectMeta {
    let name = service.metadata.name.clone().unwrap_or_default();
    let own = |key: &String| OWN_LABELS.contains(&key.as_str());
    let mut labels: BTreeMap<_, _> = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| !own(key));
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(label::SERVICE_NAME.to_owned(), name.clone());
    labels.insert(label::ENDPOINTSLICE_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
    ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![owned::controller_reference(service)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::{self, Builder, at};

    fn service(spec: Value) -> Service {
        let mut all = json!({"selector": {"app": "web"}, "ipFamilies": ["IPv4"], "ports": [
            {"name": "http", "port": 80, "targetPort": "web"}]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(
            json!({"metadata": {"name": "s", "namespace": "default", "uid": "u"}, "spec": all}),
        )
        .unwrap()
    }

    fn pod(name: &str, port: i32) -> Builder<Pod> {
        build::pod(name).label("app", "web").on("n1").phase("Running").with(|pod| {
            pod.status.as_mut().unwrap().pod_ip = Some("10.0.0.1".to_owned());
            let ports = json!([{"name": "web", "containerPort": port}]);
            pod.spec.as_mut().unwrap().containers[0].ports = Some(serde_json::from_value(ports).unwrap());
        })
    }

    fn node(name: &str) -> Option<Arc<Node>> {
        Some(Arc::new(build::node(name).label("topology.kubernetes.io/zone", "z1").get()))
    }

    fn only(service: &Service, pod: Builder<Pod>) -> Endpoint {
        groups(service, &[Arc::new(pod.get())], node).remove(0).endpoints.remove(0)
    }

    #[test]
    fn a_pods_state_becomes_an_endpoints_conditions() {
        let ready = || pod("p", 8080).condition("Ready", "True");
        let always = service(json!({"publishNotReadyAddresses": true}));
        let plain = service(json!({}));
        for (name, service, pod, expected) in [
            ("ready", &plain, ready(), (true, true, false)),
            ("not ready", &plain, pod("p", 8080), (false, false, false)),
            ("going", &plain, ready().deleted(at(0)), (false, true, true)),
            ("not ready, published", &always, pod("p", 8080), (true, false, false)),
        ] {
            let conditions = only(service, pod).conditions.unwrap();
            let is =
                (conditions.ready.unwrap(), conditions.serving.unwrap(), conditions.terminating.unwrap());
            assert_eq!(is, expected, "{name}");
        }
    }

    #[test]
    fn ports_by_name_differ_from_pod_to_pod_and_ended_pods_do_not_count() {
        let pods = [pod("a", 8080), pod("b", 9090), pod("c", 8080), pod("d", 8080).phase("Failed")];
        let pods: Vec<_> = pods.into_iter().map(|pod| Arc::new(pod.get())).collect();
        let groups = groups(&service(json!({})), &pods, node);
        let seen: Vec<_> = groups.iter().map(|g| (g.ports[0].port.unwrap(), g.endpoints.len())).collect();
        assert_eq!(seen, [(8080, 2), (9090, 1)]);
        let none = super::groups(&service(json!({"selector": {"app": "x"}})), &pods, node);
        assert_eq!((none.len(), none[0].ports.len()), (1, 0));
    }

    #[test]
    fn each_family_has_its_slices() {
        let both = pod("p", 80).with(|pod| {
            let ips = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
            pod.status.as_mut().unwrap().pod_ips = Some(serde_json::from_value(ips).unwrap());
        });
        let pods = [Arc::new(both.get()), Arc::new(pod("q", 80).get())];
        let groups = groups(&service(json!({"ipFamilies": ["IPv4", "IPv6"]})), &pods, node);
        let seen: Vec<_> = groups
            .iter()
            .map(|group| {
                (group.address_type, group.endpoints.iter().map(|e| e.addresses[0].as_str()).collect())
            })
            .collect();
        let expected: [(&str, Vec<&str>); 2] =
            [("IPv4", vec!["10.0.0.1", "10.0.0.1"]), ("IPv6", vec!["fd00::1"])];
        assert_eq!(seen, expected);
    }

    #[test]
    fn hostnames_zones_and_hints_are_told() {
        let hosted = pod("p", 80).condition("Ready", "True").with(|pod| {
            let spec = pod.spec.as_mut().unwrap();
            (spec.hostname, spec.subdomain) = (Some("h".to_owned()), Some("s".to_owned()));
        });
        let endpoint = only(&service(json!({"trafficDistribution": "PreferSameNode"})), hosted);
        assert_eq!((endpoint.hostname.as_deref(), endpoint.zone.as_deref()), (Some("h"), Some("z1")));
        let hints = endpoint.hints.unwrap();
        assert_eq!(hints.for_zones.unwrap()[0].name, "z1");
        assert_eq!(hints.for_nodes.unwrap()[0].name, "n1");
    }
}
