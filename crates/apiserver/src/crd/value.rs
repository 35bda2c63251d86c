//! What a schema says of a value.
//!
//! **Not here**: CEL rules, uniqueness in sets and maps, formats.
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/validation`, `k8s.io/kube-openapi/pkg/validation/validate`.

use super::{flag, inner, list, type_of};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// All errors of a value that stands at `path`.
pub(crate) fn check(path: &Path, value: &Value, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = At { path: path.clone(), name: String::new() };
    check_value(&mut errors, &at, value, schema);
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
        Self { path: self.path.child(name), name: called }
    }

    fn index(&self, index: usize) -> Self {
        Self { path: self.path.index(index), name: format!("{}[{index}]", self.name) }
    }

    fn invalid(&self, value: &Value, what: &str) -> Error {
        Error::invalid(&self.path, value.clone(), &format!("{} in body {what}", self.name))
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

fn has_type(value: &Value, schema: &Value) -> bool {
    let is = type_name(value);
    match type_of(schema) {
        _ if value.is_null() => flag(schema, "nullable"),
        _ if flag(schema, "x-kubernetes-int-or-string") => matches!(is, "integer" | "string"),
        "" => true,
        "number" => matches!(is, "number" | "integer"),
        wanted => wanted == is,
    }
}

fn check_value(errors: &mut ErrorList, at: &At, value: &Value, schema: &Value) {
    if !has_type(value, schema) {
        let wanted = match type_of(schema) {
            "" => "integer,string",
            wanted => wanted,
        };
        let is = type_name(value);
        errors.push(at.invalid(&is.into(), &format!("must be of type {wanted}: {is:?}")));
        return;
    }
    if value.is_null() {
        return;
    }
    let allowed = list(schema, "enum");
    if !allowed.is_empty() && !allowed.contains(value) {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let allowed: Vec<String> = allowed.iter().map(text).collect();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        errors.push(Error::not_supported(&at.path, value.clone(), &allowed));
    }
    match value {
        Value::Number(number) => check_number(errors, at, number.as_f64().unwrap_or(0.0), value, schema),
        Value::String(text) => check_string(errors, at, text, value, schema),
        Value::Array(items) => {
            if let Some(max) = limit(schema, "maxItems").filter(|max| items.len() > *max) {
                errors.push(Error::too_many(&at.path, items.len(), max));
            }
            if let Some(min) = limit(schema, "minItems").filter(|min| items.len() < *min) {
                errors.push(at.invalid(&items.len().into(), &format!("should have at least {min} items")));
            }
            if let Some(schema) = inner(schema, "items") {
                for (i, item) in items.iter().enumerate() {
                    check_value(errors, &at.index(i), item, schema);
                }
            }
        }
        Value::Object(_) => check_object(errors, at, value, schema),
        Value::Null | Value::Bool(_) => {}
    }
    check_alternatives(errors, at, value, schema);
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    usize::try_from(schema[name].as_i64()?).ok()
}

fn check_number(errors: &mut ErrorList, at: &At, number: f64, value: &Value, schema: &Value) {
    let bounds = [("minimum", "exclusiveMinimum", "greater"), ("maximum", "exclusiveMaximum", "less")];
    for (bound, exclusive, word) in bounds {
        let Some(limit) = schema[bound].as_f64() else { continue };
        let exclusive = flag(schema, exclusive);
        let beyond = if word == "less" { number > limit } else { number < limit };
        #[allow(clippy::float_cmp)]
        if beyond || (exclusive && number == limit) {
            let equal = if exclusive { "" } else { " or equal to" };
            errors.push(at.invalid(value, &format!("should be {word} than{equal} {}", schema[bound])));
        }
    }
    if let Some(factor) = schema["multipleOf"].as_f64().filter(|factor| *factor != 0.0)
        && (number / factor).fract() != 0.0
    {
        errors.push(at.invalid(value, &format!("should be a multiple of {}", schema["multipleOf"])));
    }
}

fn check_string(errors: &mut ErrorList, at: &At, text: &str, value: &Value, schema: &Value) {
    let length = text.chars().count();
    if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
        errors.push(Error::too_long(&at.path, max));
    }
    if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
        errors.push(at.invalid(value, &format!("should be at least {min} chars long")));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && regex::Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
    {
        errors.push(at.invalid(value, &format!("should match '{pattern}'")));
    }
}

fn check_object(errors: &mut ErrorList, at: &At, value: &Value, schema: &Value) {
    let Some(fields) = value.as_object() else { return };
    if let Some(max) = limit(schema, "maxProperties").filter(|max| fields.len() > *max) {
        errors.push(Error::too_many(&at.path, fields.len(), max));
    }
    if let Some(min) = limit(schema, "minProperties").filter(|min| fields.len() < *min) {
        errors.push(at.invalid(&fields.len().into(), &format!("should have at least {min} properties")));
    }
    for name in list(schema, "required").iter().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            errors.push(Error::required(&at.child(name).path, ""));
        }
    }
    let additional = &schema["additionalProperties"];
    for (name, field) in fields {
        match inner(&schema["properties"], name) {
            Some(schema) => check_value(errors, &at.child(name), field, schema),
            None if additional.is_object() => check_value(errors, &at.child(name), field, additional),
            None => {}
        }
    }
}

fn check_alternatives(errors: &mut ErrorList, at: &At, value: &Value, schema: &Value) {
    let fits = |schema: &Value| {
        let mut errors = ErrorList::new();
        check_value(&mut errors, at, value, schema);
        errors.is_empty()
    };
    for schema in list(schema, "allOf") {
        check_value(errors, at, value, schema);
    }
    let any = list(schema, "anyOf");
    if !any.is_empty() && !any.iter().any(fits) {
        errors.push(at.invalid(value, "must validate at least one schema (anyOf)"));
    }
    let one = list(schema, "oneOf");
    if !one.is_empty() {
        match one.iter().filter(|schema| fits(schema)).count() {
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
    if inner(schema, "not").is_some_and(fits) {
        errors.push(at.invalid(value, "must not validate the schema (not)"));
    }
}
