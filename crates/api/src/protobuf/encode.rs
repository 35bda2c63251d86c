//! JSON to bytes, in the order and with the zero values of Go's encoder.
//!
//! **Contract**: fields by number, maps by key; a plain field is written even when it is absent, a pointer when
//! it is not. A value that is not of its field's type is an error; fields that the type lacks are left out.

use super::plan::{Node, Plan};
use super::scalar::{put_base64, put_int_or_string, put_time};
use super::wire::{BYTES, FIXED64, put_bytes, put_nested, put_number, put_tag, put_varint};
use super::{Error, MAGIC, text, type_of};
use crate::schema::{Field, FieldType, Presence, SchemaOr, Type, TypeRef};
use serde_json::{Map, Value};

type Done = Result<(), Error>;
type Object = Map<String, Value>;

/// A whole object, with magic and `runtime.Unknown` around it.
pub fn object_bytes(object: &Value) -> Result<Vec<u8>, Error> {
    let (api_version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    let ty = type_of(api_version, kind)
        .ok_or_else(|| Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() })?;
    let mut message = Vec::with_capacity(1024);
    append_message(&mut message, object, ty)?;
    Ok(envelope(api_version, kind, &message))
}

/// Magic and `runtime.Unknown` around a message of this kind.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + api_version.len() + kind.len() + 32);
    out.extend_from_slice(&MAGIC);
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    put_bytes(&mut out, 1, &meta);
    put_bytes(&mut out, 2, message);
    // Content encoding and content type: none.
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

/// Appends the message that an object of the type is, without kind and version.
pub fn append_message(out: &mut Vec<u8>, object: &Value, ty: &Type) -> Result<(), Error> {
    let object = object.as_object().ok_or(Error::Mismatch("object"))?;
    fields(out, object, Plan::of(ty.reference()))
}

/// Appends a field that holds an object of the type: an item of a list.
pub fn append_item(out: &mut Vec<u8>, number: u32, object: &Value, ty: &Type) -> Result<(), Error> {
    put_nested(out, number, |out| append_message(out, object, ty))
}

/// The message of a `WatchEvent` about an object that has its envelope.
pub fn watch_event(change: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 32);
    let mut head = Vec::with_capacity(16);
    put_tag(&mut head, 1, BYTES);
    put_varint(&mut head, object.len() as u64);
    put_bytes(&mut out, 1, change.as_bytes());
    put_tag(&mut out, 2, BYTES);
    put_varint(&mut out, (head.len() + object.len()) as u64);
    out.extend_from_slice(&head);
    out.extend_from_slice(object);
    out
}

/// Appends a field that holds these bytes: an item whose message is made already.
pub fn append_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_bytes(out, number, bytes);
}

fn fields(out: &mut Vec<u8>, object: &Object, plan: &Plan) -> Done {
    for entry in plan.entries() {
        match &entry.node {
            Node::Inline(plan) => put_nested(out, entry.number, |out| fields(out, object, plan))?,
            Node::Field(field) => {
                let value = object.get(field.json_name).unwrap_or(&Value::Null);
                one(out, entry.number, value, field)?;
            }
        }
    }
    Ok(())
}

fn one(out: &mut Vec<u8>, number: u32, value: &Value, field: &'static Field) -> Done {
    let name = field.json_name;
    match (&field.ty, value) {
        (FieldType::Array(_) | FieldType::Map(_) | FieldType::Bytes, Value::Null) => Ok(()),
        (_, Value::Null) if field.presence == Presence::Pointer => Ok(()),
        (FieldType::Array(item), value) if field.proto_wrapped => wrapped(out, number, value, item, name),
        (FieldType::Array(item), Value::Array(items)) => {
            items.iter().try_for_each(|value| single(out, number, value, item, name))
        }
        (FieldType::Map(item), Value::Object(entries)) => {
            let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                put_nested(out, number, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    match &**item {
                        // A list in a map is always a message of its own.
                        FieldType::Array(inner) => wrapped(out, 2, value, inner, name),
                        item => single(out, 2, value, item, name),
                    }
                })?;
            }
            Ok(())
        }
        (ty, value) => single(out, number, value, ty, name),
    }
}

/// A list as a message with the items as its field `1`.
fn wrapped(out: &mut Vec<u8>, number: u32, value: &Value, item: &FieldType, name: &'static str) -> Done {
    let items = match value {
        Value::Null => &[][..],
        Value::Array(items) => items,
        _ => return Err(Error::Mismatch(name)),
    };
    put_nested(out, number, |out| items.iter().try_for_each(|value| single(out, 1, value, item, name)))
}

/// One value with its number; null is the type's zero value.
fn single(out: &mut Vec<u8>, number: u32, value: &Value, ty: &FieldType, name: &'static str) -> Done {
    let mismatch = Error::Mismatch(name);
    match (ty, value) {
        (FieldType::String, Value::String(text)) => put_bytes(out, number, text.as_bytes()),
        (FieldType::String | FieldType::Bytes, Value::Null) => put_bytes(out, number, b""),
        (FieldType::Integer(_), Value::Number(n)) => put_number(out, number, n.as_i64().ok_or(mismatch)?),
        (FieldType::Boolean, Value::Bool(b)) => put_number(out, number, i64::from(*b)),
        (FieldType::Integer(_) | FieldType::Boolean, Value::Null) => put_number(out, number, 0),
        (FieldType::Ref(ty), Value::Object(object)) => {
            return put_nested(out, number, |out| fields(out, object, Plan::of(*ty)));
        }
        (FieldType::Ref(ty), Value::Null) => {
            return put_nested(out, number, |out| fields(out, &Object::new(), Plan::of(*ty)));
        }
        (FieldType::Quantity, value) => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(n) => n.to_string(),
                Value::Null => "0".to_owned(),
                _ => return Err(mismatch),
            };
            return put_nested(out, number, |out| {
                put_bytes(out, 1, text.as_bytes());
                Ok(())
            });
        }
        (FieldType::Time | FieldType::MicroTime, value) => {
            let micro = *ty == FieldType::MicroTime;
            return put_nested(out, number, |out| put_time(out, value, micro, name));
        }
        (FieldType::IntOrString, value) => {
            return put_nested(out, number, |out| put_int_or_string(out, value, name));
        }
        (FieldType::Bytes, Value::String(text)) => return put_base64(out, number, text, name),
        (FieldType::Any(_), Value::Null) => put_bytes(out, number, b""),
        (FieldType::Any(_), value) => {
            return put_nested(out, number, |out| {
                put_nested(out, 1, |out| serde_json::to_writer(out, value).map_err(|_| mismatch))
            });
        }
        (FieldType::Number, value) => {
            let double = if value.is_null() { Some(0.0) } else { value.as_f64() };
            put_tag(out, number, FIXED64);
            out.extend_from_slice(&double.ok_or(mismatch)?.to_le_bytes());
        }
        (FieldType::SchemaOr(which), value) => {
            return put_nested(out, number, |out| schema_or(out, value, *which, name));
        }
        _ => return Err(mismatch),
    }
    Ok(())
}

/// A schema or something simpler: `{schema=1, jSONSchemas=2}`, `{allows=1, schema=2}`, `{schema=1, property=2}`.
fn schema_or(out: &mut Vec<u8>, value: &Value, which: SchemaOr, name: &'static str) -> Done {
    let schema = FieldType::Ref(json_schema_props());
    match (which, value) {
        (SchemaOr::Bool, Value::Bool(allowed)) => put_number(out, 1, i64::from(*allowed)),
        (SchemaOr::Bool, value @ Value::Object(_)) => {
            put_number(out, 1, 1);
            return single(out, 2, value, &schema, name);
        }
        (SchemaOr::Array | SchemaOr::StringArray, value @ Value::Object(_)) => {
            return single(out, 1, value, &schema, name);
        }
        (SchemaOr::Array, Value::Array(items)) => {
            return items.iter().try_for_each(|item| single(out, 2, item, &schema, name));
        }
        (SchemaOr::StringArray, Value::Array(items)) => {
            return items.iter().try_for_each(|item| single(out, 2, item, &FieldType::String, name));
        }
        (_, Value::Null) => {}
        _ => return Err(Error::Mismatch(name)),
    }
    Ok(())
}

/// The type of a CustomResourceDefinition's schemas.
pub(super) fn json_schema_props() -> TypeRef {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    crate::schema::Schema::get().type_by_name(name).expect("the table has JSONSchemaProps").reference()
}
