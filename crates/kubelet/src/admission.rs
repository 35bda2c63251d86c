//! Whether this node takes a pod at all.
//!
//! **Contract**: pure, but for what the kernel offers. A pod that asks for what this kubelet cannot do is refused with upstream's reason, never run
//! with the wish ignored.
//! **Upstream**: `canAdmitPod` and the lifecycle handlers of `pkg/kubelet`.

use crate::container_config::NodeContext;
use crate::eviction::{CRITICAL, Pressure};
use crate::node_status::MAX_PODS;
use crate::{security, volumes};
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume, VolumeProjection};
use api::pod::{host_ports, requests};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a pod is refused: `status.reason`, and the event's message; the status has [`Rejection::status_message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

impl Rejection {
    /// As the pod's status tells it.
    pub(crate) fn status_message(&self) -> String {
        format!("Pod was rejected: {}", self.message)
    }
}

/// What the node has, besides the pod that asks for a place.
pub(crate) struct Room<'a> {
    /// The other pods that have a place.
    pub(crate) others: &'a [Arc<Pod>],
    pub(crate) node: &'a NodeContext,
    pub(crate) pressure: Pressure,
    /// The node's labels, if the pod asks for any.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A node that ends takes nobody.
pub(crate) fn shutting_down() -> Rejection {
    let message = "Pod was rejected as the node is shutting down.".to_owned();
    Rejection { reason: "NodeShutdown".into(), message }
}

/// `None` if there is room for the pod.
pub(crate) fn fits(pod: &Pod, room: &Room<'_>) -> Option<Rejection> {
    let spec = pod.spec.as_ref()?;
    under_pressure(pod, spec, room.pressure)
        .or_else(|| selector_mismatch(spec, &room.labels))
        .or_else(|| taken_port(spec, room.others))
        .or_else(|| insufficient(spec, room))
}

/// A node that runs short takes only what is sure to need little.
fn under_pressure(pod: &Pod, spec: &PodSpec, pressure: Pressure) -> Option<Rejection> {
    if !(pressure.memory || pressure.disk || pressure.pid) || spec.priority.unwrap_or(0) >= CRITICAL {
        return None;
    }
    let class = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()).unwrap_or("BestEffort");
    let tolerates = spec.tolerations.iter().flatten().any(|toleration| {
        let key = toleration.key.as_deref();
        key.is_none() || key == Some("node.kubernetes.io/memory-pressure")
    });
    let only_memory = !pressure.disk && !pressure.pid;
    if only_memory && (class != "BestEffort" || tolerates) {
        return None;
    }
    let named =
        [(pressure.memory, "MemoryPressure"), (pressure.disk, "DiskPressure"), (pressure.pid, "PIDPressure")];
    let names: Vec<&str> = named.into_iter().filter_map(|(met, name)| met.then_some(name)).collect();
    let message = format!("The node had condition: [{}]. ", names.join(" "));
    Some(Rejection { reason: "Evicted".into(), message })
}

fn selector_mismatch(spec: &PodSpec, labels: &BTreeMap<String, String>) -> Option<Rejection> {
    let mut wanted = spec.node_selector.iter().flatten();
    wanted.any(|(key, value)| labels.get(key) != Some(value)).then(|| Rejection {
        reason: "NodeAffinity".into(),
        message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            .to_owned(),
    })
}

fn taken_port(spec: &PodSpec, others: &[Arc<Pod>]) -> Option<Rejection> {
    let wanted = host_ports(spec);
    let taken = others.iter().filter_map(|other| other.spec.as_ref()).flat_map(host_ports);
    let mut taken = taken.filter(|port| wanted.iter().any(|own| own.conflicts_with(port)));
    taken.next().map(|_| Rejection {
        reason: "NodePorts".into(),
        message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
            .to_owned(),
    })
}

fn insufficient(spec: &PodSpec, room: &Room<'_>) -> Option<Rejection> {
    let refuse = |name: &str, requested: i64, used: i64, capacity: i64| Rejection {
        reason: format!("OutOf{name}").into(),
        message: format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    let count = i64::try_from(room.others.len()).unwrap_or(i64::MAX);
    let places = i64::try_from(MAX_PODS).unwrap_or(i64::MAX);
    if count >= places {
        return Some(refuse("pods", 1, count, places));
    }
    let amount = |spec: &PodSpec, name: &str| {
        let quantity = requests(spec).get(name).copied().unwrap_or_default();
        if name == "cpu" { quantity.millis() } else { quantity.value() }
    };
    let node = room.node;
    let always = [
        ("cpu", node.cpu_millis),
        ("memory", node.memory_capacity),
        ("ephemeral-storage", node.disk_capacity),
    ];
    // A size that the kernel does not know is one of which there are no pages.
    let wanted = requests(spec);
    let huge = wanted.keys().filter(|name| name.starts_with("hugepages-"));
    let huge = huge.map(|name| (name.as_str(), node.huge_pages.get(name).copied().unwrap_or(0)));
    for (name, capacity) in always.into_iter().chain(huge) {
        let requested = amount(spec, name);
        let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
        let used = room.others.iter().filter_map(|other| other.spec.as_ref()).map(|s| amount(s, name)).sum();
        if requested > 0 && requested.saturating_add(used) > capacity {
            return Some(refuse(name, requested, used, capacity));
        }
    }
    None
}

/// `None` if the node takes the pod.
pub(crate) fn admit(pod: &Pod) -> Option<Rejection> {
    if let Some(rejection) = pod.spec.as_ref().and_then(forbidden) {
        return Some(rejection);
    }
    let fields = unsupported(pod);
    (!fields.is_empty()).then(|| Rejection {
        reason: "PodFeatureUnsupported".into(),
        message: format!("this node does not support {}", fields.join(", ")),
    })
}

/// What this machine does not allow, with upstream's reasons.
fn forbidden(spec: &PodSpec) -> Option<Rejection> {
    if let Some(message) = security::forbidden_sysctl(spec) {
        return Some(Rejection { reason: "SysctlForbidden".into(), message });
    }
    let security = spec.security_context.as_ref();
    if security.and_then(|s| s.supplemental_groups_policy.as_deref()) == Some("Strict") {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned();
        return Some(Rejection { reason: "SupplementalGroupsPolicyNotSupported".into(), message });
    }
    security::wants_missing_apparmor(spec).then(|| Rejection {
        reason: "AppArmor".into(),
        message: "Cannot enforce AppArmor: AppArmor is not enabled on the host".to_owned(),
    })
}

/// The part of a volume that asks for what is not implemented.
fn unsupported_volume(volume: &Volume) -> Option<String> {
    let source = |source: &VolumeProjection| match source {
        VolumeProjection { cluster_trust_bundle: Some(_), .. } => Some("clusterTrustBundle"),
        VolumeProjection { pod_certificate: Some(_), .. } => Some("podCertificate"),
        _ => None,
    };
    let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    if let Some(kind) = projected.filter_map(source).next() {
        return Some(format!("projected.{kind}"));
    }
    if volumes::is_supported(volume) {
        return None;
    }
    // Whatever it is called: it is the only field but the name.
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let mut names = fields.as_object().into_iter().flatten().map(|(name, _)| name.clone());
    Some(names.find(|name| name != "name").unwrap_or_default())
}

/// The fields of a pod that ask for what is not implemented.
fn unsupported(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut fields = Vec::new();
    let mut note = |asked: bool, field: &str| {
        if asked {
            fields.push(field.to_owned());
        }
    };
    for volume in spec.volumes.iter().flatten() {
        if let Some(kind) = unsupported_volume(volume) {
            note(true, &format!("spec.volumes[{}].{kind}", volume.name));
        }
    }
    note(spec.resource_claims.iter().flatten().next().is_some(), "spec.resourceClaims");
    let init = spec.init_containers.iter().flatten().enumerate();
    for (index, container) in init {
        let path = format!("spec.initContainers[{index}]");
        for field in container_fields(container) {
            note(true, &format!("{path}.{field}"));
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        for field in container_fields(container) {
            note(true, &format!("{path}.{field}"));
        }
    }
    fields
}

fn container_fields(container: &Container) -> Vec<&'static str> {
    let mut fields = Vec::new();
    let mut note = |asked: bool, field: &'static str| {
        if asked {
            fields.push(field);
        }
    };
    let rules = container.restart_policy_rules.iter().flatten();
    note(rules.into_iter().any(|rule| rule.action != "Restart"), "restartPolicyRules[].action");
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    #[test]
    fn names_every_field_it_cannot_honour() {
        let refused = admit(&pod(json!({
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "n", "nfs": {"server": "s", "path": "/"}}],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
            "containers": [{"name": "a"}]
        })));
        assert_eq!(
            refused,
            Some(Rejection {
                reason: "PodFeatureUnsupported".into(),
                message: "this node does not support spec.volumes[n].nfs, spec.resourceClaims".to_owned()
            })
        );
    }

    #[test]
    fn a_full_node_says_what_it_lacks() {
        let other = Arc::new(pod(json!({"containers": [{"name": "o",
            "resources": {"requests": {"cpu": "1500m"}}, "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]}]})));
        let node = NodeContext {
            cpu_millis: 2000,
            memory_capacity: 1 << 30,
            disk_capacity: 1 << 40,
            huge_pages: [("hugepages-2Mi".to_owned(), 2 << 20)].into(),
            ..Default::default()
        };
        let asks = |resources: serde_json::Value| json!({"containers": [{"name": "c", "resources": {"requests": resources}}]});
        for (spec, pressure, expected) in [
            (asks(json!({"cpu": "500m"})), Pressure::default(), None),
            (
                asks(json!({"cpu": "501m"})),
                Pressure::default(),
                Some((
                    "OutOfcpu",
                    "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000",
                )),
            ),
            (
                asks(json!({"memory": "2Gi"})),
                Pressure::default(),
                Some((
                    "OutOfmemory",
                    "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
                )),
            ),
            (
                asks(json!({"hugepages-2Mi": "4Mi"})),
                Pressure::default(),
                Some((
                    "OutOfhugepages-2Mi",
                    "Node didn't have enough resource: hugepages-2Mi, requested: 4194304, used: 0, capacity: 2097152",
                )),
            ),
            (
                json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "protocol": "TCP"}]}]}),
                Pressure::default(),
                Some((
                    "NodePorts",
                    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
                )),
            ),
            (
                json!({"nodeSelector": {"disk": "ssd"}, "containers": []}),
                Pressure::default(),
                Some((
                    "NodeAffinity",
                    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
                )),
            ),
            (
                asks(json!({})),
                Pressure { memory: true, ..Pressure::default() },
                Some(("Evicted", "The node had condition: [MemoryPressure]. ")),
            ),
            (
                json!({"priority": 2_000_000_000, "containers": []}),
                Pressure { disk: true, ..Pressure::default() },
                None,
            ),
        ] {
            let room =
                Room { others: std::slice::from_ref(&other), node: &node, pressure, labels: BTreeMap::new() };
            let got = fits(&pod(spec.clone()), &room);
            assert_eq!(got.as_ref().map(|r| (&*r.reason, r.message.as_str())), expected, "{spec}");
        }
    }

    #[test]
    fn takes_a_plain_pod() {
        let plain = pod(json!({
            "securityContext": {}, "dnsPolicy": "ClusterFirst",
            "containers": [{"name": "a", "image": "i", "resources": {"limits": {"cpu": "1"}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]
        }));
        assert_eq!(admit(&plain), None);
    }
}
