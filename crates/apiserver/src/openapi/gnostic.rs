//! Writes OpenAPI documents as protobuf: gnostic's messages of both versions.
//!
//! Only what [`super::v2`] and [`super::v3`] put into a document is written. Extensions (`x-…`) become `NamedAny`
//! with the value as YAML; JSON is YAML.
//! **Upstream**: `github.com/google/gnostic-models`, `OpenAPIv2.proto` and `OpenAPIv3.proto`, whose numbers these are.

pub(super) mod v2;
pub(super) mod v3;

use serde_json::{Map, Value};

/// The bytes of a protobuf message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).expect("seven bits"));
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn string(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn strings(&mut self, number: u32, values: &Value) {
        for value in values.as_array().into_iter().flatten() {
            self.string(number, value);
        }
    }

    /// Each as an `Any`: the value as YAML.
    fn anys(&mut self, number: u32, values: &Value) {
        for value in values.as_array().into_iter().flatten() {
            self.message(number, |any| any.bytes(2, format!("{value}\n").as_bytes()));
        }
    }

    fn boolean(&mut self, number: u32, value: &Value) {
        if *value == Value::Bool(true) {
            self.flag(number, true);
        }
    }

    fn flag(&mut self, number: u32, value: bool) {
        self.varint(u64::from(number) << 3);
        self.varint(u64::from(value));
    }

    fn double(&mut self, number: u32, value: f64) {
        self.varint(u64::from(number) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn message(&mut self, number: u32, build: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        build(&mut inner);
        self.bytes(number, &inner.0);
    }

    /// `NamedX { name = 1; value = 2 }` for every member of a map.
    fn named(&mut self, number: u32, map: &Value, build: impl Fn(&mut Self, &Value)) {
        for (name, value) in map.as_object().into_iter().flatten() {
            self.message(number, |entry| {
                entry.bytes(1, name.as_bytes());
                entry.message(2, |m| build(m, value));
            });
        }
    }

    fn extensions(&mut self, number: u32, holder: &Value) {
        let all = holder.as_object().into_iter().flatten();
        let extensions: Map<String, Value> =
            all.filter(|(name, _)| name.starts_with("x-")).map(|(k, v)| (k.clone(), v.clone())).collect();
        self.named(number, &Value::Object(extensions), |any, value| {
            any.bytes(2, format!("{value}\n").as_bytes());
        });
    }
}
