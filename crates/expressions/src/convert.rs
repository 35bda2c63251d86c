//! JSON as values of expressions, and back.

use super::rewrite::TYPE_KEY;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube_cel::cel::Value;
use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

/// A JSON value as expressions see it.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(from_json).collect())),
        Json::Object(fields) => {
            let map: HashMap<Key, Value> = fields
                .iter()
                .map(|(name, value)| (Key::String(Arc::new(name.clone())), from_json(value)))
                .collect();
            Value::Map(Map { map: Arc::new(map) })
        }
    }
}

/// A map with texts as keys.
pub fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    let map: HashMap<Key, Value> =
        entries.into_iter().map(|(name, value)| (Key::String(Arc::new(name)), value)).collect();
    Value::Map(Map { map: Arc::new(map) })
}

/// An amount, as Kubernetes' functions of amounts take it.
///
/// # Errors
/// If the text is none.
pub fn quantity(text: &str) -> Result<Value, String> {
    made("quantity", text)
}

/// A version, as Kubernetes' functions of versions take it.
///
/// # Errors
/// If the text is none.
pub fn semver(text: &str) -> Result<Value, String> {
    made("semver", text)
}

fn made(function: &str, text: &str) -> Result<Value, String> {
    let literal = |text: &str| IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(text.into())) };
    let call = CallExpr { func_name: function.to_owned(), target: None, args: vec![literal(text)] };
    crate::context().resolve(&IdedExpr { id: 0, expr: Expr::Call(call) }).map_err(crate::told)
}

/// The value of an expression as JSON; `None` if it has no such form.
pub fn to_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::UInt(value) => (*value).into(),
        Value::Float(value) => serde_json::Number::from_f64(*value)?.into(),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes.as_slice()).into(),
        Value::Timestamp(time) => time.to_rfc3339().replace("+00:00", "Z").into(),
        Value::Duration(duration) => {
            let nanos = duration.num_nanoseconds()?;
            format!("{}s", f64::from(i32::try_from(nanos / 1_000_000).ok()?) / 1000.0).into()
        }
        Value::List(items) => items.iter().map(to_json).collect::<Option<Vec<Json>>>()?.into(),
        Value::Map(map) => {
            let mut fields: Vec<(String, Json)> = Vec::with_capacity(map.map.len());
            for (key, value) in map.map.iter() {
                let key = key.to_string();
                if key != TYPE_KEY {
                    fields.push((key, to_json(value)?));
                }
            }
            // A map of the interpreter has no order.
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(fields.into_iter().collect())
        }
        Value::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>()?.value() {
            Some(value) => to_json(value)?,
            None => Json::Null,
        },
        Value::Function(..) => return None,
    })
}

/// The type of an object that an expression has made.
pub fn constructed_type(value: &Value) -> Option<&str> {
    let Value::Map(map) = value else { return None };
    match map.map.get(&Key::String(Arc::new(TYPE_KEY.to_owned())))? {
        Value::String(name) => Some(name.as_str()),
        _ => None,
    }
}

/// Whether made objects stand where their types say: `Object.spec` at `spec`.
pub fn check_constructed(value: &Value, expected: &str) -> Result<(), String> {
    match value {
        Value::List(items) => items.iter().try_for_each(|item| check_constructed(item, expected)),
        Value::Map(map) => {
            let made = constructed_type(value);
            if let Some(made) = made.filter(|made| *made != expected) {
                return Err(format!(
                    "unexpected type name {made:?}, expected {expected:?}, which matches field name path from root Object type"
                ));
            }
            map.map.iter().try_for_each(|(key, value)| check_constructed(value, &format!("{expected}.{key}")))
        }
        _ => Ok(()),
    }
}
