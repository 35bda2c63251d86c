//! Leaving out what a schema does not know, and filling in what it gives as default.
//!
//! **Contract**: pure; doing it twice changes nothing. `kind`, `apiVersion` and `metadata` of an object, and of what is
//! embedded in it, stay as they are.
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting}`.

use super::META_FIELDS;
use super::schema::{Additional, Schema};
use serde_json::Value;

/// Where pruned fields are told of.
pub(crate) struct Pruned {
    path: String,
    /// The paths of the fields that are gone, `spec.list[0].typo`.
    pub(crate) fields: Vec<String>,
}

impl Pruned {
    pub(crate) fn new() -> Self {
        Self { path: String::new(), fields: Vec::new() }
    }

    fn within<T>(&mut self, part: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !part.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(part);
        let result = inside(self);
        self.path.truncate(length);
        result
    }
}

/// Leaves out of an object's root what its schema does not know.
pub(crate) fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut pruned = Pruned::new();
    prune_value(object, Some(schema), true, &mut pruned);
    pruned.fields
}

/// Whether something would be left out of a value; `resource`: it has kind, version and metadata.
pub(crate) fn would_prune(value: &Value, schema: &Schema, resource: bool) -> bool {
    let mut pruned = Pruned::new();
    prune_value(&mut value.clone(), Some(schema), resource, &mut pruned);
    !pruned.fields.is_empty()
}

fn prune_value(value: &mut Value, schema: Option<&Schema>, root: bool, pruned: &mut Pruned) {
    let preserves = schema.is_some_and(|schema| schema.preserves);
    match value {
        Value::Object(fields) => {
            let resource = root || schema.is_some_and(|schema| schema.embedded);
            fields.retain(|name, value| {
                if resource && META_FIELDS.contains(&name.as_str()) {
                    return true;
                }
                let property = schema.and_then(|schema| schema.property(name));
                let additional = schema.and_then(|schema| schema.additional.as_ref());
                let inside = match (property, additional) {
                    (Some(property), _) => Some(property),
                    (None, Some(Additional::Of(entry))) => Some(entry.as_ref()),
                    // What is allowed but not described keeps no fields of its own.
                    (None, Some(Additional::Allowed)) => None,
                    (None, None) if preserves => return true,
                    (None, None) => {
                        pruned.within(name, |pruned| pruned.fields.push(pruned.path.clone()));
                        return false;
                    }
                };
                if value.is_object() || value.is_array() {
                    pruned.within(name, |pruned| prune_value(value, inside, false, pruned));
                }
                true
            });
        }
        Value::Array(items) => {
            let inside = schema.and_then(|schema| schema.items.as_deref());
            if inside.is_none() && preserves {
                return;
            }
            for (i, item) in items.iter_mut().enumerate() {
                if item.is_object() || item.is_array() {
                    pruned.within(&format!("[{i}]"), |pruned| prune_value(item, inside, false, pruned));
                }
            }
        }
        _ => {}
    }
}

/// Leaves out nulls where a value may not be null and has no default to take its place. Whether there were some.
pub(crate) fn drop_nulls(value: &mut Value, schema: &Schema) -> bool {
    let mut changed = false;
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| match (value, schema.member(name)) {
                (Value::Null, Some(inside)) if !inside.nullable && inside.default.is_none() => {
                    changed = true;
                    false
                }
                (value, Some(inside)) => {
                    changed |= drop_nulls(value, inside);
                    true
                }
                _ => true,
            });
        }
        Value::Array(items) => {
            if let Some(inside) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| changed |= drop_nulls(item, inside));
            }
        }
        _ => {}
    }
    changed
}

/// Fills in defaults. Whether there were some to fill in.
pub(crate) fn fill(value: &mut Value, schema: &Schema) -> bool {
    let mut changed = false;
    let take_place = |value: &mut Value, schema: &Schema| {
        let default = schema.default.as_ref().filter(|_| value.is_null() && !schema.nullable);
        if let Some(default) = default {
            *value = default.clone();
        }
        default.is_some()
    };
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties() {
                let Some(default) = &property.default else { continue };
                if fields.get(name).is_none_or(|value| value.is_null() && !property.nullable) {
                    fields.insert(name.to_owned(), default.clone());
                    changed = true;
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(property) = schema.property(name) {
                    changed |= fill(value, property);
                } else if let Some(entry) = schema.entries() {
                    changed |= take_place(value, entry);
                    changed |= fill(value, entry);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inside) = schema.items.as_deref() {
                for item in items {
                    changed |= take_place(item, inside);
                    changed |= fill(item, inside);
                }
            }
        }
        _ => {}
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::of(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string", "default": "x"},
            "n": {"type": "string", "nullable": true, "default": "y"},
            "z": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "object", "properties": {
                "port": {"type": "integer", "default": 80}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {
                "b": {"type": "boolean"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "known": {"type": "object", "properties": {"k": {"type": "string"}}}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
                "spec": {"type": "object"}}},
        }}}}))
    }

    #[test]
    fn leaves_out_what_the_schema_does_not_know() {
        let mut object = json!({"kind": "K", "apiVersion": "g/v1", "metadata": {"name": "x", "any": 1}, "stray": 1,
            "spec": {"typo": {"deep": 1}, "list": [{"port": 1, "typo": 2}], "map": {"m": {"b": true, "c": 1}},
                "free": {"any": {"thing": [1]}, "known": {"k": "v", "u": 1}},
                "template": {"kind": "P", "metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}, "other": 1}}});
        let pruned = prune(&mut object, &schema());
        assert_eq!(
            pruned,
            [
                "stray",
                "spec.typo",
                "spec.list[0].typo",
                "spec.map.m.c",
                "spec.free.known.u",
                "spec.template.spec.x",
                "spec.template.other"
            ]
        );
        assert_eq!(
            object,
            json!({"kind": "K", "apiVersion": "g/v1", "metadata": {"name": "x", "any": 1},
                "spec": {"list": [{"port": 1}], "map": {"m": {"b": true}},
                    "free": {"any": {"thing": [1]}, "known": {"k": "v"}},
                    "template": {"kind": "P", "metadata": {"labels": {"a": "b"}}, "spec": {}}}})
        );
        assert!(prune(&mut object, &schema()).is_empty());
    }

    #[test]
    fn fills_in_defaults_and_drops_nulls_that_may_not_be() {
        let table = [
            (json!({"spec": {}}), json!({"spec": {"a": "x", "n": "y"}})),
            (json!({"spec": {"a": null, "n": null, "z": null}}), json!({"spec": {"a": "x", "n": null}})),
            (
                json!({"spec": {"a": "q", "n": "r", "list": [{}, {"port": 1}]}}),
                json!({"spec": {"a": "q", "n": "r", "list": [{"port": 80}, {"port": 1}]}}),
            ),
            (json!({}), json!({})),
        ];
        for (mut object, expected) in table {
            for _ in 0..2 {
                drop_nulls(&mut object, &schema());
                fill(&mut object, &schema());
                assert_eq!(object, expected);
            }
        }
    }
}
