//! The documents hold together, and the answers have the headers that clients cache by.

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use serde_json::Value;

use super::{ResourceFacts, SubresourceFacts, serve, v2, v3};

const ALL: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn resource(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> ResourceFacts {
    ResourceFacts {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        namespaced,
        verbs: ALL.map(Into::into).to_vec(),
        subresources: Vec::new(),
    }
}

fn subresource(
    name: &'static str,
    group: &'static str,
    kind: &'static str,
    verbs: &[&'static str],
) -> SubresourceFacts {
    let verbs = verbs.iter().map(|v| (*v).into()).collect();
    SubresourceFacts {
        name: name.into(),
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        verbs,
    }
}

fn facts() -> Vec<ResourceFacts> {
    let mut pods = resource("", "Pod", "pods", true);
    pods.subresources = vec![
        subresource("exec", "", "PodExecOptions", &["create", "get"]),
        subresource("log", "", "Pod", &["get"]),
        subresource("status", "", "Pod", &["get", "patch", "update"]),
    ];
    let mut deployments = resource("apps", "Deployment", "deployments", true);
    deployments.subresources =
        vec![subresource("scale", "autoscaling", "Scale", &["get", "patch", "update"])];
    vec![
        pods,
        resource("", "Node", "nodes", false),
        deployments,
        resource("example.com", "Widget", "widgets", true),
    ]
}

fn get(
    path: &str,
    query: Option<&str>,
    headers: &[(http::HeaderName, &str)],
) -> http::Response<bytes::Bytes> {
    let headers: HeaderMap = headers.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect();
    serve(path, &headers, query, &facts()).unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Every `$ref` of a document.
fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| references(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, into)),
        _ => {}
    }
}

fn dangling(document: &Value) -> Vec<String> {
    let mut all = BTreeSet::new();
    references(document, &mut all);
    assert!(!all.is_empty());
    // A property named `$ref` has a schema, not a string, so only references are strings.
    all.into_iter().filter(|r| document.pointer(&r[1..]).is_none()).map(str::to_owned).collect()
}

#[test]
fn every_reference_resolves() {
    let facts = facts();
    assert_eq!(dangling(&json(&v2::json(&facts))), Vec::<String>::new());
    for name in ["api/v1", "apis/apps/v1"] {
        assert_eq!(dangling(&json(&v3::document(&v3::members(name, &facts)))), Vec::<String>::new());
    }
}

#[test]
fn patch_shows_what_kubectl_looks_for() {
    let document = json(get("/openapi/v3/api/v1", None, &[]).body());
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert!(names.contains(&&"fieldValidation".into()) && names.contains(&&"dryRun".into()));
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        serde_json::json!({"group":"","version":"v1","kind":"Pod"})
    );
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths["/api/v1/pods"]["get"]["operationId"], "listCoreV1PodForAllNamespaces");
    assert_eq!(paths["/api/v1/nodes"]["delete"]["operationId"], "deleteCoreV1CollectionNode");
    let exec = &paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"];
    assert_eq!((&exec["x-kubernetes-action"], exec.get("requestBody")), (&"connect".into(), None));
}

#[test]
fn schemas_carry_keys_and_kinds() {
    let document = json(get("/openapi/v3/api/v1", None, &[]).body());
    let schemas = &document["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], serde_json::json!(["name"]));
    assert_eq!(schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
    assert_eq!(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
}

#[test]
fn the_index_names_documents_by_hash() {
    let index = json(get("/openapi/v3", None, &[]).body());
    let names: Vec<_> = index["paths"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["api/v1", "apis/apps/v1", "apis/example.com/v1"]);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let (path, query) = url.split_once('?').unwrap();

    let current = get(path, Some(query), &[]);
    assert_eq!(current.status(), 200);
    assert_eq!(current.headers()[CACHE_CONTROL], "public, immutable");
    let tag = current.headers()[ETAG].to_str().unwrap();
    assert_eq!(format!("hash={}", tag.trim_matches('"')), query);
    assert_eq!(get(path, Some(query), &[(IF_NONE_MATCH, tag)]).status(), 304);

    let stale = get(path, Some("hash=OLD&timeout=32s"), &[]);
    assert_eq!((stale.status().as_u16(), stale.headers()[LOCATION].to_str().unwrap()), (301, url.as_str()));
    assert!(!get(path, None, &[]).headers().contains_key(CACHE_CONTROL));
}

#[test]
fn answers_in_the_form_that_is_asked_for() {
    let types = |accept| {
        let response = get("/openapi/v2", None, &[(ACCEPT, accept)]);
        (response.status().as_u16(), response.headers().get(CONTENT_TYPE).cloned())
    };
    assert_eq!(types("application/json, */*").1.unwrap(), "application/json");
    assert_eq!(types(v2::PROTOBUF).1.unwrap(), v2::PROTOBUF_TYPE);
    assert_eq!(types("text/html").0, 406);
    assert_eq!(get("/openapi/v3/api/v1", None, &[(ACCEPT, "text/html")]).status(), 406);
    assert!(serve("/openapi/v3/apis/none/v1", &HeaderMap::new(), None, &facts()).is_none());
    assert!(serve("/openapi", &HeaderMap::new(), None, &facts()).is_none());
}

#[test]
fn the_protobuf_form_has_the_same_definitions() {
    let facts = facts();
    let document = json(&v2::json(&facts));
    let wanted: Vec<_> = document["definitions"].as_object().unwrap().keys().cloned().collect();
    let binary = v2::protobuf(&facts);
    let definitions = fields(&binary).into_iter().find(|(n, _)| *n == 9).unwrap().1;
    let named = fields(definitions).into_iter().map(|(_, entry)| fields(entry)[0].1);
    let got: Vec<_> = named.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
    assert_eq!(got, wanted);
}

/// The length-delimited fields of a message that has no others.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        assert_eq!(tag & 7, 2);
        let length = usize::try_from(varint(&mut bytes)).unwrap();
        let (field, rest) = bytes.split_at(length);
        out.push((tag >> 3, field));
        bytes = rest;
    }
    out
}
