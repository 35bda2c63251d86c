//! ResourceQuota: how much a namespace may hold in all.
//!
//! **Not here**: who counts, and who refuses what would be too much.
//! **Upstream**: `pkg/registry/core/resourcequota`, `ValidateResourceQuotaSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{entries, items, text};
use crate::resources::pod_spec::{canonical_amounts, parse_amount};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Resources that a quota can name without a domain. **Upstream**: `standardQuotaResources`.
const STANDARD: [&str; 18] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
];
const AMOUNTS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const OPERATORS: &[&str] = &["DoesNotExist", "Exists", "In", "NotIn"];

/// What tables say of everything else.
const REQUEST: &str = "Request represents a minimum amount of cpu/memory that a container may consume.";
/// What tables say of limits.
const LIMIT: &str = "Limits control the maximum amount of cpu/memory that a container may use independent \
    of contention on the node.";
/// The strategy of ResourceQuotas.
pub(crate) struct ResourceQuota(Resource);

impl ResourceQuota {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("resourcequotas", "resourcequota");
        Self(Resource::new("", "v1", "ResourceQuota", plural, singular, Scope::Namespaced).short(&["quota"]))
    }
}

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
        || name == "services.loadbalancers"
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

fn check_amounts(errors: &mut ErrorList, path: &Path, holder: &Value, field: &str) {
    for (name, amount) in entries(holder, field) {
        let path = path.child(field).key(name);
        check::invalid(errors, &path, &name.as_str().into(), names::qualified_name(name));
        if !name.contains('/') && !is_standard(name) {
            errors.push(Error::invalid(&path, name.as_str(), "must be a standard resource for quota"));
        }
        match parse_amount(amount) {
            None => {
                let detail = api::quantity::ParseError.to_string();
                errors.push(Error::invalid(&path, amount.clone(), &detail));
            }
            Some(quantity) if quantity.is_negative() => {
                errors.push(Error::invalid(&path, quantity.to_string(), check::NOT_NEGATIVE));
            }
            Some(quantity) => {
                let whole = STANDARD.contains(&name.as_str()) && !AMOUNTS.contains(&name.as_str());
                if whole && !quantity.is_integer() {
                    errors.push(Error::invalid(&path, quantity.to_string(), "must be an integer"));
                }
            }
        }
    }
}

fn check_scopes(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let scopes = items(spec, "scopes");
    for scope in scopes {
        if !scope.as_str().is_some_and(|s| SCOPES.contains(&s)) {
            let detail = "unsupported scope";
            errors.push(Error::invalid(&path.child("scopes"), spec["scopes"].clone(), detail));
        }
    }
    let has = |name: &str| scopes.iter().any(|s| s == name);
    if has("BestEffort") && has("NotBestEffort") || has("Terminating") && has("NotTerminating") {
        errors.push(Error::invalid(&path.child("scopes"), spec["scopes"].clone(), "conflicting scopes"));
    }
    let path = path.child("scopeSelector").child("matchExpressions");
    for (i, requirement) in items(&spec["scopeSelector"], "matchExpressions").iter().enumerate() {
        let path = path.index(i);
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        let values = items(requirement, "values");
        if !SCOPES.contains(&scope) {
            errors.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        let valued = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if SCOPES.contains(&scope) && !valued && operator != "Exists" {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(Error::invalid(&path.child("operator"), operator, detail));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&path.child("values"), requirement["values"].clone(), detail));
            }
            other if OPERATORS.contains(&other) => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(Error::invalid(&path.child("operator"), other, detail));
            }
        }
    }
}

/// `pods: 1/10, requests.cpu: 0/2`, of the limits or of the rest.
fn usage(quota: &Value, limits: bool) -> Cell {
    let status = &quota["status"];
    let mut names: Vec<&String> =
        entries(status, "hard").map(|(name, _)| name).filter(|n| n.starts_with("limits") == limits).collect();
    names.sort();
    let amount = |list: &str, name: &str| match &status[list][name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "0".to_owned(),
    };
    let parts: Vec<String> =
        names.iter().map(|n| format!("{n}: {}/{}", amount("used", n), amount("hard", n))).collect();
    parts.join(", ").into()
}

impl Strategy for ResourceQuota {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        if let Some(hard) = edit::child_or_new(object, "spec").and_then(|spec| edit::child(spec, "hard")) {
            canonical_amounts(hard);
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        check_amounts(&mut errors, &path, &object["spec"], "hard");
        check_scopes(&mut errors, &path, &object["spec"]);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("spec").child("scopes");
        check::immutable(&mut errors, &path, &object["spec"]["scopes"], &old["spec"]["scopes"]);
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        check_amounts(&mut errors, &path, &object["status"], "hard");
        check_amounts(&mut errors, &path, &object["status"], "used");
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Request", "string").text(REQUEST),
                Column::new("Limit", "string").text(LIMIT),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), usage(object, false), usage(object, true), cells::age(object, now)]
    }
}
