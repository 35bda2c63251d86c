//! CronJob: Jobs by the clock.
//!
//! **Upstream**: `pkg/registry/batch/cronjob`, `validateCronJobSpec`.

use super::job_spec;
use crate::registry::metadata;
use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit, pod_template};
use api::cron::Schedule;
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The names of its Jobs are eleven letters longer.
const MAX_NAME: usize = 63 - 11;
const POLICIES: &[&str] = &["Allow", "Forbid", "Replace"];

/// The strategy of CronJobs.
pub(crate) struct CronJob(Resource);

impl CronJob {
    pub(crate) fn new() -> Self {
        let resource = Resource::new(super::GROUP, "v1", "CronJob", "cronjobs", "cronjob", Scope::Namespaced);
        Self(resource.short(&["cj"]).in_categories(&["all"]))
    }
}

fn check_schedule(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (text, path) = (text(spec, "schedule"), path.child("schedule"));
    if text.is_empty() {
        errors.push(Error::required(&path, ""));
        return;
    }
    if let Err(why) = Schedule::parse(text) {
        errors.push(Error::invalid(&path, text, &why));
    }
    if text.contains("TZ") {
        let detail = if spec["timeZone"].is_null() {
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        } else {
            "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        };
        errors.push(Error::invalid(&path, text, detail));
    }
}

fn check_time_zone(errors: &mut ErrorList, path: &Path, zone: &Value) {
    let Some(name) = zone.as_str() else { return };
    let path = path.child("timeZone");
    if name.is_empty() {
        errors.push(Error::invalid(&path, name, "must be nil or non-empty string"));
    } else if name.eq_ignore_ascii_case("local") {
        let detail = "must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(Error::invalid(&path, name, detail));
    } else if jiff::tz::TimeZone::get(name).is_err() {
        errors.push(Error::invalid(&path, name, &format!("unknown time zone {name}")));
    }
}

impl Strategy for CronJob {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default_text(spec, "concurrencyPolicy", "Allow");
        edit::set_default(spec, "suspend", false);
        edit::set_default(spec, "successfulJobsHistoryLimit", 3);
        edit::set_default(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) = edit::child_or_new(spec, "jobTemplate") {
            edit::set_default(template, "metadata", json!({}));
            if let Some(job) = edit::child_or_new(template, "spec") {
                pod_template::default_template(job);
            }
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check_schedule(&mut errors, &path, spec);
        check::none_negative(&mut errors, &path, spec, &["startingDeadlineSeconds"]);
        check_time_zone(&mut errors, &path, &spec["timeZone"]);
        check::one_of(&mut errors, &path.child("concurrencyPolicy"), &spec["concurrencyPolicy"], POLICIES);
        let job = &spec["jobTemplate"];
        let at = path.child("jobTemplate");
        let (labels, annotations) = (&job["metadata"]["labels"], &job["metadata"]["annotations"]);
        errors.extend(metadata::validate_labels(labels, &at.child("metadata").child("labels")));
        errors
            .extend(metadata::validate_annotations(annotations, &at.child("metadata").child("annotations")));
        if job["spec"]["manualSelector"] == true {
            let path = at.child("spec").child("manualSelector");
            errors.push(Error::not_supported(&path, true, &["nil", "false"]));
        }
        job_spec::check_spec(&mut errors, &at.child("spec"), &job["spec"]);
        let limits = ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        check::none_negative(&mut errors, &path, spec, &limits);
        let name = meta::name(object);
        if name.len() > MAX_NAME {
            let path = Path::new("metadata").child("name");
            errors.push(Error::invalid(&path, name, "must be no more than 52 characters"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Schedule", "string").field("spec.schedule"),
                Column::new("Timezone", "string").field("spec.timeZone"),
                Column::new("Suspend", "boolean").field("spec.suspend"),
                Column::new("Active", "integer").field("status.active"),
                Column::new("Last Schedule", "string").field("status.lastScheduleTime"),
                cells::AGE,
                pod_template::CONTAINERS,
                pod_template::IMAGES,
                pod_template::SELECTOR.field("spec.jobTemplate.spec.selector"),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let job = &spec["jobTemplate"]["spec"];
        let [containers, images] = pod_template::container_cells(&job["template"]);
        let last = api::time::from_value(&status["lastScheduleTime"]);
        vec![
            cells::name(object),
            text(spec, "schedule").into(),
            cells::text_or_none(&spec["timeZone"]),
            // Upstream's cell is a string although its column is not.
            if spec["suspend"] == true { "True" } else { "False" }.into(),
            items(status, "active").len().into(),
            last.map_or_else(|| cells::NONE.to_owned(), |last| api::duration::age(last, now)).into(),
            cells::age(object, now),
            containers,
            images,
            pod_template::selector_cell(&job["selector"]),
        ]
    }
}
