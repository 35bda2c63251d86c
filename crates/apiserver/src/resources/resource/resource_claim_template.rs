//! ResourceClaimTemplate: of which each pod gets a claim of its own.

use super::claim_spec;
use crate::registry::{Cell, Column, Strategy};
use crate::resources::{cells, check, edit};
use api::field::{ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of ResourceClaimTemplates.
pub(crate) struct ResourceClaimTemplate(Resource);

impl ResourceClaimTemplate {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("resourceclaimtemplates", "resourceclaimtemplate");
        Self(Resource::new(super::GROUP, "v1", "ResourceClaimTemplate", plural, singular, Scope::Namespaced))
    }
}

impl Strategy for ResourceClaimTemplate {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        let Some(template) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(template, "metadata", json!({}));
        if let Some(spec) = edit::child_or_new(template, "spec") {
            claim_spec::default_spec(spec);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (template, path) = (&object["spec"], Path::new("spec"));
        let at = path.child("metadata");
        check::labels(&mut errors, &at.child("labels"), &template["metadata"], "labels");
        claim_spec::check_spec(&mut errors, &path.child("spec"), &template["spec"]);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check::immutable(&mut errors, &Path::new("spec"), &object["spec"], &old["spec"]);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), cells::age(object, now)]
    }
}
