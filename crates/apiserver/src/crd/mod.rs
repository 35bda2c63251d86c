//! Schemas of kinds that are added at run time: what a definition may say, and what that says of values.
//!
//! **Contract**: pure; a schema is the JSON of `JSONSchemaProps`. All errors are found, in upstream's words.
//! **Not here**: the CustomResourceDefinition itself (`resources::apiextensions`), compiling CEL rules, serving the
//! kinds.
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/{schema,validation}`, `pkg/apis/apiextensions/validation`.

mod defaults;
mod field_path;
mod open_api;
mod structural;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use field_path::FieldPath;
pub(crate) use value::check as check_value;

use api::field::{ErrorList, Path};
use serde_json::Value;

/// What the objects whose fields a schema may restrict have at their root besides.
const META_FIELDS: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// All errors of the schema of a version.
pub(crate) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = structural::check(path, schema);
    if errors.is_empty() {
        errors.extend(defaults::check(path, schema));
    }
    errors.extend(open_api::check(path, schema));
    errors
}

/// A flag of a schema.
fn flag(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

/// The type that a schema names, or empty.
fn type_of(schema: &Value) -> &str {
    schema["type"].as_str().unwrap_or("")
}

/// The schemas of properties.
fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// The schemas in a list such as `allOf`.
fn list<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema[name].as_array().map_or(&[], Vec::as_slice)
}

/// A schema in a field, if it is there and one schema.
fn inner<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    Some(&schema[name]).filter(|inner| inner.is_object())
}

/// Every schema inside a schema, itself first.
pub(crate) fn walk<'a>(schema: &'a Value, visit: &mut dyn FnMut(&'a Value)) {
    if !schema.is_object() {
        return;
    }
    visit(schema);
    for name in ["items", "not", "additionalProperties", "additionalItems"] {
        walk(&schema[name], visit);
    }
    for name in ["items", "allOf", "anyOf", "oneOf"] {
        list(schema, name).iter().for_each(|inner| walk(inner, visit));
    }
    for name in ["properties", "patternProperties", "definitions", "dependencies"] {
        schema[name].as_object().into_iter().flatten().for_each(|(_, inner)| walk(inner, visit));
    }
}
