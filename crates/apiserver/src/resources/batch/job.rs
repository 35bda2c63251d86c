//! Job: pods that are to succeed so many times.
//!
//! **Contract**: unless told not to, the server makes the selector, of the Job's uid; deletion orphans the pods unless
//! the request says otherwise.
//! **Upstream**: `pkg/registry/batch/job`, `pkg/apis/batch/validation`.

use super::job_spec;
use crate::registry::{Cell, Column, Propagation, Strategy, WriteContext};
use crate::resources::edit::{each, items};
use crate::resources::{cells, check, edit, pod_template};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use api::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
/// **Upstream**: `math.MaxInt32`, where failures are counted for each index.
const NO_LIMIT: i32 = i32::MAX;

/// The strategy of Jobs.
pub(crate) struct Job(Resource);

impl Job {
    pub(crate) fn new() -> Self {
        let resource = Resource::new(super::GROUP, "v1", "Job", "jobs", "job", Scope::Namespaced);
        Self(resource.in_categories(&["all"]))
    }
}

/// Marks the pods of this Job, and selects them by that.
fn generate_selector(object: &mut Value) {
    let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
    let Some(spec) = edit::child_or_new(object, "spec") else { return };
    if spec["manualSelector"] == true {
        return;
    }
    let Some(template) = edit::child_or_new(spec, "template") else { return };
    let Some(labels) = edit::child_or_new(template, "metadata").and_then(|m| edit::child_or_new(m, "labels"))
    else {
        return;
    };
    for (names, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
        for label in names {
            edit::set_default(labels, label, value.as_str());
        }
    }
    let selector = json!({"matchLabels": {UID_LABELS[1]: uid}});
    if edit::is_empty(&spec["selector"]) {
        edit::set(spec, "selector", selector);
    }
}

fn check_generated(errors: &mut ErrorList, job: &Value) {
    let (spec, path, uid) = (&job["spec"], Path::new("spec"), meta::uid(job));
    let labels = &spec["template"]["metadata"]["labels"];
    let at = path.child("template").child("metadata").child("labels");
    for (names, value) in [(UID_LABELS, uid), (NAME_LABELS, meta::name(job))] {
        for label in names {
            if labels[label].as_str().unwrap_or("") != value {
                errors.push(Error::invalid(&at, labels.clone(), &format!("must be '{value}'")));
            }
        }
    }
    let own = |label: &str| edit::same(&spec["selector"], &json!({"matchLabels": {label: uid}}));
    if !UID_LABELS.iter().any(|label| own(label)) {
        let detail = "`selector` not auto-generated";
        errors.push(Error::invalid(&path.child("selector"), spec["selector"].clone(), detail));
    }
}

fn status_cell(job: &Value) -> &'static str {
    let has = |kind: &str| {
        items(&job["status"], "conditions").iter().any(|c| c["type"] == kind && c["status"] == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if meta::deletion_timestamp(job).is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions_cell(job: &Value) -> Cell {
    let (spec, done) = (&job["spec"], job["status"]["succeeded"].as_i64().unwrap_or(0));
    match spec["completions"].as_i64() {
        Some(completions) => format!("{done}/{completions}"),
        None => match spec["parallelism"].as_i64().unwrap_or(0) {
            parallelism if parallelism > 1 => format!("{done}/1 of {parallelism}"),
            _ => format!("{done}/1"),
        },
    }
    .into()
}

fn duration_cell(job: &Value, now: Timestamp) -> Cell {
    let time = |field: &str| api::time::from_value(&job["status"][field]);
    match (time("startTime"), time("completionTime")) {
        (None, _) => "".into(),
        (Some(start), end) => api::duration::age(start, end.unwrap_or(now)).into(),
    }
}

impl Strategy for Job {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        if spec["completions"].is_null() && spec["parallelism"].is_null() {
            edit::set(spec, "completions", 1);
        }
        edit::set_default(spec, "parallelism", 1);
        let per_index = !spec["backoffLimitPerIndex"].is_null();
        edit::set_default(spec, "backoffLimit", if per_index { NO_LIMIT } else { 6 });
        edit::set_default(spec, "completionMode", "NonIndexed");
        edit::set_default(spec, "suspend", false);
        let replacement = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
        edit::set_default(spec, "podReplacementPolicy", replacement);
        if let Some(policy) = edit::child(spec, "podFailurePolicy") {
            for rule in each(policy, "rules") {
                each(rule, "onPodConditions").for_each(|c| edit::set_default_text(c, "status", "True"));
            }
        }
        pod_template::default_template(spec);
        pod_template::labels_from_template(object);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
        generate_selector(object);
        pod_template::labels_from_template(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if spec["manualSelector"] != true {
            check_generated(&mut errors, object);
        }
        job_spec::check_spec(&mut errors, &path, spec);
        let selector = &spec["selector"];
        if selector.is_null() {
            errors.push(Error::required(&path.child("selector"), ""));
        } else {
            check::label_selector(&mut errors, &path.child("selector"), selector);
        }
        if let Ok(parsed) = LabelSelector::from_json(selector)
            && !selector.is_null()
        {
            pod_template::check_match(&mut errors, &path.child("template"), &parsed, &spec["template"]);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = &object["spec"];
        job_spec::check_spec(&mut errors, &Path::new("spec"), spec);
        job_spec::check_update(&mut errors, spec, object, old);
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let counts = ["active", "succeeded", "failed", "ready", "terminating"];
        check::none_negative(&mut errors, &Path::new("status"), &object["status"], &counts);
        errors
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn selectable_paths(&self) -> Vec<&str> {
        vec!["status.succeeded"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![object["status"]["succeeded"].as_i64().unwrap_or(0).to_string()]
    }

    fn deletion_warning(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them \
             or set propagationPolicy=Orphan to suppress this warning",
        )
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Status", "string").text("Status of the job."),
                Column::new("Completions", "string").field("status.succeeded"),
                Column::new("Duration", "string").text("Time required to complete the job."),
                cells::AGE,
                pod_template::CONTAINERS,
                pod_template::IMAGES,
                pod_template::SELECTOR.field("spec.selector"),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let [containers, images] = pod_template::container_cells(&spec["template"]);
        vec![
            cells::name(object),
            status_cell(object).into(),
            completions_cell(object),
            duration_cell(object, now),
            cells::age(object, now),
            containers,
            images,
            pod_template::selector_cell(&spec["selector"]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_it_is() {
        for (job, cell) in [
            (json!({"spec": {"completions": 3}, "status": {"succeeded": 1}}), "1/3"),
            (json!({"spec": {"parallelism": 2}}), "0/1 of 2"),
            (json!({"spec": {"parallelism": 1}}), "0/1"),
        ] {
            assert_eq!(completions_cell(&job), cell);
        }
        assert_eq!(status_cell(&json!({})), "Running");
        let failed = json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}});
        assert_eq!(status_cell(&failed), "Failed");
        let (start, now) = (json!({"status": {"startTime": "1970-01-01T00:00:00Z"}}), "1970-01-01T00:00:07Z");
        assert_eq!(duration_cell(&start, now.parse().unwrap()), "7s");
    }

    #[test]
    fn a_selector_of_the_users_own_needs_to_be_declared() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}});
        let selector = json!({"matchLabels": {"a": "b"}});
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"selector": selector, "template": template}});
        let strategy = Job::new();
        strategy.default(&mut job);
        generate_selector(&mut job);
        let errors = strategy.validate(&job);
        let found = errors.iter().any(|e| e.to_string().ends_with("`selector` not auto-generated"));
        assert!(found, "{errors:?}");
        job["spec"]["manualSelector"] = json!(true);
        assert_eq!(strategy.validate(&job), Vec::new());
    }
}
