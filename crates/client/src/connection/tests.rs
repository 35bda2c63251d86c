//! Tests of `connection`.

use crate::fake::{Fake, Reply, object};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use kube::client::Body;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

#[tokio::test]
async fn requests_are_answered_without_a_connection() {
    let fake = Fake::default();
    fake.then(Reply::Json(200, object("a", "u", 1)));
    let api = Api::<ConfigMap>::namespaced(fake.client(), "ns");
    assert_eq!(api.get("a").await.unwrap().metadata.name.as_deref(), Some("a"));
    assert_eq!(fake.seen()[0].uri, "/api/v1/namespaces/ns/configmaps/a");
    assert_eq!(fake.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error() {
    let fake = Fake::default();
    let api = Api::<ConfigMap>::namespaced(fake.client(), "ns");
    fake.then(Reply::Break);
    assert!(api.get("a").await.is_err());
    fake.then(Reply::Json(200, object("a", "u", 1)));
    assert!(api.get("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_component_waits_for_a_server_that_is_busy_and_for_its_own_turn() {
    let fake = Fake::default();
    let limit = Arc::new(Semaphore::new(1));
    let client = super::for_component(fake.server(), "default", limit.clone());
    let api = Api::<ConfigMap>::namespaced(client, "ns");
    fake.then(Reply::Json(429, json!({}))).then(Reply::Json(200, object("a", "u", 1)));
    assert!(api.create(&PostParams::default(), &ConfigMap::default()).await.is_ok());
    assert_eq!(fake.seen().len(), 2);
    assert_eq!(fake.seen()[0].body, fake.seen()[1].body);
    // Any other failure is the caller's affair.
    fake.then(Reply::Json(500, json!({})));
    assert!(api.get("a").await.is_err());

    let turn = limit.acquire().await.unwrap();
    let waiting = tokio::spawn(async move { api.get("a").await.is_ok() });
    tokio::task::yield_now().await;
    assert_eq!(fake.seen().len(), 3, "nothing is sent before its turn");
    fake.then(Reply::Json(200, object("a", "u", 1)));
    drop(turn);
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn connections_can_be_upgraded() {
    let client = Fake::default().client();
    let request = http::Request::get("/api/v1/namespaces/ns/pods/p/exec")
        .header("upgrade", "echo")
        .header("connection", "upgrade")
        .body(Body::empty())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}
