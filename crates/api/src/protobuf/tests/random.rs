//! Random objects of any type of the table, in the form that decoding gives them.

use crate::protobuf::encode::json_schema_props;
use crate::schema::{Any, Field, FieldType, IntegerFormat, Presence, SchemaOr, Type};
use serde_json::{Map, Value, json};

/// A small generator of numbers; the same seed gives the same objects.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// An object with some of its fields, fewer the deeper it is.
    pub(super) fn object(&mut self, ty: &'static Type, depth: u64) -> Value {
        let mut object = Map::new();
        for field in ty.fields.iter().filter(|f| !f.proto.is_empty()) {
            if self.below(depth + 2) == 0 && depth < 10 {
                let value = self.field(field, depth);
                let zero = [json!(0), json!(""), json!(false), json!({}), json!([]), json!("0"), Value::Null];
                let list = matches!(field.ty, FieldType::Array(_) | FieldType::Map(_) | FieldType::Bytes);
                if value.is_null() || ((list || field.presence == Presence::Plain) && zero.contains(&value)) {
                    continue;
                }
                object.insert(field.json_name.to_owned(), value);
            }
        }
        Value::Object(object)
    }

    fn field(&mut self, field: &Field, depth: u64) -> Value {
        self.value(&field.ty, depth)
    }

    fn value(&mut self, ty: &FieldType, depth: u64) -> Value {
        match ty {
            FieldType::String => self.string().into(),
            FieldType::Integer(IntegerFormat::Int32) => (self.next() as i32 >> self.below(31)).into(),
            FieldType::Integer(IntegerFormat::Int64) => (self.next().cast_signed() >> self.below(63)).into(),
            FieldType::Number => ((self.next() as i32) as f64 + 0.5).into(),
            FieldType::Boolean => (self.below(2) == 1).into(),
            FieldType::Bytes => ["", "AA==", "//79", "aGVsbG8="][self.below(4) as usize].into(),
            FieldType::Time => {
                ["2026-01-02T03:04:05Z", "1969-07-20T20:17:40Z"][self.below(2) as usize].into()
            }
            FieldType::MicroTime => {
                ["2026-01-02T03:04:05.000001Z", "1969-07-20T20:17:40.999999Z"][self.below(2) as usize].into()
            }
            FieldType::Quantity => ["500m", "1Gi", "0", "1e3"][self.below(4) as usize].into(),
            FieldType::IntOrString if self.below(2) == 0 => (self.next() as i32).into(),
            FieldType::IntOrString => self.string().into(),
            FieldType::Any(Any::Json) => {
                [json!(1), json!("x"), json!([true, {"a": 0.5}])][self.below(3) as usize].clone()
            }
            FieldType::Any(_) => json!({"f:metadata": {"f:labels": {".": {}}}, "n": self.below(9)}),
            FieldType::SchemaOr(which) => self.schema_or(*which, depth),
            FieldType::Ref(ty) => self.object(ty.resolve(), depth + 1),
            FieldType::Array(item) => (0..self.below(3)).map(|_| self.value(item, depth + 1)).collect(),
            FieldType::Map(item) => (0..self.below(3))
                .map(|_| (self.string(), self.value(item, depth + 1)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    fn schema_or(&mut self, which: SchemaOr, depth: u64) -> Value {
        let mut schema = || self.object(json_schema_props().resolve(), depth + 2);
        match which {
            SchemaOr::Array => [schema(), json!([schema()])][self.below(2) as usize].clone(),
            SchemaOr::Bool => [schema(), json!(true), json!(false)][self.below(3) as usize].clone(),
            SchemaOr::StringArray => [schema(), json!(["a", "b"])][self.below(2) as usize].clone(),
        }
    }

    fn string(&mut self) -> String {
        let letters = ["a", "Z", "-", "ß", "日", "\u{1f980}", "\"", "\n"];
        (0..self.below(5)).map(|_| letters[self.below(8) as usize]).collect()
    }
}
