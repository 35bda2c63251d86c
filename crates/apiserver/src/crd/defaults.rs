//! Whether the defaults in a schema are values that it allows.
//!
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/schema/defaulting` (`ValidateDefaults`), `schema/pruning`.

use super::{META_FIELDS, check_value, flag, inner, properties};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// All errors of a structural schema's defaults.
pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_schema(&mut errors, path, schema, true);
    errors
}

fn check_schema(errors: &mut ErrorList, path: &Path, schema: &Value, root: bool) {
    let default = &schema["default"];
    if !default.is_null() {
        let path = path.child("default");
        let resource = root || flag(schema, "x-kubernetes-embedded-resource");
        if has_unknown(default, schema, resource) {
            errors.push(Error::invalid(&path, default.clone(), "must not have unknown fields"));
        }
        errors.extend(check_value(&path, default, schema));
    }
    // Defaults below `additionalProperties` have their own rule.
    if let Some(items) = inner(schema, "items") {
        check_schema(errors, &path.child("items"), items, false);
    }
    for (name, property) in properties(schema) {
        check_schema(errors, &path.child("properties").key(name), property, false);
    }
}

/// Whether pruning would take something away from a value.
fn has_unknown(value: &Value, schema: &Value, resource: bool) -> bool {
    let embedded = resource || flag(schema, "x-kubernetes-embedded-resource");
    match value {
        Value::Array(items) => {
            inner(schema, "items").is_some_and(|schema| items.iter().any(|v| has_unknown(v, schema, false)))
        }
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            if embedded && META_FIELDS.contains(&name.as_str()) {
                return false;
            }
            match (inner(&schema["properties"], name), &schema["additionalProperties"]) {
                (Some(property), _) => has_unknown(value, property, false),
                (None, Value::Bool(true)) => false,
                (None, additional) if additional.is_object() => has_unknown(value, additional, false),
                (None, _) => !flag(schema, "x-kubernetes-preserve-unknown-fields"),
            }
        }),
        _ => false,
    }
}
