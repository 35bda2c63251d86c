//! Scalars: which JSON values a scalar type takes, and the words with which it refuses others.

use jiff::Timestamp;
use serde_json::{Number, Value};

use super::super::types::{FieldType, IntegerFormat, SchemaOr};
use crate::quantity::Quantity;

/// Why a value was not taken.
pub(super) enum Refused {
    /// A value of another type.
    Kind,
    /// The right type with a content that cannot be read; the text is the whole error.
    Content(String),
}

type Taken = Result<Option<Value>, Refused>;

pub(super) fn boolean(value: bool, ty: &FieldType) -> Taken {
    match ty {
        FieldType::Boolean | FieldType::Any(_) | FieldType::SchemaOr(SchemaOr::Bool) => {
            Ok(Some(Value::Bool(value)))
        }
        _ => Err(not_go_value("bool", ty)),
    }
}

pub(super) fn number(value: Number, ty: &FieldType) -> Taken {
    let fits = match ty {
        FieldType::Integer(IntegerFormat::Int64) => value.is_i64(),
        FieldType::Integer(IntegerFormat::Int32) | FieldType::IntOrString => {
            value.as_i64().is_some_and(|v| i32::try_from(v).is_ok())
        }
        FieldType::Number | FieldType::Any(_) => true,
        FieldType::Quantity => return quantity(&value.to_string()),
        _ => return Err(not_go_value("number", ty)),
    };
    match (fits, ty) {
        (true, _) => Ok(Some(Value::Number(value))),
        (false, FieldType::IntOrString) => Err(Refused::Content(format!(
            "json: cannot unmarshal number {value} into Go value of type int32"
        ))),
        (false, _) => Err(Refused::Kind),
    }
}

pub(super) fn string(value: String, ty: &FieldType) -> Taken {
    match ty {
        FieldType::String | FieldType::IntOrString | FieldType::Any(_) => Ok(Some(Value::String(value))),
        FieldType::Bytes => match invalid_base64(&value) {
            None => Ok(Some(Value::String(value))),
            Some(at) => Err(Refused::Content(format!("illegal base64 data at input byte {at}"))),
        },
        FieldType::Quantity => quantity(&value),
        FieldType::Time => time(value, Precision::Seconds),
        FieldType::MicroTime => time(value, Precision::Micros),
        _ => Err(Refused::Kind),
    }
}

/// What null becomes inside a list or a map, where it cannot be absent: Go's zero value.
pub(super) fn zero(ty: &FieldType) -> Value {
    match ty {
        FieldType::String | FieldType::Bytes => Value::String(String::new()),
        FieldType::Quantity => Value::String("0".into()),
        FieldType::Integer(_) | FieldType::IntOrString => Value::from(0),
        FieldType::Number => Value::from(0.0),
        FieldType::Boolean => Value::Bool(false),
        FieldType::Ref(_) => Value::Object(serde_json::Map::new()),
        _ => Value::Null,
    }
}

/// Types with their own decoder complain about the value alone, not about the field.
fn not_go_value(value: &str, ty: &FieldType) -> Refused {
    let go = match ty {
        FieldType::Time | FieldType::MicroTime => "string",
        FieldType::IntOrString => "int32",
        FieldType::Quantity => return bad_quantity(),
        _ => return Refused::Kind,
    };
    Refused::Content(format!("json: cannot unmarshal {value} into Go value of type {go}"))
}

fn bad_quantity() -> Refused {
    let pattern = "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    Refused::Content(format!("quantities must match the regular expression {pattern}"))
}

/// Reads an amount and writes it canonically (`0.5` becomes `500m`), as upstream does.
fn quantity(text: &str) -> Taken {
    let amount: Quantity = text.trim().parse().map_err(|_| bad_quantity())?;
    Ok(Some(Value::String(amount.to_string())))
}

#[derive(Clone, Copy)]
enum Precision {
    Seconds,
    Micros,
}

/// Reads RFC 3339 and writes it as upstream does: UTC, whole seconds or microseconds.
fn time(text: String, precision: Precision) -> Taken {
    let parsed = match text.as_bytes().get(10) {
        Some(b'T') => text.parse::<Timestamp>().ok(),
        _ => None,
    };
    let Some(parsed) = parsed else {
        let layout = match precision {
            Precision::Seconds => "2006-01-02T15:04:05Z07:00",
            Precision::Micros => "2006-01-02T15:04:05.000000Z07:00",
        };
        return Err(Refused::Content(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
        )));
    };
    let text = match precision {
        Precision::Seconds => parsed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Precision::Micros => parsed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    };
    Ok(Some(Value::String(text)))
}

/// Where base64 (standard alphabet, padded, line breaks allowed) goes wrong.
fn invalid_base64(text: &str) -> Option<usize> {
    let mut symbols = 0;
    let mut padding = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if symbols % 4 >= 2 && padding < 2 => {
                symbols += 1;
                padding += 1;
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => symbols += 1,
            _ => return Some(at),
        }
    }
    (symbols % 4 != 0).then_some(text.len())
}
