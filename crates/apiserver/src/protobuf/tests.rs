//! Protobuf in and out of a whole server, as Go clients send and accept it.

use crate::auth::UserInfo;
use crate::server::Server;
use crate::server::testing::{root, start};
use api::protobuf::{object, object_bytes};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What client-go accepts since it prefers protobuf.
const ACCEPT: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf,application/json");
const CONTENT: (&str, &str) = ("content-type", PROTOBUF);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn media_type(&self) -> &str {
        self.headers["content-type"].to_str().unwrap()
    }

    fn object(&self) -> Value {
        assert_eq!(self.media_type(), PROTOBUF, "{}", String::from_utf8_lossy(&self.body));
        object(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(self.media_type(), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn open(
    server: &Arc<Server>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> http::Response<hyper::body::Incoming> {
    let user: UserInfo = root();
    let stream = server.connect(user);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap()
}

async fn ask(
    server: &Arc<Server>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    let (head, body) = open(server, method, path, headers, body).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if let Some(length) = head.headers.get("content-length") {
        assert_eq!(length.to_str().unwrap(), body.len().to_string());
    }
    Answer { code: head.status.as_u16(), headers: head.headers, body }
}

async fn get(server: &Arc<Server>, path: &str, accept: &str) -> Answer {
    ask(server, Method::GET, path, &[("accept", accept)], Vec::new()).await
}

async fn create(server: &Arc<Server>, path: &str, object: &Value) -> Answer {
    ask(server, Method::POST, path, &[ACCEPT, CONTENT], object_bytes(object).unwrap()).await
}

fn map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"a": "b"}},
        "data": {"k": "v"}, "binaryData": {"b": "AAE="}, "immutable": false})
}

#[tokio::test]
async fn objects_are_the_same_in_both_encodings() {
    let server = start().await;
    let created = create(&server, MAPS, &map("a")).await;
    assert_eq!(created.code, 201);
    let created = created.object();
    let path = format!("{MAPS}/a");
    let json = get(&server, &path, "application/json").await.json();
    assert_eq!(json["immutable"], false, "a pointer to zero is kept");
    assert_eq!(created, json);
    assert_eq!(get(&server, &path, PROTOBUF).await.object(), json);

    let mut changed = json;
    changed["data"]["k"] = "w".into();
    let body = object_bytes(&changed).unwrap();
    let updated = ask(&server, Method::PUT, &path, &[ACCEPT, CONTENT], body).await;
    assert_eq!((updated.code, &updated.object()["data"]["k"]), (200, &json!("w")));
    let patch = [ACCEPT, ("content-type", "application/merge-patch+json")];
    let patched = ask(&server, Method::PATCH, &path, &patch, br#"{"data":{"k":"x"}}"#.to_vec()).await;
    assert_eq!((patched.code, &patched.object()["data"]["k"]), (200, &json!("x")));
}

#[tokio::test]
async fn lists_are_sent_whole_or_as_metadata() {
    let server = start().await;
    for name in ["a", "b"] {
        create(&server, MAPS, &map(name)).await;
    }
    let list = get(&server, MAPS, ACCEPT.1).await.object();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    let json = get(&server, MAPS, "application/json").await.json();
    assert_eq!(list["metadata"], json["metadata"]);
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["metadata"]["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list["items"][0]["data"], json["items"][0]["data"]);

    let page = get(&server, &format!("{MAPS}?limit=1"), PROTOBUF).await.object();
    assert_eq!((names(&page).len(), &page["metadata"]["remainingItemCount"]), (1, &json!(1)));
    for version in ["v1", "v1beta1"] {
        let accept = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v={version}");
        let partial = get(&server, MAPS, &accept).await.object();
        assert_eq!(partial["kind"], "PartialObjectMetadataList");
        assert_eq!(partial["apiVersion"], format!("meta.k8s.io/{version}"));
        assert_eq!(names(&partial), ["a", "b"]);
        assert_eq!(partial["items"][0]["data"], Value::Null);
    }
    let accept = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let partial = get(&server, &format!("{MAPS}/a"), &accept).await.object();
    assert_eq!(
        (&partial["kind"], &partial["metadata"]["labels"]["a"]),
        (&json!("PartialObjectMetadata"), &json!("b"))
    );
    // There are no tables in protobuf.
    let accept =
        format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(get(&server, MAPS, &accept).await.json()["kind"], "Table");
}

/// Reads frames until there are so many.
async fn frames(body: &mut hyper::body::Incoming, count: usize) -> Vec<Value> {
    let ty = api::protobuf::type_of("v1", "WatchEvent").unwrap();
    let (mut bytes, mut events) = (BytesMut::new(), Vec::new());
    while events.len() < count {
        let next =
            tokio::time::timeout(Duration::from_secs(60), body.frame()).await.expect("a frame in time");
        bytes.extend_from_slice(&next.unwrap().unwrap().into_data().unwrap());
        while let Some(length) = bytes.first_chunk::<4>().map(|n| u32::from_be_bytes(*n) as usize)
            && bytes.len() >= 4 + length
        {
            let frame = bytes.split_to(4 + length);
            events.push(api::protobuf::message(&frame[4..], ty).unwrap());
        }
    }
    assert!(bytes.is_empty(), "a frame is whole");
    events
}

#[tokio::test]
async fn watches_send_frames_with_their_length() {
    let server = start().await;
    create(&server, MAPS, &map("a")).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watches = Vec::new();
    // The second is served from what the first had made.
    for accept in [ACCEPT.1, "application/vnd.kubernetes.protobuf;stream=watch"] {
        let response =
            open(&server, Method::GET, &format!("{MAPS}?{query}"), &[("accept", accept)], Vec::new()).await;
        assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
        watches.push(response.into_body());
    }
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let path = format!("{MAPS}?{query}");
    let mut partial =
        open(&server, Method::GET, &path, &[("accept", &metadata)], Vec::new()).await.into_body();
    for body in &mut watches {
        let events = frames(body, 2).await;
        assert_eq!((&events[0]["type"], &events[1]["type"]), (&json!("ADDED"), &json!("BOOKMARK")));
        assert_eq!(
            (&events[0]["object"]["kind"], &events[0]["object"]["data"]["k"]),
            (&json!("ConfigMap"), &json!("v"))
        );
        let annotations = &events[1]["object"]["metadata"]["annotations"];
        assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    }
    let deleted = ask(&server, Method::DELETE, &format!("{MAPS}/a"), &[ACCEPT], Vec::new()).await;
    assert_eq!(deleted.object()["status"], "Success");
    for body in &mut watches {
        let events = frames(body, 1).await;
        assert_eq!(
            (&events[0]["type"], &events[0]["object"]["metadata"]["name"]),
            (&json!("DELETED"), &json!("a"))
        );
    }
    let events = frames(&mut partial, 3).await;
    assert_eq!(events[0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(events[2]["type"], "DELETED");

    let too_old =
        open(&server, Method::GET, &format!("{MAPS}?watch=1&resourceVersion=1"), &[ACCEPT], Vec::new()).await;
    assert_eq!(too_old.status(), 200);
    let mut body = too_old.into_body();
    let first = &frames(&mut body, 1).await[0];
    assert!(matches!(first["type"].as_str(), Some("ERROR" | "ADDED")), "{first}");
}

#[tokio::test]
async fn failures_are_in_the_encoding_that_is_accepted() {
    let server = start().await;
    let path = format!("{MAPS}/missing");
    let answer = get(&server, &path, ACCEPT.1).await;
    assert_eq!((answer.code, &answer.object()["reason"]), (404, &json!("NotFound")));
    assert_eq!(answer.object()["details"]["kind"], "configmaps");
    assert_eq!(get(&server, &path, "*/*").await.json()["kind"], "Status");
    assert_eq!(get(&server, "/api/v1/nonsense", PROTOBUF).await.object()["code"], 404);
    // What is below no group-version is answered in HTTP's own words.
    assert_eq!(get(&server, "/nonsense", PROTOBUF).await.media_type(), "text/plain; charset=utf-8");

    let types = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let answer = get(&server, MAPS, "text/html").await;
    let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let available = format!("406: Not Acceptable\n\nAvailable representations: {types}, {streams}");
    assert_eq!((answer.code, &answer.json()["message"]), (406, &json!(available)));
    for path in [MAPS, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"] {
        let answer = ask(&server, Method::POST, path, &[("content-type", "text/plain")], b"x".to_vec()).await;
        assert_eq!(answer.code, 415);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.ends_with(&format!("accepted media types include: {types}")), "{message}");
    }
}

#[tokio::test]
async fn malformed_bodies_are_bad_requests() {
    let server = start().await;
    let good = object_bytes(&map("a")).unwrap();
    let namespace =
        object_bytes(&json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x"}})).unwrap();
    let widget = api::protobuf::envelope("example.com/v1", "Widget", b"");
    let cases = [
        (b"{}".to_vec(), "does not appear to be a protobuf message"),
        (good[..good.len() - 12].to_vec(), "unexpected EOF"),
        (widget, "no kind \"Widget\" is registered"),
        (namespace, "cannot be handled as a ConfigMap"),
    ];
    for (body, expected) in cases {
        let answer = ask(&server, Method::POST, MAPS, &[CONTENT], body).await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.code, 400, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    // What the type does not know is skipped, even by those who are strict.
    let mut message = Vec::new();
    let ty = api::protobuf::type_of("v1", "ConfigMap").unwrap();
    api::protobuf::append_message(&mut message, &map("b"), ty).unwrap();
    api::protobuf::append_bytes(&mut message, 4000, b"unknown");
    let body = api::protobuf::envelope("v1", "ConfigMap", &message);
    let answer =
        ask(&server, Method::POST, &format!("{MAPS}?fieldValidation=Strict"), &[CONTENT], body).await;
    assert_eq!(answer.code, 201);
    assert!(!answer.headers.contains_key("warning"));
}

#[tokio::test]
async fn delete_options_may_be_protobuf_of_any_group() {
    let server = start().await;
    for (name, api_version) in [("a", "v1"), ("b", "apps/v1"), ("c", "example.com/v1")] {
        create(&server, MAPS, &map(name)).await;
        let ty = api::protobuf::type_of("v1", "DeleteOptions").unwrap();
        let body = |options: Value| {
            let mut message = Vec::new();
            api::protobuf::append_message(&mut message, &options, ty).unwrap();
            api::protobuf::envelope(api_version, "DeleteOptions", &message)
        };
        let path = format!("{MAPS}/{name}");
        let wrong = body(json!({"preconditions": {"uid": "other"}}));
        let refused = ask(&server, Method::DELETE, &path, &[ACCEPT, CONTENT], wrong).await;
        assert_eq!((refused.code, &refused.object()["reason"]), (409, &json!("Conflict")), "{api_version}");
        let right = body(json!({"propagationPolicy": "Background"}));
        let deleted = ask(&server, Method::DELETE, &path, &[ACCEPT, CONTENT], right).await;
        assert_eq!((deleted.code, &deleted.object()["kind"]), (200, &json!("Status")), "{api_version}");
    }
}

#[tokio::test]
async fn reviews_tokens_bindings_and_evictions_are_asked_and_answered() {
    let server = start().await;
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "metadata": {}, "spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}});
    let answer = create(&server, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_eq!((answer.code, &answer.object()["status"]["allowed"]), (201, &json!(true)));
    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let answer = create(&server, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await;
    assert_eq!(answer.object()["status"]["userInfo"]["username"], "root");

    let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    create(&server, "/api/v1/namespaces/default/serviceaccounts", &account).await;
    let wish = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"expirationSeconds": 600}});
    let answer = create(&server, "/api/v1/namespaces/default/serviceaccounts/default/token", &wish).await;
    let token = answer.object();
    assert_eq!((answer.code, &token["kind"]), (201, &json!("TokenRequest")));
    assert_eq!(token["status"]["token"].as_str().unwrap().split('.').count(), 3);

    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    let created = create(&server, pods, &pod).await;
    assert_eq!(created.code, 201, "{:?}", created.object());
    assert_eq!(created.object(), get(&server, &format!("{pods}/p"), "application/json").await.json());
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = create(&server, &format!("{pods}/p/binding"), &binding).await;
    assert_eq!((bound.code, &bound.object()["status"]), (201, &json!("Success")));
    let eviction = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"},
        "deleteOptions": {"gracePeriodSeconds": 0}});
    let evicted = create(&server, &format!("{pods}/p/eviction"), &eviction).await;
    assert_eq!((evicted.code, &evicted.object()["status"]), (201, &json!("Success")));
}
