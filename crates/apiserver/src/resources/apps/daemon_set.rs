//! DaemonSet: one pod on each node that fits.
//!
//! **Contract**: an annotation counts the templates, as upstream's former field did.
//! **Upstream**: `pkg/registry/apps/daemonset`, `ValidateDaemonSetSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::text;
use crate::resources::{cells, check, edit, pod_template};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use api::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};

/// **Upstream**: `DeprecatedTemplateGeneration`.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const COUNTS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
];

/// What tables say of `status.numberReady`: the words of its first version.
const READY: &str = "The number of nodes that should be running the daemon pod and have one or more of the \
    daemon pod running and ready.";
/// What tables say of `spec.selector`.
const SELECTOR: &str = "A label query over pods that are managed by the daemon set. Must match in order to \
    be controlled. If empty, defaulted to labels on Pod template. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors";
/// The strategy of DaemonSets.
pub(crate) struct DaemonSet(Resource);

impl DaemonSet {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        let resource = Resource::new(super::GROUP, "v1", "DaemonSet", "daemonsets", "daemonset", scope);
        Self(resource.short(&["ds"]).in_categories(&["all"]))
    }
}

fn template_generation(object: &Value) -> i64 {
    meta::annotation(object, TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    if let Some(annotations) =
        edit::child_or_new(object, "metadata").and_then(|m| edit::child_or_new(m, "annotations"))
    {
        edit::set(annotations, TEMPLATE_GENERATION, generation.to_string());
    }
}

fn check_update_strategy(errors: &mut ErrorList, path: &Path, strategy: &Value) {
    let (rolling, rolling_path) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => errors.push(Error::required(&rolling_path, "")),
        "RollingUpdate" => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let (at_unavailable, at_surge) =
                (rolling_path.child("maxUnavailable"), rolling_path.child("maxSurge"));
            check::int_or_percent(errors, &at_unavailable, unavailable);
            check::int_or_percent(errors, &at_surge, surge);
            match (check::figure(unavailable) != 0, check::figure(surge) != 0) {
                (true, true) => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.push(Error::invalid(&at_surge, surge.clone(), detail));
                }
                (false, false) => {
                    errors.push(Error::required(&at_unavailable, "cannot be 0 when maxSurge is 0"))
                }
                _ => {}
            }
            check::at_most_all(errors, &at_unavailable, unavailable);
            check::at_most_all(errors, &at_surge, surge);
        }
        other => {
            errors.push(Error::not_supported(&path.child("type"), other, &["RollingUpdate", "OnDelete"]));
        }
    }
}

impl Strategy for DaemonSet {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        pod_template::default_template(spec);
        if let Some(strategy) = edit::child_or_new(spec, "updateStrategy") {
            edit::set_default_text(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = edit::child_or_new(strategy, "rollingUpdate")
            {
                edit::set_default(rolling, "maxUnavailable", 1);
                edit::set_default(rolling, "maxSurge", 0);
            }
        }
        edit::set_default(spec, "revisionHistoryLimit", 10);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        let status = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
            "numberReady": 0});
        edit::set(object, "status", status);
        set_template_generation(object, 1);
    }

    fn prepare_for_update(&self, _: &WriteContext<'_>, object: &mut Value, old: &Value) {
        let changed = !edit::same(&object["spec"]["template"], &old["spec"]["template"]);
        set_template_generation(object, template_generation(old) + i64::from(changed));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (selector, template) = (&spec["selector"], path.child("template"));
        check::label_selector(&mut errors, &path.child("selector"), selector);
        if let Ok(parsed) = LabelSelector::from_json(selector) {
            pod_template::check_match(&mut errors, &template, &parsed, &spec["template"]);
        }
        if selector.is_object() && edit::is_empty(selector) {
            let detail = "empty selector is invalid for daemonset";
            errors.push(Error::invalid(&path.child("selector"), selector.clone(), detail));
        }
        pod_template::check_template(&mut errors, &template, &spec["template"]);
        pod_template::check_lasting(&mut errors, &template, &spec["template"], "DaemonSet");
        check::none_negative(&mut errors, &path, spec, &["minReadySeconds"]);
        check_update_strategy(&mut errors, &path.child("updateStrategy"), &spec["updateStrategy"]);
        check::none_negative(&mut errors, &path, spec, &["revisionHistoryLimit"]);
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
        check::none_negative(&mut errors, &Path::new("status"), &object["status"], COUNTS);
        pod_template::check_collisions(&mut errors, &object["status"], &old["status"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Desired", "integer").field("status.desiredNumberScheduled"),
                Column::new("Current", "integer").field("status.currentNumberScheduled"),
                Column::new("Ready", "integer").text(READY),
                Column::new("Up-to-date", "integer").field("status.updatedNumberScheduled"),
                Column::new("Available", "integer").field("status.numberAvailable"),
                Column::new("Node Selector", "string").field("spec.template.spec.nodeSelector"),
                cells::AGE,
                pod_template::CONTAINERS,
                pod_template::IMAGES,
                pod_template::SELECTOR.text(SELECTOR),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let count = |field: &str| -> Cell { status[field].as_i64().unwrap_or(0).into() };
        let [containers, images] = pod_template::container_cells(&spec["template"]);
        vec![
            cells::name(object),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            cells::label_map(&spec["template"]["spec"]["nodeSelector"]),
            cells::age(object, now),
            containers,
            images,
            pod_template::selector_cell(&spec["selector"]),
        ]
    }
}
