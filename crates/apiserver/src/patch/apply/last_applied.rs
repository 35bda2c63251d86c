//! Objects that kubectl applied on the client's side before: the annotation in which it keeps the configuration.
//!
//! **Contract**: only the manager `kubectl` inherits what the annotation says, and keeps the annotation up to date.
//! **Upstream**: `managedfields/internal/lastapplied{manager,updater,}.go`.

use super::{FieldSet, Shape, compare, fields};
use crate::registry::metadata;
use serde_json::Value;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Bytes that annotations may have in all.
const MAX: usize = 256 << 10;

/// The manager of `kubectl apply --server-side`.
pub(super) const KUBECTL: &str = "kubectl";

/// The fields that the annotation owns: those that the object still has as they were applied.
pub(super) fn owned(live: &Value, shape: Shape<'_>) -> FieldSet {
    let Some(applied) = read(live) else { return FieldSet::default() };
    let mut owned = fields(&applied, shape);
    let changes = compare(&applied, live, shape);
    owned.subtract(&changes.changed);
    owned.subtract(&changes.removed);
    owned
}

/// Brings the annotation up to date, if there is one.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if read(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = metadata::of(&mut config).get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.shift_remove(ANNOTATION);
    }
    let mut text = config.to_string();
    text.push('\n');
    let annotations = metadata::of(object).get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        if text.len() > MAX {
            annotations.shift_remove(ANNOTATION);
        } else {
            annotations.insert(ANNOTATION.to_owned(), text.into());
        }
    }
}

fn read(object: &Value) -> Option<Value> {
    serde_json::from_str(object["metadata"]["annotations"][ANNOTATION].as_str()?).ok()
}
