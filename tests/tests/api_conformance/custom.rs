//! sig-api-machinery: kinds that are added at run time: CustomResourceDefinition, AggregatedDiscovery,
//! CustomResourcePublishOpenAPI, FieldValidation.
//!
//! **Not here**: the same with stock clients (`tests/tests/custom_resources.rs`), with webhooks (`tests/tests/webhooks`).
//! **Upstream**: `test/e2e/apimachinery/{custom_resource_definition,crd_watch,crd_publish_openapi,field_validation,aggregated_discovery}.go`.

use super::wire::{MERGE, Wire, revision};
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const APPLY: &str = "application/apply-patch+yaml";

/// A definition of `foos` in a group, by the names and schemas of its versions; the first is stored.
fn definition(group: &str, kind: &str, versions: &[(&str, Value)]) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let version = |(index, (name, schema)): (usize, &(&str, Value))| json!({"name": name, "served": true, "storage": index == 0, "schema": {"openAPIV3Schema": schema}});
    let versions: Vec<Value> = versions.iter().enumerate().map(version).collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "labels": {"e2e": "custom"}},
        "spec": {"group": group, "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind}}})
}

/// A schema that knows `spec.bars`, a list of named ones, and an embedded template.
fn described() -> Value {
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {"spec": {
        "type": "object", "description": "Specification of Foo", "required": ["bars"], "properties": {
            "bars": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "description": "Name of Bar."}, "age": {"type": "string"}}}},
            "cronSpec": {"type": "string"},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
                "spec": {"type": "object", "properties": {"ports": {"type": "array", "items": {"type": "string"}}}}}}}}}})
}

fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn objects(group: &str, version: &str, kind: &str) -> String {
    format!("/apis/{group}/{version}/namespaces/default/{}s", kind.to_lowercase())
}

/// Installs a definition and waits until its objects can be listed.
async fn install(wire: &Wire, definition: &Value) {
    wire.post(DEFINITIONS, definition).await.ok();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let spec = &definition["spec"];
    let path =
        objects(&text(&spec["group"]), &text(&spec["versions"][0]["name"]), &text(&spec["names"]["kind"]));
    wire.eventually(&path, |answer| answer.code == 200).await;
}

/// The definition of a kind in the document of version 3; null if it says nothing of it.
async fn published(wire: &Wire, group: &str, version: &str, kind: &str) -> Value {
    let answer = wire.get(&format!("/openapi/v3/apis/{group}/{version}")).await;
    let reversed: Vec<&str> = group.split('.').rev().collect();
    answer.body["components"]["schemas"][format!("{}.{version}.{kind}", reversed.join("."))].clone()
}

/// The same of version 2.
async fn published_before(wire: &Wire, group: &str, version: &str, kind: &str) -> Value {
    let document = wire.get("/openapi/v2").await.ok();
    let reversed: Vec<&str> = group.split('.').rev().collect();
    document["definitions"][format!("{}.{version}.{kind}", reversed.join("."))].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_definition_watch_should_watch_on_custom_resource_definition_objects() {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v1", open())])).await;
    let path = objects("example.org", "v1", "Foo");
    let start = revision(&wire.get(&path).await.ok()).to_string();
    let mut watch = wire.watch(&path, &start, "").await;
    for name in ["name1", "name2"] {
        let foo = json!({"apiVersion": "example.org/v1", "kind": "Foo", "metadata": {"name": name}, "content": {"key": "value"}});
        wire.post(&path, &foo).await.ok();
        watch.sees("ADDED", |object| object["metadata"]["name"] == name).await;
    }
    for name in ["name1", "name2"] {
        wire.patch(MERGE, &format!("{path}/{name}"), &json!({"dummy": "test"})).await.ok();
        watch
            .sees("MODIFIED", |object| object["metadata"]["name"] == name && object["dummy"] == "test")
            .await;
    }
    for name in ["name1", "name2"] {
        wire.delete(&format!("{path}/{name}")).await.ok();
        watch.sees("DELETED", |object| object["metadata"]["name"] == name).await;
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_definition_listing_custom_resource_definition_objects_works() {
    let wire = Wire::start().await;
    for kind in ["Foo", "Bar", "Baz"] {
        install(&wire, &definition("example.org", kind, &[("v1", open())])).await;
    }
    let marked = format!("{DEFINITIONS}?labelSelector=e2e%3Dcustom");
    let listed = wire.get(&marked).await.ok();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3));
    wire.delete(&marked).await.ok();
    wire.eventually(&marked, |answer| answer.body["items"].as_array().is_some_and(Vec::is_empty)).await;
    wire.eventually(&objects("example.org", "v1", "Foo"), |answer| answer.code == 404).await;
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_defaulting_for_requests_and_from_storage_works() {
    let wire = Wire::start().await;
    let schema = |extra: Value| {
        let mut schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "A"}, "b": {"type": "string"}}});
        if !extra.is_null() {
            schema["properties"]["b"] = extra;
        }
        schema
    };
    install(&wire, &definition("example.org", "Foo", &[("v1", schema(Value::Null))])).await;
    let path = objects("example.org", "v1", "Foo");
    let foo = json!({"apiVersion": "example.org/v1", "kind": "Foo", "metadata": {"name": "foo"}});
    // On the way in.
    let made = wire.post(&path, &foo).await.ok();
    assert_eq!((&made["a"], &made["b"]), (&json!("A"), &Value::Null));
    // On the way out of storage, once the schema says more.
    let more = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": schema(json!({"type": "string", "default": "B"}))}]);
    let at = format!("{DEFINITIONS}/foos.example.org");
    wire.patch("application/json-patch+json", &at, &more).await.ok();
    let read = wire.eventually(&format!("{path}/foo"), |answer| answer.body["b"] == "B").await;
    assert_eq!(read.body["a"], "A");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_definition_should_include_custom_resource_definition_resources_in_discovery_documents()
 {
    let wire = Wire::start().await;
    let groups = wire.get("/apis").await.ok();
    let group = groups["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .find(|group| group["name"] == "apiextensions.k8s.io");
    assert_eq!(group.expect("the group")["preferredVersion"]["groupVersion"], "apiextensions.k8s.io/v1");
    let group = wire.get("/apis/apiextensions.k8s.io").await.ok();
    assert_eq!(group["versions"][0]["version"], "v1");
    let resources = wire.get("/apis/apiextensions.k8s.io/v1").await.ok();
    let names = resources["resources"].as_array().expect("resources").iter();
    assert!(names.clone().any(|resource| resource["name"] == "customresourcedefinitions"));
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregated_discovery_should_support_aggregated_discovery_interface_and_raw_requests_for_crds() {
    let wire = Wire::start().await;
    let mut made = definition("example.org", "Foo", &[("v1", open())]);
    made["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    made["spec"]["names"]["shortNames"] = json!(["fo"]);
    install(&wire, &made).await;
    let document = wire.send("GET", "/apis", &[("accept", AGGREGATED)], Vec::new()).await.ok();
    assert_eq!(document["kind"], "APIGroupDiscoveryList");
    let groups = document["items"].as_array().expect("groups").iter();
    let group = groups.clone().find(|group| group["metadata"]["name"] == "example.org").expect("the group");
    assert_eq!(
        group["versions"],
        json!([{"version": "v1", "freshness": "Current", "resources": [{
            "resource": "foos", "singularResource": "foo", "scope": "Namespaced", "shortNames": ["fo"],
            "responseKind": {"group": "", "version": "", "kind": "Foo"},
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "subresources": [{"subresource": "status", "verbs": ["get", "patch", "update"],
                "responseKind": {"group": "", "version": "", "kind": "Foo"}}]}]}])
    );
    wire.delete(&format!("{DEFINITIONS}/foos.example.org")).await.ok();
    let gone = async || {
        let document = wire.send("GET", "/apis", &[("accept", AGGREGATED)], Vec::new()).await.ok();
        let mut groups = document["items"].as_array().expect("groups").iter();
        groups.all(|group| group["metadata"]["name"] != "example.org")
    };
    testkit::eventually(tests::DEADLINE, gone).await;
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_publish_open_api_works_for_crd_with_and_without_validation_schema() {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v1", described())])).await;
    install(&wire, &definition("example.org", "Bar", &[("v1", open())])).await;
    let foo = published(&wire, "example.org", "v1", "Foo").await;
    assert_eq!(foo["description"], "Foo CRD for Testing");
    assert_eq!(foo["properties"]["spec"]["properties"]["bars"]["items"]["required"], json!(["name"]));
    assert_eq!(
        foo["x-kubernetes-group-version-kind"],
        json!([{"group": "example.org", "kind": "Foo", "version": "v1"}])
    );
    let bar = published(&wire, "example.org", "v1", "Bar").await;
    assert_eq!(bar["x-kubernetes-preserve-unknown-fields"], true);
    assert_eq!(
        published_before(&wire, "example.org", "v1", "Foo").await["description"],
        "Foo CRD for Testing"
    );
    let bar = published_before(&wire, "example.org", "v1", "Bar").await;
    assert_eq!((&bar["type"], &bar["properties"]), (&json!("object"), &Value::Null));
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_publish_open_api_works_for_multiple_crds() {
    let wire = Wire::start().await;
    // Of different groups; of the same group but different versions; of the same group and version but different kinds.
    install(&wire, &definition("example.org", "Foo", &[("v2", described()), ("v3", described())])).await;
    install(&wire, &definition("example.com", "Foo", &[("v2", described())])).await;
    install(&wire, &definition("example.org", "Bar", &[("v2", described())])).await;
    for (group, version, kind) in [
        ("example.org", "v2", "Foo"),
        ("example.org", "v3", "Foo"),
        ("example.com", "v2", "Foo"),
        ("example.org", "v2", "Bar"),
    ] {
        for document in [
            published(&wire, group, version, kind).await,
            published_before(&wire, group, version, kind).await,
        ] {
            assert_eq!(document["description"], "Foo CRD for Testing", "{group} {version} {kind}");
        }
    }
    let index = wire.get("/openapi/v3").await.ok();
    for document in ["apis/example.org/v2", "apis/example.org/v3", "apis/example.com/v2"] {
        assert!(index["paths"][document]["serverRelativeURL"].is_string(), "{document}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_publish_open_api_updates_the_published_spec_when_one_version_gets_renamed() {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v2", described()), ("v3", described())])).await;
    let bars = published(&wire, "example.org", "v2", "Foo").await;
    let rename = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
    let at = format!("{DEFINITIONS}/foos.example.org");
    wire.patch("application/json-patch+json", &at, &rename).await.ok();
    wire.eventually("/openapi/v3/apis/example.org/v4", |answer| answer.code == 200).await;
    assert_eq!(published(&wire, "example.org", "v4", "Foo").await["description"], "Foo CRD for Testing");
    assert!(!published_before(&wire, "example.org", "v4", "Foo").await.is_null());
    assert_eq!(wire.get("/openapi/v3/apis/example.org/v3").await.code, 404);
    assert!(published_before(&wire, "example.org", "v3", "Foo").await.is_null());
    assert_eq!(published(&wire, "example.org", "v2", "Foo").await, bars);
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resource_publish_open_api_removes_definition_from_spec_when_one_version_gets_changed_to_not_be_served()
 {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v5", described()), ("v6alpha1", described())]))
        .await;
    assert!(!published(&wire, "example.org", "v6alpha1", "Foo").await.is_null());
    let hide = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    let at = format!("{DEFINITIONS}/foos.example.org");
    wire.patch("application/json-patch+json", &at, &hide).await.ok();
    wire.eventually("/openapi/v3/apis/example.org/v6alpha1", |answer| answer.code == 404).await;
    assert!(published_before(&wire, "example.org", "v6alpha1", "Foo").await.is_null());
    assert!(!published(&wire, "example.org", "v5", "Foo").await.is_null());
    wire.stop().await;
}

/// Applies JSON text to a path, with a mode of validation.
async fn apply(wire: &Wire, path: &str, mode: &str, text: &str) -> super::wire::Answer {
    let path = format!("{path}?fieldManager=field-validation&force=true&fieldValidation={mode}");
    wire.send("PATCH", &path, &[("content-type", APPLY)], text.as_bytes().to_vec()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_validation_should_create_apply_a_valid_cr_for_crd_with_validation_schema() {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v1", described())])).await;
    let path = objects("example.org", "v1", "Foo");
    let foo = |name: &str, spec: &str| {
        format!(
            r#"{{"apiVersion":"example.org/v1","kind":"Foo","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
        )
    };
    let good = r#"{"bars":[{"name":"test-bar"}],"cronSpec":"* * * * */5"}"#;
    let created = wire
        .send(
            "POST",
            &format!("{path}?fieldValidation=Strict"),
            &[("content-type", "application/json")],
            foo("a", good).into_bytes(),
        )
        .await;
    assert_eq!(created.code, 201, "{}", created.body);
    assert_eq!(apply(&wire, &format!("{path}/b"), "Strict", &foo("b", good)).await.code, 201);
    // An invalid one with extra properties.
    let extra = r#"{"bars":[{"name":"test-bar"}],"cronSpec":"* * * * */5","extraProperty":"x"}"#;
    let refused = apply(&wire, &format!("{path}/c"), "Strict", &foo("c", extra)).await;
    assert!(
        refused.code >= 400
            && refused.body["message"].as_str().is_some_and(|m| m.contains("field not declared in schema")),
        "{}",
        refused.body
    );
    let refused = wire
        .send(
            "POST",
            &format!("{path}?fieldValidation=Strict"),
            &[("content-type", "application/json")],
            foo("c", extra).into_bytes(),
        )
        .await
        .refused(400);
    assert!(refused.contains("unknown field \"spec.extraProperty\""), "{refused}");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_validation_should_detect_unknown_and_duplicate_fields_in_both_the_root_and_embedded_object_of_a_cr()
 {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v1", described())])).await;
    let path = objects("example.org", "v1", "Foo");
    let text = r#"{"apiVersion":"example.org/v1","kind":"Foo","metadata":{"name":"a","unknownMeta":"x"},
        "spec":{"bars":[],"cronSpec":"1","cronSpec":"2","unknown":"x",
            "template":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","unknownSubMeta":"x"},"spec":{"ports":[],"stray":1}}}}"#;
    let post = async |mode: &str| {
        let path = format!("{path}?fieldValidation={mode}");
        wire.send("POST", &path, &[("content-type", "application/json")], text.as_bytes().to_vec()).await
    };
    let strict = post("Strict").await.refused(400);
    for told in [
        "duplicate field \"spec.cronSpec\"",
        "unknown field \"metadata.unknownMeta\"",
        "unknown field \"spec.unknown\"",
        "unknown field \"spec.template.metadata.unknownSubMeta\"",
        "unknown field \"spec.template.spec.stray\"",
    ] {
        assert!(strict.contains(told), "{told}: {strict}");
    }
    let warned = post("Warn").await;
    assert_eq!(warned.headers.get_all("warning").iter().count(), 5, "{:?}", warned.headers);
    let made = warned.ok();
    assert_eq!((&made["spec"]["cronSpec"], &made["spec"]["unknown"]), (&json!("2"), &Value::Null));
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_validation_should_detect_duplicates_in_a_cr_when_preserving_unknown_fields() {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v1", open())])).await;
    let path = objects("example.org", "v1", "Foo");
    let text = r#"{"apiVersion":"example.org/v1","kind":"Foo","metadata":{"name":"a"},"spec":{"unknown":"fine","foo":"1","foo":"2"}}"#;
    let strict = format!("{path}?fieldValidation=Strict");
    let refused = wire
        .send("POST", &strict, &[("content-type", "application/json")], text.as_bytes().to_vec())
        .await
        .refused(400);
    assert!(
        refused.contains("duplicate field \"spec.foo\"") && !refused.contains("unknown field"),
        "{refused}"
    );
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_validation_should_create_apply_a_cr_with_unknown_fields_for_crd_with_no_validation_schema() {
    let wire = Wire::start().await;
    install(&wire, &definition("example.org", "Foo", &[("v1", open())])).await;
    let path = objects("example.org", "v1", "Foo");
    let text = r#"{"apiVersion":"example.org/v1","kind":"Foo","metadata":{"name":"a"},"spec":{"anything":{"goes":[1]}}}"#;
    let strict = format!("{path}?fieldValidation=Strict");
    wire.send("POST", &strict, &[("content-type", "application/json")], text.as_bytes().to_vec()).await.ok();
    let applied = apply(&wire, &format!("{path}/a"), "Strict", text).await.ok();
    assert_eq!(applied["spec"]["anything"]["goes"], json!([1]));
    wire.stop().await;
}
