//! `rbac.authorization.k8s.io`: who may do what.
//!
//! **Contract**: names are path segments (`system:node`); whether the writer may grant what is written is admission's
//! question, not asked here.
//! **Upstream**: `pkg/apis/rbac/validation`, `pkg/registry/rbac`.

pub(crate) mod cluster_role;
pub(crate) mod cluster_role_binding;
pub(crate) mod role;
pub(crate) mod role_binding;

use crate::registry::{Cell, Column};
use crate::resources::edit::{each, items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::Scope;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// The columns of a binding, with what is said of its role and of the three sorts of subjects.
const fn binding_columns(role: &'static str, subjects: [&'static str; 3]) -> [Column; 6] {
    [
        Column::NAME,
        Column::new("Role", "string").text(role),
        cells::AGE,
        Column::wide("Users", "string").text(subjects[0]),
        Column::wide("Groups", "string").text(subjects[1]),
        Column::wide("ServiceAccounts", "string").text(subjects[2]),
    ]
}

fn check_rules(object: &Value, scope: Scope) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, rule) in items(object, "rules").iter().enumerate() {
        let path = Path::new("rules").index(i);
        let has = |field: &str| !items(rule, field).is_empty();
        if !has("verbs") {
            errors.push(Error::required(&path.child("verbs"), "verbs must contain at least one value"));
        }
        if has("nonResourceURLs") {
            let path = path.child("nonResourceURLs");
            let shown = rule["nonResourceURLs"].clone();
            if scope == Scope::Namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(Error::invalid(&path, shown.clone(), detail));
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(Error::invalid(&path, shown, detail));
            }
            continue;
        }
        if !has("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(Error::required(&path.child("apiGroups"), detail));
        }
        if !has("resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(Error::required(&path.child("resources"), detail));
        }
    }
    errors
}

fn default_binding(object: &mut Value) {
    if let Some(role) = edit::child(object, "roleRef") {
        edit::set_default_text(role, "apiGroup", GROUP);
    }
    for subject in each(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            edit::set_default_text(subject, "apiGroup", GROUP);
        }
    }
}

fn check_binding(object: &Value, scope: Scope) -> ErrorList {
    let mut errors = ErrorList::new();
    let (role, path) = (&object["roleRef"], Path::new("roleRef"));
    if text(role, "apiGroup") != GROUP {
        errors.push(Error::not_supported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]));
    }
    let kinds: &[&str] = if scope == Scope::Namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "kind")) {
        errors.push(Error::not_supported(&path.child("kind"), text(role, "kind"), kinds));
    }
    check::required_name(&mut errors, &path.child("name"), &role["name"], |n| {
        api::names::path_segment(n, false)
    });
    for (i, subject) in items(object, "subjects").iter().enumerate() {
        check_subject(&mut errors, &Path::new("subjects").index(i), subject, scope);
    }
    errors
}

fn check_subject(errors: &mut ErrorList, path: &Path, subject: &Value, scope: Scope) {
    check::required(errors, &path.child("name"), &subject["name"]);
    let (kind, group) = (text(subject, "kind"), text(subject, "apiGroup"));
    let expected = match kind {
        "ServiceAccount" => "",
        "User" | "Group" => GROUP,
        _ => {
            let kinds = &["ServiceAccount", "User", "Group"];
            errors.push(Error::not_supported(&path.child("kind"), kind, kinds));
            return;
        }
    };
    if group != expected {
        errors.push(Error::not_supported(&path.child("apiGroup"), group, &[expected]));
    }
    if kind == "ServiceAccount" {
        check::optional_name(errors, &path.child("name"), &subject["name"], check::subdomain);
        if scope == Scope::Cluster {
            check::required(errors, &path.child("namespace"), &subject["namespace"]);
        }
    }
}

fn check_binding_update(object: &Value, old: &Value, scope: Scope) -> ErrorList {
    let mut errors = check_binding(object, scope);
    if !edit::same(&object["roleRef"], &old["roleRef"]) {
        errors.push(Error::invalid(
            &Path::new("roleRef"),
            object["roleRef"].clone(),
            "cannot change roleRef",
        ));
    }
    errors
}

fn binding_row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let role = &object["roleRef"];
    let subjects = |kind: &str| -> Vec<String> {
        let of_kind = items(object, "subjects").iter().filter(|s| text(s, "kind") == kind);
        of_kind
            .map(|s| match (kind, text(s, "namespace")) {
                ("ServiceAccount", namespace) if !namespace.is_empty() => {
                    format!("{namespace}/{}", text(s, "name"))
                }
                _ => text(s, "name").to_owned(),
            })
            .collect()
    };
    let listed = |kind: &str| json!(subjects(kind).join(", "));
    vec![
        cells::name(object),
        json!(format!("{}/{}", text(role, "kind"), text(role, "name"))),
        cells::age(object, now),
        listed("User"),
        listed("Group"),
        listed("ServiceAccount"),
    ]
}
