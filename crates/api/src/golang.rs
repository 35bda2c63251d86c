//! Values as Go prints them: as JSON (keys sorted, Go's escapes, four spaces or none), and as `fmt.Sprint` does; and what it
//! says of a text that it cannot read.
//!
//! **Upstream.** Go's `encoding/json` as `cli-runtime/pkg/printers` uses it; Go's `fmt`, `strconv`,
//! `encoding/base64`.

mod syntax;

use std::fmt::Write as _;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use serde_json::Value;
pub use syntax::syntax_error;

/// Takes out what is null, which to Go is as if it were not there.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// An object as kubectl prints it, with a final newline.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, Some("    "), 0);
    out.push('\n');
    out
}

/// An object on one line with sorted keys, as Go's `json.Marshal` gives it.
pub fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, None, 0);
    out
}

/// A whole number in decimal, of whatever size is wanted; the error is that of Go's `strconv.ParseInt`.
pub fn parse_int<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    parse("ParseInt", text)
}

/// The same without a sign, and of `strconv.ParseUint`.
pub fn parse_uint<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    match text.starts_with('+') {
        true => Err(unparsed("ParseUint", text, "invalid syntax")),
        false => parse("ParseUint", text),
    }
}

fn parse<T: FromStr<Err = ParseIntError>>(function: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        unparsed(function, text, why)
    })
}

fn unparsed(function: &str, text: &str, why: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: {why}")
}

/// Where Go's `base64.RawURLEncoding` finds fault with a text, in its words.
pub fn corrupt_base64(text: &str) -> Option<String> {
    let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let wrong = text.bytes().position(|byte| !is_ours(byte));
    // One letter is less than a byte.
    let at = wrong.or_else(|| (text.len() % 4 == 1).then(|| text.len() - 1))?;
    Some(format!("illegal base64 data at input byte {at}"))
}

/// What Go says of a text that could not be read, if it knows what is wrong; else what our reader says.
pub fn unread(text: &[u8], error: &serde_json::Error) -> String {
    syntax_error(text).unwrap_or_else(|| error.to_string())
}

/// What Go's `json.Unmarshal` says of a value that does not fit the type.
pub fn mistyped(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", json_type(value))
}

/// The same for a field of a structure.
pub fn mistyped_field(value: &Value, structure: &str, field: &str, wanted: &str) -> String {
    let found = json_type(value);
    format!("json: cannot unmarshal {found} into Go struct field {structure}.{field} of type {wanted}")
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Keys in the order in which Go prints a map.
pub fn sorted(map: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|left, right| left.0.cmp(right.0));
    entries
}

fn write(out: &mut String, value: &Value, unit: Option<&str>, depth: usize) {
    let line = |out: &mut String, depth: usize| {
        if let Some(unit) = unit {
            out.push('\n');
            for _ in 0..depth {
                out.push_str(unit);
            }
        }
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&self::number(number)),
        Value::String(text) => quote(out, text),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                write(out, item, unit, depth + 1);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in sorted(map).into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                quote(out, key);
                out.push_str(if unit.is_some() { ": " } else { ":" });
                write(out, item, unit, depth + 1);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

/// A number as Go's JSON encoder writes it.
pub fn number(number: &serde_json::Number) -> String {
    let Some(float) = number.as_f64().filter(|_| !number.is_i64() && !number.is_u64()) else {
        return number.to_string();
    };
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        // Go writes the exponent's sign and, for small ones, no leading zero.
        return match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => format!("{mantissa}e+{exponent}"),
            _ => text,
        };
    }
    format!("{float}")
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// A value as Go's `fmt.Sprint` shows it: maps as `map[a:1]`, lists as `[1 2]`, null as `<nil>`.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => float(number),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> =
                sorted(map).into_iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// A number as Go's `%v` shows it.
fn float(number: &serde_json::Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    if float != 0.0 && !(1e-4..1e6).contains(&float.abs()) {
        let text = format!("{float:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{float}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        assert_eq!((parse_int("-7"), parse_int("+7")), (Ok(-7_i64), Ok(7_i64)));
        assert_eq!(parse_uint("7"), Ok(7_u16));
        for (found, expected) in [
            (parse_int::<i64>("x").err(), "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                parse_int::<i32>("2147483648").err(),
                "strconv.ParseInt: parsing \"2147483648\": value out of range",
            ),
            (parse_uint::<u64>("-1").err(), "strconv.ParseUint: parsing \"-1\": invalid syntax"),
            (parse_uint::<u64>("+1").err(), "strconv.ParseUint: parsing \"+1\": invalid syntax"),
            (parse_uint::<u16>("70000").err(), "strconv.ParseUint: parsing \"70000\": value out of range"),
        ] {
            assert_eq!(found.as_deref(), Some(expected));
        }
    }

    #[test]
    fn base64_is_corrupt_where_go_says_so() {
        for (text, at) in
            [("", None), ("YQ", None), ("a_-9", None), ("%%", Some(0)), ("YQ==", Some(2)), ("YWJjZ", Some(4))]
        {
            let expected = at.map(|at| format!("illegal base64 data at input byte {at}"));
            assert_eq!(corrupt_base64(text), expected, "{text}");
        }
    }

    #[test]
    fn sorts_indents_and_escapes() {
        let value = json!({"b": [1, {}], "a": {"z": [], "y": "<&>\n\u{1}é\u{2028}"}, "c": null, "d": 1.5, "e": 1e21, "f": 100.0});
        assert_eq!(
            print(&value),
            "{\n    \"a\": {\n        \"y\": \"\\u003c\\u0026\\u003e\\n\\u0001é\\u2028\",\n        \"z\": []\n    },\n    \"b\": [\n        1,\n        {}\n    ],\n    \"c\": null,\n    \"d\": 1.5,\n    \"e\": 1e+21,\n    \"f\": 100\n}\n"
        );
        assert_eq!(compact(&json!({"b": [1, 2], "a": {}})), "{\"a\":{},\"b\":[1,2]}");
    }
}
