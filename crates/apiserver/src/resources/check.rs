//! Checks that validation is made of; each adds what it finds to the errors of the object.
//!
//! **Upstream**: `pkg/apis/core/validation`, `apimachinery/pkg/api/validation`, `apis/meta/v1/validation`.

use super::edit::{entries, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

/// `must be greater than or equal to 0`
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// `field is immutable`
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// A check of a name that gives messages.
pub(crate) type NameCheck = fn(&str) -> Vec<String>;

/// `names::dns_label` as a [`NameCheck`].
pub(crate) fn label(name: &str) -> Vec<String> {
    names::dns_label(name, false)
}

/// `names::dns_subdomain` as a [`NameCheck`].
pub(crate) fn subdomain(name: &str) -> Vec<String> {
    names::dns_subdomain(name, false)
}

/// Adds an `Invalid value` for each message.
pub(crate) fn invalid(errors: &mut ErrorList, path: &Path, value: &Value, messages: Vec<String>) {
    errors.extend(messages.iter().map(|m| Error::invalid(path, value.clone(), m)));
}

/// A string that must be there and pass the check.
pub(crate) fn required_name(errors: &mut ErrorList, path: &Path, value: &Value, check: NameCheck) {
    match value.as_str().unwrap_or("") {
        "" => errors.push(Error::required(path, "")),
        name => invalid(errors, path, value, check(name)),
    }
}

/// A string that must pass the check if it is there.
pub(crate) fn optional_name(errors: &mut ErrorList, path: &Path, value: &Value, check: NameCheck) {
    if let Some(name) = value.as_str().filter(|n| !n.is_empty()) {
        invalid(errors, path, value, check(name));
    }
}

/// A string that must be there.
pub(crate) fn required(errors: &mut ErrorList, path: &Path, value: &Value) -> bool {
    let missing = value.as_str().unwrap_or("").is_empty();
    if missing {
        errors.push(Error::required(path, ""));
    }
    !missing
}

/// A string that must be there and be one of these.
pub(crate) fn one_of(errors: &mut ErrorList, path: &Path, value: &Value, supported: &[&str]) {
    match value.as_str().unwrap_or("") {
        "" => errors.push(Error::required(path, "")),
        text if supported.contains(&text) => {}
        text => errors.push(Error::not_supported(path, text, supported)),
    }
}

/// A string that must be one of these if it is there.
pub(crate) fn one_of_if_set(errors: &mut ErrorList, path: &Path, value: &Value, supported: &[&str]) {
    if !text_of(value).is_empty() {
        one_of(errors, path, value, supported);
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// A number that must not be negative if it is there.
pub(crate) fn not_negative(errors: &mut ErrorList, path: &Path, value: &Value) {
    if let Some(number) = value.as_i64().filter(|n| *n < 0) {
        errors.push(Error::invalid(path, number, NOT_NEGATIVE));
    }
}

/// A port number or a port's name.
pub(crate) fn port_or_name(errors: &mut ErrorList, path: &Path, value: &Value) {
    match value {
        Value::Number(n) => invalid(errors, path, value, names::port_number(n.as_i64().unwrap_or(0))),
        Value::String(s) => invalid(errors, path, value, names::port_name(s)),
        _ => errors.push(Error::required(path, "")),
    }
}

/// A map of labels.
pub(crate) fn labels(errors: &mut ErrorList, path: &Path, object: &Value, field: &str) {
    for (key, value) in entries(object, field) {
        for message in names::qualified_name(key) {
            errors.push(Error::invalid(path, key.as_str(), &message));
        }
        for message in names::label_value(text_of(value)) {
            errors.push(Error::invalid(path, text_of(value), &message));
        }
    }
}

/// A `metav1.LabelSelector`.
pub(crate) fn label_selector(errors: &mut ErrorList, path: &Path, selector: &Value) {
    labels(errors, &path.child("matchLabels"), selector, "matchLabels");
    for (i, expression) in super::edit::items(selector, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = super::edit::items(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(Error::required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator"));
            }
        }
        invalid(
            errors,
            &path.child("key"),
            &expression["key"],
            names::qualified_name(text(expression, "key")),
        );
        for (j, value) in values.iter().enumerate() {
            invalid(errors, &path.child("values").index(j), value, names::label_value(text_of(value)));
        }
    }
}

/// A field that may not change.
pub(crate) fn immutable(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    if !super::edit::same(new, old) {
        errors.push(Error::invalid(path, new.clone(), IMMUTABLE));
    }
}

/// A number, or a share such as `25%`, that must not be negative if it is there.
pub(crate) fn int_or_percent(errors: &mut ErrorList, path: &Path, value: &Value) {
    match value {
        Value::String(text) => {
            if percent(text).is_none() {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.push(Error::invalid(path, text.as_str(), detail));
            }
        }
        other => not_negative(errors, path, other),
    }
}

/// A share that must not be more than everything.
pub(crate) fn at_most_all(errors: &mut ErrorList, path: &Path, value: &Value) {
    if value.as_str().and_then(percent).is_some_and(|share| share > 100) {
        errors.push(Error::invalid(path, value.clone(), "must not be greater than 100%"));
    }
}

/// The figure of a number or share; 0 when there is none.
pub(crate) fn figure(value: &Value) -> i64 {
    value.as_i64().or_else(|| percent(text_of(value))).unwrap_or(0)
}

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Fields that must not be negative if they are there.
pub(crate) fn none_negative(errors: &mut ErrorList, path: &Path, object: &Value, fields: &[&str]) {
    for field in fields {
        not_negative(errors, &path.child(field), &object[*field]);
    }
}

/// `spec.selector` of a workload: it must be there and select something, but not everything.
pub(crate) fn workload_selector(errors: &mut ErrorList, path: &Path, selector: &Value, owner: &str) {
    if selector.is_null() {
        errors.push(Error::required(path, ""));
        return;
    }
    label_selector(errors, path, selector);
    if super::edit::is_empty(&selector["matchLabels"]) && super::edit::is_empty(&selector["matchExpressions"])
    {
        let detail = format!("empty selector is invalid for {owner}");
        errors.push(Error::invalid(path, selector.clone(), &detail));
    }
}

/// The name of a metric; whether it is fine.
pub(crate) fn required_metric_name(errors: &mut ErrorList, path: &Path, name: &Value) -> bool {
    let before = errors.len();
    match text_of(name) {
        "" => errors.push(Error::required(path, "must specify a metric name")),
        text => invalid(errors, path, name, names::path_segment(text, false)),
    }
    errors.len() == before
}

/// **Upstream**: `maxReasonLen`, `maxMessageLen` of `metav1`.
const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;

/// A list of `metav1.Condition`. **Upstream**: `ValidateConditions`.
pub(crate) fn conditions(errors: &mut ErrorList, path: &Path, conditions: &[Value]) {
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let (name, reason) = (text(condition, "type"), text(condition, "reason"));
        if conditions[..i].iter().any(|other| text(other, "type") == name) {
            errors.push(Error::duplicate(&path.child("type"), name));
        }
        invalid(errors, &path.child("type"), &name.into(), names::qualified_name(name));
        let (status, known) = (text(condition, "status"), ["False", "True", "Unknown"]);
        if !known.contains(&status) {
            errors.push(Error::not_supported(&path.child("status"), status, &known));
        }
        let generation = condition["observedGeneration"].as_i64().unwrap_or(0);
        if generation < 0 {
            let detail = "must be greater than or equal to zero";
            errors.push(Error::invalid(&path.child("observedGeneration"), generation, detail));
        }
        required(errors, &path.child("lastTransitionTime"), &condition["lastTransitionTime"]);
        if required(errors, &path.child("reason"), &condition["reason"]) {
            invalid(errors, &path.child("reason"), &reason.into(), names::condition_reason(reason));
        }
        if reason.len() > MAX_REASON {
            errors.push(Error::too_long(&path.child("reason"), MAX_REASON));
        }
        if text(condition, "message").len() > MAX_MESSAGE {
            errors.push(Error::too_long(&path.child("message"), MAX_MESSAGE));
        }
    }
}
