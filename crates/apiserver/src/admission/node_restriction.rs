//! A kubelet writes its own Node and Lease, and the pods that are bound to it; nothing of other nodes.
//!
//! **Not here**: what a kubelet may read (`auth::node`).
//! **Upstream**: `plugin/pkg/admission/noderestriction`.

use super::refusal::forbidden;
use super::{Attributes, Operation, Plugin};
use crate::auth::node::node_of;
use api::status::Status;
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";

/// The plugin.
pub(super) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(node) = node_of(attributes.user) else { return Ok(()) };
        refusal(node, attributes, object).map_or(Ok(()), |why| Err(forbidden(attributes, object, &why)))
    }
}

/// Why this node may not do this.
fn refusal(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Option<String> {
    let resource = (&*attributes.resource.group, &*attributes.resource.plural, attributes.subresource);
    match resource {
        ("", "pods", sub) => pod_refusal(node, sub, attributes, object),
        ("", "nodes", _) => {
            let name = match attributes.name {
                "" => object.and_then(|o| o["metadata"]["name"].as_str()).unwrap_or_default(),
                name => name,
            };
            (name != node).then(|| format!("node {node:?} is not allowed to modify node {name:?}"))
        }
        ("", "serviceaccounts", "token") => token_refusal(node, attributes, object),
        ("coordination.k8s.io", "leases", _) => {
            let name = match attributes.name {
                "" => object.and_then(|o| o["metadata"]["name"].as_str()).unwrap_or_default(),
                name => name,
            };
            if attributes.namespace != LEASES {
                Some(format!("can only access leases in the {LEASES:?} system namespace"))
            } else if name != node {
                Some("can only access node lease with the same name as the requesting node".to_owned())
            } else {
                None
            }
        }
        _ => None,
    }
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
            (!bound(object)).then(|| only("create pods"))
        }
        (Operation::Delete, "") => (!bound(attributes.old)).then(|| only("delete pods")),
        (Operation::Update, "status") => (!bound(attributes.old)).then(|| only("update pod status for pods")),
        (Operation::Create, "eviction") => {
            let pod = attributes.lookup.get("", "pods", attributes.namespace, attributes.name);
            (!bound(pod.as_deref())).then(|| only("evict pods"))
        }
        (_, sub) => Some(format!("unexpected subresource {sub:?} or operation on pods by a node")),
    }
}

fn token_refusal(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Option<String> {
    let reference = object.map(|request| &request["spec"]["boundObjectRef"])?;
    if reference["kind"] != "Pod" {
        return Some("node requested token not bound to a pod".to_owned());
    }
    let name = reference["name"].as_str().unwrap_or_default();
    let pod = attributes.lookup.get("", "pods", attributes.namespace, name);
    match pod {
        Some(pod) if pod["metadata"]["uid"] != reference["uid"] => {
            Some("the UID in the bound object reference does not match the UID in record".to_owned())
        }
        Some(pod) if pod["spec"]["nodeName"] == node => None,
        _ => Some("node requested token bound to a pod scheduled on a different node".to_owned()),
    }
}
