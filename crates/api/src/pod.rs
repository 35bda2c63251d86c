//! What several components conclude from a pod in the same way: requests, quality of service, readiness, ports.
//!
//! **Contract**: pure; defaults have been applied (a container with limits and no requests requests its limits).
//! **Upstream**: `k8s.io/component-helpers/resource`, `pkg/api/v1/pod`, `pkg/apis/core/v1/helper/qos`.

use crate::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod, PodCondition, PodSpec, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::collections::BTreeMap;

/// Amounts by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// The quality of service class of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QosClass {
    /// Every container limits CPU and memory, and requests what it limits.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl QosClass {
    /// As it stands in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// A port that a pod claims on its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The address; empty and `0.0.0.0` are all addresses.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port, never 0.
    pub port: u16,
}

impl HostPort {
    /// Whether two claims cannot both be met.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let all = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || all(&self.ip) || all(&other.ip))
    }
}

/// Reads an amount of the API; what cannot be read counts as nothing (validation refuses it).
pub fn parse_quantity(quantity: &ApiQuantity) -> Quantity {
    quantity.0.parse().unwrap_or_default()
}

/// Whether an init container goes on running beside the main ones.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn amounts(list: Option<&BTreeMap<String, ApiQuantity>>) -> ResourceList {
    list.into_iter().flatten().map(|(name, q)| (name.clone(), parse_quantity(q))).collect()
}

fn add(total: &mut ResourceList, more: &ResourceList) {
    for (name, quantity) in more {
        *total.entry(name.clone()).or_default() += *quantity;
    }
}

fn raise(total: &mut ResourceList, least: &ResourceList) {
    for (name, quantity) in least {
        let entry = total.entry(name.clone()).or_insert(*quantity);
        *entry = (*entry).max(*quantity);
    }
}

fn effective(spec: &PodSpec, of: impl Fn(&ResourceRequirements) -> ResourceList) -> ResourceList {
    let of = |c: &Container| c.resources.as_ref().map(&of).unwrap_or_default();
    let mut main = ResourceList::new();
    for container in &spec.containers {
        add(&mut main, &of(container));
    }
    let (mut sidecars, mut init) = (ResourceList::new(), ResourceList::new());
    for container in spec.init_containers.iter().flatten() {
        let mut running = of(container);
        if is_sidecar(container) {
            add(&mut sidecars, &running);
            running = sidecars.clone();
        } else {
            add(&mut running, &sidecars);
        }
        raise(&mut init, &running);
    }
    add(&mut main, &sidecars);
    raise(&mut main, &init);
    main
}

/// What a pod requests of its node: the larger of (main containers + sidecars) and any moment of initialisation,
/// overridden by requests of the pod itself, plus overhead.
pub fn requests(spec: &PodSpec) -> ResourceList {
    let mut total = effective(spec, |r| amounts(r.requests.as_ref()));
    if let Some(resources) = &spec.resources {
        total.extend(amounts(resources.requests.as_ref()));
    }
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total
}

/// What a pod may use at most, by the same rules as [`requests`].
pub fn limits(spec: &PodSpec) -> ResourceList {
    let mut total = effective(spec, |r| amounts(r.limits.as_ref()));
    if let Some(resources) = &spec.resources {
        total.extend(amounts(resources.limits.as_ref()));
    }
    for (name, quantity) in amounts(spec.overhead.as_ref()) {
        if let Some(entry) = total.get_mut(&name) {
            *entry += quantity;
        }
    }
    total
}

/// The class of service that a pod's requests and limits earn it.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let own = spec.resources.as_ref().filter(|r| r.requests.is_some() || r.limits.is_some());
    let all: Vec<Option<&ResourceRequirements>> = match own {
        Some(own) => vec![Some(own)],
        None => spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .map(|c| c.resources.as_ref())
            .collect(),
    };
    let (mut any, mut guaranteed) = (false, true);
    for resources in all {
        let (requests, limits) =
            resources.map(|r| (amounts(r.requests.as_ref()), amounts(r.limits.as_ref()))).unwrap_or_default();
        for name in ["cpu", "memory"] {
            let request = requests.get(name).copied().unwrap_or_default();
            let limit = limits.get(name).copied().unwrap_or_default();
            any |= !request.is_zero() || !limit.is_zero();
            guaranteed &= !limit.is_zero() && (request == limit || !requests.contains_key(name));
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// The ports that a pod claims on its node.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let port = u16::try_from(p.host_port.unwrap_or(0)).ok().filter(|p| *p != 0)?;
            Some(HostPort {
                ip: p.host_ip.clone().unwrap_or_default(),
                protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port,
            })
        })
        .collect()
}

/// `status.phase`; empty before the first status.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

/// Whether a pod has ended for good: Succeeded or Failed.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether a pod is about to go.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// One condition of a pod.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// Whether a pod is ready to serve.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// The node that a pod is bound to; empty before.
pub fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("")
}

/// The status of one container, init containers included.
pub fn container_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.into_iter().find(|c| c.name == name)
}

/// The restart count of a whole pod.
pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|c| c.restart_count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn container(cpu: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    fn cpu(value: Value) -> String {
        requests(&spec(value))["cpu"].to_string()
    }

    #[test]
    fn requests_are_the_largest_moment_of_a_pods_life() {
        let sidecar = |cpu: &str| {
            let mut c = container(cpu);
            c["restartPolicy"] = json!("Always");
            c
        };
        assert_eq!(cpu(json!({"containers": [container("1"), container("500m")]})), "1500m");
        assert_eq!(
            cpu(json!({"containers": [container("1")], "initContainers": [container("2"), container("3")]})),
            "3"
        );
        assert_eq!(
            cpu(json!({"containers": [container("1")], "initContainers": [sidecar("1"), container("3")]})),
            "4"
        );
        assert_eq!(
            cpu(json!({"containers": [container("1")], "initContainers": [container("1"), sidecar("1")]})),
            "2"
        );
        assert_eq!(cpu(json!({"containers": [container("1")], "overhead": {"cpu": "100m"}})), "1100m");
        assert_eq!(
            cpu(json!({"containers": [container("1")], "resources": {"requests": {"cpu": "5"}}})),
            "5"
        );
    }

    #[test]
    fn classifies_quality_of_service() {
        let of = |resources: Value| {
            qos_class(&spec(json!({"containers": [{"name": "c", "resources": resources}]})))
        };
        assert_eq!(of(json!({})), QosClass::BestEffort);
        assert_eq!(of(json!({"requests": {"cpu": "1"}})), QosClass::Burstable);
        let full = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(of(json!({"limits": full.clone(), "requests": full.clone()})), QosClass::Guaranteed);
        assert_eq!(
            of(json!({"limits": full, "requests": {"cpu": "500m", "memory": "1Gi"}})),
            QosClass::Burstable
        );
        assert_eq!(of(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})), QosClass::Burstable);
        assert_eq!(of(json!({"limits": {"example.com/gpu": "1"}})), QosClass::BestEffort);
    }

    #[test]
    fn host_ports_conflict_on_the_same_address() {
        let ports = host_ports(&spec(json!({"containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 80, "hostPort": 80}, {"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]}]})));
        assert_eq!(ports.len(), 2);
        assert!(ports[0].conflicts_with(&ports[1]));
        let elsewhere = HostPort { ip: "10.0.0.2".to_owned(), ..ports[1].clone() };
        assert!(!elsewhere.conflicts_with(&ports[1]));
    }
}
