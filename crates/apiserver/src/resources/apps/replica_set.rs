//! ReplicaSet: a number of equal pods.
//!
//! **Upstream**: `pkg/registry/apps/replicaset`, `ValidateReplicaSetSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::{cells, check, edit, pod_template};
use api::field::{ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What tables say of a ReplicaSet's `spec.selector`: the words of its first version.
const SELECTOR: &str = "Selector is a label query over pods that should match the replica count. If the \
    selector is empty, it is defaulted to the labels present on the pod template. Label keys and values \
    that must match in order to be controlled by this replica set. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors";
/// The columns of ReplicaSets and ReplicationControllers, which describe their selectors in their own words.
pub(crate) const fn columns(selector: Column) -> [Column; 8] {
    [
        Column::NAME,
        Column::new("Desired", "integer").field("spec.replicas"),
        Column::new("Current", "integer").field("status.replicas"),
        Column::new("Ready", "integer").field("status.readyReplicas"),
        cells::AGE,
        pod_template::CONTAINERS,
        pod_template::IMAGES,
        selector,
    ]
}

/// The cells of [`columns`].
pub(crate) fn row(object: &Value, now: Timestamp, selector: Cell) -> Vec<Cell> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [containers, images] = pod_template::container_cells(&spec["template"]);
    vec![
        cells::name(object),
        spec["replicas"].as_i64().unwrap_or(0).into(),
        status["replicas"].as_i64().unwrap_or(0).into(),
        status["readyReplicas"].as_i64().unwrap_or(0).into(),
        cells::age(object, now),
        containers,
        images,
        selector,
    ]
}

/// All errors of a changed status, as both kinds have it.
pub(crate) fn check_status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let status = &object["status"];
    let counts =
        ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    check::none_negative(&mut errors, &Path::new("status"), status, &counts);
    pod_template::check_bounds(
        &mut errors,
        status,
        &[
            ("fullyLabeledReplicas", "replicas", "status.replicas"),
            ("readyReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "readyReplicas", "readyReplicas"),
        ],
    );
    errors
}

/// The strategy of ReplicaSets.
pub(crate) struct ReplicaSet(Resource);

impl ReplicaSet {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        let resource = Resource::new(super::GROUP, "v1", "ReplicaSet", "replicasets", "replicaset", scope);
        Self(resource.short(&["rs"]).in_categories(&["all"]))
    }
}

impl Strategy for ReplicaSet {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(spec, "replicas", 1);
        pod_template::default_template(spec);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"replicas": 0}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check::none_negative(&mut errors, &path, spec, &["replicas", "minReadySeconds"]);
        pod_template::check_selected(&mut errors, &path, spec);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("spec").child("selector");
        check::immutable(&mut errors, &path, &object["spec"]["selector"], &old["spec"]["selector"]);
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        check_status(object)
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![object["status"]["replicas"].as_i64().unwrap_or(0).to_string()]
    }

    fn columns(&self) -> &'static [Column] {
        const { &columns(pod_template::SELECTOR.text(SELECTOR)) }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        row(object, now, pod_template::selector_cell(&object["spec"]["selector"]))
    }
}
