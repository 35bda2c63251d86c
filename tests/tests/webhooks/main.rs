//! Admission webhooks, each behaviour under its name in the official suite, with real TLS servers in the test's process.
//!
//! **Upstream**: `test/e2e/apimachinery/webhook.go`.

mod custom;
mod records;

use http::Method;
use kube::Client;
use minik::Cluster;
use serde_json::{Value, json};
use tests::raw::{call, create, delete, get, merge, message};
use tests::tls_server::{Webhook, own_address, patched};

const CONFIGS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(0).start().await.expect("it starts");
    let client = cluster.client();
    tests::settled(&client).await;
    (cluster, client)
}

fn rule(operations: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": groups, "apiVersions": ["*"], "resources": resources})
}

/// A webhook of this name, which must answer.
fn hook(name: &str, client: &Value, rules: Value) -> Value {
    json!({"name": format!("{name}.example.com"), "clientConfig": client, "rules": rules, "sideEffects": "None",
        "admissionReviewVersions": ["v1"]})
}

/// The same with other fields.
fn with(mut hook: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().expect("fields") {
        hook[name] = value.clone();
    }
    hook
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

/// Creates a configuration.
async fn configure(client: &Client, kind: &str, name: &str, webhooks: Vec<Value>) -> Result<Value, Value> {
    let configuration = json!({"metadata": {"name": name, "labels": {"test": name}}, "webhooks": webhooks});
    create(client, &format!("{CONFIGS}/{}", plural(kind)), &configuration).await
}

const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

fn map(name: &str, data: &Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// Says no to what says so itself.
fn denier(_: &str, request: &Value) -> Value {
    let object = if request["object"].is_null() { &request["oldObject"] } else { &request["object"] };
    if object["data"]["webhook-e2e-test"] == "webhook-disallow" {
        return json!({"allowed": false, "status": {"message": "the configmap contains unwanted key and value"}});
    }
    if object["metadata"]["labels"]["webhook-e2e-test"] == "webhook-disallow" {
        return json!({"allowed": false, "status": {"reason": "the pod contains unwanted label", "code": 403}});
    }
    json!({"allowed": true, "auditAnnotations": {"seen": "yes"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_be_able_to_deny_pod_and_configmap_creation() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], denier).await;
    let rules = json!([rule(&["CREATE", "UPDATE", "DELETE"], &[""], &["pods", "configmaps"])]);
    let selecting = json!({"namespaceSelector": {"matchExpressions": [
        {"key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"]}]}});
    let denying = with(hook("deny", &webhook.at("/deny"), rules), &selecting);
    configure(&client, VALIDATING, "deny", vec![denying]).await.expect("configured");

    let bad = json!({"webhook-e2e-test": "webhook-disallow"});
    let mut unwanted = pod("p");
    unwanted["metadata"]["labels"] = bad.clone();
    let refused = create(&client, PODS, &unwanted).await.expect_err("a refusal");
    assert_eq!(
        refused["message"],
        "admission webhook \"deny.example.com\" denied the request: the pod contains unwanted label"
    );
    assert_eq!(
        (&refused["code"], &refused["reason"]),
        (&json!(403), &json!("the pod contains unwanted label"))
    );
    let text = "admission webhook \"deny.example.com\" denied the request: the configmap contains unwanted key and value";
    assert_eq!(message(create(&client, MAPS, &map("m", &bad)).await), text);

    create(&client, MAPS, &map("m", &json!({"good": "yes"}))).await.expect("allowed");
    let path = format!("{MAPS}/m");
    assert_eq!(message(merge(&client, &path, &json!({"data": bad})).await), text);
    let mut whole = get(&client, &path).await.expect("a map");
    whole["data"] = bad.clone();
    assert_eq!(message(call(&client, Method::PUT, &path, &whole).await), text);

    let exempt = json!({"metadata": {"name": "exempt", "labels": {"skip-webhook-admission": "yes"}}});
    create(&client, "/api/v1/namespaces", &exempt).await.expect("a namespace");
    create(&client, "/api/v1/namespaces/exempt/configmaps", &map("m", &bad)).await.expect("not asked");
    // Connections are used again. (A request that comes before the last one's is free makes another.)
    let (connections, asked) = (webhook.server.connections(), webhook.asked().len());
    assert!(connections < asked, "{asked} requests over {connections} connections");

    let asked = webhook.asked();
    let update = asked.iter().find(|request| request["operation"] == "UPDATE").expect("an update");
    assert_eq!(update["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(update["requestResource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&update["name"], &update["namespace"]), (&json!("m"), &json!("default")));
    assert_eq!(update["oldObject"]["data"], json!({"good": "yes"}));
    assert_eq!(update["options"]["kind"], "UpdateOptions");
    assert_eq!((&update["query"], &update["dryRun"]), (&json!("timeout=10s"), &json!(false)));
    assert!(
        update["userInfo"]["groups"]
            .as_array()
            .is_some_and(|groups| groups.contains(&json!("system:masters")))
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_be_able_to_deny_attaching_pod() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |_, request| {
        let (kind, name) = (&request["object"]["kind"], &request["name"]);
        let denied = kind == "PodAttachOptions" && name == "to-be-attached-pod";
        json!({"allowed": !denied, "status": {"message": "attaching to pod 'to-be-attached-pod' is not allowed"}})
    })
    .await;
    let rules = json!([rule(&["CONNECT"], &[""], &["pods/attach", "pods/exec"])]);
    configure(&client, VALIDATING, "attach", vec![hook("attach", &webhook.at("/"), rules)])
        .await
        .expect("configured");
    create(&client, PODS, &pod("to-be-attached-pod")).await.expect("a pod");
    let attach = format!("{PODS}/to-be-attached-pod/attach?stdout=true");
    assert_eq!(
        message(create(&client, &attach, &Value::Null).await),
        "admission webhook \"attach.example.com\" denied the request: attaching to pod 'to-be-attached-pod' is not allowed"
    );
    let request = &webhook.asked()[0];
    assert_eq!((&request["subResource"], &request["options"]), (&json!("attach"), &Value::Null));
    assert_eq!(request["object"]["stdout"], true);
    // An exec is asked about as well, and let through to where it fails without a node.
    let exec = format!("{PODS}/to-be-attached-pod/exec?command=ls&stdout=true");
    assert!(message(create(&client, &exec, &Value::Null).await).contains("does not have a host assigned"));
    assert_eq!(webhook.asked()[1]["kind"]["kind"], "PodExecOptions");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_deny_crd_creation() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |_, _| json!({"allowed": false})).await;
    let rules = json!([rule(&["CREATE"], &["apiextensions.k8s.io"], &["*"])]);
    configure(&client, VALIDATING, "crds", vec![hook("crds", &webhook.at("/crd"), rules)])
        .await
        .expect("configured");
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let crd = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    assert_eq!(
        message(create(&client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await),
        "admission webhook \"crds.example.com\" denied the request without explanation"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_honor_timeout() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |path, _| {
        let millis = if path == "/slow" { 3_000 } else { 0 };
        json!({"allowed": true, "delayMillis": millis})
    })
    .await;
    let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
    let slow = |seconds: u64, policy: &str| {
        let fields = json!({"timeoutSeconds": seconds, "failurePolicy": policy});
        vec![with(hook("slow", &webhook.at("/slow"), rules.clone()), &fields)]
    };
    configure(&client, VALIDATING, "slow", slow(1, "Fail")).await.expect("configured");
    let failed = message(create(&client, MAPS, &map("m", &json!({}))).await);
    let url = format!("https://localhost:{}/slow?timeout=1s", webhook.server.port);
    assert_eq!(
        failed,
        format!(
            "Internal error occurred: failed calling webhook \"slow.example.com\": failed to call webhook: \
             Post {url:?}: context deadline exceeded"
        )
    );
    // Who may fail does; who has time answers.
    let path = format!("{CONFIGS}/validatingwebhookconfigurations/slow");
    merge(&client, &path, &json!({"webhooks": slow(1, "Ignore")})).await.expect("patched");
    create(&client, MAPS, &map("ignored", &json!({}))).await.expect("created");
    merge(&client, &path, &json!({"webhooks": slow(30, "Fail")})).await.expect("patched");
    create(&client, MAPS, &map("waited", &json!({}))).await.expect("created");
    cluster.stop().await;
}

/// Adds a stage to a map that has the stage before it.
fn stages(path: &str, request: &Value) -> Value {
    let data = &request["object"]["data"];
    let add =
        |stage: &str| patched(&json!([{"op": "add", "path": format!("/data/{stage}"), "value": "yes"}]));
    match path {
        "/first" if data["mutation-start"] == "yes" => add("mutation-stage-1"),
        "/second" if data["mutation-stage-1"] == "yes" => add("mutation-stage-2"),
        _ => json!({"allowed": true}),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_mutate_configmap() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], stages).await;
    let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
    // They are asked in the order of the configurations' names, and then of their own.
    configure(&client, MUTATING, "b", vec![hook("second", &webhook.at("/second"), rules.clone())])
        .await
        .expect("configured");
    configure(&client, MUTATING, "a", vec![hook("first", &webhook.at("/first"), rules)])
        .await
        .expect("configured");
    let made = create(&client, MAPS, &map("m", &json!({"mutation-start": "yes"}))).await.expect("created");
    let expected = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    assert_eq!(made["data"], expected);
    assert_eq!(get(&client, &format!("{MAPS}/m")).await.expect("a map")["data"], expected);
    // They see an object that the server has not identified yet.
    let request = &webhook.about("m");
    assert_eq!(
        (&request["object"]["metadata"]["uid"], &request["options"]["kind"]),
        (&Value::Null, &json!("CreateOptions"))
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_mutate_pod_and_apply_defaults_after_mutation() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |_, _| {
        let container = json!({"name": "webhook-added-init-container", "image": "added:1"});
        patched(&json!([{"op": "add", "path": "/spec/initContainers", "value": [container]}]))
    })
    .await;
    let rules = json!([rule(&["CREATE"], &[""], &["pods"])]);
    configure(&client, MUTATING, "pods", vec![hook("pods", &webhook.at("/pods"), rules)])
        .await
        .expect("configured");
    let made = create(&client, PODS, &pod("p")).await.expect("created");
    let added = &made["spec"]["initContainers"][0];
    assert_eq!(added["name"], "webhook-added-init-container");
    assert_eq!(
        (&added["terminationMessagePolicy"], &added["imagePullPolicy"]),
        (&json!("File"), &json!("IfNotPresent"))
    );
    // The account's token reaches what was added, too: plugins are asked again.
    assert!(added["volumeMounts"].as_array().is_some_and(|mounts| !mounts.is_empty()), "{added}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_mutate_everything_except_skip_me_configmaps() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |_, _| {
        patched(&json!([{"op": "add", "path": "/data/mutated", "value": "yes"}]))
    })
    .await;
    let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
    let conditions = json!({"matchConditions": [
        {"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]});
    let mutating = with(hook("all", &webhook.at("/"), rules), &conditions);
    configure(&client, MUTATING, "all", vec![mutating]).await.expect("configured");
    let data = json!({"a": "b"});
    let made = create(&client, MAPS, &map("mutate-me", &data)).await.expect("created");
    assert_eq!(made["data"]["mutated"], "yes");
    let skipped = create(&client, MAPS, &map("skip-me", &data)).await.expect("created");
    assert_eq!(skipped["data"], data);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_not_be_able_to_mutate_or_prevent_deletion_of_webhook_configuration_objects() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |path, _| match path {
        "/mutate" => {
            patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"mutated": "yes"}}]))
        }
        _ => json!({"allowed": false}),
    })
    .await;
    let rules = json!([rule(&["*"], &["admissionregistration.k8s.io"], &["*"])]);
    configure(&client, VALIDATING, "deny", vec![hook("deny", &webhook.at("/deny"), rules.clone())])
        .await
        .expect("configured");
    configure(&client, MUTATING, "mutate", vec![hook("mutate", &webhook.at("/mutate"), rules)])
        .await
        .expect("configured");
    for kind in [VALIDATING, MUTATING] {
        let made = configure(&client, kind, "dummy", Vec::new()).await.expect("nobody is asked");
        assert_eq!(made["metadata"]["labels"], json!({"test": "dummy"}));
        delete(&client, &format!("{CONFIGS}/{}/dummy", plural(kind))).await.expect("nobody is asked");
    }
    assert!(webhook.asked().is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_unconditionally_reject_operations_on_fail_closed_webhook() {
    let (cluster, client) = cluster().await;
    let nowhere = json!({"url": "https://localhost:1/nowhere"});
    let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
    configure(&client, VALIDATING, "closed", vec![hook("closed", &nowhere, rules.clone())])
        .await
        .expect("configured");
    let failed = message(create(&client, MAPS, &map("m", &json!({}))).await);
    let text = "failed calling webhook \"closed.example.com\": failed to call webhook: Post \"https://localhost:1/nowhere?timeout=10s\": dial tcp ";
    assert!(failed.contains(text) && failed.ends_with("connect: connection refused"), "{failed}");

    // A server that nobody vouches for is none; neither is a Service that is not there.
    let webhook = Webhook::start(&["localhost"], |_, _| json!({"allowed": true})).await;
    let path = format!("{CONFIGS}/validatingwebhookconfigurations/closed");
    let other = Webhook::start(&["localhost"], |_, _| json!({"allowed": true})).await;
    let mut stranger = webhook.at("/");
    stranger["caBundle"] = other.at("/")["caBundle"].clone();
    let service = json!({"service": {"name": "no-such", "namespace": "default"}});
    let cases = [
        (stranger, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        (service, "Post \"https://no-such.default.svc:443/?timeout=10s\": service \"no-such\" not found"),
    ];
    for (config, text) in cases {
        let closed = json!({"webhooks": [hook("closed", &config, rules.clone())]});
        merge(&client, &path, &closed).await.expect("patched");
        let failed = message(create(&client, MAPS, &map("m", &json!({}))).await);
        assert!(failed.ends_with(text), "{failed}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_patching_and_deleting_webhook_configurations_works() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |path, request| match path {
        "/mutate" => patched(&json!([{"op": "add", "path": "/data/mutated", "value": "yes"}])),
        path => denier(path, request),
    })
    .await;
    let bad = json!({"webhook-e2e-test": "webhook-disallow"});
    for (kind, path) in [(VALIDATING, "/deny"), (MUTATING, "/mutate")] {
        let concerned = async |name: &str| match create(&client, MAPS, &map(name, &bad)).await {
            Ok(made) => made["data"]["mutated"] == "yes",
            Err(_) => true,
        };
        let rules = |operations: &[&str]| json!([rule(operations, &[""], &["configmaps"])]);
        let make = |operations: &[&str]| vec![hook("h", &webhook.at(path), rules(operations))];
        let label = kind.to_lowercase();
        configure(&client, kind, &label, make(&["CREATE"])).await.expect("configured");
        assert!(concerned("first").await);
        let own = format!("{CONFIGS}/{}/{label}", plural(kind));
        merge(&client, &own, &json!({"webhooks": make(&["UPDATE"])})).await.expect("patched");
        assert!(!concerned("second").await);
        let mut whole = get(&client, &own).await.expect("a configuration");
        whole["webhooks"] = make(&["CREATE"]).into();
        call(&client, Method::PUT, &own, &whole).await.expect("updated");
        assert!(concerned("third").await);
        let selected = format!("{CONFIGS}/{}?labelSelector=test%3D{label}", plural(kind));
        assert_eq!(get(&client, &selected).await.expect("a list")["items"].as_array().map(Vec::len), Some(1));
        delete(&client, &selected).await.expect("deleted");
        assert!(!concerned("fourth").await);
        delete(&client, MAPS).await.expect("deleted");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_include_webhook_resources_in_discovery_documents() {
    let (cluster, client) = cluster().await;
    let found = get(&client, CONFIGS).await.expect("a document");
    let names: Vec<&str> =
        found["resources"].as_array().expect("resources").iter().filter_map(|r| r["name"].as_str()).collect();
    assert!(
        names.contains(&"mutatingwebhookconfigurations")
            && names.contains(&"validatingwebhookconfigurations")
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_reject_and_create_webhook_configurations_with_match_conditions() {
    let (cluster, client) = cluster().await;
    for kind in [VALIDATING, MUTATING] {
        let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
        let client_config = json!({"url": "https://localhost:1/"});
        let conditioned = |expression: &str| {
            let conditions = json!({"matchConditions": [{"name": "c", "expression": expression}]});
            vec![with(hook("h", &client_config, rules.clone()), &conditions)]
        };
        let refused =
            message(configure(&client, kind, "invalid", conditioned("... [] bad expression")).await);
        assert!(refused.contains("compilation failed"), "{refused}");
        let refused = message(configure(&client, kind, "invalid", conditioned("request.nope == 'x'")).await);
        assert!(refused.contains("ERROR: <input>:1:8: undefined field 'nope'"), "{refused}");
        configure(&client, kind, "valid", conditioned("object.metadata.namespace == 'default'"))
            .await
            .expect("created");
        let path = format!("{CONFIGS}/{}/valid", plural(kind));
        let update = json!({"webhooks": conditioned("request.userInfo.username != 'x'")});
        let updated = merge(&client, &path, &update).await.expect("updated");
        assert_eq!(
            updated["webhooks"][0]["matchConditions"][0]["expression"],
            "request.userInfo.username != 'x'"
        );
        delete(&client, &path).await.expect("deleted");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_before_a_change_are_asked_again_if_they_want() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |path, request| {
        let data = &request["object"]["data"];
        let add =
            |key: &str| patched(&json!([{"op": "add", "path": format!("/data/{key}"), "value": "yes"}]));
        match path {
            // Acts on what comes behind it, if it is asked again.
            "/late" if data["second"] == "yes" && data["late"].is_null() => add("late"),
            "/second" if data["second"].is_null() => add("second"),
            _ => json!({"allowed": true}),
        }
    })
    .await;
    for (policy, expected) in [("Never", Value::Null), ("IfNeeded", json!("yes"))] {
        let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
        let late =
            with(hook("late", &webhook.at("/late"), rules.clone()), &json!({"reinvocationPolicy": policy}));
        let second = hook("second", &webhook.at("/second"), rules);
        configure(&client, MUTATING, "order", vec![late, second]).await.expect("configured");
        let made = create(&client, MAPS, &map("m", &json!({"a": "b"}))).await.expect("created");
        assert_eq!((&made["data"]["second"], &made["data"]["late"]), (&json!("yes"), &expected), "{policy}");
        delete(&client, &format!("{MAPS}/m")).await.expect("deleted");
        delete(&client, &format!("{CONFIGS}/mutatingwebhookconfigurations/order")).await.expect("deleted");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_with_side_effects_is_not_asked_for_a_trial() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |_, _| json!({"allowed": true})).await;
    let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
    configure(&client, VALIDATING, "v", vec![hook("v", &webhook.at("/"), rules)]).await.expect("configured");
    create(&client, &format!("{MAPS}?dryRun=All&fieldManager=me"), &map("m", &json!({})))
        .await
        .expect("a trial");
    let request = &webhook.about("m");
    assert_eq!(request["dryRun"], true);
    let options = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me"});
    assert_eq!(request["options"], options);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_objects_in_another_version_match_and_are_shown_in_it() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |_, _| {
        patched(&json!([{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 33}]))
    })
    .await;
    // The webhook knows v1 only; the request comes in v2.
    let mut rule = rule(&["CREATE"], &["autoscaling"], &["horizontalpodautoscalers"]);
    rule["apiVersions"] = json!(["v1"]);
    configure(&client, MUTATING, "hpa", vec![hook("hpa", &webhook.at("/"), json!([rule]))])
        .await
        .expect("configured");
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let hpa = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "metrics": [cpu],
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = create(&client, path, &hpa).await.expect("created");
    assert_eq!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 33);
    let request = &webhook.asked()[0];
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_and_scales_are_shown_as_their_clients_see_them() {
    let (cluster, client) = cluster().await;
    let webhook =
        Webhook::start(&["localhost"], |_, _| json!({"allowed": true, "warnings": ["look out"]})).await;
    let rules = json!([
        rule(&["DELETE"], &[""], &["configmaps"]),
        rule(&["UPDATE"], &["apps"], &["deployments/scale"]),
    ]);
    configure(&client, VALIDATING, "v", vec![hook("v", &webhook.at("/"), rules)]).await.expect("configured");
    create(&client, MAPS, &map("m", &json!({"a": "b"}))).await.expect("created");
    let delete_options = json!({"propagationPolicy": "Background"});
    call(&client, Method::DELETE, &format!("{MAPS}/m"), &delete_options).await.expect("deleted");
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("p")["spec"]});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "template": template,
        "selector": {"matchLabels": {"a": "b"}}}});
    create(&client, deployments, &deployment).await.expect("created");
    merge(&client, &format!("{deployments}/d/scale"), &json!({"spec": {"replicas": 2}}))
        .await
        .expect("scaled");
    let asked = webhook.asked();
    let (deletion, scale) = (&asked[0], &asked[1]);
    assert_eq!((&deletion["object"], &deletion["oldObject"]["data"]), (&Value::Null, &json!({"a": "b"})));
    assert_eq!(deletion["options"]["propagationPolicy"], "Background");
    assert_eq!(scale["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!((&scale["subResource"], &scale["object"]["spec"]["replicas"]), (&json!("scale"), &json!(2)));
    assert_eq!(scale["oldObject"]["spec"]["replicas"], 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_leads_to_its_endpoints() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["hook.default.svc"], |_, _| {
        patched(&json!([{"op": "add", "path": "/data/by", "value": "service"}]))
    })
    .await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"name": "https", "port": 8443}]}});
    create(&client, "/api/v1/namespaces/default/services", &service).await.expect("a service");
    let service = json!({"name": "hook", "namespace": "default", "path": "/mutate", "port": 8443});
    let config = json!({"service": service, "caBundle": webhook.server.ca_bundle()});
    let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
    configure(&client, MUTATING, "service", vec![hook("service", &config, rules)]).await.expect("configured");
    let failed = message(create(&client, MAPS, &map("m", &json!({}))).await);
    assert!(failed.ends_with("no endpoints available for service \"hook\""), "{failed}");
    let slice = json!({"metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4", "ports": [{"name": "https", "port": webhook.server.port}],
        "endpoints": [{"addresses": [own_address()]}]});
    create(&client, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice)
        .await
        .expect("a slice");
    let made = create(&client, MAPS, &map("m", &json!({"a": "b"}))).await.expect("created");
    assert_eq!(made["data"]["by"], "service");
    assert_eq!(webhook.asked()[0]["path"], "/mutate");
    cluster.stop().await;
}
