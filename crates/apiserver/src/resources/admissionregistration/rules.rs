//! What webhooks and policies share: which requests they match.
//!
//! **Upstream**: `validateRule`, `validateRuleWithOperations`, `validateMatchResources`, `validateMatchConditions`.

use crate::admission::declared::{Variables, Wanted};
use crate::cel::Type;
use crate::resources::edit::{each, items, text};
use crate::resources::{check, edit};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::{Value, json};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
pub(super) const POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
/// **Upstream**: at most so many match conditions.
const MAX_CONDITIONS: usize = 64;

/// Fills the defaults of rules in a list.
pub(super) fn default_rules(holder: &mut Value, field: &str) {
    each(holder, field).for_each(|rule| edit::set_default(rule, "scope", "*"));
}

/// Fills the defaults of a policy's or binding's match, if it has one.
pub(super) fn default_match(spec: &mut Value, field: &str) {
    let Some(matching) = edit::child(spec, field) else { return };
    edit::set_default(matching, "matchPolicy", "Equivalent");
    for selector in ["namespaceSelector", "objectSelector"] {
        edit::set_default(matching, selector, json!({}));
    }
    default_rules(matching, "resourceRules");
    default_rules(matching, "excludeResourceRules");
}

fn check_wildcard(errors: &mut ErrorList, path: &Path, rule: &Value, field: &str, what: &str) {
    let (list, path) = (items(rule, field), path.child(field));
    if list.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    if list.len() > 1 && list.iter().any(|item| item == "*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(&path, rule[field].clone(), &detail));
    }
}

/// All errors of rules with operations.
pub(super) fn check_rules(errors: &mut ErrorList, path: &Path, holder: &Value, field: &str) {
    for (i, rule) in items(holder, field).iter().enumerate() {
        let path = path.child(field).index(i);
        check_wildcard(errors, &path, rule, "operations", "operations");
        for (j, operation) in items(rule, "operations").iter().enumerate() {
            if !operation.as_str().is_some_and(|o| OPERATIONS.contains(&o)) {
                let path = path.child("operations").index(j);
                errors.push(Error::not_supported(&path, operation.clone(), &OPERATIONS));
            }
        }
        check_wildcard(errors, &path, rule, "apiGroups", "groups");
        check_wildcard(errors, &path, rule, "apiVersions", "versions");
        for (j, version) in items(rule, "apiVersions").iter().enumerate() {
            check::required(errors, &path.child("apiVersions").index(j), version);
        }
        check_resources(errors, &path.child("resources"), &rule["resources"], items(rule, "resources"));
        if !rule["scope"].is_null() && !SCOPES.contains(&text(rule, "scope")) {
            errors.push(Error::not_supported(&path.child("scope"), text(rule, "scope"), SCOPES));
        }
    }
}

/// Resources with or without a subresource: what another one says already must not be said again.
fn check_resources(errors: &mut ErrorList, path: &Path, value: &Value, resources: &[Value]) {
    if resources.is_empty() {
        errors.push(Error::required(path, ""));
    }
    let names: Vec<&str> = resources.iter().map(|name| name.as_str().unwrap_or_default()).collect();
    for (j, name) in names.iter().enumerate() {
        let path = path.index(j);
        let Some((resource, subresource)) = name.split_once('/') else {
            check::required(errors, &path, &resources[j]);
            continue;
        };
        for other in [format!("{resource}/*"), format!("*/{subresource}")] {
            if names[..j].contains(&other.as_str()) {
                let detail = format!("if '{other}' is present, must not specify {name}");
                errors.push(Error::invalid(&path, *name, &detail));
            }
        }
    }
    if names.len() > 1 && names.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(Error::invalid(path, value.clone(), detail));
    }
    let plain = |name: &&str| !name.contains('/') && **name != *"*" && !name.is_empty();
    if names.contains(&"*") && names.iter().any(plain) {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(path, value.clone(), detail));
    }
}

/// All errors of `failurePolicy`, `matchPolicy` and the selectors.
pub(super) fn check_policies(errors: &mut ErrorList, path: &Path, holder: &Value) {
    for (field, known) in [("failurePolicy", POLICIES), ("matchPolicy", MATCH_POLICIES)] {
        if !holder[field].is_null() && !known.contains(&text(holder, field)) {
            errors.push(Error::not_supported(&path.child(field), text(holder, field), known));
        }
    }
    for field in ["namespaceSelector", "objectSelector"] {
        check::label_selector(errors, &path.child(field), &holder[field]);
    }
}

/// The names that a policy's rule is about.
fn check_names(errors: &mut ErrorList, path: &Path, list: &[Value]) {
    for (i, name) in list.iter().enumerate() {
        let path = path.index(i);
        check::invalid(errors, &path, name, names::path_segment(name.as_str().unwrap_or_default(), false));
        if list[..i].contains(name) {
            errors.push(Error::duplicate(&path, name.clone()));
        }
    }
}

/// All errors of a policy's match.
pub(super) fn check_match(errors: &mut ErrorList, path: &Path, matching: &Value) {
    check_policies(errors, path, matching);
    for field in ["resourceRules", "excludeResourceRules"] {
        check_rules(errors, path, matching, field);
        for (i, rule) in items(matching, field).iter().enumerate() {
            check_names(
                errors,
                &path.child(field).index(i).child("resourceNames"),
                items(rule, "resourceNames"),
            );
        }
    }
}

/// Whether match conditions are those that were accepted before: then they are not checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conditions {
    New,
    Known,
}

/// All errors of `matchConditions`.
pub(super) fn check_conditions(errors: &mut ErrorList, path: &Path, holder: &Value, known: &Variables) {
    let (conditions, path) = (items(holder, "matchConditions"), path.child("matchConditions"));
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&path, conditions.len(), MAX_CONDITIONS));
    }
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let source = text(condition, "expression").trim();
        check_expression(errors, &path.child("expression"), source, (known, Wanted::Bool), "");
        let name = text(condition, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else {
            check::invalid(errors, &path.child("name"), &name.into(), names::qualified_name(name));
        }
        if conditions[..i].iter().any(|other| other["name"] == condition["name"]) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
    }
}

/// An expression that must be there, and right; its type as far as it is known. `missing` is told if it is not there.
pub(super) fn check_expression(
    errors: &mut ErrorList,
    path: &Path,
    source: &str,
    (known, wanted): (&Variables, Wanted),
    missing: &str,
) -> Type {
    if source.trim().is_empty() {
        errors.push(Error::required(path, missing));
        return Type::Dyn;
    }
    known.check(source, wanted).unwrap_or_else(|why| {
        errors.push(Error::invalid(path, source, &why));
        Type::Dyn
    })
}
