//! The verbs through requests, without sockets.

use super::*;
use crate::registry::fixture::{open, strategies, widget};
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;
use storage::Storage;

pub(super) struct Api {
    registry: Arc<Registry>,
    storage: Arc<dyn Storage>,
    context: Context,
}

pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

pub(super) const WIDGETS: &str = "/apis/test.io/v1/namespaces/ns/widgets";

impl Api {
    /// With every built-in kind.
    pub(super) async fn built_in() -> Self {
        let context = Context::simulated(1);
        let storage = crate::registry::fixture::memory(&context).await;
        let strategies = crate::resources::all();
        let registry = Registry::open(Arc::clone(&storage), &context, strategies).await.unwrap();
        Self { registry, storage, context }
    }

    pub(super) async fn new() -> Self {
        let (registry, storage, context) = open(1).await;
        Self { registry, storage, context }
    }

    pub(super) async fn raw(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body::full(body)).unwrap();
        let info = RequestInfo::new(request.method(), request.uri());
        let user = crate::registry::loopback_user();
        let headers = request.headers().clone();
        let admission = Chain::default();
        dispatch(&self.registry, &admission, &self.context, &info, &user, request).await.unwrap_or_else(
            |status| {
                let form = crate::negotiate::plain(&headers, None).unwrap_or_default();
                crate::respond::status(&status, form)
            },
        )
    }

    pub(super) async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.raw(method, uri, headers, body).await;
        let (head, body) = response.into_parts();
        let bytes = body::read(body, usize::MAX).await.unwrap();
        if let Some(length) = head.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), bytes.len().to_string());
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { code: head.status.as_u16(), headers: head.headers, text }
    }

    pub(super) async fn get(&self, uri: &str) -> Answer {
        self.send("GET", uri, &[], "").await
    }

    async fn create(&self, name: &str, color: &str) -> Value {
        let mut object = widget(name);
        object["spec"]["color"] = color.into();
        object["metadata"]["labels"] = json!({"color": color});
        let answer = self.send("POST", WIDGETS, &[], object.to_string()).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
        answer.json()
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn creates_reads_and_lists() {
    let api = Api::new().await;
    let created = api.create("a", "red").await;
    api.create("b", "blue").await;
    let got = api.get(&format!("{WIDGETS}/a")).await;
    assert_eq!((got.code, got.json()), (200, created));
    assert_eq!(got.headers["content-type"], "application/json");
    let list = api.get(WIDGETS).await.json();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("WidgetList"), &json!("test.io/v1")));
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list["metadata"]["resourceVersion"], api.registry.revision().to_string());
    for (query, expected) in [
        ("labelSelector=color%3Dred", vec!["a"]),
        ("fieldSelector=spec.color%21%3Dred", vec!["b"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("labelSelector=color%3Dred,color%3Dblue", vec![]),
        ("resourceVersion=0&limit=1", vec!["a", "b"]),
    ] {
        assert_eq!(names(&api.get(&format!("{WIDGETS}?{query}")).await.json()), expected, "{query}");
    }
    assert_eq!(names(&api.get("/apis/test.io/v1/widgets").await.json()), ["a", "b"]);
    assert_eq!(names(&api.get("/apis/test.io/v1/namespaces/n/widgets").await.json()), [""; 0]);
}

#[tokio::test]
async fn refuses_in_upstreams_words() {
    let api = Api::new().await;
    api.create("a", "red").await;
    let widget_b = widget("b").to_string();
    /// Method, path, headers, body, code, part of the message.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let table: [Case<'_>; 17] = [
        ("GET", "widgets/x", &[], "", 404, "widgets.test.io \"x\" not found"),
        ("GET", "gizmos", &[], "", 404, "the server could not find the requested resource"),
        ("GET", "widgets/a/nope", &[], "", 404, "the server could not find the requested resource"),
        ("POST", "widgets", &[], "{", 400, "the object provided is unrecognized (must be of type Widget)"),
        (
            "POST",
            "widgets",
            &[],
            "{\"kind\": \"Widget\", \"metadata\": ",
            400,
            "({\"kind\": \"Widget\", \"metadata\": ...)",
        ),
        ("POST", "widgets", &[], "", 400, "(<empty>)"),
        ("POST", "widgets", &[], "abc", 400, "(616263)"),
        (
            "POST",
            "widgets",
            &[],
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            400,
            "Pod in version \"v1\" cannot be handled as a Widget",
        ),
        (
            "POST",
            "widgets",
            &[],
            r#"{"kind":"Widget","apiVersion":"test.io/v2"}"#,
            400,
            "the API version in the data (test.io/v2) does not match the expected API version (test.io/v1)",
        ),
        (
            "POST",
            "widgets",
            &[],
            r#"{"metadata":{"name":"x","namespace":"other"}}"#,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "PUT",
            "widgets/a",
            &[],
            &widget_b,
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        ("PUT", "widgets/b", &[], &widget_b, 404, "widgets.test.io \"b\" not found"),
        (
            "POST",
            "widgets",
            &[("content-type", "application/vnd.kubernetes.protobuf")],
            "",
            415,
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        ),
        (
            "PATCH",
            "widgets/a",
            &[("content-type", "application/strategic-merge-patch+json")],
            "{}",
            415,
            "application/json-patch+json, application/merge-patch+json",
        ),
        (
            "GET",
            "widgets/a",
            &[("accept", "text/html")],
            "",
            406,
            "only the following media types are accepted: application/json, application/yaml",
        ),
        (
            "POST",
            "widgets?dryRun=Some",
            &[],
            &widget_b,
            422,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
        ),
        (
            "GET",
            "widgets?continue=x&resourceVersion=5",
            &[],
            "",
            400,
            "specifying resource version is not allowed when using continue",
        ),
    ];
    for (method, path, headers, body, code, text) in table {
        let uri = format!("/apis/test.io/v1/namespaces/ns/{path}");
        let answer = api.send(method, &uri, headers, body.to_owned()).await;
        let status = answer.json();
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.text);
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)));
        assert!(status["message"].as_str().unwrap().contains(text), "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn pages_show_the_state_of_the_first() {
    let api = Api::new().await;
    for i in 0..7 {
        api.create(&format!("w{i}"), "red").await;
    }
    let first = api.get(&format!("{WIDGETS}?limit=3")).await.json();
    assert_eq!(names(&first), ["w0", "w1", "w2"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    // The state changes between the pages.
    api.create("w35", "blue").await;
    api.send("DELETE", &format!("{WIDGETS}/w4"), &[], "").await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api.get(&format!("{WIDGETS}?limit=3&continue={token}")).await.json();
    assert_eq!(names(&second), ["w3", "w4", "w5"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = api.get(&format!("{WIDGETS}?limit=3&continue={token}")).await.json();
    assert_eq!(names(&third), ["w6"]);
    assert!(third["metadata"]["continue"].is_null());
    // A selector hides how many remain.
    let selected = api.get(&format!("{WIDGETS}?limit=3&labelSelector=color%3Dred")).await.json();
    assert!(selected["metadata"]["remainingItemCount"].is_null());
    // Forgotten: 410, with a token that goes on from the present.
    api.storage.compact(api.registry.revision()).await.unwrap();
    let expired = api.get(&format!("{WIDGETS}?limit=3&continue={token}")).await;
    let status = expired.json();
    assert_eq!((expired.code, &status["reason"]), (410, &json!("Expired")));
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = api.get(&format!("{WIDGETS}?continue={token}")).await.json();
    assert_eq!(names(&rest), ["w6"]);
}

#[tokio::test]
async fn an_exact_version_shows_the_past() {
    let api = Api::new().await;
    let version = api.create("a", "red").await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    api.create("b", "red").await;
    let exact = format!("{WIDGETS}?resourceVersion={version}&resourceVersionMatch=Exact");
    let list = api.get(&exact).await.json();
    assert_eq!((names(&list), &list["metadata"]["resourceVersion"]), (vec!["a"], &json!(version)));
    let newer = format!("{WIDGETS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan");
    assert_eq!(names(&api.get(&newer).await.json()), ["a", "b"]);
}

#[tokio::test]
async fn updates_and_patches() {
    let api = Api::new().await;
    let mut object = api.create("a", "red").await;
    object["spec"]["size"] = 2.into();
    let uri = format!("{WIDGETS}/a");
    let answer = api.send("PUT", &uri, &[], object.to_string()).await;
    assert_eq!((answer.code, &answer.json()["spec"]["size"]), (200, &json!(2)));
    assert_eq!(api.send("PUT", &uri, &[], object.to_string()).await.code, 409);
    let merge = [("content-type", "application/merge-patch+json")];
    let answer = api.send("PATCH", &uri, &merge, r#"{"spec":{"size":null,"color":"blue"}}"#).await;
    assert_eq!(answer.json()["spec"], json!({"color": "blue"}));
    let json_patch = [("content-type", "application/json-patch+json")];
    let patch = r#"[{"op":"add","path":"/status","value":{"ready":true}}]"#;
    let answer = api.send("PATCH", &format!("{uri}/status"), &json_patch, patch).await;
    assert_eq!((answer.code, &answer.json()["status"]["ready"]), (200, &json!(true)), "{}", answer.text);
    let answer =
        api.send("PATCH", &uri, &json_patch, r#"[{"op":"test","path":"/spec/color","value":1}]"#).await;
    assert_eq!(answer.code, 422);
    assert_eq!(api.get(&format!("{uri}/status")).await.code, 200);
    let stale = r#"{"metadata":{"resourceVersion":"1"},"spec":{"size":3}}"#;
    assert_eq!(api.send("PATCH", &uri, &merge, stale).await.code, 409);
}

#[tokio::test]
async fn deletes_one_and_many() {
    let api = Api::new().await;
    for (name, color) in [("a", "red"), ("b", "red"), ("c", "blue")] {
        api.create(name, color).await;
    }
    let body = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}"#;
    let answer = api.send("DELETE", &format!("{WIDGETS}/a"), &[], body).await;
    let status = answer.json();
    assert_eq!((answer.code, &status["status"]), (200, &json!("Success")));
    assert_eq!(status["details"]["name"], "a");
    let foreground = r#"{"propagationPolicy":"Foreground"}"#;
    assert_eq!(api.send("DELETE", &format!("{WIDGETS}/b"), &[], foreground).await.code, 202);
    let bad = r#"{"propagationPolicy":"Sideways"}"#;
    assert_eq!(api.send("DELETE", &format!("{WIDGETS}/b"), &[], bad).await.code, 422);
    let answer = api.send("DELETE", &format!("{WIDGETS}?labelSelector=color%3Dblue"), &[], "").await;
    assert_eq!(names(&answer.json()), ["c"]);
    assert_eq!(names(&api.get(WIDGETS).await.json()), ["b"]);
}

#[tokio::test]
async fn options_of_a_deletion_that_are_no_options_delete_nothing() {
    let api = Api::new().await;
    api.create("a", "red").await;
    for body in [
        r#"{"dryRun":"All"}"#,
        r#"{"gracePeriodSeconds":"0"}"#,
        r#"{"preconditions":"x"}"#,
        r#"{"propagationPolicy":1}"#,
        r#"{"kind":"Widget"}"#,
        "[]",
    ] {
        assert_eq!(api.send("DELETE", &format!("{WIDGETS}/a"), &[], body).await.code, 400, "{body}");
    }
    assert_eq!(api.send("DELETE", &format!("{WIDGETS}/a?dryRun="), &[], "").await.code, 422);
    assert_eq!(api.get(&format!("{WIDGETS}/a")).await.code, 200);
}

#[tokio::test]
async fn a_watch_of_one_name_tells_of_that_one_only() {
    let api = Api::new().await;
    for name in ["a", "b"] {
        api.create(name, "red").await;
    }
    for uri in [
        "/apis/test.io/v1/watch/namespaces/ns/widgets/b",
        "/apis/test.io/v1/namespaces/ns/widgets?watch=1&fieldSelector=metadata.name%3Db",
    ] {
        let mut lines = Lines::of(api.raw("GET", uri, &[], "").await);
        assert_eq!(lines.seen().await, seen("ADDED", "b"), "{uri}");
    }
}

#[tokio::test]
async fn what_a_path_does_not_allow_is_told_as_upstreams_router_does() {
    let api = Api::new().await;
    let widget = widget("a").to_string();
    for (method, uri) in [
        ("POST", "/apis/test.io/v1/widgets"),
        ("DELETE", "/apis/test.io/v1/widgets"),
        ("PUT", WIDGETS),
        ("PATCH", WIDGETS),
        ("POST", "/apis/test.io/v1/namespaces/ns/widgets/a"),
    ] {
        let answer = api.send(method, uri, &[], widget.clone()).await;
        let status = answer.json();
        assert_eq!((answer.code, &status["details"]), (405, &json!({})), "{method} {uri}");
        assert_eq!(status["message"], "the server does not allow this method on the requested resource");
    }
}

#[tokio::test]
async fn every_document_ends_with_a_line_break() {
    let api = Api::new().await;
    api.create("a", "red").await;
    let one = format!("{WIDGETS}/a");
    let nothing = format!("{WIDGETS}/x");
    for uri in [one.as_str(), WIDGETS, &nothing] {
        let text = api.get(uri).await.text;
        assert!(text.ends_with("}\n"), "{uri}: {text:?}");
    }
}

#[tokio::test]
async fn yaml_comes_in_and_goes_out() {
    let api = Api::new().await;
    let body = "kind: Widget\napiVersion: test.io/v1\nmetadata:\n  name: a\nspec:\n  mode: 0644\n";
    let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let answer = api.send("POST", WIDGETS, &headers, body).await;
    assert_eq!((answer.code, &answer.headers["content-type"]), (201, &"application/yaml".parse().unwrap()));
    assert!(answer.text.contains("mode: 420"), "{}", answer.text);
    assert!(api.get(&format!("{WIDGETS}/a?pretty=true")).await.text.contains("\n  \"kind\": \"Widget\""));
}

#[tokio::test]
async fn tables_and_metadata_for_who_asks() {
    let api = Api::new().await;
    api.create("a", "red").await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let list = api.send("GET", WIDGETS, &table, "").await.json();
    assert_eq!(list["kind"], "Table");
    assert_eq!(list["columnDefinitions"][1]["name"], "Color");
    assert_eq!(list["rows"][0]["cells"], json!(["a", "red"]));
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(list["rows"][0]["object"]["spec"].is_null());
    let one = api.send("GET", &format!("{WIDGETS}/a?includeObject=Object"), &table, "").await.json();
    assert_eq!(one["rows"][0]["object"]["spec"]["color"], "red");
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let list = api.send("GET", WIDGETS, &partial, "").await.json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert!(list["items"][0]["spec"].is_null());
}

#[tokio::test]
async fn large_answers_are_compressed_for_who_accepts_it() {
    let api = Api::new().await;
    for i in 0..40 {
        let mut object = widget(&format!("w{i:02}"));
        object["spec"]["text"] = "x".repeat(10_000).into();
        api.send("POST", WIDGETS, &[], object.to_string()).await;
    }
    let plain = api.get(WIDGETS).await;
    let response = api.raw("GET", WIDGETS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let bytes = body::read(response.into_body(), usize::MAX).await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*bytes), &mut text).unwrap();
    assert_eq!(text, plain.text);
    assert_eq!(names(&plain.json()).len(), 40);
}

/// Reads the next line of a watch.
struct Lines {
    stream: http_body_util::BodyStream<body::Body>,
    text: String,
}

impl Lines {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        Self { stream: http_body_util::BodyStream::new(response.into_body()), text: String::new() }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let value = serde_json::from_str(line).unwrap();
                self.text = rest.to_owned();
                return Some(value);
            }
            let frame = self.stream.next().await?.unwrap();
            self.text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
    }

    async fn seen(&mut self) -> (String, String) {
        let event = tokio::time::timeout(Duration::from_secs(5000), self.next()).await.unwrap().unwrap();
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("").to_owned();
        (event["type"].as_str().unwrap().to_owned(), name)
    }
}

fn seen(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn watches_tell_what_changes_and_what_leaves_the_selection() {
    let api = Api::new().await;
    api.create("a", "red").await;
    let mut fresh = Lines::of(api.raw("GET", &format!("{WIDGETS}?watch=1"), &[], "").await);
    assert_eq!(fresh.seen().await, seen("ADDED", "a"));
    let version = api.registry.revision();
    let uri = format!("{WIDGETS}?watch=true&resourceVersion={version}&labelSelector=color%3Dred");
    let mut red = Lines::of(api.raw("GET", &uri, &[], "").await);
    let merge = [("content-type", "application/merge-patch+json")];
    let paint = |color: &str| json!({"metadata": {"labels": {"color": color}}}).to_string();
    api.send("PATCH", &format!("{WIDGETS}/a"), &merge, paint("blue")).await;
    let left = red.next().await.unwrap();
    assert_eq!(
        (&left["type"], &left["object"]["metadata"]["labels"]["color"]),
        (&json!("DELETED"), &json!("red"))
    );
    assert_eq!(left["object"]["metadata"]["resourceVersion"], api.registry.revision().to_string());
    api.send("PATCH", &format!("{WIDGETS}/a"), &merge, paint("red")).await;
    assert_eq!(red.seen().await, seen("ADDED", "a"));
    api.send("DELETE", &format!("{WIDGETS}/a"), &[], "").await;
    assert_eq!(red.seen().await, seen("DELETED", "a"));
    for expected in ["MODIFIED", "MODIFIED", "DELETED"] {
        assert_eq!(fresh.seen().await, seen(expected, "a"));
    }
}

#[tokio::test(start_paused = true)]
async fn watches_bookmark_and_end_in_time() {
    let api = Api::new().await;
    api.create("a", "red").await;
    let version = api.registry.revision();
    let uri =
        format!("{WIDGETS}?watch=true&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=70");
    let started = api.context.clock.now();
    let mut lines = Lines::of(api.raw("GET", &uri, &[], "").await);
    for _ in 0..2 {
        let event = lines.next().await.unwrap();
        assert_eq!(event["type"], "BOOKMARK");
        assert_eq!(event["object"]["kind"], "Widget");
        assert_eq!(event["object"]["metadata"], json!({"resourceVersion": version.to_string()}));
    }
    assert!(lines.next().await.is_none());
    assert_eq!((api.context.clock.now() - started).get_seconds(), 70);
}

#[tokio::test]
async fn a_streaming_list_marks_its_end() {
    let api = Api::new().await;
    api.create("a", "red").await;
    let uri = format!(
        "{WIDGETS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut lines = Lines::of(api.raw("GET", &uri, &[], "").await);
    assert_eq!(lines.seen().await, seen("ADDED", "a"));
    let end = lines.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    api.create("b", "red").await;
    assert_eq!(lines.seen().await, seen("ADDED", "b"));
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_is_told_so_in_the_stream() {
    let api = Api::new().await;
    for i in 0..5 {
        api.create(&format!("w{i}"), "red").await;
    }
    api.storage.compact(api.registry.revision()).await.unwrap();
    let registry = Registry::open(Arc::clone(&api.storage), &api.context, strategies()).await.unwrap();
    let api = Api { registry, ..api };
    let mut lines = Lines::of(api.raw("GET", &format!("{WIDGETS}?watch=1&resourceVersion=2"), &[], "").await);
    let event = lines.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn table_watches_define_their_columns_once() {
    let api = Api::new().await;
    api.create("a", "red").await;
    api.create("b", "red").await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut lines = Lines::of(api.raw("GET", &format!("{WIDGETS}?watch=1"), &table, "").await);
    let (first, second) = (lines.next().await.unwrap(), lines.next().await.unwrap());
    assert_eq!(first["object"]["columnDefinitions"].as_array().unwrap().len(), 2);
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
    assert_eq!(second["object"]["rows"][0]["cells"], json!(["b", "red"]));
}

#[tokio::test]
async fn unknown_fields_of_a_known_kind_are_warned_of_or_refused() {
    use crate::handlers::decode::{FieldValidation, Media, object};
    let kinds = crate::resources::all();
    let config_maps = kinds.iter().find(|kind| kind.resource().plural == "configmaps").unwrap();
    let version = crate::registry::Version::stored(config_maps);
    let body = br#"{"metadata":{"name":"a","creationTimestamp":null},"data":{"a":"b"},"nope":1}"#;
    let decoded = object(&version, Media::Json, body, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, ["unknown field \"nope\""]);
    assert!(decoded.value["nope"].is_null());
    let status = object(&version, Media::Json, body, FieldValidation::Strict).unwrap_err();
    assert_eq!(
        status.message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"nope\""
    );
    assert!(object(&version, Media::Json, body, FieldValidation::Ignore).unwrap().warnings.is_empty());
    let wrong = br#"{"data":{"a":1}}"#;
    let status = object(&version, Media::Json, wrong, FieldValidation::Warn).unwrap_err();
    assert_eq!(status.code, 400);
    assert!(status.message.contains("cannot unmarshal number into Go struct field"), "{status}");
}
