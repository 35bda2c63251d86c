//! Whether the defaults in a schema are values that it allows.
//!
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/schema/defaulting` (`ValidateDefaults`), `schema/pruning`.

use super::schema::Schema;
use super::{flag, inner, properties, prune, value};
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
        let compiled = Schema::of(schema);
        let resource = root || flag(schema, "x-kubernetes-embedded-resource");
        if prune::would_prune(default, &compiled, resource) {
            errors.push(Error::invalid(&path, default.clone(), "must not have unknown fields"));
        }
        errors.extend(value::check(&path, default, None, &compiled));
    }
    // Defaults below `additionalProperties` have their own rule.
    if let Some(items) = inner(schema, "items") {
        check_schema(errors, &path.child("items"), items, false);
    }
    for (name, property) in properties(schema) {
        check_schema(errors, &path.child("properties").key(name), property, false);
    }
}
