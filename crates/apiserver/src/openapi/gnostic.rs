//! Writes an OpenAPI 2.0 document as protobuf: gnostic's `openapi.v2.Document`.
//!
//! Only what [`super::v2`] puts into a document is written. Extensions (`x-…`) become `NamedAny` with the
//! value as YAML; JSON is YAML.
//! **Upstream**: `github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto`, whose numbers these are.

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

    fn boolean(&mut self, number: u32, value: &Value) {
        if *value == Value::Bool(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
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

/// The whole document.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.string(1, &document["swagger"]);
    out.message(2, |info| {
        info.string(1, &document["info"]["title"]);
        info.string(2, &document["info"]["version"]);
    });
    out.message(8, |paths| paths.named(2, &document["paths"], path_item));
    out.message(9, |definitions| definitions.named(1, &document["definitions"], schema));
    for requirement in document["security"].as_array().into_iter().flatten() {
        out.message(12, |m| m.named(1, requirement, |array, scopes| array.strings(1, scopes)));
    }
    out.message(13, |all| {
        all.named(1, &document["securityDefinitions"], |item, security| {
            item.message(2, |key| {
                key.string(1, &security["type"]);
                key.string(2, &security["name"]);
                key.string(3, &security["in"]);
                key.string(4, &security["description"]);
            });
        });
    });
    out.0
}

fn path_item(out: &mut Message, item: &Value) {
    let methods =
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];
    for (number, method) in methods {
        if let Some(one) = item.get(method) {
            out.message(number, |m| operation(m, one));
        }
    }
    parameters(out, 9, &item["parameters"]);
    out.extensions(10, item);
}

fn operation(out: &mut Message, operation: &Value) {
    out.strings(1, &operation["tags"]);
    out.string(3, &operation["description"]);
    out.string(5, &operation["operationId"]);
    out.strings(6, &operation["produces"]);
    out.strings(7, &operation["consumes"]);
    parameters(out, 8, &operation["parameters"]);
    out.message(9, |responses| {
        responses.named(1, &operation["responses"], |value, response| {
            value.message(1, |m| {
                m.string(1, &response["description"]);
                if let Some(body) = response.get("schema") {
                    m.message(2, |item| item.message(1, |m| schema(m, body)));
                }
            });
        });
    });
    out.strings(10, &operation["schemes"]);
    out.extensions(13, operation);
}

fn parameters(out: &mut Message, number: u32, parameters: &Value) {
    for one in parameters.as_array().into_iter().flatten() {
        // ParametersItem { Parameter parameter = 1 }
        out.message(number, |item| item.message(1, |m| parameter(m, one)));
    }
}

fn parameter(out: &mut Message, parameter: &Value) {
    match parameter["in"].as_str() {
        Some("body") => out.message(1, |body| {
            body.string(1, &parameter["description"]);
            body.string(2, &parameter["name"]);
            body.string(3, &parameter["in"]);
            body.boolean(4, &parameter["required"]);
            body.message(5, |m| schema(m, &parameter["schema"]));
        }),
        Some("query") => out.message(2, |other| {
            other.message(3, |query| {
                simple(query, parameter);
                query.string(6, &parameter["type"]);
                query.boolean(20, &parameter["uniqueItems"]);
            });
        }),
        _ => out.message(2, |other| {
            other.message(4, |path| {
                simple(path, parameter);
                path.string(5, &parameter["type"]);
                path.boolean(19, &parameter["uniqueItems"]);
            });
        }),
    }
}

fn simple(out: &mut Message, parameter: &Value) {
    out.boolean(1, &parameter["required"]);
    out.string(2, &parameter["in"]);
    out.string(3, &parameter["description"]);
    out.string(4, &parameter["name"]);
}

fn schema(out: &mut Message, value: &Value) {
    out.string(1, &value["$ref"]);
    out.string(2, &value["format"]);
    out.string(4, &value["description"]);
    out.strings(19, &value["required"]);
    if let Some(additional) = value.get("additionalProperties") {
        out.message(21, |item| item.message(1, |m| schema(m, additional)));
    }
    if value["type"].is_string() {
        out.message(22, |item| item.string(1, &value["type"]));
    }
    if let Some(items) = value.get("items") {
        out.message(23, |item| item.message(1, |m| schema(m, items)));
    }
    if let Some(properties) = value.get("properties") {
        out.message(25, |m| m.named(1, properties, schema));
    }
    out.extensions(31, value);
}
