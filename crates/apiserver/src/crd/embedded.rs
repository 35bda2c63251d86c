//! Objects inside objects (`x-kubernetes-embedded-resource`): their `kind`, `apiVersion` and `metadata`.
//!
//! **Contract**: pure. What no `metadata` has is left out of it, told of as any other unknown field.
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/schema/objectmeta`.

use super::schema::Schema;
use crate::registry::metadata;
use api::field::{Error, ErrorList, Path};
use api::names;
use api::schema::{Schema as Table, strict};
use serde_json::{Map, Value};

/// Makes the `metadata` of an object and of what is embedded in it what it can be. The fields that were left out, or
/// what is of a wrong type.
pub(crate) fn coerce(object: &mut Value, schema: &Schema) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    coerce_in(object, Some(schema), true, "", &mut unknown)?;
    Ok(unknown)
}

fn coerce_in(
    value: &mut Value,
    schema: Option<&Schema>,
    root: bool,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let Some(schema) = schema else { return Ok(()) };
    match value {
        Value::Object(fields) => {
            let resource = root || schema.embedded;
            if resource {
                coerce_metadata(fields, path, unknown)?;
            }
            for (name, value) in fields.iter_mut() {
                if resource && name == "metadata" || !(value.is_object() || value.is_array()) {
                    continue;
                }
                let dot = if path.is_empty() { "" } else { "." };
                coerce_in(value, schema.member(name), false, &format!("{path}{dot}{name}"), unknown)?;
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                coerce_in(item, schema.items.as_deref(), false, &format!("{path}[{i}]"), unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn coerce_metadata(
    fields: &mut Map<String, Value>,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let Some(present) = fields.get_mut("metadata") else { return Ok(()) };
    let Some(ty) = Table::get().type_by_gvk("meta.k8s.io", "v1", "PartialObjectMetadata") else {
        return Ok(());
    };
    let object: Map<String, Value> = [("metadata".to_owned(), present.take())].into_iter().collect();
    let decoded = strict::decode_value(Value::Object(object), ty).map_err(|error| error.to_string())?;
    let dot = if path.is_empty() { "" } else { "." };
    unknown.extend(decoded.unknown().map(|field| format!("{path}{dot}{field}")));
    let mut value = decoded.value;
    *present = value["metadata"].take();
    if present.is_null() {
        *present = Value::Object(Map::new());
    }
    Ok(())
}

/// All errors of what is embedded in an object.
pub(crate) fn check(object: &Value, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    check_in(&mut errors, &Path::default(), object, Some(schema));
    errors
}

fn check_in(errors: &mut ErrorList, path: &Path, value: &Value, schema: Option<&Schema>) {
    let Some(schema) = schema else { return };
    match value {
        Value::Object(fields) => {
            if schema.embedded {
                check_resource(errors, path, value);
            }
            for (name, value) in fields {
                if let Some(property) = schema.property(name) {
                    check_in(errors, &path.child(name), value, Some(property));
                } else {
                    check_in(errors, &path.key(name), value, schema.entries());
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                check_in(errors, &path.index(i), item, schema.items.as_deref());
            }
        }
        _ => {}
    }
}

fn check_resource(errors: &mut ErrorList, path: &Path, object: &Value) {
    for field in ["apiVersion", "kind"] {
        let path = path.child(field);
        match &object[field] {
            Value::Null => errors.push(Error::required(&path, "")),
            Value::String(text) if text.is_empty() => errors.push(Error::required(&path, "")),
            Value::String(text) if field == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    let detail = format!("unexpected GroupVersion string: {text}");
                    errors.push(Error::invalid(&path, text.as_str(), &detail));
                }
            }
            Value::String(text) => {
                let messages = names::dns_1035_label(&text.to_lowercase(), false);
                if !messages.is_empty() {
                    let detail =
                        format!("may have mixed case, but should otherwise match: {}", messages.join(","));
                    errors.push(Error::invalid(&path, text.as_str(), &detail));
                }
            }
            value => errors.push(Error::invalid(&path, value.clone(), "must be a string")),
        }
    }
    if object["metadata"].is_object() {
        let found = metadata::validate_collections(object, &path.child("metadata"));
        errors.extend(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_has_its_own_fields_only() {
        let schema =
            Schema::of(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true}}}}}));
        let mut object = json!({"metadata": {"name": "a", "typo": 1}, "spec": {"template": {
            "kind": "9", "metadata": {"labels": {"a b": "c"}, "typo": 2}}}});
        assert_eq!(coerce(&mut object, &schema).unwrap(), ["metadata.typo", "spec.template.metadata.typo"]);
        assert_eq!(object["metadata"], json!({"name": "a"}));
        let errors: Vec<String> = check(&object, &schema).iter().map(ToString::to_string).collect();
        assert_eq!(errors[0], "spec.template.apiVersion: Required value");
        assert!(
            errors[1].starts_with("spec.template.kind: Invalid value: \"9\": may have mixed case"),
            "{errors:?}"
        );
        assert!(errors[2].starts_with("spec.template.metadata.labels: Invalid value: \"a b\""), "{errors:?}");
        let mut wrong = json!({"metadata": {"labels": 1}});
        assert!(coerce(&mut wrong, &schema).is_err());
    }
}
