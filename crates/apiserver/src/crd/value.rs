//! What a schema says of a value.
//!
//! **Contract**: pure. Where an old value is given, what has not changed is not looked at again (ratcheting): an object
//! that was accepted once can be edited after its schema has become stricter.
//! **Not here**: CEL rules (`rules`), uniqueness in sets and maps (`lists`).
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/validation`, `k8s.io/kube-openapi/pkg/validation/validate`.

use super::formats;
use super::schema::{Checks, Kind, ListType, Schema};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// All errors of a value that stands at `path`; `old` is what stood there before.
pub(crate) fn check(path: &Path, value: &Value, old: Option<&Value>, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = At { path: path.clone(), name: String::new() };
    check_value(&mut errors, &at, value, old, schema);
    errors
}

/// A value's place, and what it is called within the value that is checked.
struct At {
    path: Path,
    name: String,
}

impl At {
    fn child(&self, name: &str) -> Self {
        let called = if self.name.is_empty() { name.to_owned() } else { format!("{}.{name}", self.name) };
        let path = if self.path.as_str().is_empty() { Path::new(name) } else { self.path.child(name) };
        Self { path, name: called }
    }

    fn index(&self, index: usize) -> Self {
        Self { path: self.path.index(index), name: format!("{}[{index}]", self.name) }
    }

    fn invalid(&self, value: &Value, what: &str) -> Error {
        Error::invalid(&self.path, value.clone(), &format!("{} in body {what}", self.name))
    }

    /// A value that is not even of the type. In its error stands the type that it has.
    fn type_invalid(&self, is: &str, wanted: &str) -> Error {
        let detail = format!("{} in body must be of type {wanted}: {is:?}", self.name);
        Error::type_invalid(&self.path, is, &detail)
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|n| n.fract() != 0.0) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(value: &Value, schema: &Schema) -> bool {
    let is = type_name(value);
    match schema.kind {
        Kind::Any => !value.is_null() || schema.nullable || schema.preserves,
        _ if value.is_null() => schema.nullable,
        Kind::IntOrString => matches!(is, "integer" | "string"),
        Kind::Number => matches!(is, "number" | "integer"),
        kind => kind.name() == is,
    }
}

fn check_value(errors: &mut ErrorList, at: &At, value: &Value, old: Option<&Value>, schema: &Schema) {
    if old == Some(value) {
        return;
    }
    if !has_type(value, schema) {
        errors.push(at.type_invalid(type_name(value), schema.kind.name()));
        return;
    }
    if value.is_null() {
        return;
    }
    if let Some(checks) = &schema.checks {
        check_own(errors, at, value, checks);
    }
    match value {
        Value::Array(items) => {
            let Some(inside) = schema.items.as_deref() else { return };
            let before = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for (i, item) in items.iter().enumerate() {
                check_value(errors, &at.index(i), item, schema.counterpart(item, before), inside);
            }
        }
        Value::Object(fields) => {
            let before = old.and_then(Value::as_object).filter(|_| !schema.atomic);
            for (name, field) in fields {
                if let Some(inside) = schema.member(name) {
                    let before = before.and_then(|before| before.get(name));
                    check_value(errors, &at.child(name), field, before, inside);
                }
            }
        }
        _ => {}
    }
    if let Some(checks) = &schema.checks {
        check_alternatives(errors, at, value, checks);
    }
}

/// What is asked of the value itself.
fn check_own(errors: &mut ErrorList, at: &At, value: &Value, checks: &Checks) {
    if !checks.allowed.is_empty() && !checks.allowed.contains(value) {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let allowed: Vec<String> = checks.allowed.iter().map(text).collect();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        errors.push(Error::not_supported(&at.path, value.clone(), &allowed));
    }
    match value {
        Value::Number(number) => check_number(errors, at, number.as_f64().unwrap_or(0.0), value, checks),
        Value::String(text) => check_string(errors, at, text, value, checks),
        Value::Array(items) => {
            if let Some(max) = checks.max_items.filter(|max| items.len() > *max) {
                errors.push(Error::too_many(&at.path, items.len(), max));
            }
            if let Some(min) = checks.min_items.filter(|min| items.len() < *min) {
                errors.push(at.invalid(&items.len().into(), &format!("should have at least {min} items")));
            }
        }
        Value::Object(fields) => {
            if let Some(max) = checks.max_properties.filter(|max| fields.len() > *max) {
                errors.push(Error::too_many(&at.path, fields.len(), max));
            }
            if let Some(min) = checks.min_properties.filter(|min| fields.len() < *min) {
                let what = format!("should have at least {min} properties");
                errors.push(at.invalid(&fields.len().into(), &what));
            }
            for name in checks.required.iter().filter(|name| !fields.contains_key(&***name)) {
                errors.push(Error::required(&at.child(name).path, ""));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_number(errors: &mut ErrorList, at: &At, number: f64, value: &Value, checks: &Checks) {
    for (bound, word) in [(&checks.minimum, "greater"), (&checks.maximum, "less")] {
        let Some((written, exclusive)) = bound else { continue };
        let limit = written.as_f64().unwrap_or(0.0);
        let beyond = if word == "less" { number > limit } else { number < limit };
        if beyond || (*exclusive && number == limit) {
            let equal = if *exclusive { "" } else { " or equal to" };
            errors.push(at.invalid(value, &format!("should be {word} than{equal} {written}")));
        }
    }
    if let Some(written) = &checks.multiple_of
        && let Some(factor) = written.as_f64().filter(|factor| *factor != 0.0)
        && (number / factor).fract() != 0.0
    {
        errors.push(at.invalid(value, &format!("should be a multiple of {written}")));
    }
}

fn check_string(errors: &mut ErrorList, at: &At, text: &str, value: &Value, checks: &Checks) {
    let length = text.chars().count();
    if let Some(max) = checks.max_length.filter(|max| length > *max) {
        errors.push(Error::too_long(&at.path, max));
    }
    if let Some(min) = checks.min_length.filter(|min| length < *min) {
        errors.push(at.invalid(value, &format!("should be at least {min} chars long")));
    }
    if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
        errors.push(at.invalid(value, &format!("should match '{}'", pattern.text)));
    }
    if let Some(format) = checks.format.as_deref().filter(|format| !formats::fits(format, text)) {
        errors.push(at.invalid(value, &format!("must be of type {format}: {text:?}")));
    }
}

fn check_alternatives(errors: &mut ErrorList, at: &At, value: &Value, checks: &Checks) {
    let fits = |schema: &Schema| {
        let mut errors = ErrorList::new();
        check_value(&mut errors, at, value, None, schema);
        errors.is_empty()
    };
    for schema in &checks.all_of {
        check_value(errors, at, value, None, schema);
    }
    if !checks.any_of.is_empty() && !checks.any_of.iter().any(fits) {
        errors.push(at.invalid(value, "must validate at least one schema (anyOf)"));
    }
    if !checks.one_of.is_empty() {
        match checks.one_of.iter().filter(|schema| fits(schema)).count() {
            1 => {}
            0 => errors
                .push(at.invalid(value, "must validate one and only one schema (oneOf). Found none valid")),
            n => {
                let what =
                    format!("must validate one and only one schema (oneOf). Found {n} valid alternatives");
                errors.push(at.invalid(value, &what));
            }
        }
    }
    if checks.not.as_deref().is_some_and(fits) {
        errors.push(at.invalid(value, "must not validate the schema (not)"));
    }
}

/// Items of sets and maps that are there twice.
pub(crate) fn check_lists(path: &Path, value: &Value, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    check_lists_in(&mut errors, &At { path: path.clone(), name: String::new() }, value, schema);
    errors
}

fn check_lists_in(errors: &mut ErrorList, at: &At, value: &Value, schema: &Schema) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if let Some(property) = schema.property(name) {
                    check_lists_in(errors, &at.child(name), field, property);
                } else if let Some(entry) = schema.entries() {
                    let at = At { path: at.path.key(name), name: String::new() };
                    check_lists_in(errors, &at, field, entry);
                }
            }
        }
        Value::Array(items) => {
            match &schema.list_type {
                ListType::Atomic => {}
                ListType::Set => duplicates(errors, at, items),
                ListType::Map(keys) => {
                    if let Some(i) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
                        let detail = "must be an object for an array of list-type map";
                        errors.push(Error::invalid(&at.path.index(i), items[i].clone(), detail));
                    } else {
                        let of = |item: &Value| -> Value {
                            let present = keys
                                .iter()
                                .filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
                            Value::Object(present.collect())
                        };
                        duplicates(errors, at, &items.iter().map(of).collect::<Vec<_>>());
                    }
                }
            }
            if let Some(inside) = schema.items.as_deref() {
                for (i, item) in items.iter().enumerate() {
                    check_lists_in(errors, &at.index(i), item, inside);
                }
            }
        }
        _ => {}
    }
}

/// Tells of each value that is there more than once at its second place.
fn duplicates(errors: &mut ErrorList, at: &At, values: &[Value]) {
    let mut seen = std::collections::HashMap::new();
    for (i, value) in values.iter().enumerate() {
        let times = seen.entry(value.to_string()).or_insert(0);
        *times += 1;
        if *times == 2 {
            errors.push(Error::duplicate(&at.path.index(i), value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(schema: Value, value: Value, old: Option<Value>) -> Vec<String> {
        let schema = Schema::of(&json!({"type": "object", "properties": {"spec": schema}}));
        let (value, old) = (json!({"spec": value}), old.map(|old| json!({"spec": old})));
        let mut errors = check(&Path::new(""), &value, old.as_ref(), &schema);
        errors.extend(check_lists(&Path::new(""), &value, &schema));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn speaks_in_upstreams_words() {
        let table = [
            (
                json!({"type": "integer"}),
                json!("x"),
                "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "string"}),
                json!(null),
                "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"",
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"type": "string", "pattern": "^a"}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body should match '^a'",
            ),
            (
                json!({"type": "string", "format": "date"}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body must be of type date: \"b\"",
            ),
            (
                json!({"type": "integer", "minimum": 1}),
                json!(0),
                "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
            ),
            (json!({"type": "object", "required": ["a"]}), json!({}), "spec.a: Required value"),
            (
                json!({"type": "array", "items": {"type": "object", "properties": {"p": {"type": "integer", "maximum": 9}}}}),
                json!([{"p": 10}]),
                "spec[0].p: Invalid value: 10: spec[0].p in body should be less than or equal to 9",
            ),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!(true),
                "spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                json!({}),
                "spec: Invalid value: {}: spec in body must validate one and only one schema (oneOf). Found none valid",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
                json!(["a", "b", "a"]),
                "spec[2]: Duplicate value: \"a\"",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
                json!([{"k": "a", "v": 1}, {"k": "a"}]),
                "spec[1]: Duplicate value: {\"k\":\"a\"}",
            ),
        ];
        for (schema, value, expected) in table {
            assert_eq!(errors(schema, value, None), [expected]);
        }
    }

    #[test]
    fn what_did_not_change_is_not_looked_at_again() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}}}});
        let old = json!({"a": "long", "b": "x", "l": [{"k": "a", "v": 5}, {"k": "b", "v": 5}]});
        let new = json!({"a": "long", "b": "y", "l": [{"k": "b", "v": 5}, {"k": "a", "v": 6}]});
        assert_eq!(
            errors(schema.clone(), new.clone(), Some(old)),
            ["spec.l[1].v: Invalid value: 6: spec.l[1].v in body should be less than or equal to 1"]
        );
        assert_eq!(errors(schema, new, None).len(), 3);
    }
}
