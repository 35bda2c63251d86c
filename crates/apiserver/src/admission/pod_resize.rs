//! A pod is not given more than its node has, nor what its node cannot change while the pod runs.
//!
//! **Upstream**: `plugin/pkg/admission/{podresize,nodedeclaredfeatures}`; what nodes declare is in
//! `k8s.io/component-helpers/nodedeclaredfeatures`.

use super::refusal::forbidden;
use super::{Attributes, Operation, Plugin};
use api::k8s_openapi::api::core::v1::PodSpec;
use api::status::Status;
use api::{meta, pod, quota};
use serde_json::Value;
use std::sync::Arc;

/// Declared by nodes that change the CPU of pods of the class Guaranteed.
const GUARANTEED_CPU: &str = "GuaranteedQoSPodCPUResize";

/// The node must have what a resized pod requests.
pub(super) struct PodResizeValidator;

impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some((new, _)) = resized(attributes, pod) else { return Ok(()) };
        node(attributes, new)
            .and_then(|node| fits(new, &node))
            .map_err(|why| forbidden(attributes, pod, &why))
    }
}

/// The node must have declared what a resize asks of it.
pub(super) struct NodeDeclaredFeatureValidator;

impl Plugin for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some((new, old)) = resized(attributes, pod) else { return Ok(()) };
        if old["status"]["qosClass"] != "Guaranteed" || !cpu_differs(new, old) {
            return Ok(());
        }
        let declared = |node: &Value| {
            node["status"]["declaredFeatures"]
                .as_array()
                .is_some_and(|all| all.iter().any(|f| f == GUARANTEED_CPU))
        };
        let why = match node(attributes, new) {
            Ok(node) if declared(&node) => return Ok(()),
            Ok(node) => format!(
                "pod update requires features {GUARANTEED_CPU} which are not available on node {:?}",
                meta::name(&node)
            ),
            Err(why) => why,
        };
        Err(forbidden(attributes, pod, &why))
    }
}

/// The pod as it is to be and as it was, if it is on a node and this is a resize that changes it.
fn resized<'a>(attributes: &Attributes<'a>, pod: Option<&'a Value>) -> Option<(&'a Value, &'a Value)> {
    let (new, old) = (pod?, attributes.old?);
    let resource = attributes.resource;
    (attributes.operation == Operation::Update
        && (&*resource.group, &*resource.plural, attributes.subresource) == ("", "pods", "resize")
        && !node_name(new).is_empty()
        && meta::generation(new) != meta::generation(old))
    .then_some((new, old))
}

fn node_name(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

fn node(attributes: &Attributes<'_>, pod: &Value) -> Result<Arc<Value>, String> {
    let name = node_name(pod);
    attributes.lookup.get("", "nodes", "", name).ok_or_else(|| format!("node {name:?} not found"))
}

fn fits(pod: &Value, node: &Value) -> Result<(), String> {
    let spec: PodSpec = serde_json::from_value(pod["spec"].clone()).map_err(|error| error.to_string())?;
    let (requested, allocatable) = (pod::requests(&spec), quota::amounts(&node["status"]["allocatable"]));
    let of = |list: &pod::ResourceList, name: &str| list.get(name).copied().unwrap_or_default();
    let mut lacks = Vec::new();
    let (wanted, there) = (of(&requested, "cpu").millis(), of(&allocatable, "cpu").millis());
    if wanted > there {
        lacks.push(format!("cpu, requested: {wanted}, allocatable: {there}"));
    }
    let (wanted, there) = (of(&requested, "memory").value(), of(&allocatable, "memory").value());
    if wanted > there {
        lacks.push(format!("memory, requested: {wanted}, allocatable: {there}"));
    }
    if !lacks.is_empty() {
        return Err(format!("Node didn't have enough allocatable resources: {}", lacks.join("; ")));
    }
    match meta::label(node, "kubernetes.io/os").unwrap_or_default() {
        "linux" => Ok(()),
        os => {
            Err(format!("pod resize is only supported on linux nodes, node {:?} is {os:?}", meta::name(node)))
        }
    }
}

/// Whether a container requests more or less CPU than before.
fn cpu_differs(new: &Value, old: &Value) -> bool {
    let containers = |pod: &Value| pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let cpu = |container: &Value| {
        quota::amounts(&container["resources"]["requests"]).remove("cpu").unwrap_or_default()
    };
    containers(new).iter().zip(&containers(old)).any(|(new, old)| cpu(new) != cpu(old))
}
