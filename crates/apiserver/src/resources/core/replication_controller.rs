//! ReplicationController: the ReplicaSet of old.
//!
//! **Contract**: deletion orphans the pods unless the request says otherwise.
//! **Upstream**: `pkg/registry/core/replicationcontroller`, `ValidateReplicationControllerSpec`.

use crate::registry::{Cell, Column, Propagation, Strategy, WriteContext};
use crate::resources::apps::replica_set;
use crate::resources::{cells, check, edit, pod_template};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of ReplicationControllers.
pub(crate) struct ReplicationController(Resource);

impl ReplicationController {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("replicationcontrollers", "replicationcontroller");
        let resource = Resource::new("", "v1", "ReplicationController", plural, singular, Scope::Namespaced);
        Self(resource.short(&["rc"]).in_categories(&["all"]))
    }
}

impl Strategy for ReplicationController {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(spec, "replicas", 1);
        if spec["template"].is_object() {
            pod_template::default_template(spec);
        }
        let labels = spec["template"]["metadata"]["labels"].clone();
        if edit::is_empty(&spec["selector"]) && labels.is_object() {
            edit::set(spec, "selector", labels);
        }
        pod_template::labels_from_template(object);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"replicas": 0}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check::none_negative(&mut errors, &path, spec, &["minReadySeconds"]);
        let selector = LabelSelector::from_map(&spec["selector"]);
        let selects = spec["selector"].as_object().is_some_and(|s| !s.is_empty());
        if !selects {
            errors.push(Error::required(&path.child("selector"), ""));
        }
        check::none_negative(&mut errors, &path, spec, &["replicas"]);
        let (template, path) = (&spec["template"], path.child("template"));
        if template.is_null() {
            errors.push(Error::required(&path, ""));
            return errors;
        }
        if selects {
            pod_template::check_match(&mut errors, &path, &selector, template);
        }
        pod_template::check_template(&mut errors, &path, template);
        pod_template::check_lasting(&mut errors, &path, template, "ReplicationController");
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        replica_set::check_status(object)
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![object["status"]["replicas"].as_i64().unwrap_or(0).to_string()]
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn columns(&self) -> &'static [Column] {
        const { &replica_set::columns(pod_template::SELECTOR.field("spec.selector")) }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        replica_set::row(object, now, cells::label_map(&object["spec"]["selector"]))
    }
}
