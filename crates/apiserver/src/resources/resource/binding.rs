//! The conditions that a device must meet before its pod is bound.
//!
//! **Upstream**: `validateDeviceBindingParameters`.

use super::{bounded, names};
use crate::resources::edit::items;
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// **Upstream**: `BindingConditionsMaxSize`, `BindingFailureConditionsMaxSize`.
const MAX: usize = 4;
const GOOD: &str = "bindingConditions";
const BAD: &str = "bindingFailureConditions";

/// All errors of both lists, and of the two together.
pub(super) fn check(errors: &mut ErrorList, path: &Path, holder: &Value) {
    for field in [GOOD, BAD] {
        bounded::list(errors, path, (holder, field), MAX, &mut |errors, path, condition| {
            names::label_key(errors, path, condition.as_str().unwrap_or_default());
        });
    }
    let (good, bad) = (items(holder, GOOD), items(holder, BAD));
    for (list, field) in [(good, GOOD), (bad, BAD)] {
        for (i, condition) in list.iter().enumerate() {
            let path = path.child(field).index(i);
            if list[..i].contains(condition) {
                errors.push(Error::duplicate(&path, condition.clone()));
            }
            if field == BAD && good.contains(condition) {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(Error::invalid(&path, condition.clone(), detail));
            }
        }
    }
    for (lacks, field, other) in [(good.is_empty(), GOOD, BAD), (bad.is_empty(), BAD, GOOD)] {
        if lacks && good.len() + bad.len() > 0 {
            let detail = format!("{field} are required to use {other}");
            errors.push(Error::invalid(&path.child(field), holder[field].clone(), &detail));
        }
    }
}
