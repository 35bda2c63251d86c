//! StatefulSet: pods with names and disks of their own, made and removed in order.
//!
//! **Upstream**: `pkg/registry/apps/statefulset`, `ValidateStatefulSetSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{each, items, text};
use crate::resources::{cells, check, edit, pod_template};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};

const UPDATABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const FORBIDDEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
const RETENTION: &str = "persistentVolumeClaimRetentionPolicy";

/// The strategy of StatefulSets.
pub(crate) struct StatefulSet(Resource);

impl StatefulSet {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        let resource = Resource::new(super::GROUP, "v1", "StatefulSet", "statefulsets", "statefulset", scope);
        Self(resource.short(&["sts"]).in_categories(&["all"]))
    }
}

fn default_update_strategy(spec: &mut Value) {
    let Some(strategy) = edit::child_or_new(spec, "updateStrategy") else { return };
    if text(strategy, "type").is_empty() {
        edit::set_default_text(strategy, "type", "RollingUpdate");
        edit::set_default(strategy, "rollingUpdate", json!({}));
    }
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = edit::child(strategy, "rollingUpdate")
    {
        edit::set_default(rolling, "partition", 0);
    }
}

fn check_update_strategy(errors: &mut ErrorList, path: &Path, strategy: &Value) {
    let (rolling, rolling_path) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(strategy, "type") {
        "" => errors.push(Error::required(path, "")),
        "OnDelete" => {
            if !rolling.is_null() {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(Error::invalid(&rolling_path, rolling.clone(), detail));
            }
        }
        "RollingUpdate" => {
            check::none_negative(errors, &rolling_path, rolling, &["partition"]);
            let (unavailable, path) = (&rolling["maxUnavailable"], rolling_path.child("maxUnavailable"));
            check::int_or_percent(errors, &path, unavailable);
            if !unavailable.is_null() && check::figure(unavailable) == 0 {
                errors.push(Error::invalid(&path, 0, "cannot be 0"));
            }
            check::at_most_all(errors, &path, unavailable);
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(Error::invalid(path, strategy.clone(), detail));
        }
    }
}

/// The template as its pods will be: each claim template is a volume of theirs.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims: Vec<Value> = items(spec, "volumeClaimTemplates")
        .iter()
        .map(|claim| claim["metadata"]["name"].clone())
        .filter(|name| !items(&spec["template"]["spec"], "volumes").iter().any(|v| v["name"] == *name))
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    if let Some(pod) = edit::child(&mut template, "spec").filter(|_| !claims.is_empty()) {
        let mut volumes = items(pod, "volumes").to_vec();
        volumes.extend(claims);
        edit::set(pod, "volumes", volumes);
    }
    template
}

fn check_template(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (selector, selector_path) = (&spec["selector"], path.child("selector"));
    check::workload_selector(errors, &selector_path, selector, "statefulset");
    let path = path.child("template");
    match LabelSelector::from_json(selector) {
        Err(_) => errors.push(Error::invalid(&selector_path, selector.clone(), "")),
        Ok(parsed) => {
            if !selector.is_null() {
                pod_template::check_match(errors, &path, &parsed, &spec["template"]);
            }
            pod_template::check_template(errors, &path, &with_claims(spec));
        }
    }
    pod_template::check_lasting(errors, &path, &spec["template"], "StatefulSet");
}

impl Strategy for StatefulSet {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default_text(spec, "podManagementPolicy", "OrderedReady");
        edit::set_default(spec, "replicas", 1);
        edit::set_default(spec, "revisionHistoryLimit", 10);
        default_update_strategy(spec);
        if let Some(policy) = edit::child_or_new(spec, RETENTION) {
            edit::set_default_text(policy, "whenDeleted", "Retain");
            edit::set_default_text(policy, "whenScaled", "Retain");
        }
        pod_template::default_template(spec);
        for claim in each(spec, "volumeClaimTemplates") {
            edit::set_default(claim, "kind", "PersistentVolumeClaim");
            edit::set_default(claim, "apiVersion", "v1");
            crate::resources::core::persistent_volume_claim::default_claim(claim);
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"replicas": 0, "availableReplicas": 0}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        match text(spec, "podManagementPolicy") {
            "" => errors.push(Error::required(&path.child("podManagementPolicy"), "")),
            "OrderedReady" | "Parallel" => {}
            other => {
                let detail = "must be 'OrderedReady' or 'Parallel'";
                errors.push(Error::invalid(&path.child("podManagementPolicy"), other, detail));
            }
        }
        check_update_strategy(&mut errors, &path.child("updateStrategy"), &spec["updateStrategy"]);
        for field in ["whenDeleted", "whenScaled"] {
            let value = text(&spec[RETENTION], field);
            if !matches!(value, "Retain" | "Delete") {
                let path = path.child(RETENTION).child(field);
                errors.push(Error::not_supported(&path, value, &["Delete", "Retain"]));
            }
        }
        check::none_negative(&mut errors, &path, spec, &["replicas", "minReadySeconds"]);
        check::none_negative(&mut errors, &path.child("ordinals"), &spec["ordinals"], &["start"]);
        check::none_negative(&mut errors, &path, spec, &["revisionHistoryLimit"]);
        check_template(&mut errors, &path, spec);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let mut copy = object["spec"].clone();
        for field in UPDATABLE {
            edit::copy(&mut copy, field, &old["spec"]);
        }
        if !edit::same(&copy, &old["spec"]) {
            errors.push(Error::forbidden(&Path::new("spec"), FORBIDDEN));
        }
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = &object["status"];
        let counts = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
        ];
        check::none_negative(&mut errors, &Path::new("status"), status, &counts);
        pod_template::check_collisions(&mut errors, status, &old["status"]);
        pod_template::check_bounds(
            &mut errors,
            status,
            &[
                ("readyReplicas", "replicas", "status.replicas"),
                ("currentReplicas", "replicas", "status.replicas"),
                ("updatedReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "readyReplicas", "status.readyReplicas"),
            ],
        );
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Ready", "string").text("Number of the pod with ready state"),
                cells::AGE,
                pod_template::CONTAINERS,
                pod_template::IMAGES,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [containers, images] = pod_template::container_cells(&spec["template"]);
        let ready = status["readyReplicas"].as_i64().unwrap_or(0);
        vec![
            cells::name(object),
            format!("{ready}/{}", spec["replicas"].as_i64().unwrap_or(0)).into(),
            cells::age(object, now),
            containers,
            images,
        ]
    }
}
