//! Webhooks that look at custom resources, in whichever version.

use super::{CONFIGS, MUTATING, VALIDATING, cluster, configure, denier, hook, rule, stages};
use kube::Client;
use serde_json::{Value, json};
use testkit::eventually;
use tests::DEADLINE;
use tests::raw::{create, delete, get, merge, message};
use tests::tls_server::Webhook;

const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

/// Defines `foos.example.com`, of which `v1` has a schema for its data, or none that says anything; `stored` is kept.
async fn define(client: &Client, stored: &str, pruning: bool) {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let data = json!({"type": "object", "properties": {"data": {"type": "object", "properties": {
        "mutation-start": {"type": "string"}, "mutation-stage-1": {"type": "string"}}}}});
    let version = |name: &str| {
        let schema = if pruning { &data } else { &open };
        json!({"name": name, "served": true, "storage": name == stored, "schema": {"openAPIV3Schema": schema}})
    };
    let definition = json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"}, "versions": [version("v1"), version("v2")]}});
    create(client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)
        .await
        .expect("a definition");
    eventually(DEADLINE, async || get(client, FOOS).await.is_ok()).await;
}

fn foo(name: &str, data: &Value) -> Value {
    json!({"kind": "Foo", "apiVersion": "example.com/v1", "metadata": {"name": name}, "data": data})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_be_able_to_deny_custom_resource_creation_update_and_deletion() {
    let (cluster, client) = cluster().await;
    define(&client, "v1", false).await;
    let webhook = Webhook::start(&["localhost"], denier).await;
    let rules = json!([rule(&["CREATE", "UPDATE", "DELETE"], &["example.com"], &["foos"])]);
    configure(&client, VALIDATING, "foos", vec![hook("foos", &webhook.at("/"), rules)])
        .await
        .expect("configured");
    let bad = json!({"webhook-e2e-test": "webhook-disallow"});
    let denied = "admission webhook \"foos.example.com\" denied the request: the configmap contains unwanted key and value";
    assert_eq!(message(create(&client, FOOS, &foo("bad", &bad)).await), denied);
    create(&client, FOOS, &foo("good", &json!({}))).await.expect("allowed");
    let path = format!("{FOOS}/good");
    assert_eq!(message(merge(&client, &path, &json!({"data": bad})).await), denied);
    // What is marked while nobody looks is not deleted while somebody does.
    let configuration = format!("{CONFIGS}/validatingwebhookconfigurations/foos");
    let own = get(&client, &configuration).await.expect("a configuration")["webhooks"].clone();
    merge(&client, &configuration, &json!({"webhooks": []})).await.expect("patched");
    merge(&client, &path, &json!({"data": bad})).await.expect("marked");
    merge(&client, &configuration, &json!({"webhooks": own})).await.expect("patched");
    assert_eq!(message(delete(&client, &path).await), denied);
    merge(&client, &configuration, &json!({"webhooks": []})).await.expect("patched");
    delete(&client, &path).await.expect("deleted");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_mutate_custom_resource_with_different_stored_version_and_with_pruning() {
    for (stored, pruning) in [("v1", false), ("v2", false), ("v2", true)] {
        let (cluster, client) = cluster().await;
        define(&client, stored, pruning).await;
        let webhook = Webhook::start(&["localhost"], stages).await;
        let mut rule = rule(&["CREATE", "UPDATE"], &["example.com"], &["foos"]);
        rule["apiVersions"] = json!(["v1"]);
        let rules = json!([rule]);
        configure(&client, MUTATING, "a", vec![hook("first", &webhook.at("/first"), rules.clone())])
            .await
            .expect("configured");
        configure(&client, MUTATING, "b", vec![hook("second", &webhook.at("/second"), rules)])
            .await
            .expect("configured");
        let start = json!({"mutation-start": "yes"});
        let made = create(&client, FOOS, &foo("one", &start)).await.expect("created");
        let mut expected = json!({"mutation-start": "yes", "mutation-stage-1": "yes"});
        if !pruning {
            expected["mutation-stage-2"] = "yes".into();
        }
        assert_eq!(made["data"], expected, "{stored} {pruning}");
        // Through the other version the webhook is shown the one that it knows.
        let mut other = foo("two", &start);
        other["apiVersion"] = "example.com/v2".into();
        let made = create(&client, &FOOS.replace("v1", "v2"), &other).await.expect("created");
        assert_eq!((&made["apiVersion"], &made["data"]), (&json!("example.com/v2"), &expected));
        let asked = webhook.asked();
        let last = asked.last().expect("it was asked");
        assert_eq!(
            (&last["object"]["apiVersion"], &last["requestKind"]["version"]),
            (&json!("example.com/v1"), &json!("v2"))
        );
        cluster.stop().await;
    }
}

/// A crontab of `v1` has `hostPort`, one of `v2` has `host` and `port`.
fn convert(_: &str, request: &Value) -> Value {
    let wanted = request["desiredAPIVersion"].as_str().expect("a version");
    let converted = request["objects"].as_array().expect("objects").iter().map(|object| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.into();
        let fields = object.as_object_mut().expect("an object");
        if wanted.ends_with("/v2") {
            let whole = fields.remove("hostPort").unwrap_or_default();
            let (host, port) = whole.as_str().and_then(|text| text.split_once(':')).unwrap_or(("", ""));
            fields.insert("host".to_owned(), host.into());
            fields.insert("port".to_owned(), port.into());
        } else {
            let part = |value: Option<Value>| {
                value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
            };
            let (host, port) = (part(fields.remove("host")), part(fields.remove("port")));
            fields.insert("hostPort".to_owned(), format!("{host}:{port}").into());
        }
        object
    });
    let converted: Vec<Value> = converted.collect();
    json!({"convertedObjects": converted, "result": {"status": "Success"}})
}

/// The definition of crontabs in both versions, one of them stored.
fn crontabs(webhook: &Webhook, stored: &str) -> Value {
    let text = || json!({"type": "string"});
    let version = |name: &str, properties: Value| {
        json!({"name": name, "served": true, "storage": name == stored,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    let conversion = json!({"strategy": "Webhook",
        "webhook": {"clientConfig": webhook.at("/convert"), "conversionReviewVersions": ["v1", "v1beta1"]}});
    json!({"metadata": {"name": "crontabs.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "crontabs", "kind": "CronTab"}, "conversion": conversion,
        "versions": [version("v1", json!({"hostPort": text()})), version("v2", json!({"host": text(), "port": text()}))]}})
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRONTABS: &str = "/apis/example.com/v1/namespaces/default/crontabs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_be_able_to_convert_from_cr_v1_to_cr_v2() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], convert).await;
    create(&client, DEFINITIONS, &crontabs(&webhook, "v1")).await.expect("a definition");
    eventually(DEADLINE, async || get(&client, CRONTABS).await.is_ok()).await;
    let one = json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": {"name": "one"}, "hostPort": "localhost:8080"});
    create(&client, CRONTABS, &one).await.expect("created");
    let path = format!("{}/one", CRONTABS.replace("v1", "v2"));
    let shown = get(&client, &path).await.expect("a crontab");
    assert_eq!(
        (&shown["apiVersion"], &shown["host"], &shown["port"], &shown["hostPort"]),
        (&json!("example.com/v2"), &json!("localhost"), &json!("8080"), &Value::Null)
    );
    // What is written in the other version is stored in this one.
    merge(&client, &path, &json!({"port": "9090"})).await.expect("patched");
    assert_eq!(
        get(&client, &format!("{CRONTABS}/one")).await.expect("a crontab")["hostPort"],
        "localhost:9090"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_be_able_to_convert_a_non_homogeneous_list_of_crs() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], convert).await;
    create(&client, DEFINITIONS, &crontabs(&webhook, "v1")).await.expect("a definition");
    eventually(DEADLINE, async || get(&client, CRONTABS).await.is_ok()).await;
    let one = json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": {"name": "one"}, "hostPort": "localhost:8080"});
    create(&client, CRONTABS, &one).await.expect("created");
    // From here on the other version is stored.
    let versions = crontabs(&webhook, "v2")["spec"]["versions"].clone();
    let definition = format!("{DEFINITIONS}/crontabs.example.com");
    merge(&client, &definition, &json!({"spec": {"versions": versions}})).await.expect("patched");
    let path = CRONTABS.replace("v1", "v2");
    let two = json!({"apiVersion": "example.com/v2", "kind": "CronTab", "metadata": {"name": "two"}, "host": "example.com", "port": "80"});
    create(&client, &path, &two).await.expect("created");
    for (path, field, values) in [
        (CRONTABS, "hostPort", ["localhost:8080", "example.com:80"]),
        (path.as_str(), "host", ["localhost", "example.com"]),
    ] {
        let list = get(&client, path).await.expect("a list");
        let found: Vec<&Value> =
            list["items"].as_array().expect("items").iter().map(|item| &item[field]).collect();
        assert_eq!(found, values, "{list}");
    }
    cluster.stop().await;
}
