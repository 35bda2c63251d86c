//! Values that have a form of their own: times, base64, amounts, numbers or strings.
//!
//! **Upstream**: `metav1.Time.ProtoTime`, `metav1.MicroTime`, `resource.Quantity`, `intstr.IntOrString`.

use super::Error;
use super::wire::{Raw, next, put_bytes, put_number};
use crate::quantity::Quantity;
use crate::time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

/// `{seconds=1, nanos=2}` as RFC 3339; `None` for no time.
pub(super) fn time(bytes: &[u8], micro: bool, field: &'static str) -> Result<Option<Value>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    each(bytes, |number, raw| {
        match (number, raw) {
            (1, Raw::Varint(n)) => seconds = n.cast_signed(),
            // An int32: what is above does not count.
            (2, Raw::Varint(n)) => nanos = n as i32,
            (1 | 2, _) => return Err(Error::WrongWireType(field)),
            _ => {}
        }
        Ok(())
    })?;
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(Error::InvalidTime(field));
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| Error::InvalidTime(field))?;
    let text = if micro { time::format_micro(time) } else { time::format(time) };
    // Years beyond 9999 or before 0 have no RFC 3339.
    if text.starts_with(['-', '+']) {
        return Err(Error::InvalidTime(field));
    }
    Ok(Some(text.into()))
}

/// The same the other way; null is the empty message.
pub(super) fn put_time(
    out: &mut Vec<u8>,
    value: &Value,
    micro: bool,
    field: &'static str,
) -> Result<(), Error> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::String(text) => text,
        _ => return Err(Error::Mismatch(field)),
    };
    let time = time::parse(text).ok_or(Error::Mismatch(field))?;
    // Nanoseconds count from the second before, also before 1970.
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    put_number(out, 1, seconds);
    put_number(out, 2, if micro { i64::from(nanos / 1000 * 1000) } else { 0 });
    Ok(())
}

/// `{type=1, intVal=2, strVal=3}`.
pub(super) fn int_or_string(bytes: &[u8], field: &'static str) -> Result<Value, Error> {
    let (mut is_string, mut number, mut string) = (false, 0, "");
    each(bytes, |n, raw| {
        match (n, raw) {
            (1, Raw::Varint(v)) => is_string = v == 1,
            (2, Raw::Varint(v)) => number = v as i32,
            (3, Raw::Bytes(v)) => string = utf8(v, field)?,
            (1..=3, _) => return Err(Error::WrongWireType(field)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_string { string.into() } else { number.into() })
}

/// The same the other way; null is the number zero.
pub(super) fn put_int_or_string(out: &mut Vec<u8>, value: &Value, field: &'static str) -> Result<(), Error> {
    let (kind, number, string) = match value {
        Value::Null => (0, 0, ""),
        Value::Number(number) => (0, number.as_i64().ok_or(Error::Mismatch(field))?, ""),
        Value::String(string) => (1, 0, string.as_str()),
        _ => return Err(Error::Mismatch(field)),
    };
    put_number(out, 1, kind);
    put_number(out, 2, number);
    put_bytes(out, 3, string.as_bytes());
    Ok(())
}

/// An amount in its canonical form; none is zero.
pub(super) fn quantity(text: Option<&[u8]>, field: &'static str) -> Result<Value, Error> {
    let Some(text) = text else { return Ok("0".into()) };
    let amount: Quantity = utf8(text, field)?.parse().map_err(|_| Error::InvalidQuantity)?;
    Ok(amount.to_string().into())
}

/// The bytes of the field `1`, which is all that some messages have; the last one counts.
pub(super) fn only<'a>(bytes: &'a [u8], field: &'static str) -> Result<Option<&'a [u8]>, Error> {
    let mut found = None;
    each(bytes, |number, raw| {
        match (number, raw) {
            (1, Raw::Bytes(bytes)) => found = Some(bytes),
            (1, _) => return Err(Error::WrongWireType(field)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// Every field of a message.
pub(super) fn each<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut(u32, Raw<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    while !bytes.is_empty() {
        let (number, raw) = next(&mut bytes)?;
        take(number, raw)?;
    }
    Ok(())
}

/// Bytes that are a text.
pub(super) fn utf8<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::InvalidUtf8(field))
}

/// A double; what JSON writes without a fraction stays without one.
pub(super) fn number(value: f64, field: &'static str) -> Result<Value, Error> {
    // Beyond 2⁵³ a double is not a whole number that JSON readers agree on.
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Ok(Value::from(value as i64));
    }
    serde_json::Number::from_f64(value).map(Value::Number).ok_or(Error::WrongWireType(field))
}

/// Bytes as JSON has them.
pub(super) fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// Appends a field of bytes that JSON has as base64, perhaps with line breaks.
pub(super) fn put_base64(
    out: &mut Vec<u8>,
    number: u32,
    text: &str,
    field: &'static str,
) -> Result<(), Error> {
    let decoded = if text.contains(['\r', '\n']) {
        STANDARD.decode(text.replace(['\r', '\n'], ""))
    } else {
        STANDARD.decode(text)
    };
    put_bytes(out, number, &decoded.map_err(|_| Error::Mismatch(field))?);
    Ok(())
}
