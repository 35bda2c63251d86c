//! What was decided about a signing request, and what may still be decided.
//!
//! **Upstream**: `validateConditions`, `populateConditionTimestamps`, `preserveConditionInstances`.

use crate::resources::edit;
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// Conditions that, once there, stay.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];
/// Conditions that only the approval subresource sets.
pub(crate) const DECISIONS: [&str; 2] = ["Approved", "Denied"];

fn conditions(object: &Value) -> &[Value] {
    items(&object["status"], "conditions")
}

/// Dates new conditions, and those that changed.
pub(crate) fn stamp(conditions_now: &mut [Value], old: &Value, now: &str) {
    for condition in conditions_now {
        edit::set_default_text(condition, "lastUpdateTime", now);
        let before = conditions(old).iter().find(|other| other["type"] == condition["type"]);
        let unchanged = before.filter(|before| before["status"] == condition["status"]);
        let since = unchanged.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(now);
        edit::set_default_text(condition, "lastTransitionTime", since);
    }
}

/// All errors of the conditions of a changed request.
pub(crate) fn check(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    let list = conditions(object);
    let has = |list: &[Value], kind: &str| list.iter().any(|c| c["type"] == kind);
    for (i, condition) in list.iter().enumerate() {
        let (kind, path) = (text(condition, "type"), path.index(i));
        if kind.is_empty() {
            errors.push(Error::required(&path.child("type"), ""));
        }
        let status = text(condition, "status");
        let supported: &[&str] =
            if LASTING.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(Error::required(&path.child("status"), ""));
        } else if !supported.contains(&status) {
            errors.push(Error::not_supported(&path.child("status"), status, supported));
        }
        if list[..i].iter().any(|other| other["type"] == condition["type"]) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
    }
    if DECISIONS.iter().all(|kind| has(list, kind)) {
        let last = list.iter().rev().find(|c| DECISIONS.contains(&text(c, "type")));
        let shown = last.map(|c| c["type"].clone()).unwrap_or_default();
        errors.push(Error::invalid(&path, shown, "Approved and Denied conditions are mutually exclusive"));
    }
    for kind in LASTING.iter().filter(|kind| has(conditions(old), kind) && !has(list, kind)) {
        let detail = format!("updates may not remove a condition of type {kind:?}");
        errors.push(Error::forbidden(&path, &detail));
    }
    errors
}

/// Puts back the decisions that a status writer may neither take nor undo.
pub(crate) fn keep_decisions(object: &mut Value, old: &Value) {
    let decided = |c: &&Value| DECISIONS.contains(&text(c, "type"));
    let mut kept: Vec<Value> = conditions(old).iter().filter(decided).cloned().collect();
    kept.extend(conditions(object).iter().filter(|c| !decided(c)).cloned());
    if let Some(status) = edit::child_or_new(object, "status") {
        if kept.is_empty() {
            edit::remove(status, "conditions");
        } else {
            edit::set(status, "conditions", kept);
        }
    }
}
