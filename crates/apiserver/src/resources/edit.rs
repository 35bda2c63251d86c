//! Edits of JSON objects that defaulting and preparation are made of.
//!
//! **Contract**: null counts as absent; a value of another type than expected is left alone (decoding refuses it).

use serde_json::{Map, Value, json};

/// Sets a field that is absent or null.
pub(crate) fn set_default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), value.into());
    }
}

/// Sets a string that is absent, null or empty.
pub(crate) fn set_default_text(object: &mut Value, field: &str, value: &str) {
    if object[field].as_str() == Some("") {
        remove(object, field);
    }
    set_default(object, field, value);
}

/// Sets a field, whatever it was.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

/// Removes a field.
pub(crate) fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object.as_object_mut()?.shift_remove(field)
}

/// Makes a field equal to the same field of another object.
pub(crate) fn copy(object: &mut Value, field: &str, from: &Value) {
    match from.get(field) {
        Some(value) if !value.is_null() => set(object, field, value.clone()),
        _ => {
            remove(object, field);
        }
    }
}

/// Copies one field of an object to another, if it is there.
pub(crate) fn copy_as(object: &mut Value, from: &str, to: &str) {
    let value = object[from].clone();
    if !value.is_null() {
        set(object, to, value);
    }
}

/// A field that is there.
pub(crate) fn child<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    object.get_mut(field).filter(|v| !v.is_null())
}

/// An object in a field; made if there is none.
pub(crate) fn child_or_new<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    set_default(object, field, json!({}));
    object.get_mut(field).filter(|v| v.is_object())
}

/// The elements of a list in a field.
pub(crate) fn each<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The elements of a list in a field, to read.
pub(crate) fn items<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().map_or(&[], Vec::as_slice)
}

/// The entries of a map in a field, to read.
pub(crate) fn entries<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object[field].as_object().into_iter().flat_map(Map::iter)
}

/// A string in a field; empty when there is none.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or("")
}

/// Whether a value says no more than its absence would.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(is_empty),
    }
}

/// Whether two values mean the same: what is empty equals what is absent.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || is_empty(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        _ => a == b || (is_empty(a) && is_empty(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_equals_absent() {
        assert!(same(&json!({"a": 1, "b": []}), &json!({"a": 1, "c": {"d": null}})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 2})));
        assert!(!same(&json!([1]), &json!([1, 2])));
        assert!(same(&Value::Null, &json!("")));
    }

    #[test]
    fn defaults_replace_null_only() {
        let mut object = json!({"a": null, "b": 1, "c": ""});
        set_default(&mut object, "a", 1);
        set_default(&mut object, "b", 2);
        set_default_text(&mut object, "c", "x");
        assert_eq!(object, json!({"a": 1, "b": 1, "c": "x"}));
    }
}
