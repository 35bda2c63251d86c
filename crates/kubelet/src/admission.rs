//! Whether this node takes a pod at all.
//!
//! **Contract**: pure, but for what the kernel offers. A pod that asks for what this kubelet cannot do is refused with upstream's reason, never run
//! with the wish ignored.
//! **Upstream**: `canAdmitPod` and the lifecycle handlers of `pkg/kubelet`.

use crate::container_config::NodeContext;
use crate::eviction::{Pressure, is_critical};
use crate::node_status::MAX_PODS;
use crate::preemption::{Requirement, request};
use crate::static_pods::is_static;
use crate::{security, volumes};
use api::k8s_openapi::api::core::v1::{Node as ApiNode, Pod, PodSpec, Volume, VolumeProjection};
use api::pod::{host_ports, parse_quantity, requests};
use api::scheduling::{selects_node, untolerated};
use api::well_known::label;
use std::borrow::Cow;
use std::sync::Arc;

/// Upstream's names of predicates, and how reasons of what is lacking begin.
const NODE_AFFINITY: &str = "NodeAffinity";
const TAINT_TOLERATION: &str = "TaintToleration";
const OUT_OF: &str = "OutOf";
const UNEXPECTED: &str = "UnexpectedAdmissionError";
/// What containers run on here.
const OS: &str = "linux";

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

    /// Whether it may be due to an older state of the node's object.
    pub(crate) fn may_be_outdated(&self) -> bool {
        matches!(&*self.reason, NODE_AFFINITY | TAINT_TOLERATION) || self.reason.starts_with(OUT_OF)
    }

    /// That one of the scheduler's predicates failed here.
    fn predicate(name: &'static str, why: &str) -> Self {
        Self { reason: name.into(), message: format!("Predicate {name} failed: {why}") }
    }
}

/// Why a pod does not fit.
#[derive(Debug)]
pub(crate) enum Misfit {
    /// It is refused.
    Refused(Rejection),
    /// It would fit, if others went.
    Needs(Vec<Requirement>),
}

/// What the node has, besides the pod that asks for a place.
pub(crate) struct Room<'a> {
    /// The other pods that have a place.
    pub(crate) others: &'a [Arc<Pod>],
    pub(crate) node: &'a NodeContext,
    pub(crate) pressure: Pressure,
    /// The node's object; none: nobody has seen it, and what it says is not asked for.
    pub(crate) object: Option<&'a ApiNode>,
}

/// A node that ends takes nobody.
pub(crate) fn shutting_down() -> Rejection {
    let message = "Pod was rejected as the node is shutting down.".to_owned();
    Rejection { reason: "NodeShutdown".into(), message }
}

/// That there is no room even if others go, in upstream's words.
pub(crate) fn nobody_to_preempt(why: &str) -> Rejection {
    let message = format!(
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: {why}"
    );
    Rejection { reason: UNEXPECTED.into(), message }
}

/// Whether there is room for the pod.
pub(crate) fn fits(pod: &Pod, room: &Room<'_>) -> Result<(), Misfit> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let refuse = |rejection: Option<Rejection>| rejection.map_or(Ok(()), |why| Err(Misfit::Refused(why)));
    refuse(under_pressure(pod, spec, room.pressure))?;
    let short = shortages(pod, spec, room);
    if !is_critical(pod) {
        refuse(short.first().map(Shortage::rejection))?;
    }
    refuse(
        affinity_mismatch(spec, room.object)
            .or_else(|| taken_port(spec, room.others))
            .or_else(|| untolerated_taint(pod, spec, room.object)),
    )?;
    if short.is_empty() {
        Ok(())
    } else {
        Err(Misfit::Needs(short.iter().map(Shortage::requirement).collect()))
    }
}

/// A node that runs short takes only what is sure to need little.
fn under_pressure(pod: &Pod, spec: &PodSpec, pressure: Pressure) -> Option<Rejection> {
    if !(pressure.memory || pressure.disk || pressure.pid) || is_critical(pod) {
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

fn affinity_mismatch(spec: &PodSpec, node: Option<&ApiNode>) -> Option<Rejection> {
    let selected = node.is_none_or(|node| selects_node(spec, node));
    (!selected)
        .then(|| Rejection::predicate(NODE_AFFINITY, "node(s) didn't match Pod's node affinity/selector"))
}

fn taken_port(spec: &PodSpec, others: &[Arc<Pod>]) -> Option<Rejection> {
    let wanted = host_ports(spec);
    let taken = others.iter().filter_map(|other| other.spec.as_ref()).flat_map(host_ports);
    let mut taken = taken.filter(|port| wanted.iter().any(|own| own.conflicts_with(port)));
    let why = "node(s) didn't have free ports for the requested pod ports";
    taken.next().map(|_| Rejection::predicate("NodePorts", why))
}

/// A taint that drives pods away keeps them away, too; what the node itself brings along stays.
fn untolerated_taint(pod: &Pod, spec: &PodSpec, node: Option<&ApiNode>) -> Option<Rejection> {
    let node = node.filter(|_| !is_static(pod))?;
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let why = "node(s) had taints that the pod didn't tolerate";
    untolerated(tolerations, node, &["NoExecute"]).map(|_| Rejection::predicate(TAINT_TOLERATION, why))
}

/// A resource of which the node has too little.
struct Shortage {
    resource: String,
    requested: i64,
    used: i64,
    capacity: i64,
}

impl Shortage {
    fn rejection(&self) -> Rejection {
        let Self { resource, requested, used, capacity } = self;
        Rejection {
            reason: format!("{OUT_OF}{resource}").into(),
            message: format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        }
    }

    fn requirement(&self) -> Requirement {
        let free = self.capacity.saturating_sub(self.used);
        Requirement { resource: self.resource.clone(), amount: self.requested.saturating_sub(free) }
    }
}

fn shortages(pod: &Pod, spec: &PodSpec, room: &Room<'_>) -> Vec<Shortage> {
    let node = room.node;
    let always = [
        ("pods", MAX_PODS),
        ("cpu", node.cpu_millis),
        ("memory", node.memory_capacity),
        ("ephemeral-storage", node.disk_capacity),
    ];
    // A size that the kernel does not know is one of which there are no pages.
    let wanted = requests(spec);
    let huge = wanted.keys().filter(|name| name.starts_with("hugepages-"));
    let huge = huge.map(|name| (name.as_str(), node.huge_pages.get(name).copied().unwrap_or(0)));
    // What others offer on this node, a device plugin for example. What the node knows nothing of is not its to refuse.
    let offered = room.object.and_then(|node| node.status.as_ref()?.allocatable.as_ref());
    let extended = wanted.keys().filter(|name| is_extended(name));
    let extended = extended.filter_map(|name| {
        let amount = parse_quantity(offered?.get(name)?).value();
        Some((name.as_str(), u64::try_from(amount).unwrap_or(0)))
    });
    let all = always.into_iter().chain(huge).chain(extended).map(|(name, capacity)| Shortage {
        resource: name.to_owned(),
        requested: request(pod, name),
        used: room.others.iter().map(|other| request(other, name)).sum(),
        capacity: i64::try_from(capacity).unwrap_or(i64::MAX),
    });
    all.filter(|s| s.requested > 0 && s.requested.saturating_add(s.used) > s.capacity).collect()
}

/// A resource that is neither the kubelet's own nor part of Kubernetes: `example.com/gpu`.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// `None` if the node takes the pod.
pub(crate) fn admit(pod: &Pod) -> Option<Rejection> {
    if let Some(rejection) = pod.spec.as_ref().and_then(|spec| forbidden(pod, spec)) {
        return Some(rejection);
    }
    let fields = unsupported(pod);
    (!fields.is_empty()).then(|| Rejection {
        reason: "PodFeatureUnsupported".into(),
        message: format!("this node does not support {}", fields.join(", ")),
    })
}

/// What this machine does not allow, with upstream's reasons.
fn forbidden(pod: &Pod, spec: &PodSpec) -> Option<Rejection> {
    if let Some(message) = security::forbidden_sysctl(spec) {
        return Some(Rejection { reason: "SysctlForbidden".into(), message });
    }
    let labelled = pod.metadata.labels.as_ref().and_then(|labels| labels.get(label::OS));
    if labelled.is_some_and(|os| os != OS) {
        let message =
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label".to_owned();
        return Some(Rejection { reason: "PodOSSelectorNodeLabelDoesNotMatch".into(), message });
    }
    if spec.os.as_ref().is_some_and(|os| os.name != OS) {
        let message = "Failed to admit pod as the OS field doesn't match node OS".to_owned();
        return Some(Rejection { reason: "PodOSNotSupported".into(), message });
    }
    let security = spec.security_context.as_ref();
    if security.and_then(|s| s.supplemental_groups_policy.as_deref()) == Some("Strict") {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned();
        return Some(Rejection { reason: "SupplementalGroupsPolicyNotSupported".into(), message });
    }
    security::wants_missing_apparmor(pod).then(|| Rejection {
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
    let volumes = spec.volumes.iter().flatten();
    let field = |volume: &Volume| {
        unsupported_volume(volume).map(|kind| format!("spec.volumes[{}].{kind}", volume.name))
    };
    volumes.filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    fn refused(pod: &Pod, room: &Room<'_>) -> Option<Rejection> {
        match fits(pod, room) {
            Ok(()) => None,
            Err(Misfit::Refused(rejection)) => Some(rejection),
            Err(Misfit::Needs(required)) => panic!("others are to go: {required:?}"),
        }
    }

    #[test]
    fn names_every_field_it_cannot_honour() {
        let refused = admit(&pod(json!({
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "n", "nfs": {"server": "s", "path": "/"}}],
            "containers": [{"name": "a"}]
        })));
        assert_eq!(
            refused,
            Some(Rejection {
                reason: "PodFeatureUnsupported".into(),
                message: "this node does not support spec.volumes[n].nfs".to_owned()
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
        let object: ApiNode = serde_json::from_value(json!({"metadata": {"labels": {"disk": "hdd"}},
            "status": {"allocatable": {"example.com/gpu": "1"}}}))
        .expect("a node");
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
                asks(json!({"example.com/gpu": "2"})),
                Pressure::default(),
                Some((
                    "OutOfexample.com/gpu",
                    "Node didn't have enough resource: example.com/gpu, requested: 2, used: 0, capacity: 1",
                )),
            ),
            (asks(json!({"example.com/gpu": "1", "elsewhere.com/gpu": "1"})), Pressure::default(), None),
            (
                json!({"nodeSelector": {"disk": "ssd"}, "containers": []}),
                Pressure::default(),
                Some((
                    "NodeAffinity",
                    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
                )),
            ),
            (
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["hdd"]}]}]}}}, "containers": []}),
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
            let others = std::slice::from_ref(&other);
            let room = Room { others, node: &node, pressure, object: Some(&object) };
            let got = refused(&pod(spec.clone()), &room);
            assert_eq!(got.as_ref().map(|r| (&*r.reason, r.message.as_str())), expected, "{spec}");
        }
    }

    #[test]
    fn a_critical_pod_needs_room_but_is_refused_for_all_else() {
        let other = Arc::new(pod(
            json!({"containers": [{"name": "o", "resources": {"requests": {"cpu": "1500m"}}}]}),
        ));
        let node = NodeContext { cpu_millis: 2000, memory_capacity: 1 << 30, ..Default::default() };
        let object: ApiNode =
            serde_json::from_value(json!({"metadata": {"labels": {"disk": "hdd"}}})).expect("a node");
        let asks = |disk: &str| {
            pod(json!({"priority": 2_000_000_000, "nodeSelector": {"disk": disk}, "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]}))
        };
        let others = std::slice::from_ref(&other);
        let pressure = Pressure { memory: true, ..Pressure::default() };
        let room = Room { others, node: &node, pressure, object: Some(&object) };
        match fits(&asks("hdd"), &room) {
            Err(Misfit::Needs(required)) => assert_eq!(
                required.iter().map(|r| (r.resource.as_str(), r.amount)).collect::<Vec<_>>(),
                [("cpu", 500), ("memory", 1 << 30)]
            ),
            other => panic!("{other:?}"),
        }
        assert_eq!(refused(&asks("ssd"), &room).map(|r| r.reason), Some(NODE_AFFINITY.into()));
    }

    #[test]
    fn a_taint_that_drives_away_keeps_away() {
        let object: ApiNode = serde_json::from_value(json!({"spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "b", "value": "c", "effect": "NoExecute"}]}}))
        .expect("a node");
        let node = NodeContext::default();
        let room = |object| Room { others: &[], node: &node, pressure: Pressure::default(), object };
        let plain = pod(json!({"containers": []}));
        let tolerant = pod(json!({"tolerations": [{"key": "b", "operator": "Exists"}], "containers": []}));
        let mut of_node = plain.clone();
        of_node.metadata.annotations =
            Some([("kubernetes.io/config.source".to_owned(), "file".to_owned())].into());
        for (pod, object, expected) in [
            (&plain, Some(&object), Some("TaintToleration")),
            (&plain, None, None),
            (&tolerant, Some(&object), None),
            (&of_node, Some(&object), None),
        ] {
            let got = refused(pod, &room(object));
            assert_eq!(got.as_ref().map(|r| &*r.reason), expected);
            assert!(got.is_none_or(|rejection| rejection.may_be_outdated()));
        }
    }

    #[test]
    fn another_system_is_refused() {
        let mut labelled = pod(json!({"containers": []}));
        labelled.metadata.labels = Some([("kubernetes.io/os".to_owned(), "windows".to_owned())].into());
        for (pod, expected) in [
            (labelled, Some("PodOSSelectorNodeLabelDoesNotMatch")),
            (pod(json!({"os": {"name": "windows"}, "containers": []})), Some("PodOSNotSupported")),
            (pod(json!({"os": {"name": "linux"}, "containers": []})), None),
        ] {
            assert_eq!(admit(&pod).as_ref().map(|r| &*r.reason), expected);
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
