//! Bytes to JSON, without the zero values that Go's JSON encoder leaves out.
//!
//! **Contract**: one pass; a field that occurs twice is merged as protobuf wants it; lists may be packed.

use super::encode::json_schema_props;
use super::plan::{Node, Plan};
use super::scalar::{base64, each, int_or_string, number, only, quantity, time, utf8};
use super::wire::{Raw, varint};
use super::{Error, MAGIC, MAX_DEPTH, MAX_VALUES, type_of};
use crate::schema::{Any, Field, FieldType, IntegerFormat, Presence, SchemaOr, Type};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// A whole object with magic and `runtime.Unknown` around it, of whatever kind it says it is.
pub fn object(bytes: &[u8]) -> Result<Value, Error> {
    Decoder::default().object(bytes, None, 0)
}

/// The same where this type is expected: what does not tell its kind is of that type. What tells another kind
/// that is built in becomes an object of that kind.
pub fn object_of(bytes: &[u8], expected: &'static Type) -> Result<Value, Error> {
    Decoder::default().object(bytes, Some(expected), 0)
}

/// A message of this type as an object without kind and version.
pub fn message(bytes: &[u8], ty: &'static Type) -> Result<Value, Error> {
    let mut object = Object::new();
    Decoder::default().message(bytes, Plan::of(ty.reference()), &mut object, 1)?;
    Ok(Value::Object(object))
}

#[derive(Default)]
struct Decoder {
    /// Values made so far.
    values: usize,
}

impl Decoder {
    fn object(
        &mut self,
        bytes: &[u8],
        expected: Option<&'static Type>,
        depth: usize,
    ) -> Result<Value, Error> {
        let unknown = bytes.strip_prefix(&MAGIC).ok_or(Error::NoMagic)?;
        let (mut api_version, mut kind, mut raw, mut content_type) = ("", "", &[][..], "");
        each(unknown, |number, field| {
            match (number, field) {
                (1, Raw::Bytes(meta)) => each(meta, |number, field| {
                    match (number, field) {
                        (1, Raw::Bytes(text)) => api_version = utf8(text, "apiVersion")?,
                        (2, Raw::Bytes(text)) => kind = utf8(text, "kind")?,
                        _ => {}
                    }
                    Ok(())
                })?,
                (2, Raw::Bytes(bytes)) => raw = bytes,
                (4, Raw::Bytes(text)) => content_type = utf8(text, "contentType")?,
                (1 | 2 | 4, _) => return Err(Error::WrongWireType("Unknown")),
                _ => {}
            }
            Ok(())
        })?;
        if content_type == "application/json" {
            return self.json(raw, "raw", depth)?.ok_or(Error::InvalidJson("raw"));
        }
        let named = |ty: &&Type| kind.is_empty() || ty.short_name() == kind;
        let ty = type_of(api_version, kind).or(expected.filter(named)).ok_or_else(|| Error::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })?;
        let mut object = Object::new();
        for (field, text) in [("kind", kind), ("apiVersion", api_version)] {
            if !text.is_empty() {
                object.insert(field.to_owned(), text.into());
            }
        }
        self.message(raw, Plan::of(ty.reference()), &mut object, depth + 1)?;
        Ok(Value::Object(object))
    }

    /// The fields of a message; `depth` is that of the object they stand in.
    fn message(
        &mut self,
        mut bytes: &[u8],
        plan: &'static Plan,
        object: &mut Object,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        while !bytes.is_empty() {
            let (number, raw) = super::wire::next(&mut bytes)?;
            match (plan.find(number), raw) {
                (None, _) => {}
                (Some(Node::Field(field)), raw) => self.field(field, raw, object, depth)?,
                (Some(Node::Inline(plan)), Raw::Bytes(bytes)) => self.message(bytes, plan, object, depth)?,
                (Some(Node::Inline(_)), _) => return Err(Error::WrongWireType("inlined message")),
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &'static Field,
        raw: Raw<'_>,
        object: &mut Object,
        depth: usize,
    ) -> Result<(), Error> {
        let name = field.json_name;
        match (&field.ty, raw) {
            (FieldType::Array(item), Raw::Bytes(bytes)) if field.proto_wrapped => {
                let items = list(object, name)?;
                self.items(bytes, item, items, name, depth + 2)
            }
            (FieldType::Array(item), Raw::Bytes(bytes)) if packs(item) => {
                let items = list(object, name)?;
                self.packed(bytes, item, items, name)
            }
            (FieldType::Array(item), raw) => {
                let value = self.value(raw, item, None, name, depth + 1)?.unwrap_or(Value::Null);
                list(object, name)?.push(value);
                Ok(())
            }
            (FieldType::Map(item), Raw::Bytes(bytes)) => {
                let (key, value) = self.entry(bytes, item, name, depth + 1)?;
                match object.get_mut(name) {
                    Some(Value::Object(entries)) => drop(entries.insert(key, value)),
                    _ => {
                        let mut entries = Object::new();
                        entries.insert(key, value);
                        object.insert(name.to_owned(), Value::Object(entries));
                    }
                }
                Ok(())
            }
            (FieldType::Map(_), _) => Err(Error::WrongWireType(name)),
            (ty, raw) => {
                // A message that occurs again is merged into the first.
                let before = match (ty, object.get_mut(name)) {
                    (FieldType::Ref(_), Some(Value::Object(before))) => Some(std::mem::take(before)),
                    _ => None,
                };
                let value = self.value(raw, ty, before, name, depth)?;
                let value = value.filter(|v| field.presence != Presence::Plain || !is_zero(v, ty));
                match value {
                    Some(value) => drop(object.insert(name.to_owned(), value)),
                    None => drop(object.shift_remove(name)),
                }
                Ok(())
            }
        }
    }

    /// The items of a list that is a message of its own.
    fn items(
        &mut self,
        bytes: &[u8],
        item: &FieldType,
        items: &mut Vec<Value>,
        name: &'static str,
        depth: usize,
    ) -> Result<(), Error> {
        each(bytes, |number, raw| {
            if number == 1 {
                items.push(self.value(raw, item, None, name, depth)?.unwrap_or(Value::Null));
            }
            Ok(())
        })
    }

    fn packed(
        &mut self,
        mut bytes: &[u8],
        item: &FieldType,
        items: &mut Vec<Value>,
        name: &'static str,
    ) -> Result<(), Error> {
        while !bytes.is_empty() {
            let raw = Raw::Varint(varint(&mut bytes)?);
            items.push(self.value(raw, item, None, name, 0)?.unwrap_or(Value::Null));
        }
        Ok(())
    }

    /// `{key=1, value=2}`; what is missing is zero.
    fn entry(
        &mut self,
        bytes: &[u8],
        item: &FieldType,
        name: &'static str,
        depth: usize,
    ) -> Result<(String, Value), Error> {
        let (mut key, mut value) = ("", None);
        each(bytes, |number, raw| {
            match (number, raw) {
                (1, Raw::Bytes(text)) => key = utf8(text, name)?,
                (1, _) => return Err(Error::WrongWireType(name)),
                (2, raw) => value = Some(raw),
                _ => {}
            }
            Ok(())
        })?;
        let value = match (item, value) {
            (FieldType::Array(item), Some(Raw::Bytes(bytes))) => {
                self.count()?;
                let mut items = Vec::new();
                self.items(bytes, item, &mut items, name, depth + 1)?;
                Value::Array(items)
            }
            (FieldType::Array(_), Some(_)) => return Err(Error::WrongWireType(name)),
            (FieldType::Array(_), None) => Value::Array(Vec::new()),
            (FieldType::Integer(_) | FieldType::Boolean, None) => {
                self.value(Raw::Varint(0), item, None, name, depth)?.unwrap_or(Value::Null)
            }
            (FieldType::Number, None) => Value::from(0),
            (item, raw) => {
                let raw = raw.unwrap_or(Raw::Bytes(&[]));
                self.value(raw, item, None, name, depth)?.unwrap_or(Value::Null)
            }
        };
        Ok((key.to_owned(), value))
    }

    /// One value in an object of this depth; `None` is null.
    fn value(
        &mut self,
        raw: Raw<'_>,
        ty: &FieldType,
        before: Option<Object>,
        name: &'static str,
        depth: usize,
    ) -> Result<Option<Value>, Error> {
        self.count()?;
        Ok(Some(match (ty, raw) {
            (FieldType::String, Raw::Bytes(bytes)) => utf8(bytes, name)?.into(),
            (FieldType::Bytes, Raw::Bytes(bytes)) => base64(bytes),
            (FieldType::Boolean, Raw::Varint(n)) => (n != 0).into(),
            (FieldType::Integer(IntegerFormat::Int64), Raw::Varint(n)) => n.cast_signed().into(),
            (FieldType::Integer(IntegerFormat::Int32), Raw::Varint(n)) => (n as i32).into(),
            (FieldType::Number, Raw::Double(double)) => number(double, name)?,
            (FieldType::Ref(ty), Raw::Bytes(bytes)) => {
                let mut object = before.unwrap_or_default();
                self.message(bytes, Plan::of(*ty), &mut object, depth + 1)?;
                Value::Object(object)
            }
            (FieldType::Quantity, Raw::Bytes(bytes)) => quantity(only(bytes, name)?, name)?,
            (FieldType::Time, Raw::Bytes(bytes)) => return time(bytes, false, name),
            (FieldType::MicroTime, Raw::Bytes(bytes)) => return time(bytes, true, name),
            (FieldType::IntOrString, Raw::Bytes(bytes)) => int_or_string(bytes, name)?,
            (FieldType::Any(any), Raw::Bytes(bytes)) => {
                let Some(raw) = only(bytes, name)?.filter(|raw| !raw.is_empty()) else { return Ok(None) };
                if *any == Any::Raw && raw.starts_with(&MAGIC) {
                    return self.object(raw, None, depth).map(Some);
                }
                return self.json(raw, name, depth);
            }
            (FieldType::SchemaOr(which), Raw::Bytes(bytes)) => {
                return self.schema_or(bytes, *which, name, depth);
            }
            _ => return Err(Error::WrongWireType(name)),
        }))
    }

    fn schema_or(
        &mut self,
        bytes: &[u8],
        which: SchemaOr,
        name: &'static str,
        depth: usize,
    ) -> Result<Option<Value>, Error> {
        let schema_type = FieldType::Ref(json_schema_props());
        let (mut schema, mut allows, mut items) = (None, false, Vec::new());
        each(bytes, |number, raw| {
            match (which, number, raw) {
                (SchemaOr::Bool, 1, Raw::Varint(n)) => allows = n != 0,
                (SchemaOr::Bool, 2, raw) | (SchemaOr::Array | SchemaOr::StringArray, 1, raw) => {
                    schema = self.value(raw, &schema_type, None, name, depth)?;
                }
                (SchemaOr::Array, 2, raw) => {
                    items.extend(self.value(raw, &schema_type, None, name, depth + 1)?);
                }
                (SchemaOr::StringArray, 2, raw) => {
                    items.extend(self.value(raw, &FieldType::String, None, name, depth + 1)?);
                }
                (SchemaOr::Bool, 1, _) => return Err(Error::WrongWireType(name)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(match (schema, which) {
            (Some(schema), _) => Some(schema),
            (None, SchemaOr::Bool) => Some(allows.into()),
            (None, _) if items.is_empty() => None,
            (None, _) => Some(Value::Array(items)),
        })
    }

    /// Embedded JSON in an object of this depth; null is none.
    fn json(&mut self, bytes: &[u8], name: &'static str, depth: usize) -> Result<Option<Value>, Error> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| Error::InvalidJson(name))?;
        if depth + levels(&value) > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        Ok((!value.is_null()).then_some(value))
    }

    fn count(&mut self) -> Result<(), Error> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(Error::TooMany) } else { Ok(()) }
    }
}

/// The list of this name, made if there is none.
fn list<'a>(object: &'a mut Object, name: &'static str) -> Result<&'a mut Vec<Value>, Error> {
    if !object.contains_key(name) {
        object.insert(name.to_owned(), Value::Array(Vec::new()));
    }
    object.get_mut(name).and_then(Value::as_array_mut).ok_or(Error::Mismatch(name))
}

/// Whether protobuf may write a list of these without a tag each.
fn packs(item: &FieldType) -> bool {
    matches!(item, FieldType::Integer(_) | FieldType::Boolean)
}

fn is_zero(value: &Value, ty: &FieldType) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || (*ty == FieldType::Quantity && text == "0"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// How deep a value is: a scalar is not.
fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}
