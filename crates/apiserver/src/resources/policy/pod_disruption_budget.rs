//! PodDisruptionBudget: how many of some pods may be away at once.
//!
//! **Not here**: who counts, and whether evictions ask.
//! **Upstream**: `pkg/registry/policy/poddisruptionbudget`, `ValidatePodDisruptionBudgetSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

const COUNTS: &[&str] = &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

/// The strategy of PodDisruptionBudgets.
pub(crate) struct PodDisruptionBudget(Resource);

impl PodDisruptionBudget {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("poddisruptionbudgets", "poddisruptionbudget");
        let scope = Scope::Namespaced;
        Self(Resource::new("policy", "v1", "PodDisruptionBudget", plural, singular, scope).short(&["pdb"]))
    }
}

/// A number or a share as it was written, or `N/A`.
fn amount(value: &Value) -> Cell {
    match value {
        Value::Null => "N/A".into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

impl Strategy for PodDisruptionBudget {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        let status =
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        edit::set(object, "status", status);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(Error::invalid(&path, spec.clone(), detail));
        }
        for field in ["minAvailable", "maxUnavailable"] {
            check::int_or_percent(&mut errors, &path.child(field), &spec[field]);
            check::at_most_all(&mut errors, &path.child(field), &spec[field]);
        }
        check::label_selector(&mut errors, &path.child("selector"), &spec["selector"]);
        let policy = "unhealthyPodEvictionPolicy";
        let policies = &["AlwaysAllow", "IfHealthyBudget"];
        check::one_of_if_set(&mut errors, &path.child(policy), &spec[policy], policies);
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check::none_negative(&mut errors, &Path::new("status"), &object["status"], COUNTS);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Min Available", "string")
                    .text("The minimum number of pods that must be available."),
                Column::new("Max Unavailable", "string")
                    .text("The maximum number of pods that may be unavailable."),
                Column::new("Allowed Disruptions", "integer")
                    .text("Calculated number of pods that may be disrupted at this time."),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![
            cells::name(object),
            amount(&object["spec"]["minAvailable"]),
            amount(&object["spec"]["maxUnavailable"]),
            object["status"]["disruptionsAllowed"].as_i64().unwrap_or(0).into(),
            cells::age(object, now),
        ]
    }
}
