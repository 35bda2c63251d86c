//! OpenAPI 2.0: one document for everything, as JSON and in the protobuf form that older kubectl needs.
//!
//! **Upstream**: `k8s.io/kube-openapi/pkg/handler`; read by kubectl up to 1.28 and by Argo CD.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::crd::Published;

use super::paths::{self, Content, Operation, PathItem};
use super::schemas::{self, Dialect};
use super::{KUBERNETES_VERSION, ResourceFacts, gnostic, v3};

/// The media type that clients ask for.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Its spelling before Kubernetes 1.23 and in answers: `@` has no place in a media type.
pub const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The `Content-Type` of the protobuf form.
pub const PROTOBUF_TYPE: &str = PROTOBUF_OLD;

const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Those of kinds that were added at run time.
const CUSTOM_PATCH_TYPES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// The document as JSON.
pub fn json(facts: &[ResourceFacts]) -> Bytes {
    document(facts).to_string().into()
}

/// The document as a gnostic `openapi.v2.Document`.
pub fn protobuf(facts: &[ResourceFacts]) -> Bytes {
    gnostic::v2::document(&document(facts)).into()
}

pub(super) fn document(facts: &[ResourceFacts]) -> Value {
    let facts: Vec<&ResourceFacts> = facts.iter().collect();
    let paths = paths::paths(&facts);
    let mut definitions =
        schemas::definitions(paths::roots(&paths).into_iter().chain(schemas::custom_roots()), Dialect::V2);
    definitions.extend(schemas::custom(facts.iter().copied(), Dialect::V2));
    let items: Map<String, Value> =
        paths.iter().map(|(path, item)| (path.clone(), path_item(item))).collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": items,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
        }},
        "security": [{"BearerToken": []}],
    })
}

fn path_item(item: &PathItem) -> Value {
    let mut out = Map::new();
    for one in &item.operations {
        out.insert(one.method.into(), operation(one));
    }
    if !item.in_path.is_empty() {
        let parameters = item.in_path.iter().map(|one| one.in_path(Dialect::V2));
        out.insert("parameters".into(), parameters.collect());
    }
    Value::Object(out)
}

fn operation(operation: &Operation) -> Value {
    let (group, version, kind) = &operation.gvk;
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(body) = operation.body {
        let schema = schema(body.content, operation);
        let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
        if body.required {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    parameters.extend(operation.parameters.iter().map(|one| one.in_query(Dialect::V2)));
    let responses = operation.responses.iter().map(|(code, content)| {
        (
            code.to_string(),
            json!({"description": v3::description(*code), "schema": schema(*content, operation)}),
        )
    });
    let unauthorized = [("401".to_owned(), json!({"description": "Unauthorized"}))];
    let consumes: &[&str] = match (operation.action, &operation.custom) {
        ("patch", None) => &PATCH_TYPES,
        ("patch", Some(_)) => &CUSTOM_PATCH_TYPES,
        (_, Some(_)) => &MEDIA_TYPES[..2],
        _ => &["*/*"],
    };
    let produces = if operation.custom.is_some() { &MEDIA_TYPES[..2] } else { &MEDIA_TYPES };
    json!({
        "consumes": consumes,
        "produces": produces,
        "schemes": ["https"],
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "parameters": parameters,
        "responses": responses.chain(unauthorized).collect::<Map<_, _>>(),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    })
}

fn schema(content: Content, operation: &Operation) -> Value {
    let custom = operation.custom.as_ref();
    let named = |name: Option<String>| {
        name.map_or_else(|| json!({"type": "object"}), |name| schemas::reference(&name, Dialect::V2))
    };
    match content {
        Content::Object => named(custom.map(Published::name)),
        Content::List => named(custom.map(Published::list_name)),
        Content::Type(ty) => schemas::reference(ty.name(), Dialect::V2),
        Content::Open => json!({"type": "object"}),
        Content::Text => json!({"type": "string"}),
    }
}
