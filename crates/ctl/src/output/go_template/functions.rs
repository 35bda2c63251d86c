//! The functions that a template may call.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::output::json::compact;
use crate::output::plain;

/// Their names.
pub(super) const NAMES: &[&str] = &[
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "js",
    "urlquery",
    "exists",
    "base64decode",
];

/// Whether a value counts as true: not empty, not zero.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let one = || arguments.first().ok_or_else(|| format!("wrong number of args for {name}: want 1 got 0"));
    let text = || -> String { arguments.iter().map(plain).collect() };
    Ok(match name {
        "and" => {
            arguments.iter().find(|one| !truth(one)).or(arguments.last()).cloned().unwrap_or(Value::Null)
        }
        "or" => arguments.iter().find(|one| truth(one)).or(arguments.last()).cloned().unwrap_or(Value::Null),
        "not" => json!(!truth(one()?)),
        "eq" => json!(equal(one()?, &arguments[1..])?),
        "ne" => json!(!equal(one()?, &arguments[1..])?),
        "lt" | "le" | "gt" | "ge" => {
            let [left, right] = arguments else {
                return Err(format!("wrong number of args for {name}: want 2 got {}", arguments.len()));
            };
            let order = compare(left, right)?;
            json!(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
        "len" => json!(match one()? {
            Value::String(text) => text.len(),
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            Value::Null => return Err("len of nil pointer".to_owned()),
            other => return Err(format!("len of type {}", plain(other))),
        }),
        "index" => {
            let mut value = one()?.clone();
            for key in &arguments[1..] {
                value = index(&value, key)?;
            }
            value
        }
        "slice" => slice(one()?, &arguments[1..])?,
        "print" => json!(printed(arguments)),
        "println" => {
            json!(arguments.iter().map(plain).collect::<Vec<_>>().join(" ") + "\n")
        }
        "printf" => json!(format(&plain(one()?), &arguments[1..])),
        "html" => json!(
            text()
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;")
                .replace('\'', "&#39;")
        ),
        "js" => json!(
            text()
                .replace('\\', "\\\\")
                .replace('\'', "\\'")
                .replace('"', "\\\"")
                .replace('<', "\\u003C")
                .replace('>', "\\u003E")
                .replace('&', "\\u0026")
                .replace('=', "\\u003D")
                .replace('\n', "\\u000A")
        ),
        "urlquery" => json!(crate::connection::encode(&text()).replace("%20", "+")),
        "exists" => {
            let mut value = one()?.clone();
            for key in &arguments[1..] {
                match index(&value, key) {
                    Ok(found) if !found.is_null() => value = found,
                    _ => return Ok(json!(false)),
                }
            }
            json!(!value.is_null())
        }
        "base64decode" => {
            let bytes = decode(&plain(one()?)).ok_or("illegal base64 data at input byte 0")?;
            json!(String::from_utf8_lossy(&bytes))
        }
        other => return Err(format!("function {other:?} not defined")),
    })
}

fn equal(first: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        match (first, other) {
            (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => {
                return Err("non-comparable type".to_owned());
            }
            (left, right) if left.is_null() || right.is_null() => {}
            (Value::Number(left), Value::Number(right)) if left.is_f64() == right.is_f64() => {}
            (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {}
            _ => return Err("incompatible types for comparison".to_owned()),
        }
    }
    Ok(others.contains(first))
}

fn compare(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) if left.is_f64() == right.is_f64() => {
            left.as_f64().partial_cmp(&right.as_f64()).ok_or("invalid type for comparison".to_owned())
        }
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Array(items), Value::Number(number)) => number
            .as_u64()
            .and_then(|at| items.get(at as usize))
            .cloned()
            .ok_or(format!("reflect: slice index out of range: {number}")),
        (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or(Value::Null)),
        (Value::Null, _) => Err("index of untyped nil".to_owned()),
        _ => Err(format!("can't index item of type {}", plain(value))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        _ => return Err("can't slice item of this type".to_owned()),
    };
    let bound = |at: usize, otherwise: usize| {
        let found = bounds.get(at).map_or(Some(otherwise), |one| one.as_u64().map(|one| one as usize));
        found.filter(|one| *one <= length).ok_or_else(|| "index out of range".to_owned())
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match value {
        Value::String(text) => json!(text.get(start..end).unwrap_or("")),
        Value::Array(items) => json!(items[start..end]),
        _ => Value::Null,
    })
}

/// Go's `Sprint`: blanks only between operands of which neither is a string.
fn printed(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (at, one) in arguments.iter().enumerate() {
        if at > 0 && !one.is_string() && !arguments[at - 1].is_string() {
            out.push(' ');
        }
        out += &plain(one);
    }
    out
}

/// Go's `Sprintf` with the verbs that JSON values need: `%s %v %d %q %t %f %x %%`, with width and `-`, `0`.
fn format(pattern: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| c.is_alphabetic() || c == '%').unwrap_or(rest.len());
        let (flags, verb) = (&rest[..end], rest[end..].chars().next().unwrap_or('!'));
        rest = rest.get(end + verb.len_utf8()..).unwrap_or("");
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = arguments.next() else {
            out += &format!("%!{verb}(MISSING)");
            continue;
        };
        let (left, zero) = (flags.starts_with('-'), flags.starts_with('0'));
        let (width, precision) = flags
            .trim_start_matches(['-', '+', '#', ' ', '0'])
            .split_once('.')
            .map_or((flags.trim_start_matches(['-', '+', '#', ' ', '0']), None), |(width, precision)| {
                (width, precision.parse::<usize>().ok())
            });
        let shown = match verb {
            'q' => compact(&json!(plain(value))),
            'f' => format!("{:.*}", precision.unwrap_or(6), value.as_f64().unwrap_or(0.0)),
            'x' => value.as_i64().map_or_else(|| plain(value), |number| format!("{number:x}")),
            'd' if !value.is_number() => format!("%!d({}={})", go_type(value), plain(value)),
            's' if value.is_number() || value.is_boolean() => {
                format!("%!s({}={})", go_type(value), plain(value))
            }
            _ => plain(value),
        };
        let width = width.parse::<usize>().unwrap_or(0);
        out += &match (left, zero) {
            (true, _) => format!("{shown:<width$}"),
            (false, true) => format!("{shown:0>width$}"),
            _ => format!("{shown:>width$}"),
        };
    }
    out + rest
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        _ => "interface {}",
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').bytes().filter(|byte| !matches!(byte, b'\n' | b'\r'));
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for digit in digits {
        let value = ALPHABET.iter().position(|one| *one == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    Some(out)
}
