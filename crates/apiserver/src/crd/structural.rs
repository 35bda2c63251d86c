//! Whether a schema is structural: every field that it speaks of has one type, told outside of `allOf` and the like.
//!
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go`.

use super::{flag, inner, list, properties, type_of};
use api::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// All errors, sorted by their texts.
pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_invariants(&mut errors, path, schema, Level::Root);
    check_complete(&mut errors, (path, path), schema, Some(schema));
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn check_invariants(errors: &mut ErrorList, path: &Path, schema: &Value, level: Level) {
    let kind = type_of(schema);
    match inner(schema, "items") {
        Some(items) => check_invariants(errors, &path.child("items"), items, Level::Item),
        None if kind == "array" && schema["items"].is_null() => {
            errors.push(Error::required(&path.child("items"), "must be specified"));
        }
        None => {}
    }
    for (name, property) in properties(schema) {
        check_invariants(errors, &path.child("properties").key(name), property, Level::Field);
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&path, "must not be used at the root"));
        }
        if additional.is_object() {
            check_invariants(errors, &path, additional, Level::Field);
        }
    }
    check_extensions(errors, path, schema);
    check_values(errors, path, schema, level);
    check_type(errors, path, schema, level);
    check_metadata(errors, path, schema, level);
}

fn check_extensions(errors: &mut ErrorList, path: &Path, schema: &Value) {
    if !flag(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(schema, name) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(Error::invalid(&path.child(name), true, detail));
        }
    }
}

fn check_type(errors: &mut ErrorList, path: &Path, schema: &Value, level: Level) {
    let (kind, at) = (type_of(schema), path.child("type"));
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let free =
        flag(schema, "x-kubernetes-int-or-string") || flag(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => Error::required(&at, detail),
            _ => Error::invalid(&at, kind, detail),
        });
    } else if kind.is_empty() && !free {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&at, detail));
    }
    if embedded && !schema["additionalProperties"].is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(Error::invalid(&at, kind, "must be object at the root"));
    }
    if embedded
        && !flag(schema, "x-kubernetes-preserve-unknown-fields")
        && properties(schema).next().is_none()
    {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), detail));
    }
}

/// What is implied of every object may hardly be restricted.
fn check_metadata(errors: &mut ErrorList, path: &Path, schema: &Value, level: Level) {
    let implied = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
    let path = path.child("properties");
    for name in ["kind", "apiVersion"] {
        if let Some(property) = inner(&schema["properties"], name)
            && implied
            && type_of(property) != "string"
        {
            errors.push(Error::invalid(&path.key(name).child("type"), type_of(property), "must be string"));
        }
    }
    let Some(metadata) = inner(&schema["properties"], "metadata") else { return };
    let path = path.key("metadata");
    if implied && type_of(metadata) != "object" {
        errors.push(Error::invalid(&path.child("type"), type_of(metadata), "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let names_only = properties(metadata).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let mut fields = metadata.as_object().into_iter().flatten();
    let nothing_else = fields.all(|(name, value)| match name.as_str() {
        "type" | "default" => true,
        "properties" => names_only,
        _ => crate::resources::is_empty(value),
    });
    if !nothing_else {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(Error::forbidden(&path, detail));
    }
}

fn is_int_or_string(alternatives: &Value) -> bool {
    *alternatives == json!([{"type": "integer"}, {"type": "string"}])
}

/// What restricts values of a known type. Of a number or string the two types may be told.
fn check_values(errors: &mut ErrorList, path: &Path, schema: &Value, level: Level) {
    let skip_any = is_int_or_string(&schema["anyOf"]);
    let skip_first = list(schema, "allOf").first().is_some_and(|first| is_int_or_string(&first["anyOf"]));
    check_junctors(errors, path, schema, (skip_any, skip_first), level);
}

fn check_junctors(
    errors: &mut ErrorList,
    path: &Path,
    schema: &Value,
    (skip_any, skip_first): (bool, bool),
    level: Level,
) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any {
            continue;
        }
        for (i, nested) in list(schema, name).iter().enumerate() {
            let skip = name == "allOf" && skip_first && i == 0;
            check_nested(errors, &path.child(name).index(i), nested, skip, level);
        }
    }
    if let Some(not) = inner(schema, "not") {
        check_nested(errors, &path.child("not"), not, false, level);
    }
    if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !pattern.is_empty())
        && let Err(error) = regex::Regex::new(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(Error::invalid(&path.child("pattern"), pattern, &detail));
    }
}

/// What a nested schema may not say, and how that is put.
const NESTED: [(&str, &str); 12] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
];

fn check_nested(errors: &mut ErrorList, path: &Path, schema: &Value, skip_any: bool, level: Level) {
    check_junctors(errors, path, schema, (skip_any, false), level);
    if let Some(items) = inner(schema, "items") {
        check_nested(errors, &path.child("items"), items, false, level);
    }
    for (name, property) in properties(schema) {
        check_nested(errors, &path.child("properties").key(name), property, false, Level::Field);
    }
    for (name, detail) in NESTED {
        let value = &schema[name];
        let told = match detail {
            "must be undefined to be structural" => !value.is_null(),
            _ => !crate::resources::is_empty(value),
        };
        if told {
            errors.push(Error::forbidden(&path.child(name), detail));
        }
    }
    if !list(schema, "x-kubernetes-validations").is_empty() {
        let path = path.child("x-kubernetes-validations");
        errors.push(Error::forbidden(&path, "must be empty to be structural"));
    }
    if !schema["properties"]["metadata"].is_null() {
        let path = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&path, "must not be specified in a nested context"));
    }
}

/// Whatever is restricted in a nested schema must be there outside of it. Paths: of the structure, of the restriction.
fn check_complete(errors: &mut ErrorList, paths: (&Path, &Path), nested: &Value, outer: Option<&Value>) {
    let (outer_path, path) = paths;
    let mut complete = |at: Path, nested: &Value| {
        check_nested_complete(errors, (outer_path, &at), nested, outer);
    };
    if let Some(not) = inner(nested, "not") {
        complete(path.child("not"), not);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (i, nested) in list(nested, name).iter().enumerate() {
            complete(path.child(name).index(i), nested);
        }
    }
}

fn check_nested_complete(
    errors: &mut ErrorList,
    paths: (&Path, &Path),
    nested: &Value,
    outer: Option<&Value>,
) {
    let (outer_path, path) = paths;
    let Some(outer) = outer else {
        let detail = format!("because it is defined in {}", path.as_str());
        errors.push(Error::required(outer_path, &detail));
        return;
    };
    check_complete(errors, paths, nested, Some(outer));
    if let Some(items) = inner(nested, "items") {
        let (outer_path, path) = (outer_path.child("items"), path.child("items"));
        check_nested_complete(errors, (&outer_path, &path), items, inner(outer, "items"));
    }
    for (name, property) in properties(nested) {
        let (outer_path, path) =
            (outer_path.child("properties").key(name), path.child("properties").key(name));
        check_nested_complete(errors, (&outer_path, &path), property, inner(&outer["properties"], name));
    }
}
