//! A kubelet writes its own Node and Lease, and the pods that are bound to it; nothing of other nodes.
//!
//! **Not here**: what a kubelet may read (`auth::node`).
//! **Upstream**: `plugin/pkg/admission/noderestriction`.

use super::refusal::forbidden;
use super::{Attributes, Operation, Plugin};
use crate::auth::node::node_of;
use api::status::Status;
use api::well_known::label;
use serde_json::Value;
use std::collections::BTreeSet;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";
/// Labels that a kubelet may set, of those whose keys are Kubernetes' own. **Upstream**: `kubelet/pkg/apis`.
const KUBELET_LABELS: [&str; 11] = [
    label::HOSTNAME,
    label::TOPOLOGY_ZONE,
    label::TOPOLOGY_REGION,
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    label::OS,
    label::ARCH,
    label::BETA_OS,
    label::BETA_ARCH,
];
const KUBELET_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_NAMESPACE: &str = "node-restriction.kubernetes.io";

/// The plugin.
pub(super) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(node) = node_of(attributes.user) else { return Ok(()) };
        if attributes.operation == Operation::Connect {
            return Ok(());
        }
        refusal(node, attributes, object).map_or(Ok(()), |why| Err(forbidden(attributes, object, &why)))
    }
}

/// Why this node may not do this.
fn refusal(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Option<String> {
    let resource = (&*attributes.resource.group, &*attributes.resource.plural, attributes.subresource);
    match resource {
        ("", "pods", sub) => pod_refusal(node, sub, attributes, object),
        ("", "nodes", _) => node_refusal(node, attributes, object),
        ("", "persistentvolumeclaims", sub) => claim_refusal(node, sub, attributes, object),
        ("", "serviceaccounts", "token") => token_refusal(node, attributes, object),
        ("coordination.k8s.io", "leases", _) => {
            let name = name(attributes, object);
            if attributes.namespace != LEASES {
                Some(format!("can only access leases in the {LEASES:?} system namespace"))
            } else if name != node {
                Some("can only access node lease with the same name as the requesting node".to_owned())
            } else {
                None
            }
        }
        ("storage.k8s.io", "csinodes", _) => (name(attributes, object) != node)
            .then(|| "can only access CSINode with the same name as the requesting node".to_owned()),
        ("resource.k8s.io", "resourceslices", _) => {
            let own = |slice: Option<&Value>| slice.is_some_and(|slice| slice["spec"]["nodeName"] == node);
            let (refused, verb) = match attributes.operation {
                Operation::Create => (!own(object), "create"),
                Operation::Delete => (!own(attributes.old), "delete"),
                // Others are the authorizer's.
                _ => return None,
            };
            refused.then(|| {
                format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")
            })
        }
        _ => None,
    }
}

/// The name of the object, as the path or the object itself says it.
fn name<'a>(attributes: &Attributes<'a>, object: Option<&'a Value>) -> &'a str {
    match attributes.name {
        "" => object.and_then(|object| object["metadata"]["name"].as_str()).unwrap_or_default(),
        name => name,
    }
}

fn node_refusal(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Option<String> {
    let name = name(attributes, object);
    if name != node {
        return Some(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let object = object?;
    let labels = forbidden_labels(object, attributes.old);
    let labels = (!labels.is_empty()).then(|| labels.into_iter().collect::<Vec<_>>().join(", "));
    let source = &object["spec"]["configSource"];
    match (attributes.operation, attributes.old) {
        (Operation::Create, _) if !source.is_null() => {
            Some(format!("node {node:?} is not allowed to create pods with a non-nil configSource"))
        }
        (Operation::Create, _) => {
            labels.map(|labels| format!("node {node:?} is not allowed to set the following labels: {labels}"))
        }
        (Operation::Update, Some(old)) => {
            let not_to = |what: &str| Some(format!("node {node:?} is not allowed to {what}"));
            if !source.is_null() && *source != old["spec"]["configSource"] {
                return not_to("update configSource to a new non-nil configSource");
            }
            if items(&object["spec"]["taints"]) != items(&old["spec"]["taints"]) {
                return not_to("modify taints");
            }
            let owners = |object: &'_ Value| items(&object["metadata"]["ownerReferences"]).to_vec();
            if owners(object) != owners(old) {
                return not_to("modify ownerReferences");
            }
            labels.map(|labels| format!("is not allowed to modify labels: {labels}"))
        }
        _ => None,
    }
}

/// A list that is not there is empty.
fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// The labels that differ and are not a kubelet's to set.
fn forbidden_labels<'a>(object: &'a Value, old: Option<&'a Value>) -> BTreeSet<&'a str> {
    let labels =
        |object: Option<&'a Value>| object.and_then(|object| object["metadata"]["labels"].as_object());
    let (new, old) = (labels(Some(object)), labels(old));
    let keys = new.into_iter().chain(old).flat_map(|labels| labels.keys());
    let value = |labels: Option<&'a serde_json::Map<String, Value>>, key: &str| {
        labels.and_then(|labels| labels.get(key))
    };
    let changed = keys.filter(|key| value(new, key) != value(old, key)).map(String::as_str);
    changed.filter(|key| is_forbidden_label(key)).collect()
}

fn is_forbidden_label(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let is_within = |parent: &str| {
        namespace == parent || namespace.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
    };
    let is_kubernetes = is_within("kubernetes.io") || is_within("k8s.io");
    let is_kubelets = KUBELET_LABELS.contains(&key) || KUBELET_NAMESPACES.into_iter().any(is_within);
    is_within(RESTRICTED_NAMESPACE) || (is_kubernetes && !is_kubelets)
}

/// A kubelet says how large a volume has become, and nothing else of a claim.
fn claim_refusal(
    node: &str,
    subresource: &str,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Option<String> {
    if subresource != "status" {
        return Some("may only update PVC status".to_owned());
    }
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        let remove = |value: &mut Value, fields: &[&str]| {
            if let Some(object) = value.as_object_mut() {
                object.retain(|key, _| !fields.contains(&key.as_str()));
            }
        };
        remove(&mut claim["metadata"], &["resourceVersion", "managedFields"]);
        let own = ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"];
        remove(&mut claim["status"], &own);
        claim
    };
    let same = object.map(rest) == attributes.old.map(rest);
    let only = "is not allowed to update fields other than status.capacity and status.conditions";
    (!same).then(|| format!("node {node:?} {only}"))
}

fn pod_refusal(
    node: &str,
    subresource: &str,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Option<String> {
    let bound = |pod: Option<&Value>| pod.is_some_and(|pod| pod["spec"]["nodeName"] == node);
    let only = |what: &str| format!("node {node:?} can only {what} with spec.nodeName set to itself");
    match (attributes.operation, subresource) {
        (Operation::Create, "") => {
            let mirror = object.is_some_and(|pod| !pod["metadata"]["annotations"][MIRROR].is_null());
            if !mirror {
                return Some(format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            if !bound(object) {
                return Some(only("create pods"));
            }
            object.and_then(|pod| mirror_refusal(node, attributes, pod))
        }
        (Operation::Delete, "") => (!bound(attributes.old)).then(|| only("delete pods")),
        (Operation::Update, "status") => {
            if !bound(attributes.old) {
                return Some(only("update pod status for pods"));
            }
            let (old, new) = (attributes.old?, object?);
            let labels = |pod: &Value| pod["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            if labels(old) != labels(new) {
                return Some(format!("node {node:?} cannot update labels through pod status"));
            }
            let claims = |pod: &Value| items(&pod["status"]["resourceClaimStatuses"]).to_vec();
            (claims(old) != claims(new))
                .then(|| format!("node {node:?} cannot update resource claim statues"))
        }
        (Operation::Create, "eviction") => {
            let pod = attributes.lookup.get("", "pods", attributes.namespace, attributes.name);
            (!bound(pod.as_deref()))
                .then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        (operation, "") => Some(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            operation.name()
        )),
        (operation, "status" | "eviction") => Some(format!("unexpected operation {:?}", operation.name())),
        (_, sub) => {
            Some(format!("unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed"))
        }
    }
}

/// A mirror pod is owned by its node, and refers to nothing that the API has.
fn mirror_refusal(node: &str, attributes: &Attributes<'_>, pod: &Value) -> Option<String> {
    let with = |what: &str| Some(format!("node {node:?} can only create pods with {what} set to itself"));
    let owner = match items(&pod["metadata"]["ownerReferences"]) {
        [] => return with("an owner reference"),
        [owner] => owner,
        _ => return with("a single owner reference"),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return with("an owner reference");
    }
    if owner["controller"] != true {
        return with("a controller owner reference");
    }
    if owner["blockOwnerDeletion"] == true {
        return Some(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let found = attributes.lookup.get("", "nodes", "", node);
    let uid = |object: &Value| object["uid"].as_str().unwrap_or_default().to_owned();
    let found = found.map(|found| uid(&found["metadata"])).unwrap_or_default();
    if found != uid(owner) {
        return Some(format!("node {node} UID mismatch: expected {} got {found}", uid(owner)));
    }
    let spec = &pod["spec"];
    let refers = |what: &str| Some(format!("node {node:?} can not create pods that reference {what}"));
    if spec["serviceAccountName"].as_str().is_some_and(|account| !account.is_empty()) {
        return refers("a service account");
    }
    let has = |fields: &[&str]| refers_by(spec, fields);
    let secrets =
        ["imagePullSecrets", "secret", "secretKeyRef", "secretRef", "nodePublishSecretRef", "secretName"];
    if has(&secrets) {
        return refers("secrets");
    }
    if has(&["configMap", "configMapKeyRef", "configMapRef"]) {
        return refers("configmaps");
    }
    if has(&["clusterTrustBundle"]) {
        return refers("clustertrustbundles");
    }
    if has(&["persistentVolumeClaim"]) {
        return refers("persistentvolumeclaims");
    }
    None
}

/// Whether one of these fields is set anywhere below.
fn refers_by(value: &Value, fields: &[&str]) -> bool {
    let is_set = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    match value {
        Value::Array(items) => items.iter().any(|item| refers_by(item, fields)),
        Value::Object(object) => object.iter().any(|(key, value)| {
            (fields.contains(&key.as_str()) && is_set(value)) || refers_by(value, fields)
        }),
        _ => false,
    }
}

fn token_refusal(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Option<String> {
    let reference = object.map(|request| &request["spec"]["boundObjectRef"])?;
    let name = reference["name"].as_str().unwrap_or_default();
    if reference["apiVersion"] != "v1" || reference["kind"] != "Pod" || name.is_empty() {
        return Some("node requested token not bound to a pod".to_owned());
    }
    let uid = reference["uid"].as_str().unwrap_or_default();
    if uid.is_empty() {
        return Some("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = attributes.lookup.get("", "pods", attributes.namespace, name);
    match pod {
        Some(pod) if pod["metadata"]["uid"] != uid => Some(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        )),
        Some(pod) if pod["spec"]["nodeName"] == node => None,
        _ => Some("node requested token bound to a pod scheduled on a different node".to_owned()),
    }
}
