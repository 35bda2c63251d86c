//! The Node authorizer: what a kubelet may do, and to which objects.
//!
//! **Contract**: an opinion about `system:node:NAME` in `system:nodes` only. Secrets, ConfigMaps, claims, volumes and
//! tokens only of pods that are bound to the node; its own Node, Lease, CSINode and slices; all else by the rules of
//! `system:node`, which are bound to nobody.
//! **Not here**: what is written into those objects (the admission plugin `NodeRestriction`).
//! **Upstream**: `plugin/pkg/auth/authorizer/node`, which keeps a graph; here the node's pods are looked at, by the watch
//! cache's index of `spec.nodeName`.

use super::objects::Objects;
use super::rbac::PolicyRule;
use super::{Action, Authorizer, Decision, UserInfo};
use serde_json::Value;
use std::sync::Arc;

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
const LEASES: &str = "kube-node-lease";
const MIRROR: &str = "kubernetes.io/config.mirror";
const GET_ONLY: &str = "can only get individual resources of this type";

/// The name of the node whose kubelet this is.
pub(crate) fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(USER_PREFIX).filter(|_| user.is_in(GROUP))
}

/// The authorizer.
pub struct NodeAuthorizer {
    objects: Arc<dyn Objects>,
    rules: Vec<PolicyRule>,
}

impl NodeAuthorizer {
    /// An authorizer with these objects and the rules that hold for every node.
    pub fn new(objects: Arc<dyn Objects>, rules: Vec<PolicyRule>) -> Self {
        Self { objects, rules }
    }

    /// Whether the node may; `Err` is why not.
    fn verdict(&self, node: &str, action: &Action<'_>) -> Result<(), String> {
        let known = if action.is_resource { Kind::of(action.group, action.resource) } else { None };
        let (verb, sub) = (action.verb, action.subresource);
        match known {
            None => {
                let allowed = self.rules.iter().any(|rule| rule.allows(action));
                if allowed { Ok(()) } else { Err(String::new()) }
            }
            Some(kind @ (Kind::Secret | Kind::ConfigMap)) => {
                only(matches!(verb, "get" | "list" | "watch"), "can only read resources of this type")?;
                only(sub.is_empty(), "cannot read subresource")?;
                only(!action.namespace.is_empty(), "can only read namespaced object of this type")?;
                self.related(node, kind, action)
            }
            Some(kind @ Kind::Claim) if sub == "status" => {
                only(matches!(verb, "update" | "patch"), "can only get/update/patch this type")?;
                self.related(node, kind, action)
            }
            Some(kind @ (Kind::Claim | Kind::Volume | Kind::ResourceClaim | Kind::Attachment)) => {
                only(verb == "get", GET_ONLY)?;
                only(sub.is_empty(), "cannot get subresource")?;
                self.related(node, kind, action)
            }
            Some(kind @ Kind::ServiceAccount) => {
                let one = verb == "create" && !action.name.is_empty();
                only(one, "can only create tokens for individual service accounts")?;
                only(sub == "token", "can only create token subresource of serviceaccount")?;
                self.related(node, kind, action)
            }
            Some(Kind::Lease) => {
                let known = matches!(verb, "get" | "create" | "update" | "patch" | "delete");
                only(known, "can only get, create, update, patch, or delete a node lease")?;
                if action.namespace != LEASES {
                    return Err(format!("can only access leases in the {LEASES:?} system namespace"));
                }
                let own = verb == "create" || action.name == node;
                only(own, "can only access node lease with the same name as the requesting node")
            }
            Some(Kind::CsiNode) => {
                let known = matches!(verb, "get" | "create" | "update" | "patch" | "delete");
                only(known, "can only get, create, update, patch, or delete a CSINode")?;
                only(sub.is_empty(), "cannot authorize CSINode subresources")?;
                let own = verb == "create" || action.name == node;
                only(own, "can only access CSINode with the same name as the requesting node")
            }
            Some(kind @ Kind::Slice) => {
                only(sub.is_empty(), "cannot authorize ResourceSlice subresources")?;
                match verb {
                    "create" => Ok(()),
                    "get" | "update" | "patch" | "delete" => self.related(node, kind, action),
                    "watch" | "list" | "deletecollection" => only(
                        action.selects("spec.nodeName", node) || action.selects("nodeName", node),
                        "can only list/watch/deletecollection resourceslices with nodeName field selector",
                    ),
                    _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, \
                              create, update, patch, delete, deletecollection"
                        .to_owned()),
                }
            }
            Some(Kind::Node) => match (sub, verb) {
                ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
                ("", "get" | "list" | "watch") => match action.name {
                    name if name == node => Ok(()),
                    "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
                    name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
                },
                _ => Err(String::new()),
            },
            Some(kind @ Kind::Pod) => match (sub, verb) {
                ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
                ("", "get") => self.related(node, kind, action),
                ("", "list" | "watch") if action.selects("spec.nodeName", node) => Ok(()),
                ("", "list" | "watch") if !action.name.is_empty() => self.related(node, kind, action),
                ("", "list" | "watch") => {
                    Err("can only list/watch pods with spec.nodeName field selector".to_owned())
                }
                _ => Err(String::new()),
            },
        }
    }

    fn related(&self, node: &str, kind: Kind, action: &Action<'_>) -> Result<(), String> {
        if action.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        if self.is_related(node, kind, action.namespace, action.name) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{node}' and this object"))
    }

    fn is_related(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let own = |group, plural, namespace| {
            let object = self.objects.get(group, plural, namespace, name);
            object.is_some_and(|object| object["spec"]["nodeName"] == node)
        };
        match kind {
            Kind::Pod => own("", "pods", namespace),
            Kind::Attachment => own("storage.k8s.io", "volumeattachments", ""),
            Kind::Slice => own("resource.k8s.io", "resourceslices", ""),
            Kind::Volume => {
                let volume = self.objects.get("", "persistentvolumes", "", name);
                volume.is_some_and(|volume| {
                    let claim = |field: &str| volume["spec"]["claimRef"][field].as_str().unwrap_or_default();
                    let (namespace, name) = (claim("namespace"), claim("name"));
                    !name.is_empty() && self.is_related(node, Kind::Claim, namespace, name)
                })
            }
            _ => {
                let pods = self.objects.pods_on(node, namespace);
                // A mirror pod is the node's own invention and proves nothing.
                let mut pods = pods.iter().filter(|pod| pod["metadata"]["annotations"][MIRROR].is_null());
                pods.any(|pod| {
                    refers(pod, kind, name)
                        || kind == Kind::Secret && self.volumes_refer(pod, namespace, name)
                })
            }
        }
    }

    /// Whether a volume behind one of the pod's claims needs this Secret.
    fn volumes_refer(&self, pod: &Value, namespace: &str, secret: &str) -> bool {
        claims(pod).any(|claim| {
            let claim = self.objects.get("", "persistentvolumeclaims", namespace, &claim);
            let volume = claim.as_deref().and_then(|claim| claim["spec"]["volumeName"].as_str());
            let volume = volume.and_then(|name| self.objects.get("", "persistentvolumes", "", name));
            volume.is_some_and(|volume| volume_refers(&volume["spec"], namespace, secret))
        })
    }
}

fn only(condition: bool, otherwise: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.to_owned()) }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        let Some(node) = node_of(action.user) else { return Decision::default() };
        if node.is_empty() {
            return Decision::no_opinion(format!("unknown node for user {:?}", action.user.name));
        }
        match self.verdict(node, action) {
            Ok(()) => Decision::allow(""),
            Err(reason) => Decision::no_opinion(reason),
        }
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
        Vec::new()
    }

    fn untold_rules(&self, user: &UserInfo) -> Option<String> {
        node_of(user).map(|_| "node authorizer does not support user rule resolution".to_owned())
    }
}

/// The kinds that are granted object by object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Secret,
    ConfigMap,
    Claim,
    Volume,
    ResourceClaim,
    Attachment,
    ServiceAccount,
    Lease,
    CsiNode,
    Slice,
    Node,
    Pod,
}

impl Kind {
    fn of(group: &str, plural: &str) -> Option<Self> {
        Some(match (group, plural) {
            ("", "secrets") => Self::Secret,
            ("", "configmaps") => Self::ConfigMap,
            ("", "persistentvolumeclaims") => Self::Claim,
            ("", "persistentvolumes") => Self::Volume,
            ("", "serviceaccounts") => Self::ServiceAccount,
            ("", "nodes") => Self::Node,
            ("", "pods") => Self::Pod,
            ("coordination.k8s.io", "leases") => Self::Lease,
            ("resource.k8s.io", "resourceclaims") => Self::ResourceClaim,
            ("resource.k8s.io", "resourceslices") => Self::Slice,
            ("storage.k8s.io", "csinodes") => Self::CsiNode,
            ("storage.k8s.io", "volumeattachments") => Self::Attachment,
            _ => return None,
        })
    }

    /// Whether a field of a pod's spec holds a reference to this kind.
    fn is_reference(self, field: &str) -> bool {
        match self {
            Self::Secret => matches!(
                field,
                "secret"
                    | "secretRef"
                    | "secretKeyRef"
                    | "imagePullSecrets"
                    | "nodePublishSecretRef"
                    | "azureFile"
            ),
            Self::ConfigMap => matches!(field, "configMap" | "configMapRef" | "configMapKeyRef"),
            _ => false,
        }
    }
}

/// Whether a pod refers to this object of its namespace.
fn refers(pod: &Value, kind: Kind, name: &str) -> bool {
    let items = |list: &Value, field: &str| {
        list.as_array().is_some_and(|list| list.iter().any(|item| item[field] == name))
    };
    match kind {
        Kind::ServiceAccount => pod["spec"]["serviceAccountName"] == name,
        Kind::Claim => claims(pod).any(|claim| claim == name),
        Kind::ResourceClaim => {
            let status = &pod["status"];
            items(&pod["spec"]["resourceClaims"], "resourceClaimName")
                || items(&status["resourceClaimStatuses"], "resourceClaimName")
                || status["extendedResourceClaimStatus"]["resourceClaimName"] == name
        }
        _ => part_refers(&pod["spec"], kind, name),
    }
}

/// The names of a pod's claims, those of its ephemeral volumes included.
fn claims(pod: &Value) -> impl Iterator<Item = String> {
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    volumes.iter().filter_map(|volume| match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(claim) => Some(claim.to_owned()),
        None if volume["ephemeral"].is_null() => None,
        None => Some(format!("{}-{}", pod["metadata"]["name"].as_str()?, volume["name"].as_str()?)),
    })
}

fn part_refers(part: &Value, kind: Kind, name: &str) -> bool {
    match part {
        Value::Array(items) => items.iter().any(|item| part_refers(item, kind, name)),
        Value::Object(fields) => fields.iter().any(|(field, value)| {
            kind.is_reference(field) && names(value, name) || part_refers(value, kind, name)
        }),
        _ => false,
    }
}

fn names(reference: &Value, name: &str) -> bool {
    match reference {
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        // Volumes say `secretName`, everything else `name`.
        other => other["name"] == name || other["secretName"] == name,
    }
}

/// Whether the spec of a volume that is claimed from this namespace refers to the Secret.
fn volume_refers(part: &Value, namespace: &str, secret: &str) -> bool {
    let Value::Object(fields) = part else { return false };
    fields.iter().any(|(field, value)| {
        let named = match field.as_str() {
            "azureFile" => {
                value["secretName"] == secret && in_namespace(&value["secretNamespace"], namespace)
            }
            field if field.ends_with("secretRef") || field.ends_with("SecretRef") => {
                value["name"] == secret && in_namespace(&value["namespace"], namespace)
            }
            _ => false,
        };
        named || volume_refers(value, namespace, secret)
    })
}

/// A reference without a namespace means the claim's.
fn in_namespace(given: &Value, namespace: &str) -> bool {
    given.as_str().is_none_or(|given| given.is_empty() || given == namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Lookup;
    use serde_json::json;

    /// Objects by plural.
    struct Fake(Vec<(&'static str, Arc<Value>)>);

    impl Lookup for Fake {
        fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
            let mut found = self.list("", plural, namespace).into_iter();
            found.find(|object| object["metadata"]["name"] == name)
        }
        fn list(&self, _: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
            let of = |object: &Arc<Value>| {
                object["metadata"]["namespace"].as_str().unwrap_or_default() == namespace
            };
            self.0.iter().filter(|(p, o)| *p == plural && of(o)).map(|(_, o)| Arc::clone(o)).collect()
        }
    }

    #[async_trait::async_trait]
    impl Objects for Fake {
        fn revision_of(&self, _: &str, _: &str, _: &str, _: &str) -> Option<u64> {
            None
        }
        fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Value>> {
            let pods = self.list("", "pods", namespace).into_iter();
            pods.filter(|pod| pod["spec"]["nodeName"] == node).collect()
        }
        async fn label(
            &self,
            _: &str,
            _: &str,
            _: &crate::auth::token::Reference,
            _: (&str, &str),
        ) -> Result<(), api::status::Status> {
            Ok(())
        }
    }

    fn pod(node: &str, secret: &str) -> (&'static str, Arc<Value>) {
        let pod = json!({
            "metadata": { "namespace": "n", "name": format!("{secret}-pod") },
            "spec": {
                "nodeName": node,
                "serviceAccountName": format!("{secret}-account"),
                "imagePullSecrets": [{ "name": format!("{secret}-pull") }],
                "resourceClaims": [{ "name": "gpu", "resourceClaimName": format!("{secret}-gpu") }],
                "containers": [{
                    "env": [{ "name": "x", "valueFrom": { "secretKeyRef": { "name": format!("{secret}-env") } } }],
                    "envFrom": [{ "configMapRef": { "name": format!("{secret}-map") } }],
                }],
                "volumes": [
                    { "name": "v", "secret": { "secretName": format!("{secret}-volume") } },
                    { "name": "w", "projected": { "sources": [{ "configMap": { "name": "root-ca" } }] } },
                    { "name": "d", "persistentVolumeClaim": { "claimName": format!("{secret}-claim") } },
                    { "name": "e", "ephemeral": {} },
                ],
            },
        });
        ("pods", Arc::new(pod))
    }

    fn authorizer() -> NodeAuthorizer {
        let object = |plural, object: Value| (plural, Arc::new(object));
        let objects = vec![
            pod("w", "mine"),
            pod("other", "theirs"),
            object(
                "persistentvolumeclaims",
                json!({ "metadata": { "namespace": "n", "name": "mine-claim" }, "spec": { "volumeName": "disk" } }),
            ),
            object(
                "persistentvolumes",
                json!({ "metadata": { "name": "disk" }, "spec": {
                    "claimRef": { "namespace": "n", "name": "mine-claim" },
                    "csi": { "nodeStageSecretRef": { "name": "disk-key", "namespace": "n" } },
                } }),
            ),
            object(
                "volumeattachments",
                json!({ "metadata": { "name": "attached" }, "spec": { "nodeName": "w" } }),
            ),
        ];
        NodeAuthorizer::new(Arc::new(Fake(objects)), crate::auth::policy::node_rules())
    }

    #[test]
    fn a_node_reads_what_its_pods_refer_to() {
        let authorizer = authorizer();
        let user = UserInfo::authenticated("system:node:w", [GROUP.to_owned()]);
        for (verb, namespace, group, resource, name, allowed) in [
            ("get", "n", "", "secrets", "mine-pull", true),
            ("watch", "n", "", "secrets", "mine-env", true),
            ("get", "n", "", "secrets", "mine-volume", true),
            ("get", "n", "", "secrets", "mine-map", false),
            ("get", "n", "", "secrets", "disk-key", true),
            ("update", "n", "", "secrets", "mine-env", false),
            ("get", "n", "", "configmaps", "mine-map", true),
            ("get", "n", "", "configmaps", "root-ca", true),
            ("get", "n", "", "secrets", "theirs-env", false),
            ("get", "m", "", "secrets", "mine-env", false),
            ("get", "n", "", "secrets", "v", false),
            ("list", "n", "", "secrets", "", false),
            ("get", "n", "", "persistentvolumeclaims", "mine-claim", true),
            ("get", "n", "", "persistentvolumeclaims", "mine-pod-e", true),
            ("list", "n", "", "persistentvolumeclaims", "mine-claim", false),
            ("get", "n", "", "persistentvolumeclaims", "theirs-claim", false),
            ("get", "", "", "persistentvolumes", "disk", true),
            ("get", "", "", "persistentvolumes", "other", false),
            ("get", "n", "resource.k8s.io", "resourceclaims", "mine-gpu", true),
            ("get", "n", "resource.k8s.io", "resourceclaims", "theirs-gpu", false),
            ("get", "", "storage.k8s.io", "volumeattachments", "attached", true),
            ("get", "", "", "nodes", "w", true),
            ("get", "", "", "nodes", "other", false),
            ("list", "", "", "nodes", "", false),
            ("get", "n", "", "pods", "mine-pod", true),
            ("get", "n", "", "pods", "theirs-pod", false),
            ("list", "", "", "services", "", true),
            ("create", "", "", "services", "", false),
            ("update", LEASES, "coordination.k8s.io", "leases", "w", true),
            ("update", LEASES, "coordination.k8s.io", "leases", "other", false),
            ("update", "n", "coordination.k8s.io", "leases", "w", false),
        ] {
            let action = Action { namespace, name, ..Action::on(&user, verb, group, resource) };
            assert_eq!(authorizer.authorize(&action).allowed, allowed, "{verb} {resource} {name}");
        }
        let jane = UserInfo::authenticated("jane", []);
        assert_eq!(authorizer.authorize(&Action::on(&jane, "list", "", "services")), Decision::default());
    }

    #[test]
    fn a_node_lists_its_own_pods_and_gets_tokens_of_their_accounts() {
        let authorizer = authorizer();
        let user = UserInfo::authenticated("system:node:w", [GROUP.to_owned()]);
        let list = |field_selector| Action { field_selector, ..Action::on(&user, "list", "", "pods") };
        assert!(authorizer.authorize(&list("spec.nodeName=w")).allowed);
        assert!(authorizer.authorize(&list("status.phase=Running,spec.nodeName==w")).allowed);
        for other in ["", "spec.nodeName=other", "spec.nodeName!=w"] {
            let decision = authorizer.authorize(&list(other));
            assert!(!decision.allowed, "{other}");
            assert_eq!(decision.reason, "can only list/watch pods with spec.nodeName field selector");
        }
        let token = |name| Action {
            namespace: "n",
            name,
            subresource: "token",
            ..Action::on(&user, "create", "", "serviceaccounts")
        };
        assert!(authorizer.authorize(&token("mine-account")).allowed);
        assert_eq!(
            authorizer.authorize(&token("theirs-account")).reason,
            "no relationship found between node 'w' and this object"
        );
    }
}
