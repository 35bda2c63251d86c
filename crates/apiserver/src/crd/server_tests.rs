//! Kinds that are added at run time, by a whole server.

use crate::server::Server;
use crate::server::testing::{Answer, Service, call, root, start};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const DEADLINE: Duration = Duration::from_secs(60);

struct World(Arc<Server>);

impl World {
    async fn with(definition: Value) -> Self {
        let world = Self(start().await);
        let answer = world.post(DEFINITIONS, definition).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
        let name = answer.json()["metadata"]["name"].as_str().unwrap().to_owned();
        world.until(&format!("{DEFINITIONS}/{name}"), |crd| crate::crd::naming::is(crd, "Established")).await;
        world
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Value,
    ) -> Answer {
        call(&self.0, root(), method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &[], body).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, &[], body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], Value::Null).await
    }

    async fn patch(&self, path: &str, media_type: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, &[("content-type", media_type)], body).await
    }

    /// Waits until an object is as it is wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        testkit::eventually_some(DEADLINE, async || {
            let answer = self.get(path).await;
            Some(answer.json()).filter(|object| answer.code == 200 && wanted(object))
        })
        .await
    }

    /// Waits until something is gone.
    async fn gone(&self, path: &str) {
        testkit::eventually(DEADLINE, async || self.get(path).await.code == 404).await;
    }
}

fn definition(versions: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"],
                "categories": ["all"]}}})
}

fn schema() -> Value {
    json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "color": {"type": "string", "default": "grey", "enum": ["grey", "red", "blue"]},
            "size": {"type": "integer", "minimum": 0},
            "port": {"x-kubernetes-int-or-string": true},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "count": {"type": "integer"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }},
        "status": {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}},
    }}})
}

fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": schema(),
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size",
            "labelSelectorPath": ".status.selector"}},
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_live_as_those_of_built_in_kinds() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    let created = world.post(WIDGETS, widget("a", json!({"size": 1}))).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let object = created.json();
    assert_eq!(object["spec"], json!({"size": 1, "color": "grey"}));
    assert_eq!(object["metadata"]["generation"], 1);
    assert_eq!(
        object["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {".": {}, "f:color": {}, "f:size": {}}})
    );
    assert_eq!(world.get(&format!("{WIDGETS}/a")).await.json(), object);
    let list = world.get(WIDGETS).await.json();
    assert_eq!((&list["kind"], &list["items"][0]), (&json!("WidgetList"), &object));
    let again = world.post(WIDGETS, widget("a", json!({}))).await;
    assert_eq!(again.message(), "widgets.example.com \"a\" already exists");

    let mut changed = object.clone();
    changed["spec"]["size"] = 2.into();
    changed["status"] = json!({"size": 9});
    let updated = world.put(&format!("{WIDGETS}/a"), changed).await.json();
    assert_eq!((&updated["metadata"]["generation"], &updated["status"]), (&json!(2), &Value::Null));
    let stale = world.put(&format!("{WIDGETS}/a"), object).await;
    assert_eq!(stale.code, 409);
    let unconditional = world.put(&format!("{WIDGETS}/a"), widget("a", json!({}))).await;
    assert!(
        unconditional.message().contains("metadata.resourceVersion: Invalid value"),
        "{}",
        unconditional.text
    );

    let watch = format!("{WIDGETS}?watch=true&resourceVersion=0&timeoutSeconds=1");
    let watched = world.get(&watch).await;
    let first: Value = serde_json::from_str(watched.text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["type"], &first["object"]), (&json!("ADDED"), &updated));

    assert_eq!(world.delete(&format!("{WIDGETS}/a")).await.json()["status"], "Success");
    assert_eq!(world.get(&format!("{WIDGETS}/a")).await.message(), "widgets.example.com \"a\" not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_and_openapi_tell_of_them_until_they_are_gone() {
    let mut old = version("v1beta1", false);
    old["served"] = false.into();
    let world = World::with(definition(json!([version("v1", true), old]))).await;
    let group = world.get("/apis/example.com").await.json();
    assert_eq!(group["versions"], json!([{"groupVersion": "example.com/v1", "version": "v1"}]));
    let resources = world.get("/apis/example.com/v1").await.json();
    let names: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let aggregated = world.call(Method::GET, "/apis", &accept, Value::Null).await.json();
    let items = aggregated["items"].as_array().unwrap();
    let own = items.iter().find(|item| item["metadata"]["name"] == "example.com").unwrap();
    assert_eq!(own["versions"][0]["resources"][0]["categories"], json!(["all"]));

    let document = world.get("/openapi/v3/apis/example.com/v1").await.json();
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["properties"]["color"]["default"], "grey");
    assert_eq!(widget["properties"]["spec"]["properties"]["port"]["anyOf"][1]["type"], "string");
    assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let v2 = world.get("/openapi/v2").await.json();
    let widget = &v2["definitions"]["com.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["properties"]["free"]["properties"], Value::Null);
    assert!(v2["definitions"]["com.example.v1.WidgetList"].is_object());
    assert!(v2["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"].is_object());
    assert_eq!(world.get("/apis/example.com/v1beta1").await.code, 404);

    world.delete(&format!("{DEFINITIONS}/widgets.example.com")).await;
    world.gone(&format!("{DEFINITIONS}/widgets.example.com")).await;
    world.gone("/apis/example.com").await;
    assert_eq!(world.get("/openapi/v3/apis/example.com/v1").await.code, 404);
    assert_eq!(world.get(WIDGETS).await.code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_schema_does_not_know_is_left_out_or_refused() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    let stray = || {
        let mut widget = widget("a", json!({"sise": 1, "free": {"any": [{"thing": 1}]}}));
        widget["metadata"]["lables"] = json!({});
        widget
    };
    let strict = world.post(&format!("{WIDGETS}?fieldValidation=Strict"), stray()).await;
    assert_eq!(strict.code, 400);
    assert_eq!(
        strict.message(),
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"metadata.lables\", unknown field \"spec.sise\""
    );
    let warned = world.post(&format!("{WIDGETS}?dryRun=All"), stray()).await;
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert_eq!(
        warnings,
        ["299 - \"unknown field \\\"metadata.lables\\\"\"", "299 - \"unknown field \\\"spec.sise\\\"\""]
    );
    let ignored = world.post(&format!("{WIDGETS}?fieldValidation=Ignore"), stray()).await;
    assert!(ignored.headers.get("warning").is_none());
    assert_eq!(ignored.json()["spec"], json!({"free": {"any": [{"thing": 1}]}, "color": "grey"}));
    let path = format!("{WIDGETS}/a?fieldValidation=Strict");
    let patched = world.patch(&path, "application/merge-patch+json", json!({"spec": {"sise": 1}})).await;
    assert_eq!(patched.code, 422);
    assert!(
        patched.message().contains("strict decoding error: unknown field \"spec.sise\""),
        "{}",
        patched.text
    );

    let invalid = world.post(WIDGETS, widget("b", json!({"color": "pink", "size": "x", "port": true}))).await;
    assert_eq!(invalid.code, 422);
    assert_eq!(
        invalid.message(),
        "Widget.example.com \"b\" is invalid: [spec.color: Unsupported value: \"pink\": supported values: \"grey\", \"red\", \"blue\", \
         spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\", \
         spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\", \
         .spec.size: Invalid value: 0: .spec.size accessor error: x is of the type string, expected int64]"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_scale_are_written_on_their_own() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    let mut object = world.post(WIDGETS, widget("a", json!({"size": 3}))).await.json();
    object["status"] = json!({"size": 2, "selector": "app=a", "stray": 1});
    object["spec"]["size"] = 9.into();
    let path = format!("{WIDGETS}/a");
    let written = world.put(&format!("{path}/status"), object.clone()).await.json();
    assert_eq!(written["status"], json!({"size": 2, "selector": "app=a"}));
    assert_eq!((&written["spec"]["size"], &written["metadata"]["generation"]), (&json!(3), &json!(1)));
    let wrong = world
        .patch(&format!("{path}/status"), "application/merge-patch+json", json!({"status": {"size": "x"}}))
        .await;
    assert!(wrong.message().contains("status.size"), "{}", wrong.text);

    let scale = world.get(&format!("{path}/scale")).await.json();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=a"}));
    let scaled = world
        .patch(&format!("{path}/scale"), "application/merge-patch+json", json!({"spec": {"replicas": 5}}))
        .await;
    assert_eq!(scaled.json()["spec"]["replicas"], 5, "{}", scaled.text);
    let after = world.get(&path).await.json();
    assert_eq!((&after["spec"]["size"], &after["metadata"]["generation"]), (&json!(5), &json!(2)));
    let negative = world
        .patch(&format!("{path}/scale"), "application/merge-patch+json", json!({"spec": {"replicas": -1}}))
        .await;
    assert_eq!(negative.code, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_versions_differ_in_name_alone_without_a_webhook() {
    let mut second = version("v2", true);
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = json!(["size"]);
    second["additionalPrinterColumns"] = json!([]);
    let mut first = version("v1", false);
    first["deprecated"] = true.into();
    let world = World::with(definition(json!([first, second]))).await;
    let created = world.post(WIDGETS, widget("a", json!({}))).await;
    assert_eq!(created.code, 201, "{}", created.text);
    assert_eq!(
        created.headers["warning"],
        "299 - \"example.com/v1 Widget is deprecated; use example.com/v2 Widget\""
    );
    assert_eq!(created.json()["apiVersion"], "example.com/v1");
    let path = "/apis/example.com/v2/namespaces/default/widgets";
    let shown = world.get(&format!("{path}/a")).await.json();
    assert_eq!((&shown["apiVersion"], &shown["spec"]), (&json!("example.com/v2"), &json!({"color": "grey"})));
    let mut other = widget("b", json!({}));
    other["apiVersion"] = "example.com/v2".into();
    assert!(world.post(path, other).await.message().contains("spec.size: Required value"));

    // What was stored in one version is read in another after that becomes the stored one.
    let crd = format!("{DEFINITIONS}/widgets.example.com");
    let mut definition = world.get(&crd).await.json();
    assert_eq!(definition["status"]["storedVersions"], json!(["v2"]));
    definition["spec"]["versions"][0]["storage"] = true.into();
    definition["spec"]["versions"][1]["storage"] = false.into();
    assert_eq!(world.put(&crd, definition).await.json()["status"]["storedVersions"], json!(["v2", "v1"]));
    let old = world.until(&format!("{WIDGETS}/a"), |object| object["apiVersion"] == "example.com/v1").await;

    // Whoever writes it as it is has it stored in that version; after that such a write changes nothing.
    let path = format!("{WIDGETS}/a");
    let migrated = testkit::eventually_some(DEADLINE, async || {
        let written = world.put(&path, old.clone()).await.json();
        (written["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]).then_some(written)
    })
    .await;
    assert_eq!((&migrated["spec"], &migrated["metadata"]["uid"]), (&old["spec"], &old["metadata"]["uid"]));
    let again = world.put(&path, migrated.clone()).await.json();
    assert_eq!(again["metadata"]["resourceVersion"], migrated["metadata"]["resourceVersion"]);
    // Then the other version may go.
    let mut definition = world.get(&crd).await.json();
    definition["status"]["storedVersions"] = json!(["v1"]);
    let told = world.put(&format!("{crd}/status"), definition).await;
    assert_eq!((told.code, &told.json()["status"]["storedVersions"]), (200, &json!(["v1"])), "{}", told.text);
    let mut definition = world.get(&crd).await.json();
    definition["spec"]["versions"].as_array_mut().expect("versions").pop();
    assert_eq!(world.put(&crd, definition).await.code, 200);
    assert_eq!(world.get(&path).await.json()["spec"], old["spec"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_registered_as_long_as_it_is_served() {
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let world = World::with(definition(json!([version("v1", true)]))).await;
    let custom = format!("{services}/v1.example.com");
    let registered = world.until(&custom, |_| true).await;
    let label = "kube-aggregator.kubernetes.io/automanaged";
    assert_eq!(registered["metadata"]["labels"][label], "true");
    assert_eq!(
        registered["spec"],
        json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );
    assert_eq!(registered["status"]["conditions"][0]["reason"], "Local");
    let apps = world.get(&format!("{services}/v1.apps")).await.json();
    assert_eq!(
        (&apps["metadata"]["labels"][label], &apps["spec"]["groupPriorityMinimum"]),
        (&json!("onstart"), &json!(17_800))
    );
    assert_eq!(world.get(&format!("{services}/v1.")).await.json()["spec"]["version"], "v1");
    // It is made again, and goes with the group.
    assert_eq!(world.delete(&custom).await.code, 200);
    world.until(&custom, |new| new["metadata"]["uid"] != registered["metadata"]["uid"]).await;
    assert_eq!(world.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.code, 200);
    world.gone(&custom).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_must_fit_the_schema_and_cost_little() {
    let world = World(start().await);
    let mut refused = version("v1", true);
    refused["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = json!([
        {"rule": "self.sise > 1"}, {"rule": "self.size > 'a'"},
        {"rule": "self.parts.all(p, self.parts.all(q, p.name == q.name))"},
    ]);
    let answer = world.post(DEFINITIONS, definition(json!([refused]))).await;
    let at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations";
    for told in [
        format!("{at}[0].rule: Invalid value: {{\"Rule\":\"self.sise > 1\",\"Message\":\"\","),
        "compilation failed: ERROR: <input>:1:5: undefined field 'sise'".to_owned(),
        "found no matching overload for '_>_' applied to '(int, string)'".to_owned(),
        format!("{at}[2].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"),
        "spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule".to_owned(),
    ] {
        assert!(answer.code == 422 && answer.message().contains(&told), "{told}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_selectors_and_media_types_are_as_the_definition_says() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        world.post(WIDGETS, widget(name, json!({"color": color}))).await;
    }
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = world.call(Method::GET, WIDGETS, &accept, Value::Null).await.json();
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(columns, ["Name", "Color", "Age"]);
    assert_eq!(table["rows"][1]["cells"][1], "blue");
    let selected = world.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dred")).await.json();
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    let unknown = world.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D1")).await;
    assert_eq!((unknown.code, unknown.message().as_str()), (400, "field label not supported: spec.size"));

    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    assert_eq!(world.call(Method::GET, WIDGETS, &protobuf, Value::Null).await.code, 406);
    let strategic =
        world.patch(&format!("{WIDGETS}/a"), "application/strategic-merge-patch+json", json!({})).await;
    assert_eq!(strategic.code, 415);
    let sent = world
        .call(Method::POST, WIDGETS, &[("content-type", "application/vnd.kubernetes.protobuf")], json!({}))
        .await;
    assert_eq!(sent.code, 415);
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let partial = world.call(Method::GET, WIDGETS, &partial, Value::Null).await.json();
    assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applies_follow_the_schemas_lists_and_maps() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    let apply = async |manager: &str, parts: Value| {
        let path = format!("{WIDGETS}/a?fieldManager={manager}");
        world.patch(&path, "application/apply-patch+yaml", widget("a", json!({"parts": parts}))).await
    };
    assert_eq!(apply("one", json!([{"name": "x", "count": 1}])).await.code, 201);
    let both = apply("two", json!([{"name": "y", "count": 2}])).await.json();
    assert_eq!(both["spec"]["parts"], json!([{"name": "x", "count": 1}, {"name": "y", "count": 2}]));
    let conflict = apply("two", json!([{"name": "x", "count": 3}])).await;
    assert_eq!(conflict.code, 409);
    assert!(conflict.message().contains(".spec.parts[name=\"x\"].count"), "{}", conflict.text);
    let same = apply("two", json!([{"name": "y", "count": 2}])).await.json();
    assert_eq!(same["metadata"]["resourceVersion"], both["metadata"]["resourceVersion"]);
    let gone = apply("one", json!([])).await.json();
    assert_eq!(gone["spec"]["parts"], json!([{"name": "y", "count": 2}]));
    let stray = apply("one", json!([{"name": "x", "cuont": 1}])).await;
    assert!(
        stray.message().contains(".spec.parts[name=\"x\"].cuont: field not declared in schema"),
        "{}",
        stray.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_goes_after_its_objects() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    let mut held = widget("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(WIDGETS, held).await;
    world.post(WIDGETS, widget("free", json!({}))).await;
    let crd = format!("{DEFINITIONS}/widgets.example.com");
    let deleted = world.delete(&crd).await.json();
    assert_eq!(deleted["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    world.gone(&format!("{WIDGETS}/free")).await;
    let terminating = world.until(&crd, |crd| crate::crd::naming::is(crd, "Terminating")).await;
    assert!(crate::crd::naming::is(&terminating, "Established"));
    let refused = testkit::eventually_some(DEADLINE, async || {
        Some(world.post(WIDGETS, widget("late", json!({}))).await).filter(|answer| answer.code == 405)
    })
    .await;
    assert_eq!(refused.message(), "create not allowed while custom resource definition is terminating");
    world
        .until(&format!("{WIDGETS}/held"), |object| object["metadata"]["deletionTimestamp"].is_string())
        .await;
    assert_eq!(world.get(&crd).await.code, 200);
    let let_go = json!({"metadata": {"finalizers": null}});
    world.patch(&format!("{WIDGETS}/held"), "application/merge-patch+json", let_go).await;
    world.gone(&crd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_schema_gives_defaults_to_what_is_stored_and_prunes_it() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    world.post(WIDGETS, widget("a", json!({"size": 1, "free": {"x": 1}}))).await;
    let crd = format!("{DEFINITIONS}/widgets.example.com");
    let mut definition = world.get(&crd).await.json();
    let spec = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec.as_object_mut().unwrap().shift_remove("free");
    spec["shape"] = json!({"type": "string", "default": "round"});
    assert_eq!(world.put(&crd, definition).await.code, 200);
    let read = world.until(&format!("{WIDGETS}/a"), |object| object["spec"]["shape"] == "round").await;
    assert_eq!(read["spec"], json!({"size": 1, "color": "grey", "shape": "round"}));
    let list = world.get(WIDGETS).await.json();
    assert_eq!(list["items"][0]["spec"], read["spec"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_another_definition_are_not_given_twice() {
    let world = World::with(definition(json!([version("v1", true)]))).await;
    let mut other = definition(json!([version("v1", true)]));
    other["metadata"]["name"] = "gadgets.example.com".into();
    other["spec"]["names"] =
        json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["wd"]});
    world.post(DEFINITIONS, other).await;
    let crd = format!("{DEFINITIONS}/gadgets.example.com");
    let refused = |crd: &Value| {
        let conditions = crd["status"]["conditions"].as_array().into_iter().flatten();
        conditions.filter(|c| c["type"] == "NamesAccepted").any(|c| c["reason"] == "ShortNamesConflict")
    };
    world.until(&crd, refused).await;
    assert_eq!(world.get("/apis/example.com/v1/gadgets").await.code, 404);
    // Whoever has the name goes; then the other gets it.
    world.delete(&format!("{DEFINITIONS}/widgets.example.com")).await;
    world.until(&crd, |crd| crate::crd::naming::is(crd, "Established")).await;
    assert_eq!(world.get("/apis/example.com/v1/gadgets").await.code, 200);
}

/// Version 1 has `address`, version 2 has `host` and `port`.
fn converted(path: &str, review: Value) -> Value {
    assert_eq!(path, "/convert");
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap().to_owned();
    let objects = review["request"]["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.as_str().into();
        let spec = object["spec"].take();
        object["spec"] = if wanted.ends_with("/v2") {
            let address = spec["address"].as_str().unwrap_or_default().to_owned();
            let (host, port) = address.split_once(':').unwrap_or((&address, ""));
            json!({"host": host, "port": port})
        } else {
            let text = |name: &str| spec[name].as_str().unwrap_or_default().to_owned();
            json!({"address": format!("{}:{}", text("host"), text("port"))})
        };
        object
    });
    let objects: Vec<Value> = objects.collect();
    let result = match objects.iter().any(|object| object["metadata"]["labels"]["bad"] == "yes") {
        true => json!({"status": "Failed", "message": "not this one"}),
        false => json!({"status": "Success"}),
    };
    json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": objects}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_converts_between_versions_and_a_list_of_both() {
    use base64::Engine as _;
    let webhook = Service::start(|_| Arc::new(converted)).await;
    let version = |name: &str, storage: bool, fields: &[&str]| {
        let properties: Value = fields.iter().map(|f| ((*f).to_owned(), json!({"type": "string"}))).collect();
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "required": fields, "properties": properties}}}}})
    };
    let mut whole =
        definition(json!([version("v1", true, &["address"]), version("v2", false, &["host", "port"])]));
    let ca = base64::engine::general_purpose::STANDARD.encode(webhook.pki.ca.pem());
    whole["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("{}/convert", webhook.url), "caBundle": ca}}});
    let world = World::with(whole).await;
    let second = "/apis/example.com/v2/namespaces/default/widgets";
    let created = world.post(WIDGETS, widget("a", json!({"address": "x:1"}))).await;
    assert_eq!((created.code, webhook.asked()), (201, 0), "{}", created.text);
    let shown = world.get(&format!("{second}/a")).await.json();
    assert_eq!(
        (&shown["apiVersion"], &shown["spec"]),
        (&json!("example.com/v2"), &json!({"host": "x", "port": "1"}))
    );
    let mut other = widget("b", json!({"host": "y", "port": "2"}));
    other["apiVersion"] = "example.com/v2".into();
    let created = world.post(second, other).await;
    assert_eq!((created.code, &created.json()["spec"]["host"]), (201, &json!("y")), "{}", created.text);
    let patch = json!({"spec": {"port": "3"}});
    assert_eq!(world.patch(&format!("{second}/b"), "application/merge-patch+json", patch).await.code, 200);
    assert_eq!(world.get(&format!("{WIDGETS}/b")).await.json()["spec"], json!({"address": "y:3"}));

    // What was stored before version 2 became the stored one is converted when it is read.
    let crd = format!("{DEFINITIONS}/widgets.example.com");
    let mut changed = world.get(&crd).await.json();
    changed["spec"]["versions"][0]["storage"] = false.into();
    changed["spec"]["versions"][1]["storage"] = true.into();
    assert_eq!(world.put(&crd, changed).await.code, 200);
    let mut third = widget("c", json!({"host": "z", "port": "4"}));
    third["apiVersion"] = "example.com/v2".into();
    assert_eq!(world.post(second, third).await.code, 201);
    for (path, field, values) in
        [(second, "host", json!(["x", "y", "z"])), (WIDGETS, "address", json!(["x:1", "y:3", "z:4"]))]
    {
        let list = world.get(path).await.json();
        let found: Vec<Value> =
            list["items"].as_array().unwrap().iter().map(|item| item["spec"][field].clone()).collect();
        assert_eq!(Value::from(found), values, "{list}");
    }
    let mut bad = widget("d", json!({"host": "q", "port": "5"}));
    bad["apiVersion"] = "example.com/v2".into();
    bad["metadata"]["labels"] = json!({"bad": "yes"});
    assert_eq!(world.post(second, bad).await.code, 201);
    let refused = world.get(&format!("{WIDGETS}/d")).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (500, "conversion webhook for example.com/v2, Kind=Widget failed: not this one")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_asked_when_objects_are_written() {
    let mut version = version("v1", true);
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = json!([
        {"rule": "!has(self.size) || self.size < 10", "message": "too large", "fieldPath": ".size"},
        {"rule": "self.color == oldSelf.color", "messageExpression": "'it stays ' + oldSelf.color", "reason": "FieldValueForbidden"},
    ]);
    let world = World::with(definition(json!([version]))).await;
    let refused = world.post(WIDGETS, widget("a", json!({"size": 10}))).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (422, "Widget.example.com \"a\" is invalid: spec.size: Invalid value: \"object\": too large")
    );
    assert_eq!(world.post(WIDGETS, widget("a", json!({"size": 9}))).await.code, 201);
    let path = format!("{WIDGETS}/a");
    let painted = world.patch(&path, "application/merge-patch+json", json!({"spec": {"color": "red"}})).await;
    assert_eq!(painted.message(), "Widget.example.com \"a\" is invalid: spec: Forbidden: it stays grey");
    let blocked = world.post(WIDGETS, widget("b", json!({"size": "x", "color": "grey"}))).await;
    assert!(
        blocked.message().contains("<nil>: Invalid value: null: some validation rules were not checked"),
        "{}",
        blocked.text
    );
}
