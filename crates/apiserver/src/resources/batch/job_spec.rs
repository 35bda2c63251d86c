//! The part of a Job that CronJobs carry too.
//!
//! **Upstream**: `validateJobSpec`, `ValidateJobSpecUpdate`.

use super::job_policy;
use crate::resources::edit::text;
use crate::resources::{check, edit, pod_template};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

const COUNTS: &[&str] = &[
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];
/// **Upstream**: `maxParallelismForIndexedJob`.
const MAX_INDEXED_PARALLELISM: i64 = 100_000;
/// **Upstream**: `maxJobFailedIndexes...`: bounds of Jobs with a limit for each index.
const MAX_FAILED_INDEXES: i64 = 100_000;
const MAX_MANAGED_BY: usize = 63;
/// What of a template may change while a Job that never started is suspended.
const STEERING: [&str; 4] = ["nodeSelector", "tolerations", "affinity", "schedulingGates"];

/// All errors of a spec, its selector excepted.
pub(super) fn check_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    check::none_negative(errors, path, spec, COUNTS);
    check_indexed(errors, path, spec);
    if let Some(manager) = spec["managedBy"].as_str() {
        let path = path.child("managedBy");
        if manager.split('/').count() != 2 {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(&path, manager, detail));
        } else {
            check::invalid(errors, &path, &manager.into(), names::qualified_name(manager));
        }
        if manager.len() > MAX_MANAGED_BY {
            errors.push(Error::too_long(&path, MAX_MANAGED_BY));
        }
    }
    job_policy::check_failure(errors, path, spec);
    job_policy::check_success(errors, path, spec);
    let replacement = text(spec, "podReplacementPolicy");
    if !spec["podReplacementPolicy"].is_null() {
        let path = path.child("podReplacementPolicy");
        if spec["podFailurePolicy"].is_object() && replacement != "Failed" {
            errors.push(Error::not_supported(&path, replacement, &["Failed"]));
        } else {
            check::one_of(errors, &path, &replacement.into(), &["Failed", "TerminatingOrFailed"]);
        }
    }
    let (template, path) = (&spec["template"], path.child("template"));
    pod_template::check_template(errors, &path, template);
    let (policy, path) =
        (text(&template["spec"], "restartPolicy"), path.child("spec").child("restartPolicy"));
    if matches!(policy, "" | "Always") {
        errors.push(Error::required(&path, "valid values: \"OnFailure\", \"Never\""));
    } else if policy != "Never" && spec["podFailurePolicy"].is_object() {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(Error::invalid(&path, policy, detail));
    }
}

fn check_indexed(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let mode = text(spec, "completionMode");
    if !spec["completionMode"].is_null() && !matches!(mode, "Indexed" | "NonIndexed") {
        let path = path.child("completionMode");
        errors.push(Error::not_supported(&path, mode, &["Indexed", "NonIndexed"]));
    }
    let indexed = mode == "Indexed";
    let limit = &spec["backoffLimitPerIndex"];
    if indexed {
        if spec["completions"].is_null() {
            let detail = "when completion mode is Indexed";
            errors.push(Error::required(&path.child("completions"), detail));
        }
        if let Some(count) = spec["parallelism"].as_i64().filter(|n| *n > MAX_INDEXED_PARALLELISM) {
            let detail = "must be less than or equal to 100000 when completion mode is Indexed";
            errors.push(Error::invalid(&path.child("parallelism"), count, detail));
        }
    } else if !limit.is_null() {
        let detail = "requires indexed completion mode";
        errors.push(Error::invalid(&path.child("backoffLimitPerIndex"), limit.clone(), detail));
    }
    let failed = &spec["maxFailedIndexes"];
    let Some(max) = failed.as_i64() else { return };
    let path = path.child("maxFailedIndexes");
    if limit.is_null() {
        errors.push(Error::required(
            &Path::new("spec").child("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        ));
    } else if max > MAX_FAILED_INDEXES {
        let detail = "must be less than or equal to 100000";
        errors.push(Error::invalid(&path, max, detail));
    } else if spec["completions"].as_i64().is_some_and(|completions| max > completions) {
        errors.push(Error::invalid(&path, max, "must be less than or equal to completions"));
    }
}

/// All errors of a change.
pub(super) fn check_update(errors: &mut ErrorList, spec: &Value, job: &Value, old: &Value) {
    let (before, path) = (&old["spec"], Path::new("spec"));
    check_completions(errors, &path, spec, before);
    check::immutable(errors, &path.child("selector"), &spec["selector"], &before["selector"]);
    let started = !old["status"]["startTime"].is_null();
    let steerable = before["suspend"] == true && !started;
    let template = if steerable { steered(spec, before) } else { spec["template"].clone() };
    if !edit::same(&template, &before["template"]) {
        errors.push(Error::invalid(&path.child("template"), spec["template"].clone(), check::IMMUTABLE));
    }
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        check::immutable(errors, &path.child(field), &job["spec"][field], &before[field]);
    }
}

fn check_completions(errors: &mut ErrorList, path: &Path, spec: &Value, before: &Value) {
    let (new, path) = (&spec["completions"], path.child("completions"));
    if *new == before["completions"] {
        return;
    }
    let elastic =
        text(spec, "completionMode") == "Indexed" && !new.is_null() && !before["completions"].is_null();
    if !elastic {
        errors.push(Error::invalid(&path, new.clone(), check::IMMUTABLE));
    } else if *new != spec["parallelism"] || before["completions"] != before["parallelism"] {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(Error::invalid(&path, new.clone(), detail));
    }
}

/// The new template with everything put back that may steer pods that do not exist yet.
fn steered(spec: &Value, before: &Value) -> Value {
    let (mut template, old) = (spec["template"].clone(), &before["template"]);
    if let Some(pod) = edit::child(&mut template, "spec") {
        for field in STEERING {
            edit::copy(pod, field, &old["spec"]);
        }
    }
    if let Some(meta) = edit::child(&mut template, "metadata") {
        for field in ["labels", "annotations"] {
            edit::copy(meta, field, &old["metadata"]);
        }
    }
    template
}
