//! Namespace: a scope for names, which goes only after everything in it has gone.
//!
//! **Contract**: deletion marks it Terminating; it stays until the namespace controller empties `spec.finalizers`
//! through the `finalize` subresource.
//! **Upstream**: `pkg/registry/core/namespace`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::well_known::{finalizer, label};
use api::{meta, names};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of Namespaces.
pub(crate) struct Namespace(Resource);

impl Namespace {
    pub(crate) fn new() -> Self {
        Self(Resource::new("", "v1", "Namespace", "namespaces", "namespace", Scope::Cluster).short(&["ns"]))
    }
}

/// Upstream keeps this label equal to the name, whatever the user writes.
fn label_with_name(object: &mut Value) {
    let name = meta::name(object).to_owned();
    if name.is_empty() {
        return;
    }
    if let Some(labels) = edit::child_or_new(object, "metadata").and_then(|m| edit::child_or_new(m, "labels"))
    {
        edit::set(labels, label::METADATA_NAME, name);
    }
}

impl Strategy for Namespace {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn verbs(&self) -> &'static [&'static str] {
        &["create", "delete", "get", "list", "patch", "update", "watch"]
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }

    fn default(&self, object: &mut Value) {
        label_with_name(object);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        label_with_name(object);
        edit::set(object, "status", json!({"phase": "Active"}));
        if let Some(spec) = edit::child_or_new(object, "spec") {
            let mut finalizers: Vec<Value> = items(spec, "finalizers").to_vec();
            if !finalizers.iter().any(|f| f == finalizer::KUBERNETES) {
                finalizers.push(finalizer::KUBERNETES.into());
            }
            edit::set(spec, "finalizers", finalizers);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("finalizers");
        for value in items(&object["spec"], "finalizers") {
            let name = value.as_str().unwrap_or("");
            let messages = names::qualified_name(name);
            let bare = messages.is_empty() && !name.contains('/') && name != finalizer::KUBERNETES;
            check::invalid(&mut errors, &path, value, messages);
            if bare {
                let detail = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(Error::invalid(&path, name, detail));
            }
        }
        errors
    }

    fn prepare_for_update(&self, _: &WriteContext<'_>, object: &mut Value, old: &Value) {
        if let Some(spec) = edit::child_or_new(object, "spec") {
            edit::copy(spec, "finalizers", &old["spec"]);
        }
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let (path, phase) = (Path::new("status").child("Phase"), text(&object["status"], "phase"));
        match (meta::deletion_timestamp(object), phase) {
            (None, "Active") | (Some(_), "Terminating") => ErrorList::new(),
            (None, _) => {
                vec![Error::invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty")]
            }
            (Some(_), _) => {
                vec![Error::invalid(
                    &path,
                    phase,
                    "may only be 'Terminating' if `deletionTimestamp` is not empty",
                )]
            }
        }
    }

    fn is_held(&self, object: &Value) -> bool {
        !items(&object["spec"], "finalizers").is_empty()
    }

    fn prepare_for_delete(&self, object: &mut Value) {
        if let Some(status) = edit::child_or_new(object, "status") {
            edit::set(status, "phase", "Terminating");
        }
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![text(&object["status"], "phase").to_owned()]
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Status", "string").text("The status of the namespace"), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), json!(text(&object["status"], "phase")), cells::age(object, now)]
    }
}
