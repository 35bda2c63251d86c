//! OpenAPI 3.0: an index, and one document a group-version.
//!
//! **Upstream**: `k8s.io/kube-openapi/pkg/handler3`; kubectl reads the index, then the group-version of the
//! object at hand, where it looks for the parameters of PATCH and for the schema.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::crd::Published;

use super::paths::{self, Content, Operation, PathItem};
use super::schemas::{self, Dialect};
use super::{KUBERNETES_VERSION, ResourceFacts, gnostic};

/// The media type of the protobuf form.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// What clients before Kubernetes 1.27 ask for; the answer is named as above, `@` has no place in a media type.
pub const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// The index: every group-version with the address of its document.
pub fn root(facts: &[ResourceFacts]) -> Bytes {
    let mut groups: BTreeMap<String, Vec<&ResourceFacts>> = BTreeMap::new();
    for resource in facts {
        groups.entry(name(resource)).or_default().push(resource);
    }
    let paths: Map<String, Value> = groups
        .into_iter()
        .map(|(name, members)| {
            let url = url(&name, &hash(&members));
            (name, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths}).to_string().into()
}

/// The resources of a document by the document's name, `api/v1` or `apis/apps/v1`.
pub(super) fn members<'a>(document: &str, facts: &'a [ResourceFacts]) -> Vec<&'a ResourceFacts> {
    facts.iter().filter(|r| name(r) == document).collect()
}

pub(super) fn url(name: &str, hash: &str) -> String {
    format!("/openapi/v3/{name}?hash={hash}")
}

pub(super) fn hash(members: &[&ResourceFacts]) -> String {
    super::hash(members.iter().copied())
}

fn name(facts: &ResourceFacts) -> String {
    match &*facts.group {
        "" => format!("api/{}", facts.version),
        group => format!("apis/{group}/{}", facts.version),
    }
}

/// The document of a group-version as JSON, from all its resources.
pub fn json(members: &[&ResourceFacts]) -> Bytes {
    document(members).to_string().into()
}

/// The document as a gnostic `openapi.v3.Document`.
pub fn protobuf(members: &[&ResourceFacts]) -> Bytes {
    gnostic::v3::document(&document(members)).into()
}

fn document(members: &[&ResourceFacts]) -> Value {
    let paths = paths::paths(members);
    let custom = members.iter().any(|facts| facts.published.is_some());
    let roots = paths::roots(&paths).into_iter().chain(schemas::custom_roots().filter(|_| custom));
    let mut definitions = schemas::definitions(roots, Dialect::V3);
    definitions.extend(schemas::custom(members.iter().copied(), Dialect::V3));
    let items: Map<String, Value> =
        paths.iter().map(|(path, item)| (path.clone(), path_item(item))).collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": items,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
            }},
        },
    })
}

fn path_item(item: &PathItem) -> Value {
    let mut out = Map::new();
    for one in &item.operations {
        out.insert(one.method.into(), operation(one));
    }
    if !item.in_path.is_empty() {
        let parameters = item.in_path.iter().map(|one| one.in_path(Dialect::V3));
        out.insert("parameters".into(), parameters.collect());
    }
    Value::Object(out)
}

fn operation(operation: &Operation) -> Value {
    let media_types = if operation.custom.is_some() { &MEDIA_TYPES[..2] } else { &MEDIA_TYPES[..] };
    let (group, version, kind) = &operation.gvk;
    let parameters = operation.parameters.iter().map(|one| one.in_query(Dialect::V3));
    let responses = operation.responses.iter().map(|(code, body)| {
        let description = description(*code);
        (
            code.to_string(),
            json!({"description": description, "content": content(*body, operation, media_types)}),
        )
    });
    let unauthorized = [("401".to_owned(), json!({"description": "Unauthorized"}))];
    let mut out = json!({
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "parameters": parameters.collect::<Value>(),
        "responses": responses.chain(unauthorized).collect::<Map<_, _>>(),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    });
    if let Some(body) = operation.body {
        let types: &[&str] = match (body.patch, &operation.custom) {
            (true, None) => &PATCH_TYPES,
            // All but the last.
            (true, Some(_)) => &PATCH_TYPES[..3],
            (false, Some(_)) => &MEDIA_TYPES[..2],
            _ => &["*/*"],
        };
        out["requestBody"] = json!({"content": content(body.content, operation, types)});
        if body.required {
            out["requestBody"]["required"] = true.into();
        }
    }
    out
}

/// Upstream's words for a status code.
pub(super) fn description(code: u16) -> &'static str {
    match code {
        201 => "Created",
        202 => "Accepted",
        _ => "OK",
    }
}

fn content(content: Content, operation: &Operation, types: &[&str]) -> Value {
    let custom = operation.custom.as_ref();
    let named = |name: Option<String>| {
        name.map_or_else(|| json!({"type": "object"}), |name| schemas::reference(&name, Dialect::V3))
    };
    let (types, schema) = match content {
        Content::Object => (types, named(custom.map(Published::name))),
        Content::List => (types, named(custom.map(Published::list_name))),
        Content::Type(ty) => (types, schemas::reference(ty.name(), Dialect::V3)),
        Content::Open => (types, json!({"type": "object"})),
        Content::Text => (&["*/*"][..], json!({"type": "string"})),
    };
    types.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}
