//! What a kubelet may read: Secrets and ConfigMaps only of pods that are bound to its node.
//!
//! **Contract**: takes away from what RBAC grants, never adds. Everything else that a node reads or writes is left to
//! RBAC's `system:node` and to the admission plugin `NodeRestriction`.
//! **Not here**: claims, volumes and attachments, whose kinds do not exist yet.
//! **Upstream**: `plugin/pkg/auth/authorizer/node`, which keeps a graph; here the namespace's pods are looked at.

use super::rbac::PolicyRule;
use super::{Action, Authorizer, Decision, UserInfo};
use crate::admission::Lookup;
use serde_json::Value;
use std::sync::Arc;

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";

/// The name of the node whose kubelet this is.
pub(crate) fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(USER_PREFIX).filter(|_| user.is_in(GROUP))
}

/// An authorizer that narrows another for nodes.
pub struct NodeAuthorizer<A> {
    inner: A,
    lookup: Arc<dyn Lookup>,
}

impl<A> NodeAuthorizer<A> {
    /// Narrows `inner`, by what these pods refer to.
    pub fn new(inner: A, lookup: Arc<dyn Lookup>) -> Self {
        Self { inner, lookup }
    }

    /// Why this node may not read this.
    fn refusal(&self, node: &str, action: &Action<'_>) -> Option<String> {
        if !action.is_resource || !action.group.is_empty() {
            return None;
        }
        let kind = Kind::of(action.resource)?;
        if action.name.is_empty() {
            return Some("No Object name found".to_owned());
        }
        let related = self
            .lookup
            .list("", "pods", action.namespace)
            .iter()
            .any(|pod| pod["spec"]["nodeName"] == node && refers(&pod["spec"], kind, action.name));
        (!related).then(|| format!("no relationship found between node '{node}' and this object"))
    }
}

impl<A: Authorizer> Authorizer for NodeAuthorizer<A> {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        match node_of(action.user).and_then(|node| self.refusal(node, action)) {
            Some(reason) => Decision { allowed: false, reason },
            None => self.inner.authorize(action),
        }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule> {
        self.inner.rules_for(user, namespace)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    fn of(plural: &str) -> Option<Self> {
        match plural {
            "secrets" => Some(Self::Secret),
            "configmaps" => Some(Self::ConfigMap),
            _ => None,
        }
    }

    /// Whether a field of a pod's spec holds a reference to this kind.
    fn is_reference(self, field: &str) -> bool {
        match self {
            Self::Secret => {
                matches!(field, "secret" | "secretRef" | "secretKeyRef" | "imagePullSecrets")
            }
            Self::ConfigMap => matches!(field, "configMap" | "configMapRef" | "configMapKeyRef"),
        }
    }
}

/// Whether a pod's spec, or a part of it, refers to this object.
fn refers(part: &Value, kind: Kind, name: &str) -> bool {
    match part {
        Value::Array(items) => items.iter().any(|item| refers(item, kind, name)),
        Value::Object(fields) => fields.iter().any(|(field, value)| {
            kind.is_reference(field) && names(value, name) || refers(value, kind, name)
        }),
        _ => false,
    }
}

fn names(reference: &Value, name: &str) -> bool {
    match reference {
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        // A Secret volume says `secretName`, everything else `name`.
        other => other["name"] == name || other["secretName"] == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Everything;

    impl Authorizer for Everything {
        fn authorize(&self, _: &Action<'_>) -> Decision {
            Decision { allowed: true, reason: String::new() }
        }
        fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
            Vec::new()
        }
    }

    struct Pods(Vec<Arc<Value>>);

    impl Lookup for Pods {
        fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Value>> {
            None
        }
        fn list(&self, _: &str, _: &str, namespace: &str) -> Vec<Arc<Value>> {
            self.0.iter().filter(|pod| pod["metadata"]["namespace"] == namespace).cloned().collect()
        }
    }

    #[test]
    fn a_node_reads_what_its_pods_refer_to() {
        let pod = |node: &str, secret: &str| {
            Arc::new(json!({
                "metadata": { "namespace": "n" },
                "spec": {
                    "nodeName": node,
                    "imagePullSecrets": [{ "name": format!("{secret}-pull") }],
                    "containers": [{
                        "env": [{ "name": "x", "valueFrom": { "secretKeyRef": { "name": format!("{secret}-env") } } }],
                        "envFrom": [{ "configMapRef": { "name": format!("{secret}-map") } }],
                    }],
                    "volumes": [
                        { "name": "v", "secret": { "secretName": format!("{secret}-volume") } },
                        { "name": "w", "projected": { "sources": [{ "configMap": { "name": "root-ca" } }] } },
                    ],
                },
            }))
        };
        let pods = Arc::new(Pods(vec![pod("w", "mine"), pod("other", "theirs")]));
        let authorizer = NodeAuthorizer::new(Everything, pods);
        let user = UserInfo::authenticated("system:node:w", [GROUP.to_owned()]);
        for (namespace, resource, name, allowed) in [
            ("n", "secrets", "mine-pull", true),
            ("n", "secrets", "mine-env", true),
            ("n", "secrets", "mine-volume", true),
            ("n", "secrets", "mine-map", false),
            ("n", "configmaps", "mine-map", true),
            ("n", "configmaps", "root-ca", true),
            ("n", "secrets", "theirs-env", false),
            ("m", "secrets", "mine-env", false),
            ("n", "secrets", "v", false),
            ("n", "secrets", "", false),
            ("n", "pods", "", true),
        ] {
            let action = Action { namespace, name, ..Action::on(&user, "get", "", resource) };
            assert_eq!(authorizer.authorize(&action).allowed, allowed, "{resource} {name}");
        }
        let jane = UserInfo::authenticated("jane", []);
        assert!(authorizer.authorize(&Action::on(&jane, "list", "", "secrets")).allowed);
    }
}
