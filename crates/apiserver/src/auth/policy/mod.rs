//! The roles and bindings that exist from the start, and how they are kept up.
//!
//! **Contract**: at each start, what is missing is made; what is there keeps everything that people added, and gets
//! the rules and subjects that it lacks, unless its annotation `autoupdate` is `false`.
//! The rules of aggregated roles are filled in here; after that they are the aggregation controller's.
//! **Upstream**: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, `pkg/registry/rbac/reconciliation`.

mod add_ons;
mod bindings;
mod components;
mod controllers;
mod table;
#[cfg(test)]
mod tests;
mod users;

use super::rbac::{GROUP, PolicyRule};
use bindings::Subject;
use serde_json::{Value, json};
use table::Role;

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// Every bootstrap object with the plural of its resource.
pub fn objects() -> Vec<(&'static str, Value)> {
    let roles = roles().map(|role| {
        let plural = if role.namespace.is_empty() { "clusterroles" } else { "roles" };
        (plural, role_object(role))
    });
    let bindings = bindings::all().into_iter().map(|binding| {
        let plural = if binding.namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
        (plural, binding_object(&binding))
    });
    roles.chain([all_controllers()]).chain(bindings).collect()
}

/// The object with what it lacks of the bootstrap policy; `None` if it lacks nothing or is not to be touched.
pub fn reconciled(existing: &Value, expected: &Value) -> Option<Value> {
    if existing["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let list = if expected["roleRef"].is_null() { "rules" } else { "subjects" };
    let mut have = existing[list].as_array().cloned().unwrap_or_default();
    let before = have.len();
    let rules = PolicyRule::list_from_json(&existing["rules"]);
    for item in expected[list].as_array().into_iter().flatten() {
        let covered = match list {
            "rules" if existing.get("aggregationRule").is_some() => true,
            "rules" => {
                let atoms = PolicyRule::from_json(item).atoms();
                atoms.iter().all(|atom| rules.iter().any(|rule| rule.covers(atom)))
            }
            _ => have.iter().any(|other| same_subject(other, item)),
        };
        if !covered {
            have.push(item.clone());
        }
    }
    if have.len() == before {
        return None;
    }
    let mut object = existing.clone();
    object[list] = Value::Array(have);
    Some(object)
}

fn same_subject(a: &Value, b: &Value) -> bool {
    ["kind", "name", "namespace"].iter().all(|field| a[field] == b[field])
}

fn roles() -> impl Iterator<Item = &'static Role> {
    [
        users::USERS,
        components::COMPONENTS,
        add_ons::ADD_ONS,
        controllers::CONTROLLERS,
        controllers::NAMESPACED,
    ]
    .into_iter()
    .flatten()
}

/// The role under which this cluster's controllers work: they share one identity, so it has what any of them may do.
/// (Upstream's can each use a ServiceAccount; those are bound to the single roles.)
fn all_controllers() -> (&'static str, Value) {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in controllers::CONTROLLERS.iter().flat_map(|role| role.rules.iter().map(table::Rule::compile)) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    let mut role = object("ClusterRole", "", bindings::ALL_CONTROLLERS, json!({}));
    role["rules"] = rules.iter().map(PolicyRule::to_json).collect();
    ("clusterroles", role)
}

/// What every kubelet may do, whichever its node; the Node authorizer's static rules.
pub fn node_rules() -> Vec<PolicyRule> {
    let node = components::COMPONENTS.iter().find(|role| role.name == "system:node");
    node.map(effective_rules).unwrap_or_default()
}

fn role_object(role: &Role) -> Value {
    let mut labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
    if !role.aggregate_to.is_empty() {
        labels[format!("{AGGREGATE}{}", role.aggregate_to)] = json!("true");
    }
    let kind = if role.namespace.is_empty() { "ClusterRole" } else { "Role" };
    let mut object = object(kind, role.namespace, role.name, labels);
    if !role.aggregate_from.is_empty() {
        let selector = json!({ "matchLabels": { format!("{AGGREGATE}{}", role.aggregate_from): "true" } });
        object["aggregationRule"] = json!({ "clusterRoleSelectors": [selector] });
    }
    object["rules"] = effective_rules(role).iter().map(PolicyRule::to_json).collect();
    object
}

/// A role's own rules and those that it collects, each once.
fn effective_rules(role: &Role) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = role.rules.iter().map(table::Rule::compile).collect();
    if !role.aggregate_from.is_empty() {
        for part in roles().filter(|part| part.aggregate_to == role.aggregate_from) {
            for rule in effective_rules(part) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    rules
}

fn binding_object(binding: &bindings::Binding) -> Value {
    let kind = if binding.namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let own = binding.name.starts_with("minik:");
    let labels = if own { json!({}) } else { json!({ "kubernetes.io/bootstrapping": "rbac-defaults" }) };
    let mut object = object(kind, binding.namespace, &binding.name, labels);
    object["roleRef"] = json!({ "apiGroup": GROUP, "kind": binding.role_kind, "name": binding.role });
    let subject = |subject: &Subject| match subject {
        Subject::User(name) => json!({ "apiGroup": GROUP, "kind": "User", "name": name }),
        Subject::Group(name) => json!({ "apiGroup": GROUP, "kind": "Group", "name": name }),
        Subject::ServiceAccount(name) => {
            json!({ "kind": "ServiceAccount", "name": name, "namespace": "kube-system" })
        }
    };
    if !binding.subjects.is_empty() {
        object["subjects"] = binding.subjects.iter().map(subject).collect();
    }
    object
}

fn object(kind: &str, namespace: &str, name: &str, labels: Value) -> Value {
    let mut metadata = json!({ "name": name });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        metadata["labels"] = labels;
    }
    metadata["annotations"] = json!({ AUTOUPDATE: "true" });
    json!({ "kind": kind, "apiVersion": format!("{GROUP}/v1"), "metadata": metadata })
}
