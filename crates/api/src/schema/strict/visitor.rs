//! The walk over the input: a serde visitor that knows which type it expects.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::super::golang;
use super::super::types::{Field, FieldType, SchemaOr, Type};
use super::{MAX_PROBLEMS, Problem, scalar};
use crate::schema::Schema;

/// Where the walk is and what it found.
#[derive(Default)]
pub(super) struct Context {
    /// Path with indices, `spec.containers[0]`, for unknown and duplicate fields.
    path: String,
    /// Struct fields only, as Go's errors show them.
    fields: Vec<&'static str>,
    /// The struct that holds the current value.
    holder: Option<&'static Type>,
    /// Above zero inside values that upstream decodes without strictness.
    lenient: u32,
    pub(super) problems: Vec<Problem>,
    pub(super) error: Option<String>,
}

impl Context {
    /// Keeps the first error; the walk goes on, as Go's does.
    pub(super) fn fail(&mut self, error: impl FnOnce() -> String) {
        if self.error.is_none() {
            self.error = Some(error());
        }
    }

    fn mismatch(&mut self, value: &str, ty: &FieldType) {
        if self.error.is_none() {
            self.error = Some(golang::mismatch(value, self.holder, &self.fields, ty));
        }
    }

    fn problem(&mut self, make: fn(String) -> Problem, key: &str) {
        if self.lenient > 0 || self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        let problem = make(format!("{}{dot}{key}", self.path));
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Runs `inside` with the path extended by a key.
    fn at_key<T>(&mut self, key: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let result = inside(self);
        self.path.truncate(length);
        result
    }

    /// Runs `inside` with the path extended by an index.
    fn at_index<T>(&mut self, index: usize, inside: impl FnOnce(&mut Self) -> T) -> T {
        use fmt::Write as _;
        let length = self.path.len();
        write!(self.path, "[{index}]").expect("a string takes any text");
        let result = inside(self);
        self.path.truncate(length);
        result
    }
}

/// Expects a value of a type; yields `None` for null and for what did not fit.
pub(super) struct Seed<'t, 'c> {
    pub(super) ty: &'t FieldType,
    pub(super) cx: &'c mut Context,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(scalar::boolean(value, self.ty).unwrap_or_else(|e| self.refuse("bool", e)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(scalar::number(value.into(), self.ty).unwrap_or_else(|e| self.refuse_number(value, e)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(scalar::number(value.into(), self.ty).unwrap_or_else(|e| self.refuse_number(value, e)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let Some(number) = serde_json::Number::from_f64(value) else {
            return Ok(self.refuse("number", scalar::Refused::Kind));
        };
        Ok(scalar::number(number, self.ty).unwrap_or_else(|e| self.refuse_number(value, e)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        Ok(scalar::string(value, self.ty).unwrap_or_else(|e| self.refuse("string", e)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        match self.ty {
            FieldType::Array(item) => array(item, self.cx, seq).map(Some),
            FieldType::Any(_) => anything_in_list(seq),
            FieldType::SchemaOr(SchemaOr::Array) => {
                self.cx.lenient += 1;
                let value = array(&schema_props(), self.cx, seq);
                self.cx.lenient -= 1;
                value.map(Some)
            }
            FieldType::SchemaOr(SchemaOr::StringArray) => array(&FieldType::String, self.cx, seq).map(Some),
            ty => {
                self.cx.mismatch("array", ty);
                let mut seq = seq;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match self.ty {
            FieldType::Ref(ty) => object(ty.resolve(), self.cx, map).map(Some),
            FieldType::Map(item) => free_keys(item, self.cx, map).map(Some),
            FieldType::Any(_) => Value::deserialize(MapAccessDeserializer::new(map)).map(Some),
            FieldType::SchemaOr(_) => {
                let FieldType::Ref(props) = schema_props() else { return Ok(None) };
                self.cx.lenient += 1;
                let value = object(props.resolve(), self.cx, map);
                self.cx.lenient -= 1;
                value.map(Some)
            }
            ty => {
                self.cx.mismatch("object", ty);
                let mut map = map;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }
    }
}

impl Seed<'_, '_> {
    fn refuse(self, value: &str, refused: scalar::Refused) -> Option<Value> {
        match refused {
            scalar::Refused::Kind => self.cx.mismatch(value, self.ty),
            scalar::Refused::Content(error) => self.cx.fail(|| error),
        }
        None
    }

    fn refuse_number(self, value: impl fmt::Display, refused: scalar::Refused) -> Option<Value> {
        match self.ty {
            FieldType::Integer(_) | FieldType::Number => {
                let value = format!("number {value}");
                self.refuse(&value, refused)
            }
            _ => self.refuse("number", refused),
        }
    }
}

/// A struct: known fields only.
fn object<'de, A: MapAccess<'de>>(
    ty: &'static Type,
    cx: &mut Context,
    mut map: A,
) -> Result<Value, A::Error> {
    let outer = cx.holder.replace(ty);
    let mut object = Map::new();
    let mut seen: u128 = 0;
    while let Some(key) = map.next_key_seed(Key(ty))? {
        let index = match key {
            Known::Field(index) => index,
            Known::Not(name) => {
                cx.problem(Problem::Unknown, &name);
                map.next_value::<IgnoredAny>()?;
                continue;
            }
        };
        let field: &'static Field = &ty.fields[index];
        if seen & (1 << index) != 0 {
            cx.problem(Problem::Duplicate, field.json_name);
        }
        seen |= 1 << index;
        cx.fields.push(field.json_name);
        let value = cx.at_key(field.json_name, |cx| map.next_value_seed(Seed { ty: &field.ty, cx }))?;
        cx.fields.pop();
        match value {
            Some(value) => object.insert(field.json_name.to_owned(), value),
            None => object.shift_remove(field.json_name),
        };
    }
    cx.holder = outer;
    Ok(Value::Object(object))
}

/// A map with keys of the user's choice.
fn free_keys<'de, A: MapAccess<'de>>(
    item: &FieldType,
    cx: &mut Context,
    mut map: A,
) -> Result<Value, A::Error> {
    let mut object = Map::new();
    while let Some(key) = map.next_key::<String>()? {
        let value = cx.at_key(&key, |cx| map.next_value_seed(Seed { ty: item, cx }))?;
        if object.contains_key(&key) {
            cx.problem(Problem::Duplicate, &key);
        }
        object.insert(key, value.unwrap_or_else(|| scalar::zero(item)));
    }
    Ok(Value::Object(object))
}

fn array<'de, A: SeqAccess<'de>>(item: &FieldType, cx: &mut Context, mut seq: A) -> Result<Value, A::Error> {
    let mut items = Vec::new();
    loop {
        let next = cx.at_index(items.len(), |cx| seq.next_element_seed(Seed { ty: item, cx }))?;
        match next {
            Some(value) => items.push(value.unwrap_or_else(|| scalar::zero(item))),
            None => return Ok(Value::Array(items)),
        }
    }
}

fn anything_in_list<'de, A: SeqAccess<'de>>(seq: A) -> Result<Option<Value>, A::Error> {
    Value::deserialize(SeqAccessDeserializer::new(seq)).map(Some)
}

fn schema_props() -> FieldType {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let ty = Schema::get().type_by_name(name).expect("the table has JSONSchemaProps");
    FieldType::Ref(ty.reference())
}

/// Looks a key up without a copy of it.
struct Key(&'static Type);

enum Known {
    Field(usize),
    Not(String),
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Known;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Known, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Known, E> {
        Ok(self.0.field_index(key).map_or_else(|| Known::Not(key.to_owned()), Known::Field))
    }
}
