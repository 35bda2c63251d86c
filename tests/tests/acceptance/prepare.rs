//! The objects that are tried, and the namespaces that they live in.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use testkit::eventually;
use tests::DEADLINE;
use tests::kinds::Kind;
use tests::served::Served;

use super::kubectl::Tried;

/// The namespace of a client's objects.
pub(crate) fn namespace(tag: &str) -> String {
    format!("matrix-{tag}")
}

/// The namespace of what limits others, which would limit the other objects.
fn limits(tag: &str) -> String {
    format!("limits-{tag}")
}

/// Makes both, with the service account that pods ask for.
pub(crate) async fn namespaces(served: &Served, tag: &str) {
    let client = served.cluster.client();
    let all: Api<Namespace> = Api::all(client.clone());
    for name in [namespace(tag), limits(tag)] {
        let new = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
        all.create(&PostParams::default(), &new).await.expect("created");
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        eventually(DEADLINE, async || accounts.get_opt("default").await.expect("an answer").is_some()).await;
    }
}

/// An object of each kind; `set` tells apart those that are deleted one by one and those that are deleted together.
pub(crate) fn objects<'a>(kinds: &[&'a Kind], tag: &str, set: &str) -> Vec<Tried<'a>> {
    let labels = json!({"matrix": tag, "set": set});
    // Addresses and groups have to differ between clients and sets.
    let number =
        tag.bytes().chain(set.bytes()).fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    let objects = kinds.iter().enumerate().map(|(index, kind)| {
        let name = format!("{set}-{tag}-{}-{index}", kind.kind.to_lowercase());
        let limiting = matches!(kind.kind.as_str(), "ResourceQuota" | "LimitRange");
        let namespace = if limiting { limits(tag) } else { namespace(tag) };
        Tried { kind, object: kind.object(&name, &namespace, &labels, number) }
    });
    objects.collect()
}

/// Whether discovery says that a column makes sense for a kind.
pub(crate) fn serves(kind: &Kind, column: &str) -> bool {
    match column {
        "collection" => kind.has("deletecollection"),
        "json" | "merge" | "strategic" | "apply" | "ssa" => kind.has("patch"),
        "status" => kind.has_status(),
        verb => kind.has(verb),
    }
}

/// The node that a pod is given to; there need be none of this name.
pub(crate) const NODE: &str = "nowhere";

/// A pod that no scheduler looks after, and the binding that gives it to the node.
pub(crate) fn bound(namespace: &str) -> (Value, Value) {
    let metadata = json!({"name": "bound", "namespace": namespace});
    let spec = json!({"schedulerName": "none", "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    let target = json!({"apiVersion": "v1", "kind": "Node", "name": NODE});
    (pod, json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}))
}
