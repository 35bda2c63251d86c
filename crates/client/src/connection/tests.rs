//! Tests of `connection`.

use crate::fake::{Fake, Reply, object};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::client::Body;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn requests_share_a_connection() {
    let fake = Fake::default();
    let api = Api::<ConfigMap>::namespaced(fake.client(), "ns");
    let started = tokio::time::Instant::now();
    const REQUESTS: u32 = 200;
    for _ in 0..REQUESTS {
        fake.then(Reply::Json(200, object("a", "u", 1)));
        assert_eq!(api.get("a").await.unwrap().metadata.name.as_deref(), Some("a"));
    }
    println!("{:?} a request", started.elapsed() / REQUESTS);
    assert!(fake.connections.load(Ordering::SeqCst) <= 2);
    assert_eq!(fake.seen()[0].uri, "/api/v1/namespaces/ns/configmaps/a");
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
