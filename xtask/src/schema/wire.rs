//! Reads protobuf by the table, for the check only; the server's transcoder is another thing.

use anyhow::{Context as _, Result, bail};
use api::schema::{Any, Field, FieldType, Schema, SchemaOr, Type};
use base64::Engine as _;
use serde_json::{Map, Value};

/// A field as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Raw<'_>)>> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| next(&mut bytes)))
}

fn next<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Raw<'a>)> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3)?;
    let raw = match tag & 7 {
        0 => Raw::Varint(varint(bytes)?),
        1 => Raw::Fixed64(*take(bytes, 8)?.first_chunk().context("eight bytes")?),
        2 => {
            let length = usize::try_from(varint(bytes)?)?;
            Raw::Bytes(take(bytes, length)?)
        }
        other => bail!("wire type {other}"),
    };
    Ok((number, raw))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length).context("truncated")?;
    *bytes = tail;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a varint of more than ten bytes")
}

/// A message as the JSON object of its type.
pub(super) fn message(bytes: &[u8], ty: &'static Type) -> Result<Value> {
    let mut object = Map::new();
    let all: Vec<&Field> = ty.fields.iter().collect();
    level(bytes, &all, 0, &mut object).with_context(|| ty.name)?;
    Ok(Value::Object(object))
}

fn level(bytes: &[u8], candidates: &[&Field], depth: usize, object: &mut Map<String, Value>) -> Result<()> {
    for field in fields(bytes) {
        let (number, raw) = field?;
        let here: Vec<&Field> =
            candidates.iter().copied().filter(|f| f.proto.get(depth) == Some(&number)).collect();
        match here.as_slice() {
            [] => bail!("no field has number {number}: {}", preview(raw)),
            [field] if field.proto.len() == depth + 1 => {
                let slot = object.entry(field.json_name).or_insert(Value::Null);
                merge(slot, raw, &field.ty, field.proto_wrapped).with_context(|| field.json_name)?;
            }
            inlined => match raw {
                Raw::Bytes(bytes) => level(bytes, inlined, depth + 1, object)?,
                raw => bail!("{raw:?} for a message"),
            },
        }
    }
    Ok(())
}

fn preview(raw: Raw<'_>) -> String {
    match raw {
        Raw::Bytes(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        raw => format!("{raw:?}"),
    }
}

fn merge(slot: &mut Value, raw: Raw<'_>, ty: &FieldType, wrapped: bool) -> Result<()> {
    match (ty, raw) {
        (FieldType::Array(item), Raw::Bytes(bytes)) if wrapped => {
            for field in fields(bytes) {
                push(slot, value(field?.1, item)?);
            }
        }
        (FieldType::Array(item), raw) => push(slot, value(raw, item)?),
        (FieldType::Map(item), Raw::Bytes(bytes)) => {
            let (mut key, mut entry) = (String::new(), Value::Null);
            for field in fields(bytes) {
                match field? {
                    (1, Raw::Bytes(text)) => key = String::from_utf8(text.to_vec())?,
                    (_, raw) => merge(&mut entry, raw, item, true)?,
                }
            }
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            slot[key] = entry;
        }
        (ty, raw) => *slot = value(raw, ty)?,
    }
    Ok(())
}

fn push(slot: &mut Value, item: Value) {
    match slot {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

fn value(raw: Raw<'_>, ty: &FieldType) -> Result<Value> {
    Ok(match (ty, raw) {
        (FieldType::String, Raw::Bytes(bytes)) => std::str::from_utf8(bytes)?.into(),
        (FieldType::Bytes, Raw::Bytes(bytes)) => {
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
        (FieldType::Boolean, Raw::Varint(n)) => (n != 0).into(),
        (FieldType::Integer(_), Raw::Varint(n)) => n.cast_signed().into(),
        (FieldType::Number, Raw::Fixed64(bytes)) => f64::from_le_bytes(bytes).into(),
        (FieldType::Ref(ty), Raw::Bytes(bytes)) => message(bytes, ty.resolve())?,
        (FieldType::Quantity, Raw::Bytes(bytes)) => first(bytes, 1, &FieldType::String)?,
        (FieldType::Time | FieldType::MicroTime, Raw::Bytes(bytes)) => {
            time(bytes, *ty == FieldType::MicroTime)?
        }
        (FieldType::IntOrString, Raw::Bytes(bytes)) => {
            match first(bytes, 1, &FieldType::Integer(api::schema::IntegerFormat::Int64))?.as_i64() {
                Some(1) => first(bytes, 3, &FieldType::String)?,
                _ => first(bytes, 2, &FieldType::Integer(api::schema::IntegerFormat::Int32))?,
            }
        }
        (FieldType::Any(Any::Fields | Any::Raw | Any::Json), Raw::Bytes(bytes)) => {
            let json = fields(bytes).next().transpose()?;
            match json {
                Some((1, Raw::Bytes(json))) => serde_json::from_slice(json)?,
                other => bail!("{other:?} for free JSON"),
            }
        }
        (FieldType::SchemaOr(which), Raw::Bytes(bytes)) => schema_or(bytes, *which)?,
        (ty, raw) => bail!("{raw:?} for {ty:?}"),
    })
}

fn first(bytes: &[u8], wanted: u32, ty: &FieldType) -> Result<Value> {
    for field in fields(bytes) {
        let (number, raw) = field?;
        if number == wanted {
            return value(raw, ty);
        }
    }
    Ok(Value::Null)
}

fn time(bytes: &[u8], micro: bool) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let whole = FieldType::Integer(api::schema::IntegerFormat::Int64);
    let seconds = first(bytes, 1, &whole)?.as_i64().unwrap_or_default();
    let nanos = first(bytes, 2, &whole)?.as_i64().unwrap_or_default();
    let time = jiff::Timestamp::new(seconds, i32::try_from(nanos)?)?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(format).to_string().into())
}

fn schema_or(bytes: &[u8], which: SchemaOr) -> Result<Value> {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let props = Schema::get().type_by_name(name).context("no JSONSchemaProps")?;
    let (schema, other) = if which == SchemaOr::Bool { (2, 1) } else { (1, 2) };
    let mut out = Value::Null;
    for field in fields(bytes) {
        match field? {
            (n, Raw::Bytes(bytes)) if n == schema => return message(bytes, props),
            (n, Raw::Varint(allowed)) if n == other => out = (allowed != 0).into(),
            (n, Raw::Bytes(bytes)) if n == other && which == SchemaOr::Array => {
                push(&mut out, message(bytes, props)?)
            }
            (n, raw) if n == other => push(&mut out, value(raw, &FieldType::String)?),
            (n, _) => bail!("no field has number {n}"),
        }
    }
    Ok(out)
}
