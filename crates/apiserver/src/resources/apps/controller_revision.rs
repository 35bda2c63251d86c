//! ControllerRevision: a former state that a controller can go back to.
//!
//! **Upstream**: `pkg/registry/apps/controllerrevision`, `ValidateControllerRevision`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::text;
use crate::resources::{cells, check};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope, parse_api_version};
use api::meta;
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of ControllerRevisions.
pub(crate) struct ControllerRevision(Resource);

impl ControllerRevision {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("controllerrevisions", "controllerrevision");
        let scope = Scope::Namespaced;
        Self(Resource::new(super::GROUP, "v1", "ControllerRevision", plural, singular, scope))
    }
}

/// `deployment.apps/name`
fn controller(object: &Value) -> Cell {
    let Some(owner) = meta::controller(object) else { return cells::NONE.into() };
    let (group, _) = parse_api_version(text(owner, "apiVersion"));
    let kind = text(owner, "kind").to_lowercase();
    let dot = if group.is_empty() { "" } else { "." };
    format!("{kind}{dot}{group}/{}", text(owner, "name")).into()
}

impl Strategy for ControllerRevision {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if object["data"].is_null() {
            errors.push(Error::required(&Path::new("data"), "data is mandatory"));
        } else if !object["data"].is_object() {
            let detail = "data should be a valid JSON object";
            errors.push(Error::invalid(&Path::new("data"), object["data"].clone(), detail));
        }
        check::not_negative(&mut errors, &Path::new("revision"), &object["revision"]);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        check::immutable(&mut errors, &Path::new("data"), &object["data"], &old["data"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Controller", "string").text("Controller of the object"),
                Column::new("Revision", "string")
                    .text("revision indicates the revision of the state represented by Data."),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let revision = object["revision"].as_i64().unwrap_or(0);
        vec![cells::name(object), controller(object), revision.into(), cells::age(object, now)]
    }
}
