//! A webhook and an aggregated API that run as a pod in Docker, behind a Service, over TLS.
//!
//! Needs a Docker engine and the images of `tests/images/build`: nginx answers reviews, and for the API.
//!
//! **Not here**: everything else about them, with servers in the test's process (`webhooks`, `aggregation.rs`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use serde_json::{Value, json};
use testkit::eventually;
use tests::DEADLINE;
use tests::docker::DockerCluster;
use tests::raw::{create, delete, get};
use tests::tls_server::issue;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const FLUNDERS: &str = "/apis/wardle.example.com/v1/namespaces/default/flunders";
const LIST: &str = r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"wardle.example.com/v1","resources":[{"name":"flunders","singularName":"flunder","namespaced":true,"kind":"Flunder","verbs":["get","list"]}]}"#;

/// The first server takes the connection and, of a review, its name; the second one writes the answer.
fn configuration() -> String {
    let refusal = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"$http_x_uid","allowed":false,"status":{"message":"said a pod"}}}"#;
    let flunders = r#"{"kind":"FlunderList","apiVersion":"wardle.example.com/v1","metadata":{},"items":[{"metadata":{"name":"for-$http_x_remote_user"}}]}"#;
    format!(
        r#"
map $request_body $uid {{ default ""; "~\"uid\":\"(?<found>[^\"]+)\"" $found; }}
server {{
    listen 8443 ssl;
    ssl_certificate /tls/tls.crt;
    ssl_certificate_key /tls/tls.key;
    ssl_client_certificate /tls/clients.crt;
    ssl_verify_client optional;
    client_body_buffer_size 1m;
    default_type application/json;
    location = /validate {{ proxy_set_header X-Uid $uid; proxy_pass http://127.0.0.1:8080; }}
    location = /apis/wardle.example.com/v1 {{ return 200 '{LIST}'; }}
    location = {FLUNDERS} {{
        if ($ssl_client_verify != SUCCESS) {{ return 401; }}
        return 200 '{flunders}';
    }}
    location / {{ return 404; }}
}}
server {{
    listen 127.0.0.1:8080;
    default_type application/json;
    location = /validate {{ return 200 '{refusal}'; }}
}}
"#
    )
}

/// The server as a pod and a Service, and who vouches for it.
async fn start(cluster: &DockerCluster) -> String {
    let issued = issue(&["extension.default.svc"]);
    let client = cluster.client();
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let trusted = get(&client, path).await.expect("what extension servers trust");
    let clients = trusted["data"]["requestheader-client-ca-file"].clone();
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "extension"},
            "stringData": {"tls.crt": issued.cert, "tls.key": issued.key, "clients.crt": clients}}))
        .await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extension"},
            "data": {"default.conf": configuration()}}))
        .await;
    let mounts = [("tls", "/tls"), ("conf", "/etc/nginx/conf.d")];
    let mounts: Vec<Value> = mounts.map(|(name, path)| json!({"name": name, "mountPath": path})).into();
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "extension", "labels": {"app": "extension"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "nginx", "image": "nginx:latest", "imagePullPolicy": "Never",
                    "volumeMounts": mounts,
                    "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1}}],
                "volumes": [{"name": "tls", "secret": {"secretName": "extension"}},
                    {"name": "conf", "configMap": {"name": "extension"}}]}}))
        .await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "extension"},
            "spec": {"selector": {"app": "extension"}, "ports": [{"port": 443, "targetPort": 8443}]}}))
        .await;
    STANDARD.encode(issued.ca)
}

async fn refused(client: &Client, name: &str) -> Option<String> {
    let path = format!("{MAPS}?dryRun=All");
    let created =
        create(client, &path, &json!({"metadata": {"name": name, "labels": {"asked": "yes"}}})).await;
    created.err().map(|status| status["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_an_aggregated_api_are_served_by_a_pod() {
    let cluster = DockerCluster::start("extension").await;
    let client = cluster.client();
    let bundle = start(&cluster).await;

    let hook = json!({"name": "pod.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"caBundle": bundle, "service": {"namespace": "default", "name": "extension", "path": "/validate"}},
        "objectSelector": {"matchLabels": {"asked": "yes"}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    create(&client, hooks, &json!({"metadata": {"name": "pod"}, "webhooks": [hook]}))
        .await
        .expect("a webhook");
    // While the pod is not there, the webhook fails closed.
    let wanted = "admission webhook \"pod.example.com\" denied the request: said a pod";
    eventually(DEADLINE, async || refused(&client, "asked").await.is_some_and(|said| said == wanted)).await;
    create(&client, MAPS, &json!({"metadata": {"name": "not-asked"}})).await.expect("nobody minds");

    let service = json!({"metadata": {"name": "v1.wardle.example.com"}, "spec": {"group": "wardle.example.com",
        "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 15, "caBundle": bundle,
        "service": {"namespace": "default", "name": "extension"}}});
    create(&client, "/apis/apiregistration.k8s.io/v1/apiservices", &service).await.expect("an APIService");
    eventually(DEADLINE, async || get(&client, FLUNDERS).await.is_ok()).await;
    let listed = get(&client, FLUNDERS).await.expect("a list");
    assert_eq!(listed["items"][0]["metadata"]["name"], "for-kubernetes-admin");
    let groups = get(&client, "/apis").await.expect("groups");
    let groups = groups["groups"].as_array().expect("groups");
    assert!(groups.iter().any(|group| group["name"] == "wardle.example.com"));

    // Nobody else's requests suffer when the pod is gone.
    delete(&client, &format!("{hooks}/pod")).await.expect("deleted");
    cluster.delete("extension", 0).await;
    eventually(DEADLINE, async || get(&client, FLUNDERS).await.is_err()).await;
    assert_eq!(refused(&client, "asked").await, None);
    get(&client, MAPS).await.expect("the rest of the API");
}
