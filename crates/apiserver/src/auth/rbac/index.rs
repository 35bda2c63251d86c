//! Roles and bindings in the form in which questions are asked: who is bound → to which rules.
//!
//! **Contract**: immutable; a change of roles makes a new table of roles, a change of bindings a new one of bindings.

use super::rule::PolicyRule;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Rules by namespace (empty for ClusterRoles) and name.
#[derive(Debug, Default)]
pub(crate) struct Roles(HashMap<(String, String), Arc<Vec<PolicyRule>>>);

impl Roles {
    pub(crate) fn compile(objects: &[Arc<Value>]) -> Self {
        let entry = |object: &Arc<Value>| {
            let meta = &object["metadata"];
            let key = (text(&meta["namespace"]).to_owned(), text(&meta["name"]).to_owned());
            (key, Arc::new(PolicyRule::list_from_json(&object["rules"])))
        };
        Self(objects.iter().map(entry).collect())
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Vec<PolicyRule>>> {
        // Two owned strings a lookup are cheaper than a second level of maps.
        self.0.get(&(namespace.to_owned(), name.to_owned()))
    }
}

/// One subject of one binding.
#[derive(Debug)]
pub(crate) struct Grant {
    /// `x` or `x/ns`, as upstream names a binding in its reasons.
    pub(crate) binding: String,
    /// `Group "system:masters"`
    pub(crate) subject: String,
    /// Whether `role` is a ClusterRole.
    pub(crate) cluster_role: bool,
    /// Name of the role.
    pub(crate) role: String,
}

/// Grants by namespace (empty for ClusterRoleBindings) and subject.
#[derive(Debug, Default)]
pub(crate) struct Bindings(HashMap<String, HashMap<SubjectKey, Vec<Grant>>>);

/// A user name, or a group name. A service account is the user that it authenticates as.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) enum SubjectKey {
    User(String),
    Group(String),
}

impl Bindings {
    pub(crate) fn compile(objects: &[Arc<Value>]) -> Self {
        let mut table: HashMap<String, HashMap<SubjectKey, Vec<Grant>>> = HashMap::new();
        for object in objects {
            let namespace = text(&object["metadata"]["namespace"]);
            let name = text(&object["metadata"]["name"]);
            let binding = if namespace.is_empty() { name.to_owned() } else { format!("{name}/{namespace}") };
            let by_subject = table.entry(namespace.to_owned()).or_default();
            for subject in object["subjects"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let Some((key, description)) = subject_key(subject, namespace) else { continue };
                by_subject.entry(key).or_default().push(Grant {
                    binding: binding.clone(),
                    subject: description,
                    cluster_role: object["roleRef"]["kind"] == "ClusterRole",
                    role: text(&object["roleRef"]["name"]).to_owned(),
                });
            }
        }
        Self(table)
    }

    /// Everything that these subjects are granted by the bindings of a namespace.
    pub(crate) fn grants<'a>(
        &'a self,
        namespace: &str,
        subjects: &'a [SubjectKey],
    ) -> impl Iterator<Item = &'a Grant> {
        let table = self.0.get(namespace);
        subjects.iter().filter_map(move |s| table.and_then(|t| t.get(s))).flatten()
    }
}

fn subject_key(subject: &Value, binding_namespace: &str) -> Option<(SubjectKey, String)> {
    let name = text(&subject["name"]);
    match text(&subject["kind"]) {
        "User" => Some((SubjectKey::User(name.to_owned()), format!("User {name:?}"))),
        "Group" => Some((SubjectKey::Group(name.to_owned()), format!("Group {name:?}"))),
        "ServiceAccount" => {
            let namespace = match text(&subject["namespace"]) {
                "" => binding_namespace,
                other => other,
            };
            if namespace.is_empty() {
                return None;
            }
            let user = format!("system:serviceaccount:{namespace}:{name}");
            Some((SubjectKey::User(user), format!("ServiceAccount {:?}", format!("{name}/{namespace}"))))
        }
        _ => None,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
