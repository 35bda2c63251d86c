//! OpenAPI 2.0 as `openapi.v2.Document`.

use serde_json::Value;

use super::Message;

/// The whole document.
pub(in crate::openapi) fn document(document: &Value) -> Vec<u8> {
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
    out.anys(20, &value["enum"]);
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
