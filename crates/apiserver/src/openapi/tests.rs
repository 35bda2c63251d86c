//! The documents hold together, and the answers have the headers that clients cache by.

use std::collections::BTreeSet;
use std::io::Read as _;

use flate2::read::GzDecoder;
use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH,
    LOCATION, VARY,
};
use jiff::Timestamp;
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
        published: None,
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
    serve(path, &headers, query, &facts(), Timestamp::UNIX_EPOCH).unwrap()
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
        assert_eq!(dangling(&json(&v3::json(&v3::members(name, &facts)))), Vec::<String>::new());
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
    let protocol = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!(
        (&protocol["default"], &protocol["enum"]),
        (&"TCP".into(), &serde_json::json!(["SCTP", "TCP", "UDP"]))
    );
    assert!(protocol["description"].as_str().unwrap().ends_with(" - `\"UDP\"` is the UDP protocol."));
    let actions = &schemas["io.k8s.api.core.v1.Capabilities"]["properties"];
    assert_eq!(actions["add"]["items"].get("enum"), None);
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
    assert_eq!(current.headers()[EXPIRES], "Fri, 01 Jan 1971 00:00:00 GMT");
    assert_eq!(current.headers()[VARY], "Accept");
    let tag = current.headers()[ETAG].to_str().unwrap();
    assert_eq!(format!("hash={}", tag.trim_matches('"')), query);
    assert_eq!(get(path, Some(query), &[(IF_NONE_MATCH, tag)]).status(), 304);

    let stale = get(path, Some("hash=OLD&timeout=32s"), &[]);
    assert_eq!((stale.status().as_u16(), stale.headers()[LOCATION].to_str().unwrap()), (301, url.as_str()));
    assert_eq!(
        (&stale.headers()[CONTENT_TYPE], stale.body().len()),
        (&"application/json".parse().unwrap(), 0)
    );
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
    assert_eq!(get("/openapi/v3", None, &[]).headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    let unknown = get("/openapi/v3/apis/no.such/v1", None, &[]);
    assert_eq!((unknown.status().as_u16(), unknown.body().len()), (404, 0));
    // The document of before Kubernetes 1.10 is gone, though kubectl still asks for it where the other fails.
    for path in ["/openapi", "/swagger-2.0.0.pb-v1"] {
        assert!(serve(path, &HeaderMap::new(), None, &facts(), Timestamp::UNIX_EPOCH).is_none(), "{path}");
    }
    let url = json(get("/openapi/v3", None, &[]).body())["paths"]["api/v1"]["serverRelativeURL"].clone();
    let (path, query) = url.as_str().unwrap().split_once('?').unwrap();
    for asked in [v3::PROTOBUF, v3::PROTOBUF_OLD] {
        let answer = get(path, Some(query), &[(ACCEPT, asked)]);
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[CONTENT_TYPE]),
            (200, &v3::PROTOBUF.parse().unwrap())
        );
        assert_eq!(answer.headers()[CACHE_CONTROL], "public, immutable");
    }
}

#[test]
fn documents_describe_types_fields_and_operations() {
    let facts = facts();
    let third = json(get("/openapi/v3/api/v1", None, &[]).body());
    let second = json(&v2::json(&facts));
    for schemas in [&third["components"]["schemas"], &second["definitions"]] {
        let pod = &schemas["io.k8s.api.core.v1.Pod"];
        assert!(pod["description"].as_str().unwrap().starts_with("Pod is a collection of containers"));
        let spec = &pod["properties"]["spec"];
        assert!(spec["description"].as_str().unwrap().starts_with("Specification of the desired behavior"));
        let time = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.Time"];
        assert!(time["description"].as_str().unwrap().starts_with("Time is a wrapper"));
    }
    // What stands next to a reference counts in version 2 only.
    let schemas = &third["components"]["schemas"];
    assert!(schemas["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["allOf"][0]["$ref"].is_string());
    let pods = &third["paths"]["/api/v1/namespaces/{namespace}/pods"];
    assert_eq!(pods["post"]["description"], "create a Pod");
    let status = &third["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/status"];
    assert_eq!(status["patch"]["description"], "partially update status of the specified Pod");
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

#[test]
fn the_protobuf_form_of_version_3_has_the_same_schemas() {
    let facts = facts();
    let members = v3::members("apis/apps/v1", &facts);
    let document = json(&v3::json(&members));
    let binary = v3::protobuf(&members);
    let components = field(&binary, 5);
    let named: Vec<_> = fields(field(components, 1)).into_iter().map(|(_, entry)| entry).collect();
    let names: Vec<_> = named.iter().map(|entry| text(field(entry, 1))).collect();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(names, schemas.keys().collect::<Vec<_>>());
    // NamedSchemaOrReference.value → SchemaOrReference.schema
    let at = names.iter().position(|name| *name == "io.k8s.api.apps.v1.DeploymentSpec").unwrap();
    let spec = field(field(named[at], 2), 1);
    assert_eq!(text(field(spec, 25)), "object");
    assert_eq!(
        text(field(spec, 34)),
        "DeploymentSpec is the specification of the desired behavior of the Deployment."
    );
    let required: Vec<_> = fields(spec).into_iter().filter(|(n, _)| *n == 23).map(|(_, v)| text(v)).collect();
    assert_eq!(required, ["selector", "template"]);
    // One path item a path.
    assert_eq!(fields(field(&binary, 4)).len(), document["paths"].as_object().unwrap().len());
}

fn field(message: &[u8], number: u64) -> &[u8] {
    fields(message).into_iter().find(|(n, _)| *n == number).unwrap_or_else(|| panic!("no field {number}")).1
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
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

#[test]
fn only_the_older_document_is_compressed() {
    let ask = |path| get(path, None, &[(ACCEPT_ENCODING, "gzip")]);
    let (plain, packed) = (get("/openapi/v2", None, &[]), ask("/openapi/v2"));
    assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
    let mut text = Vec::new();
    GzDecoder::new(&**packed.body()).read_to_end(&mut text).unwrap();
    assert_eq!(text, **plain.body());
    assert_eq!(ask("/openapi/v3/api/v1").headers().get(CONTENT_ENCODING), None);
}
