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
async fn requests_share_a_connection() {
    let fake = Fake::default();
    let api = Api::<ConfigMap>::namespaced(fake.client(), "ns");
    for _ in 0..200 {
        fake.then(Reply::Json(200, object("a", "u", 1)));
        assert_eq!(api.get("a").await.unwrap().metadata.name.as_deref(), Some("a"));
    }
    assert!(fake.connections.load(Ordering::SeqCst) <= 2);
    assert_eq!(fake.seen()[0].uri, "/api/v1/namespaces/ns/configmaps/a");
}

#[tokio::test]
async fn requests_that_are_content_with_it_are_on_one_connection_at_the_same_time() {
    let fake = Fake::default();
    let client = super::for_component(fake.dial(), "default", Arc::new(Semaphore::new(64)), 4);
    let get = |marked: bool| {
        let request = http::Request::get("/api/v1/namespaces/ns/configmaps/a").body(Vec::new());
        let mut request = request.expect("a request");
        if marked {
            request.extensions_mut().insert(super::Shared);
        }
        client.request::<ConfigMap>(request)
    };
    let all: Vec<_> = (0..40).map(|_| get(true)).collect();
    for _ in 0..40 {
        fake.then(Reply::Json(200, object("a", "u", 1)));
    }
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(fake.connections.load(Ordering::SeqCst), 1);
    fake.then(Reply::Json(200, object("a", "u", 1)));
    assert!(get(false).await.is_ok());
    assert_eq!(fake.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_broken_connection_is_an_error_and_the_next_request_gets_a_new_one() {
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
    let client = super::for_component(fake.dial(), "default", limit.clone(), 1);
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
