//! What a schema may say node by node: OpenAPI v3 without what upstream leaves out, and Kubernetes' extensions.
//!
//! **Upstream**: `ValidateCustomResourceDefinitionOpenAPISchema`, `specStandardValidatorV3`, `validateMapListKeysMapSet`.

use super::{FieldPath, META_FIELDS, RULES, flag, inner, list, properties, type_of};
use super::{rule_checks, rules};
use crate::cel;
use crate::resources::is_empty;
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const MAP_KEYS: &str = "x-kubernetes-list-map-keys";
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// What upstream does not support, and how it says so.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
];

/// Where a schema stands.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    root: bool,
    /// Within `metadata`, `kind` or `apiVersion` of a resource.
    in_metadata: bool,
    /// The list or map whose parts have no old values, if it is in one.
    uncorrelated: Option<&'a str>,
    /// Why there may be no defaults.
    no_defaults: Option<&'a str>,
}

/// All errors.
pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_schema(&mut errors, path, schema, Place { root: true, ..Place::default() });
    errors
}

fn check_schema(errors: &mut ErrorList, path: &Path, schema: &Value, place: Place<'_>) {
    if !schema.is_object() {
        return;
    }
    check_standard(errors, path, schema, place);
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), detail));
    }
    let inside = Place { root: false, ..place };
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        let at = path.child("additionalProperties");
        if properties(schema).next().is_some() && *additional != true {
            errors.push(Error::forbidden(&at, "additionalProperties and properties are mutual exclusive"));
        }
        let mut inside = correlated_if(inside, path, !flag_is_atomic(schema));
        if place.in_metadata {
            inside.no_defaults = Some("inside additionalProperties applying to object metadata");
        }
        check_schema(errors, &at, additional, inside);
    }
    for (name, property) in properties(schema) {
        let mut inside = correlated_if(inside, path, !flag_is_atomic(schema));
        let reason = format!("in top-level {name}");
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        if (place.root || embedded) && META_FIELDS.contains(&name.as_str()) {
            inside.in_metadata = true;
            if place.root {
                inside.no_defaults = Some(&reason);
            }
        }
        check_schema(errors, &path.child("properties").key(name), property, inside);
    }
    check_schema(errors, &path.child("not"), &schema["not"], inside);
    for name in ["allOf", "oneOf", "anyOf"] {
        for (i, schema) in list(schema, name).iter().enumerate() {
            check_schema(errors, &path.child(name).index(i), schema, inside);
        }
    }
    // Only items of maps can be told which was which.
    let inside = correlated_if(inside, path, schema[LIST_TYPE] == "map");
    check_schema(errors, &path.child("items"), &schema["items"], inside);
    for (i, schema) in list(schema, "items").iter().enumerate() {
        check_schema(errors, &path.child("items").index(i), schema, inside);
    }
    check_merging(errors, path, schema);
    check_rules(errors, path, schema, place);
}

fn flag_is_atomic(schema: &Value) -> bool {
    schema[MAP_TYPE] == "atomic"
}

/// A place whose values have old ones only under a condition.
fn correlated_if<'a>(place: Place<'a>, path: &'a Path, correlated: bool) -> Place<'a> {
    if correlated {
        place
    } else {
        Place { uncorrelated: place.uncorrelated.or(Some(path.as_str())), ..place }
    }
}

fn check_standard(errors: &mut ErrorList, path: &Path, schema: &Value, place: Place<'_>) {
    let kind = type_of(schema);
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &TYPES));
    }
    if let Some(reason) = place.no_defaults.filter(|_| !schema["default"].is_null()) {
        errors.push(Error::forbidden(&path.child("default"), &format!("must not be set {reason}")));
    }
    for (name, detail) in UNSUPPORTED {
        if !is_empty(&schema[name]) || (name == "$ref" && !schema[name].is_null()) {
            errors.push(Error::forbidden(&path.child(name), detail));
        }
    }
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(Error::forbidden(&path.child("type"), detail));
    }
    if !list(schema, "items").is_empty() {
        let detail = "items must be a schema object and not an array";
        errors.push(Error::forbidden(&path.child("items"), detail));
    }
    if place.in_metadata && flag(schema, "x-kubernetes-embedded-resource") {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.push(Error::forbidden(&path, "must not be used inside of resource meta"));
    }
}

/// A type that an extension asks for.
fn check_type(errors: &mut ErrorList, path: &Path, schema: &Value, wanted: &str, extension: &str) {
    let kind = type_of(schema);
    if kind == wanted {
        return;
    }
    let (at, detail) = (path.child("type"), format!("must be {wanted} if {extension} is specified"));
    errors.push(match kind {
        "" => Error::required(&at, &detail),
        _ => Error::invalid(&at, kind, &detail),
    });
}

/// How lists and maps are merged.
fn check_merging(errors: &mut ErrorList, path: &Path, schema: &Value) {
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if schema[preserve] == false {
        errors.push(Error::invalid(&path.child(preserve), false, "must be true or undefined"));
    }
    if let Some(map_type) = schema[MAP_TYPE].as_str() {
        check_type(errors, path, schema, "object", MAP_TYPE);
        if !matches!(map_type, "atomic" | "granular") {
            errors.push(Error::not_supported(&path.child(MAP_TYPE), map_type, &["atomic", "granular"]));
        }
    }
    let keys = list(schema, MAP_KEYS);
    let Some(list_type) = schema[LIST_TYPE].as_str() else {
        if !keys.is_empty() {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            errors.push(Error::required(&path.child(LIST_TYPE), detail));
        }
        return;
    };
    check_type(errors, path, schema, "array", LIST_TYPE);
    if type_of(schema) == "array" && list_type == "set" {
        check_set(errors, &path.child("items"), &schema["items"]);
    }
    if !matches!(list_type, "atomic" | "set" | "map") {
        errors.push(Error::not_supported(&path.child(LIST_TYPE), list_type, &["atomic", "set", "map"]));
    }
    if !keys.is_empty() && list_type != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(Error::invalid(&path.child(LIST_TYPE), list_type, detail));
    }
    if list_type == "map" {
        check_map(errors, path, schema, keys);
    }
    check_identity(errors, path, schema, list_type, keys);
}

/// Items of a set are told apart as a whole.
fn check_set(errors: &mut ErrorList, path: &Path, items: &Value) {
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match type_of(items) {
        "array" if !matches!(items[LIST_TYPE].as_str(), None | Some("atomic")) => {
            errors.push(Error::invalid(&path.child(LIST_TYPE), items[LIST_TYPE].clone(), detail));
        }
        "object" if items[MAP_TYPE] != "atomic" => {
            errors.push(Error::invalid(&path.child(MAP_TYPE), items[LIST_TYPE].clone(), detail));
        }
        _ => {}
    }
}

fn check_map(errors: &mut ErrorList, path: &Path, schema: &Value, keys: &[Value]) {
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(Error::required(&path.child(MAP_KEYS), detail));
    }
    let (items, at) = (&schema["items"], path.child("items"));
    match items {
        Value::Null => {
            errors.push(Error::required(&at, "must have a schema if x-kubernetes-list-type is map"));
        }
        Value::Object(_) if type_of(items) != "object" => {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            errors.push(Error::invalid(&at.child("type"), type_of(items), detail));
        }
        Value::Object(_) => {
            for (i, key) in keys.iter().enumerate() {
                let name = key.as_str().unwrap_or("");
                match inner(&items["properties"], name) {
                    Some(property) if matches!(type_of(property), "array" | "object") => {
                        let at = at.child("properties").key(name).child("type");
                        let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                        errors.push(Error::invalid(&at, type_of(items), detail));
                    }
                    Some(_) => {}
                    None => {
                        let detail = "entries must all be names of item properties";
                        errors.push(Error::invalid(&path.child(MAP_KEYS), schema[MAP_KEYS].clone(), detail));
                    }
                }
                if keys[..i].contains(key) {
                    let detail = "must not contain duplicate entries";
                    errors.push(Error::invalid(&path.child(MAP_KEYS), schema[MAP_KEYS].clone(), detail));
                }
            }
        }
        _ => {
            let detail = "must only have a single schema if x-kubernetes-list-type is map";
            errors.push(Error::invalid(&at, items.clone(), detail));
        }
    }
}

/// What tells items apart must be there.
fn check_identity(errors: &mut ErrorList, path: &Path, schema: &Value, list_type: &str, keys: &[Value]) {
    let Some(items) = inner(schema, "items").filter(|_| matches!(list_type, "set" | "map")) else { return };
    let path = path.child("items");
    if flag(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&path.child("nullable"), &detail));
    }
    for name in keys.iter().filter(|_| list_type == "map").filter_map(Value::as_str) {
        let Some(property) = inner(&items["properties"], name) else { continue };
        let path = path.child("properties").key(name);
        let required = list(items, "required").iter().any(|required| required == name);
        if !required && property["default"].is_null() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&path.child("default"), detail));
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&path.child("nullable"), detail));
        }
    }
}

/// Whether the expressions of a rule can be compiled, and may speak of what they speak of.
fn check_expressions(errors: &mut ErrorList, path: &Path, rule: &Value, place: Place<'_>) {
    let text = |name: &str| rule[name].as_str().map(str::trim).filter(|text| !text.is_empty());
    if let Some(source) = text("rule") {
        let at = path.child("rule");
        if let Err(why) = rules::compile(source, cel::Kind::Any) {
            errors.push(Error::invalid(&at, rule_checks::internal(rule), &why));
        } else if let Some(within) = place.uncorrelated.filter(|_| rules::uses_old(source)) {
            let detail =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            errors.push(Error::invalid(&at, source, &detail));
        }
        if let Some(optional) = rule["optionalOldSelf"].as_bool().filter(|_| !rules::uses_old(source)) {
            let detail = "may not be set if oldSelf is not used in rule";
            errors.push(Error::invalid(&path.child("optionalOldSelf"), optional, detail));
        }
    }
    if let Some(source) = text("messageExpression")
        && let Err(why) = rules::compile(source, cel::Kind::Any)
    {
        errors.push(Error::invalid(
            &path.child("messageExpression"),
            rule_checks::internal(rule),
            &format!("messageExpression {why}"),
        ));
    }
}

/// The rules in CEL.
fn check_rules(errors: &mut ErrorList, path: &Path, schema: &Value, place: Place<'_>) {
    for (i, rule) in list(schema, RULES).iter().enumerate() {
        let path = path.child(RULES).index(i);
        let text = |name: &str| rule[name].as_str().unwrap_or("");
        let breaks = |text: &str| text.contains(['\n', '\r']);
        let (message, at) = (text("message"), path.child("message"));
        if text("rule").trim().is_empty() {
            errors.push(Error::required(&path.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(Error::invalid(&at, message, "must be non-empty if specified"));
        } else if breaks(message.trim()) {
            errors.push(Error::invalid(&at, message, "must not contain line breaks"));
        } else if breaks(text("rule").trim()) && message.is_empty() {
            errors.push(Error::required(&at, "message must be specified if rule contains line breaks"));
        }
        let expression = text("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&path.child("messageExpression"), detail));
        }
        check_expressions(errors, &path, rule, place);
        if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            errors.push(Error::not_supported(&path.child("reason"), reason, &REASONS));
        }
        let (field, at) = (text("fieldPath"), path.child("fieldPath"));
        if field.is_empty() {
            continue;
        }
        if field.trim().is_empty() {
            errors.push(Error::invalid(&at, field, "must be non-empty if specified"));
        }
        if breaks(field) {
            errors.push(Error::invalid(&at, field, "must not contain line breaks"));
        }
        if FieldPath::parse(field, schema).is_err() {
            errors.push(Error::invalid(&at, field, "must be a valid path"));
        }
    }
}
