//! LimitRange: bounds and defaults for what one pod, container or claim may ask for.
//!
//! **Not here**: who holds objects to it.
//! **Upstream**: `pkg/registry/core/limitrange`, `ValidateLimitRange`.

use crate::registry::Strategy;
use crate::resources::edit::{each, entries, items, text};
use crate::resources::pod_spec::{canonical_amounts, parse_amount};
use crate::resources::{check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use api::quantity::Quantity;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
/// What must not exceed what: (smaller, bigger, the smaller's name, the bigger's name, where the error stands).
const ORDER: [(&str, &str, &str, &str, &str); 6] = [
    ("min", "max", "min", "max", "min"),
    ("min", "defaultRequest", "min", "default request", "defaultRequest"),
    ("defaultRequest", "max", "default request", "max", "defaultRequest"),
    ("defaultRequest", "default", "default request", "default limit", "defaultRequest"),
    ("min", "default", "min", "default", "default"),
    ("default", "max", "default", "max", "default"),
];

/// The strategy of LimitRanges.
pub(crate) struct LimitRange(Resource);

impl LimitRange {
    pub(crate) fn new() -> Self {
        let resource = Resource::new("", "v1", "LimitRange", "limitranges", "limitrange", Scope::Namespaced);
        Self(resource.short(&["limits"]))
    }
}

/// A container's default limit is its maximum, its default request that limit or the minimum.
fn default_item(item: &mut Value) {
    for list in LISTS {
        if let Some(amounts) = edit::child(item, list) {
            canonical_amounts(amounts);
        }
    }
    if text(item, "type") != "Container" {
        return;
    }
    for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
        let amounts = item[from].clone();
        if let Some(target) = edit::child_or_new(item, to) {
            entries(&json!({ "from": amounts }), "from")
                .for_each(|(name, amount)| edit::set_default(target, name, amount.clone()));
        }
    }
}

fn check_item(errors: &mut ErrorList, path: &Path, item: &Value) {
    let kind = text(item, "type");
    let at = path.child("type");
    check::invalid(errors, &at, &kind.into(), names::qualified_name(kind));
    if !kind.contains('/') && !TYPES.contains(&kind) {
        errors.push(Error::invalid(&at, kind, "must be a standard limit type or fully qualified"));
    }
    for list in ["default", "defaultRequest"] {
        if kind == "Pod" && !edit::is_empty(&item[list]) {
            let detail = "may not be specified when `type` is 'Pod'";
            errors.push(Error::forbidden(&path.child(list), detail));
        }
    }
    if kind == "PersistentVolumeClaim" && ["min", "max"].iter().all(|list| item[*list]["storage"].is_null()) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(path, detail));
    }
    let mut names = BTreeSet::new();
    for list in LISTS {
        for (name, amount) in entries(item, list) {
            names.insert(name.as_str());
            let at = path.child(list).key(name);
            check::invalid(errors, &at, &name.as_str().into(), names::qualified_name(name));
            if parse_amount(amount).is_none() {
                let detail = api::quantity::ParseError.to_string();
                errors.push(Error::invalid(&at, amount.clone(), &detail));
            }
        }
    }
    for name in names {
        check_order(errors, path, item, name);
    }
}

fn check_order(errors: &mut ErrorList, path: &Path, item: &Value, name: &str) {
    for (small, big, small_name, big_name, at) in ORDER {
        if let (Some(less), Some(more)) = (parse_amount(&item[small][name]), parse_amount(&item[big][name]))
            && less > more
        {
            let shown = item[at][name].clone();
            let detail = format!("{small_name} value {less} is greater than {big_name} value {more}");
            errors.push(Error::invalid(&path.child(at).key(name), shown, &detail));
        }
    }
    let ratio = parse_amount(&item["maxLimitRequestRatio"][name]);
    if let Some(ratio) = ratio.filter(|ratio| *ratio < Quantity::new(1)) {
        let path = path.child("maxLimitRequestRatio").key(name);
        errors.push(Error::invalid(&path, ratio.to_string(), &format!("ratio {ratio} is less than 1")));
    }
}

impl Strategy for LimitRange {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = edit::child_or_new(object, "spec") {
            each(spec, "limits").for_each(default_item);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (limits, path) = (items(&object["spec"], "limits"), Path::new("spec").child("limits"));
        for (i, item) in limits.iter().enumerate() {
            let path = path.index(i);
            if limits[..i].iter().any(|other| other["type"] == item["type"]) {
                errors.push(Error::duplicate(&path.child("type"), text(item, "type")));
            }
            check_item(&mut errors, &path, item);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}
