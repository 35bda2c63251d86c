//! Kinds that are added at run time: what a definition may say, what that says of objects, and how they are served.
//!
//! **Contract**: a kind is served by the registry as any other (`kind`, `version`), made anew whenever its definition
//! changes (`controller`, the only part that does anything by itself). The schema of a definition is the JSON of
//! `JSONSchemaProps`; that of a kind is made ready for use (`schema`). All errors are found, in upstream's words.
//! **Not here**: the CustomResourceDefinition itself (`resources::apiextensions`).
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/{schema,validation}`, `pkg/apis/apiextensions/validation`.

mod columns;
pub(crate) mod controller;
mod conversion;
mod declared;
mod defaults;
mod definition;
mod embedded;
mod field_path;
mod formats;
mod kind;
pub(crate) mod naming;
mod open_api;
mod prune;
mod published;
mod rule_checks;
mod rules;
mod schema;
#[cfg(test)]
mod server_tests;
mod structural;
#[cfg(test)]
mod tests;
mod value;
mod version;

pub(crate) use definition::CLEANUP;
pub(crate) use definition::Scale;
pub(crate) use field_path::FieldPath;
pub(crate) use published::Published;
pub(crate) use schema::Schema;
pub(crate) use schema::{Kind, ListType};
pub(crate) use version::at;

use api::field::{ErrorList, Path};
use serde_json::Value;

/// What the objects whose fields a schema may restrict have at their root besides.
pub(crate) const META_FIELDS: [&str; 3] = ["metadata", "kind", "apiVersion"];

const RULES: &str = "x-kubernetes-validations";

/// Makes an object what its schema allows it to be; the paths of fields that are gone, or what is of a wrong type.
pub(crate) fn conform(object: &mut Value, schema: &Schema) -> Result<Vec<String>, String> {
    let mut unknown = embedded::coerce(object, schema)?;
    unknown.extend(prune::prune(object, schema));
    prune::drop_nulls(object, schema);
    Ok(unknown)
}

/// All errors of the schema of a version.
pub(crate) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = structural::check(path, schema);
    if errors.is_empty() {
        errors.extend(defaults::check(path, schema));
        errors.extend(rule_checks::check(path, schema));
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
