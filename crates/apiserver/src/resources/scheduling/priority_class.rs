//! PriorityClass: how much a pod matters.
//!
//! **Upstream**: `pkg/registry/scheduling/priorityclass`, `pkg/apis/scheduling/validation`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::text;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use api::well_known::priority_class as known;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of PriorityClasses.
pub(crate) struct PriorityClass(Resource);

impl PriorityClass {
    pub(crate) fn new() -> Self {
        let (group, scope) = ("scheduling.k8s.io", Scope::Cluster);
        Self(
            Resource::new(group, "v1", "PriorityClass", "priorityclasses", "priorityclass", scope)
                .short(&["pc"]),
        )
    }
}

fn check_name_and_value(errors: &mut ErrorList, object: &Value) {
    let (name, value) = (meta::name(object), object["value"].as_i64().unwrap_or(0));
    let system = match name {
        known::CLUSTER_CRITICAL => Some(known::CLUSTER_CRITICAL_VALUE),
        known::NODE_CRITICAL => Some(known::NODE_CRITICAL_VALUE),
        _ => None,
    };
    if name.starts_with(known::SYSTEM_PREFIX) {
        if system.map(i64::from) != Some(value) {
            let detail =
                "priority class names with 'system-' prefix are reserved for system use only. error: ";
            let why = match system {
                Some(expected) => format!("value of {name} PriorityClass must be {expected}"),
                None => format!("{name} is not a known system priority class"),
            };
            errors.push(Error::forbidden(&Path::new("metadata").child("name"), &format!("{detail}{why}")));
        }
    } else if value > i64::from(known::HIGHEST_USER_VALUE) {
        let detail =
            format!("maximum allowed value of a user defined priority is {}", known::HIGHEST_USER_VALUE);
        errors.push(Error::forbidden(&Path::new("value"), &detail));
    }
}

impl Strategy for PriorityClass {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        edit::set_default(object, "value", 0);
        edit::set_default_text(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check_name_and_value(&mut errors, object);
        let policies = &["Never", "PreemptLowerPriority"];
        check::one_of(&mut errors, &Path::new("preemptionPolicy"), &object["preemptionPolicy"], policies);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if object["value"] != old["value"] {
            errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        let field = "preemptionPolicy";
        check::immutable(&mut errors, &Path::new(field), &object[field], &old[field]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Value", "integer").field("value"),
                Column::new("Global-Default", "boolean").field("globalDefault"),
                cells::AGE,
                Column::new("PreemptionPolicy", "string").field("preemptionPolicy"),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![
            cells::name(object),
            json!(object["value"].as_i64().unwrap_or(0)),
            json!(object["globalDefault"] == true),
            cells::age(object, now),
            json!(text(object, "preemptionPolicy")),
        ]
    }
}
