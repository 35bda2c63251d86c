//! When a Job gives up or has had enough: what its two policies may say.
//!
//! **Upstream**: `validatePodFailurePolicy`, `validateSuccessPolicy`.

use crate::resources::check;
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const MAX_RULES: usize = 20;
const MAX_VALUES: usize = 255;

/// All errors of `podFailurePolicy`; none if there is none.
pub(super) fn check_failure(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (policy, path) = (&spec["podFailurePolicy"], path.child("podFailurePolicy").child("rules"));
    let rules = items(policy, "rules");
    if policy.is_object() && rules.is_empty() {
        errors.push(Error::required(&path, "at least one rule is required"));
    }
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(&path, rules.len(), MAX_RULES));
    }
    for (i, rule) in rules.iter().enumerate() {
        check_failure_rule(errors, &path.index(i), rule, spec);
    }
}

fn check_failure_rule(errors: &mut ErrorList, path: &Path, rule: &Value, spec: &Value) {
    let action = text(rule, "action");
    check::one_of(errors, &path.child("action"), &rule["action"], ACTIONS);
    if action == "FailIndex" && spec["backoffLimitPerIndex"].is_null() {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.push(Error::invalid(&path.child("action"), action, detail));
    }
    let (codes, conditions) = (&rule["onExitCodes"], items(rule, "onPodConditions"));
    match (codes.is_object(), conditions.is_empty()) {
        (true, false) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(Error::invalid(path, Value::Null, detail));
        }
        (false, true) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(Error::invalid(path, Value::Null, detail));
        }
        (true, true) => check_exit_codes(errors, &path.child("onExitCodes"), codes, spec),
        (false, false) => {}
    }
    for (j, condition) in conditions.iter().enumerate() {
        let path = path.child("onPodConditions").index(j);
        check::required(errors, &path.child("type"), &condition["type"]);
        check::one_of(errors, &path.child("status"), &condition["status"], &["False", "True", "Unknown"]);
    }
}

fn check_exit_codes(errors: &mut ErrorList, path: &Path, codes: &Value, spec: &Value) {
    let operator = text(codes, "operator");
    check::one_of(errors, &path.child("operator"), &codes["operator"], &["In", "NotIn"]);
    if let Some(name) = codes["containerName"].as_str() {
        let pod = &spec["template"]["spec"];
        let known = ["containers", "initContainers"]
            .iter()
            .any(|list| items(pod, list).iter().any(|c| text(c, "name") == name));
        if !known {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.push(Error::invalid(&path.child("containerName"), name, detail));
        }
    }
    let (values, path) = (items(codes, "values"), path.child("values"));
    if values.is_empty() {
        errors.push(Error::invalid(&path, codes["values"].clone(), "at least one value is required"));
    } else if values.len() > MAX_VALUES {
        errors.push(Error::too_many(&path, values.len(), MAX_VALUES));
    }
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    for (i, number) in numbers.iter().enumerate() {
        if *number == 0 && operator == "In" {
            errors.push(Error::invalid(&path.index(i), 0, "must not be 0 for the In operator"));
        }
        if numbers[..i].contains(number) {
            errors.push(Error::duplicate(&path.index(i), *number));
        }
    }
    if !numbers.is_sorted() {
        errors.push(Error::invalid(&path, codes["values"].clone(), "must be ordered"));
    }
}

/// All errors of `successPolicy`; none if there is none.
pub(super) fn check_success(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (policy, path) = (&spec["successPolicy"], path.child("successPolicy"));
    if !policy.is_object() {
        return;
    }
    if text(spec, "completionMode") != "Indexed" {
        errors.push(Error::invalid(&path, policy.clone(), "requires indexed completion mode"));
        return;
    }
    let (rules, path) = (items(policy, "rules"), path.child("rules"));
    if rules.is_empty() {
        errors.push(Error::required(
            &path,
            "at least one rules must be specified when the successPolicy is specified",
        ));
    }
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(&path, rules.len(), MAX_RULES));
    }
    let completions = spec["completions"].as_i64().unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        if rule["succeededCount"].is_null() && rule["succeededIndexes"].is_null() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(Error::required(&path, detail));
        }
        check::none_negative(errors, &path, rule, &["succeededCount"]);
        if let Some(count) = rule["succeededCount"].as_i64().filter(|count| *count > completions) {
            let detail =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(Error::invalid(&path.child("succeededCount"), count, &detail));
        }
        if let Some(indexes) = rule["succeededIndexes"].as_str()
            && let Err(why) = check_indexes(indexes, completions)
        {
            let detail = format!("error parsing succeededIndexes: {why}");
            errors.push(Error::invalid(&path.child("succeededIndexes"), indexes, &detail));
        }
    }
}

/// `1,3-5,7`, in order and below the number of completions.
fn check_indexes(text: &str, completions: i64) -> Result<(), String> {
    let mut last = -1;
    for part in text.split(',').filter(|_| !text.is_empty()) {
        for number in part.splitn(2, '-') {
            let Ok(index) = number.parse::<i64>() else {
                return Err(format!("cannot convert string to integer for index: {number:?}"));
            };
            if index >= completions {
                return Err(format!("too large index: {number:?}"));
            }
            if index <= last {
                return Err(format!("non-increasing order, previous: {last}, current: {index}"));
            }
            last = index;
        }
    }
    Ok(())
}
