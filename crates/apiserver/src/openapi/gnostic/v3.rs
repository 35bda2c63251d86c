//! OpenAPI 3.0 as `openapi.v3.Document`.

use serde_json::Value;

use super::Message;

/// The whole document.
pub(in crate::openapi) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.string(1, &document["openapi"]);
    out.message(2, |info| {
        info.string(1, &document["info"]["title"]);
        info.string(6, &document["info"]["version"]);
    });
    out.message(4, |paths| paths.named(1, &document["paths"], path_item));
    out.message(5, |components| {
        let parts = &document["components"];
        components.message(1, |all| all.named(1, &parts["schemas"], schema_or_reference));
        components.message(7, |all| {
            all.named(1, &parts["securitySchemes"], |item, scheme| {
                item.message(1, |m| {
                    m.string(1, &scheme["type"]);
                    m.string(2, &scheme["description"]);
                    m.string(3, &scheme["name"]);
                    m.string(4, &scheme["in"]);
                });
            });
        });
    });
    out.0
}

fn path_item(out: &mut Message, item: &Value) {
    let methods =
        [(4, "get"), (5, "put"), (6, "post"), (7, "delete"), (8, "options"), (9, "head"), (10, "patch")];
    for (number, method) in methods {
        if let Some(one) = item.get(method) {
            out.message(number, |m| operation(m, one));
        }
    }
    parameters(out, 13, &item["parameters"]);
    out.extensions(14, item);
}

fn operation(out: &mut Message, operation: &Value) {
    out.strings(1, &operation["tags"]);
    out.string(3, &operation["description"]);
    out.string(5, &operation["operationId"]);
    parameters(out, 6, &operation["parameters"]);
    if let Some(body) = operation.get("requestBody") {
        // RequestBodyOrReference { RequestBody request_body = 1 }
        out.message(7, |item| {
            item.message(1, |m| {
                m.message(2, |types| types.named(1, &body["content"], media_type));
                m.boolean(3, &body["required"]);
            });
        });
    }
    out.message(8, |responses| {
        responses.named(2, &operation["responses"], |item, response| {
            item.message(1, |m| {
                m.string(1, &response["description"]);
                if let Some(content) = response.get("content") {
                    m.message(3, |types| types.named(1, content, media_type));
                }
            });
        });
    });
    out.extensions(13, operation);
}

fn media_type(out: &mut Message, media: &Value) {
    out.message(1, |m| schema_or_reference(m, &media["schema"]));
}

fn parameters(out: &mut Message, number: u32, parameters: &Value) {
    for one in parameters.as_array().into_iter().flatten() {
        // ParameterOrReference { Parameter parameter = 1 }
        out.message(number, |item| {
            item.message(1, |m| {
                m.string(1, &one["name"]);
                m.string(2, &one["in"]);
                m.string(3, &one["description"]);
                m.boolean(4, &one["required"]);
                m.message(10, |s| schema_or_reference(s, &one["schema"]));
            });
        });
    }
}

fn schema_or_reference(out: &mut Message, value: &Value) {
    match value.get("$ref") {
        // A property of this name has a schema, which is no string.
        Some(Value::String(_)) => out.message(2, |m| m.string(1, &value["$ref"])),
        _ => out.message(1, |m| schema(m, value)),
    }
}

fn schema(out: &mut Message, value: &Value) {
    out.boolean(20, &value["uniqueItems"]);
    out.strings(23, &value["required"]);
    out.anys(24, &value["enum"]);
    out.string(25, &value["type"]);
    for (number, several) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        for one in value[several].as_array().into_iter().flatten() {
            out.message(number, |m| schema_or_reference(m, one));
        }
    }
    if let Some(items) = value.get("items") {
        out.message(30, |m| m.message(1, |m| schema_or_reference(m, items)));
    }
    if let Some(properties) = value.get("properties") {
        out.message(31, |m| m.named(1, properties, schema_or_reference));
    }
    if let Some(additional) = value.get("additionalProperties") {
        out.message(32, |item| item.message(1, |m| schema_or_reference(m, additional)));
    }
    match &value["default"] {
        Value::Number(number) => out.message(33, |m| m.double(1, number.as_f64().unwrap_or_default())),
        // `false` must show that it is there, so it is written although it is protobuf's zero.
        Value::Bool(flag) => out.message(33, |m| m.flag(2, *flag)),
        text @ Value::String(_) => out.message(33, |m| m.string(3, text)),
        _ => {}
    }
    out.string(34, &value["description"]);
    out.string(35, &value["format"]);
    out.extensions(36, value);
}
