//! Cells that many tables share.
//!
//! **Upstream**: `pkg/printers/internalversion`.

use crate::registry::{Cell, Column};
use api::meta;
use jiff::Timestamp;
use serde_json::Value;

/// The column of ages.
pub(crate) const AGE: Column = Column::new("Age", "string").field("metadata.creationTimestamp");
/// What stands where nothing is.
pub(crate) const NONE: &str = "<none>";

/// The object's name.
pub(crate) fn name(object: &Value) -> Cell {
    meta::name(object).into()
}

/// How long ago the object was created.
pub(crate) fn age(object: &Value, now: Timestamp) -> Cell {
    api::duration::age_of(&object["metadata"]["creationTimestamp"], now).into()
}

/// A string, or `<none>`.
pub(crate) fn text_or_none(value: &Value) -> Cell {
    value.as_str().filter(|s| !s.is_empty()).unwrap_or(NONE).into()
}

/// A string, or `<unknown>`.
pub(crate) fn text_or_unknown(value: &Value) -> Cell {
    value.as_str().filter(|s| !s.is_empty()).unwrap_or("<unknown>").into()
}

/// Texts with commas between, or `<none>`.
pub(crate) fn joined(parts: &[String], separator: &str) -> Cell {
    if parts.is_empty() { NONE.into() } else { parts.join(separator).into() }
}

/// `a=b,c=d`, or `<none>`.
pub(crate) fn label_map(labels: &Value) -> Cell {
    let mut parts: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
        .collect();
    parts.sort();
    joined(&parts, ",")
}

/// The first three of a list, then `+ N more...`; `when_empty` stands for an empty list.
pub(crate) fn first_three(parts: &[String], when_empty: &str) -> Cell {
    match parts.len() {
        0 => when_empty.into(),
        1..=3 => parts.join(",").into(),
        n => format!("{} + {} more...", parts[..3].join(","), n - 3).into(),
    }
}
