//! The aggregation layer, with servers of other group-versions in the test's process.
//!
//! **Upstream**: `test/e2e/apimachinery/aggregator.go`.

use futures::TryStreamExt;
use http::Method;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use kube::Client;
use minik::Cluster;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::raw::{call, create, delete, get, merge, message, text};
use tests::tls_server::{ClientCertificates, Handler, TlsServer, answer, full, own_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// What the server was asked: method, path and query, user, groups, whether the client had a certificate.
type Asked = Arc<Mutex<Vec<(String, String, String, Vec<String>, bool)>>>;

/// A server of flunders.
async fn sample(cluster: &Cluster) -> (TlsServer, Asked) {
    let asked: Asked = Arc::default();
    let kept = Arc::clone(&asked);
    let flunder = |name: &str| json!({"kind": "Flunder", "apiVersion": "wardle.example.com/v1alpha1", "metadata": {"name": name, "namespace": "default"}});
    let handler: Handler = Arc::new(move |mut request| {
        let kept = Arc::clone(&kept);
        Box::pin(async move {
            let header = |name: &str| -> Vec<String> {
                request
                    .headers()
                    .get_all(name)
                    .iter()
                    .filter_map(|value| value.to_str().ok().map(str::to_owned))
                    .collect()
            };
            let certified = request.extensions().get::<ClientCertificates>().is_some_and(|c| !c.0.is_empty());
            let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
            let user = header("x-remote-user").concat();
            kept.lock().expect("nobody panicked").push((
                request.method().to_string(),
                target.clone(),
                user,
                header("x-remote-group"),
                certified,
            ));
            if !header("upgrade").is_empty() {
                let upgraded = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut stream = hyper_util::rt::TokioIo::new(upgraded.await.expect("an upgrade"));
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(&byte.map(|b| b.to_ascii_uppercase())).await.expect("written");
                    }
                });
                let response = http::Response::builder()
                    .status(101)
                    .header("connection", "Upgrade")
                    .header("upgrade", "echo");
                return response.body(full("")).expect("a response");
            }
            match (request.method(), target.as_str()) {
                (&Method::GET, "/apis/wardle.example.com/v1alpha1") => answer(
                    200,
                    &json!({
                    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
                        {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "shortNames": ["fl"],
                            "verbs": ["create", "delete", "get", "list", "watch"]},
                        {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"]}]}),
                ),
                (&Method::GET, "/openapi/v3") => answer(
                    200,
                    &json!({"paths": {
                    "apis/wardle.example.com/v1alpha1": {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC"}}}),
                ),
                (&Method::GET, "/openapi/v2") => {
                    let flunder = json!({"$ref": "#/definitions/com.example.Flunder"});
                    let meta =
                        json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"});
                    answer(
                        200,
                        &json!({"swagger": "2.0", "paths": {
                            "/apis/wardle.example.com/v1alpha1/flunders": {"get": {"responses": {"200": {"schema": flunder}}}},
                            "/version/": {"get": {}}},
                        "definitions": {
                            "com.example.Flunder": {"type": "object", "properties": {"metadata": meta}},
                            "com.example.Unused": {"type": "object"},
                            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "theirs"}}}),
                    )
                }
                (&Method::GET, path) if path.starts_with("/openapi/v3/apis/wardle.example.com/v1alpha1") => {
                    answer(200, &json!({"openapi": "3.0.0", "info": {"title": "wardle"}}))
                }
                (&Method::POST, _) => {
                    let body = request.into_body().collect().await.expect("a body").to_bytes();
                    answer(201, &serde_json::from_slice(&body).expect("JSON"))
                }
                (&Method::DELETE, _) => {
                    answer(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
                }
                (&Method::GET, path) if path.contains("watch=true") => {
                    let events = ["one", "two"].map(|name| {
                        let line = format!("{}\n", json!({"type": "ADDED", "object": flunder(name)}));
                        Ok(hyper::body::Frame::data(bytes::Bytes::from(line)))
                    });
                    // The stream stays open.
                    let body = StreamBody::new(futures::StreamExt::chain(
                        futures::stream::iter(events),
                        futures::stream::pending(),
                    ));
                    http::Response::new(body.boxed_unsync())
                }
                (&Method::GET, path) if path.ends_with("/flunders") => answer(
                    200,
                    &json!({"kind": "FlunderList", "apiVersion": "wardle.example.com/v1alpha1", "metadata": {}, "items": [flunder("one")]}),
                ),
                _ => answer(
                    404,
                    &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no such flunder"}),
                ),
            }
        })
    });
    let proxies = cluster.pki().front_proxy_ca.cert.clone();
    (TlsServer::start(&["sample-api.default.svc"], Some(&proxies), handler).await, asked)
}

/// A Service that leads to the server.
async fn service(client: &Client, server: &TlsServer) {
    let service =
        json!({"metadata": {"name": "sample-api"}, "spec": {"ports": [{"name": "https", "port": 7443}]}});
    create(client, "/api/v1/namespaces/default/services", &service).await.expect("a service");
    let slice = json!({"metadata": {"name": "sample-api-1", "labels": {"kubernetes.io/service-name": "sample-api"}},
        "addressType": "IPv4", "ports": [{"name": "https", "port": server.port}], "endpoints": [{"addresses": [own_address()]}]});
    create(client, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice)
        .await
        .expect("a slice");
}

fn api_service(server: &TlsServer) -> Value {
    json!({"metadata": {"name": "v1alpha1.wardle.example.com"}, "spec": {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "caBundle": server.ca_bundle(), "service": {"name": "sample-api", "namespace": "default", "port": 7443}}})
}

/// The condition `Available` once it has this reason.
async fn reason(client: &Client, reason: &str) -> Value {
    let path = format!("{API_SERVICES}/v1alpha1.wardle.example.com");
    eventually_some(DEADLINE, async || {
        let object = get(client, &path).await.ok()?;
        let condition = object["status"]["conditions"][0].clone();
        (condition["reason"] == reason).then_some(condition)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_be_able_to_support_a_sample_api_server() {
    let cluster = Cluster::builder().nodes(0).start().await.expect("it starts");
    let client = cluster.client();
    let (server, asked) = sample(&cluster).await;
    // Before there is a Service, then one without endpoints.
    create(&client, API_SERVICES, &api_service(&server)).await.expect("an APIService");
    let missing = reason(&client, "ServiceNotFound").await;
    assert_eq!(missing["message"], "service/sample-api in \"default\" is not present");
    service(&client, &server).await;
    assert_eq!(reason(&client, "Passed").await["status"], "True");

    let made = create(&client, FLUNDERS, &json!({"kind": "Flunder", "metadata": {"name": "one"}}))
        .await
        .expect("created");
    assert_eq!(made["metadata"]["name"], "one");
    let list = get(&client, &format!("{FLUNDERS}?limit=5")).await.ok();
    assert!(list.is_none(), "the query reaches the server, which has no such path");
    assert_eq!(get(&client, FLUNDERS).await.expect("a list")["kind"], "FlunderList");
    assert_eq!(message(get(&client, &format!("{FLUNDERS}/nope")).await), "no such flunder");
    delete(&client, &format!("{FLUNDERS}/one")).await.expect("deleted");
    {
        let asked = asked.lock().expect("nobody panicked");
        let created = asked.iter().find(|(method, ..)| method == "POST").expect("a creation");
        assert_eq!(created.2, "kubernetes-admin");
        assert!(created.3.contains(&"system:masters".to_owned()) && created.4, "{created:?}");
        assert!(asked.iter().any(|(_, path, ..)| path.ends_with("/flunders?limit=5")));
    }
    // Whoever may not is told so here, and the server is not asked.
    let nobody = cluster.client_as("nobody", &[]);
    assert!(message(get(&nobody, FLUNDERS).await).starts_with("flunders.wardle.example.com is forbidden"));

    // A watch streams.
    let request = http::Request::get(format!("{FLUNDERS}?watch=true")).body(Vec::new()).expect("a request");
    let events = client.request_events::<Value>(request).await.expect("a watch");
    let mut events = std::pin::pin!(events);
    for name in ["one", "two"] {
        let event = events.try_next().await.expect("no failure").expect("an event");
        let kube::api::WatchEvent::Added(object) = event else { panic!("{event:?}") };
        assert_eq!(object["metadata"]["name"], name);
    }

    // Discovery and OpenAPI list what is served elsewhere.
    let groups = get(&client, "/apis").await.expect("a document");
    let listed = groups["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .find(|group| group["name"] == "wardle.example.com");
    assert_eq!(listed.expect("the group")["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
    assert_eq!(get(&client, "/apis/wardle.example.com").await.expect("a group")["kind"], "APIGroup");
    assert_eq!(
        get(&client, "/apis/wardle.example.com/v1alpha1").await.expect("a list")["resources"][0]["name"],
        "flunders"
    );
    let version = aggregated(&client).await.expect("the version");
    assert_eq!(version["freshness"], "Current");
    assert_eq!(version["resources"][0]["resource"], "flunders");
    assert_eq!(version["resources"][0]["subresources"][0]["subresource"], "status");
    let index = get(&client, "/openapi/v3").await.expect("an index");
    let url = index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"]
        .as_str()
        .expect("an address")
        .to_owned();
    assert_eq!(get(&client, &url).await.expect("a document")["info"]["title"], "wardle");
    let whole = get(&client, "/openapi/v2").await.expect("a document");
    assert!(whole["paths"]["/apis/wardle.example.com/v1alpha1/flunders"]["get"].is_object());
    assert!(whole["paths"]["/api/v1/namespaces"]["get"].is_object());
    let definitions = &whole["definitions"];
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let theirs = &definitions["com.example.Flunder"]["properties"]["metadata"]["$ref"];
    assert_eq!(*theirs, format!("#/definitions/{meta}_v2"));
    assert_eq!(definitions[format!("{meta}_v2")]["description"], "theirs");
    assert!(definitions[meta]["properties"].is_object() && definitions["com.example.Unused"].is_null());

    // Without the server its group stays listed, and nothing else is harmed.
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/sample-api-1";
    merge(&client, path, &json!({"endpoints": []})).await.expect("patched");
    assert_eq!(reason(&client, "MissingEndpoints").await["status"], "False");
    let request = http::Request::get(FLUNDERS).body(kube::client::Body::empty()).expect("a request");
    assert_eq!(client.send(request).await.expect("an answer").status(), 503);
    let version = json!({"version": "v1alpha1", "freshness": "Stale"});
    assert_eq!(aggregated(&client).await.expect("the version"), version);
    let counted = [
        "aggregator_unavailable_apiservice{name=\"v1alpha1.wardle.example.com\"} 1",
        "aggregator_unavailable_apiservice_total{name=\"v1alpha1.wardle.example.com\",reason=\"MissingEndpoints\"} 1",
    ];
    eventually(DEADLINE, async || {
        let metrics = text(&client, "/metrics").await;
        counted.iter().all(|line| metrics.lines().any(|known| known == *line))
    })
    .await;
    let whole = get(&client, "/openapi/v2").await.expect("a document");
    assert!(whole["paths"]["/api/v1/namespaces"]["get"].is_object());
    call(&client, Method::GET, "/api/v1/namespaces", &Value::Null).await.expect("a list");
    delete(&client, &format!("{API_SERVICES}/v1alpha1.wardle.example.com")).await.expect("deleted");
    eventually(DEADLINE, async || aggregated(&client).await.is_none()).await;
    eventually(DEADLINE, async || !text(&client, "/metrics").await.contains(counted[0])).await;
    assert_eq!(get(&client, FLUNDERS).await.expect_err("gone")["code"], 404);
    cluster.stop().await;
}

/// The version in aggregated discovery.
async fn aggregated(client: &Client) -> Option<Value> {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let request = http::Request::get("/apis").header("accept", accept).body(Vec::new()).expect("a request");
    let document: Value = client.request(request).await.expect("a document");
    assert_eq!(document["kind"], "APIGroupDiscoveryList");
    let groups = document["items"].as_array().expect("groups");
    let group = groups.iter().find(|group| group["metadata"]["name"] == "wardle.example.com")?;
    Some(group["versions"][0].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_reaches_the_server() {
    let cluster = Cluster::builder().nodes(0).start().await.expect("it starts");
    let client = cluster.client();
    let (server, asked) = sample(&cluster).await;
    service(&client, &server).await;
    create(&client, API_SERVICES, &api_service(&server)).await.expect("an APIService");
    reason(&client, "Passed").await;
    let request = http::Request::get(format!("{FLUNDERS}/one/connect"))
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(kube::client::Body::empty())
        .expect("a request");
    let response = client.send(request).await.expect("an answer");
    assert_eq!(response.status(), 101);
    let mut stream = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.expect("an upgrade"));
    stream.write_all(b"hello").await.expect("written");
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).await.expect("read");
    assert_eq!(&echoed, b"HELLO");
    {
        let asked = asked.lock().expect("nobody panicked");
        let upgrade = asked.iter().find(|(_, path, ..)| path.ends_with("/connect")).expect("it was asked");
        assert!(upgrade.2 == "kubernetes-admin" && upgrade.4, "{upgrade:?}");
    }
    cluster.stop().await;
}
