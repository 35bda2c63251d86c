//! ResourceClaim: a wish for devices, and what came of it.

use super::{claim_spec, claim_status};
use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::is_empty;
use crate::resources::{cells, check, edit};
use api::field::{ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of ResourceClaims.
pub(crate) struct ResourceClaim(Resource);

impl ResourceClaim {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        Self(Resource::new(super::GROUP, "v1", "ResourceClaim", "resourceclaims", "resourceclaim", scope))
    }
}

fn state(claim: &Value) -> Cell {
    let status = &claim["status"];
    let mut states = Vec::new();
    if meta::deletion_timestamp(claim).is_some() {
        states.push("deleted");
    }
    if status["allocation"].is_null() {
        if meta::deletion_timestamp(claim).is_none() {
            states.push("pending");
        }
    } else {
        states.push("allocated");
    }
    if !is_empty(&status["reservedFor"]) {
        states.push("reserved");
    }
    states.join(",").into()
}

impl Strategy for ResourceClaim {
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
        if let Some(spec) = edit::child_or_new(object, "spec") {
            claim_spec::default_spec(spec);
        }
        if let Some(status) = edit::child(object, "status") {
            claim_status::default_status(status);
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        claim_spec::check_spec(&mut errors, &Path::new("spec"), &object["spec"]);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check::immutable(&mut errors, &Path::new("spec"), &object["spec"], &old["spec"]);
        errors
    }

    fn prepare_for_status_update(&self, _: &WriteContext<'_>, object: &mut Value, old: &Value) {
        if let Some(status) = edit::child(object, "status") {
            claim_status::drop_deallocated(status, &old["status"]);
        }
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        claim_status::check_update(object, old)
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("State", "string")
                    .text("A summary of the current state (allocated, pending, reserved, etc.)."),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), state(object), cells::age(object, now)]
    }
}
