//! Schemas by their parts, as the Gateway API's definitions use them.

use serde_json::{Map, Value, json};

/// A host, perhaps with a wildcard.
pub(super) const HOSTNAME: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
pub(super) const KIND: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
pub(super) const NAMESPACE: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
pub(super) const SECTION: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const GROUP_NAME: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

pub(super) fn object(required: &[&str], fields: Vec<(&str, Value)>) -> Value {
    let fields: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let mut schema = json!({"type": "object", "properties": fields});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

pub(super) fn text(max: u32) -> Value {
    json!({"type": "string", "maxLength": max})
}

pub(super) fn pattern(pattern: &str, max: u32) -> Value {
    json!({"type": "string", "pattern": pattern, "minLength": 1, "maxLength": max})
}

/// A pattern that also stands for nothing.
pub(super) fn group() -> Value {
    json!({"type": "string", "pattern": GROUP_NAME, "maxLength": 253})
}

pub(super) fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

pub(super) fn or(mut schema: Value, default: Value) -> Value {
    schema["default"] = default;
    schema
}

pub(super) fn number(least: i64, most: i64) -> Value {
    json!({"type": "integer", "format": "int32", "minimum": least, "maximum": most})
}

pub(super) fn port() -> Value {
    number(1, 65_535)
}

/// A list; with keys it is a map.
pub(super) fn list(items: Value, most: u32, keys: &[&str]) -> Value {
    let mut schema = json!({"type": "array", "items": items, "maxItems": most});
    if keys.is_empty() {
        schema["x-kubernetes-list-type"] = json!("atomic");
    } else {
        schema["x-kubernetes-list-type"] = json!("map");
        schema["x-kubernetes-list-map-keys"] = json!(keys);
    }
    schema
}

/// A rule that CEL checks.
pub(super) fn checked(mut schema: Value, rules: &[(&str, &str)]) -> Value {
    let rules: Vec<Value> =
        rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
    schema["x-kubernetes-validations"] = json!(rules);
    schema
}

/// An object with a group and a kind, which are these by default.
pub(super) fn reference(group_default: &str, kind_default: &str, more: Vec<(&str, Value)>) -> Value {
    let mut fields = vec![
        ("group", or(group(), json!(group_default))),
        ("kind", or(pattern(KIND, 63), json!(kind_default))),
        ("name", pattern(".*", 253)),
        ("namespace", pattern(NAMESPACE, 63)),
    ];
    fields.extend(more);
    object(&["name"], fields)
}

pub(super) fn conditions() -> Value {
    let condition = object(
        &["lastTransitionTime", "message", "reason", "status", "type"],
        vec![
            ("lastTransitionTime", json!({"type": "string", "format": "date-time"})),
            ("message", text(32_768)),
            ("observedGeneration", json!({"type": "integer", "format": "int64", "minimum": 0})),
            ("reason", pattern("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", 1024)),
            ("status", one_of(&["True", "False", "Unknown"])),
            ("type", text(316)),
        ],
    );
    list(condition, 8, &["type"])
}
