//! Deployment: a number of equal pods, replaced bit by bit when their template changes.
//!
//! **Upstream**: `pkg/registry/apps/deployment`, `ValidateDeploymentSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::text;
use crate::resources::{cells, check, edit, pod_template};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

const COUNTS: &[&str] = &[
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
];

/// What tables say of `spec.selector`: the words of its first version.
const SELECTOR: &str = "Label selector for pods. Existing ReplicaSets whose pods are selected by this will \
    be the ones affected by this deployment.";
/// The strategy of Deployments.
pub(crate) struct Deployment(Resource);

impl Deployment {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        let resource = Resource::new(super::GROUP, "v1", "Deployment", "deployments", "deployment", scope);
        Self(resource.short(&["deploy"]).in_categories(&["all"]))
    }
}

fn check_strategy(errors: &mut ErrorList, path: &Path, strategy: &Value) {
    let (rolling, rolling_path) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(strategy, "type") {
        "Recreate" => {
            if !rolling.is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(Error::forbidden(&rolling_path, detail));
            }
        }
        "RollingUpdate" if rolling.is_null() => {
            errors.push(Error::required(&rolling_path, "this should be defaulted and never be nil"));
        }
        "RollingUpdate" => check_rolling(errors, &rolling_path, rolling),
        other => {
            errors.push(Error::not_supported(&path.child("type"), other, &["Recreate", "RollingUpdate"]));
        }
    }
}

fn check_rolling(errors: &mut ErrorList, path: &Path, rolling: &Value) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    check::int_or_percent(errors, &path.child("maxUnavailable"), unavailable);
    check::int_or_percent(errors, &path.child("maxSurge"), surge);
    if check::figure(unavailable) == 0 && check::figure(surge) == 0 {
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.push(Error::invalid(&path.child("maxUnavailable"), unavailable.clone(), detail));
    }
    check::at_most_all(errors, &path.child("maxUnavailable"), unavailable);
}

impl Strategy for Deployment {
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
        if let Some(strategy) = edit::child_or_new(spec, "strategy") {
            edit::set_default_text(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = edit::child_or_new(strategy, "rollingUpdate")
            {
                edit::set_default(rolling, "maxUnavailable", "25%");
                edit::set_default(rolling, "maxSurge", "25%");
            }
        }
        edit::set_default(spec, "revisionHistoryLimit", 10);
        edit::set_default(spec, "progressDeadlineSeconds", 600);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check::none_negative(&mut errors, &path, spec, &["replicas"]);
        pod_template::check_selected(&mut errors, &path, spec);
        check_strategy(&mut errors, &path.child("strategy"), &spec["strategy"]);
        let numbers = ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
        check::none_negative(&mut errors, &path, spec, &numbers);
        if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64()
            && deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0)
        {
            let detail = "must be greater than minReadySeconds";
            errors.push(Error::invalid(&path.child("progressDeadlineSeconds"), deadline, detail));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("spec").child("selector");
        check::immutable(&mut errors, &path, &object["spec"]["selector"], &old["spec"]["selector"]);
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = &object["status"];
        check::none_negative(&mut errors, &Path::new("status"), status, COUNTS);
        pod_template::check_bounds(
            &mut errors,
            status,
            &[
                ("updatedReplicas", "replicas", "status.replicas"),
                ("readyReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "readyReplicas", "readyReplicas"),
            ],
        );
        pod_template::check_collisions(&mut errors, status, &old["status"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Ready", "string").text("Number of the pod with ready state"),
                Column::new("Up-to-date", "string").field("status.updatedReplicas"),
                Column::new("Available", "string").field("status.availableReplicas"),
                cells::AGE,
                pod_template::CONTAINERS,
                pod_template::IMAGES,
                pod_template::SELECTOR.text(SELECTOR),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let count = |field: &str| status[field].as_i64().unwrap_or(0);
        let [containers, images] = pod_template::container_cells(&spec["template"]);
        vec![
            cells::name(object),
            format!("{}/{}", count("readyReplicas"), spec["replicas"].as_i64().unwrap_or(0)).into(),
            count("updatedReplicas").into(),
            count("availableReplicas").into(),
            cells::age(object, now),
            containers,
            images,
            pod_template::selector_cell(&spec["selector"]),
        ]
    }
}
