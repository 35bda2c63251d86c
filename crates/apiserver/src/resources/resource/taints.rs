//! Taints of devices, and what tolerates them.
//!
//! **Upstream**: `validateDeviceTaint`, `validateDeviceToleration`.

use super::names;
use crate::resources::check;
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
const OPERATORS: &[&str] = &["Equal", "Exists"];

fn value(errors: &mut ErrorList, path: &Path, holder: &Value) {
    let value = text(holder, "value");
    check::invalid(errors, &path.child("value"), &value.into(), api::names::label_value(value));
}

/// All errors of a taint.
pub(super) fn check_taint(errors: &mut ErrorList, path: &Path, taint: &Value) {
    names::label_key(errors, &path.child("key"), text(taint, "key"));
    value(errors, path, taint);
    check::one_of(errors, &path.child("effect"), &taint["effect"], EFFECTS);
}

/// All errors of the tolerations in a field of that name.
pub(super) fn check_tolerations(errors: &mut ErrorList, path: &Path, holder: &Value) {
    for (i, toleration) in items(holder, "tolerations").iter().enumerate() {
        let path = path.child("tolerations").index(i);
        match text(toleration, "key") {
            "" => {}
            key => names::label_key(errors, &path.child("key"), key),
        }
        match (text(toleration, "operator"), text(toleration, "value")) {
            ("Exists", "") => {}
            ("Exists", value) => {
                let detail = "must be empty for operator `Exists`";
                errors.push(Error::invalid(&path.child("value"), value, detail));
            }
            ("Equal", _) => value(errors, &path, toleration),
            _ => check::one_of(errors, &path.child("operator"), &toleration["operator"], OPERATORS),
        }
        check::one_of_if_set(errors, &path.child("effect"), &toleration["effect"], EFFECTS);
    }
}
