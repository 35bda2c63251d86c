//! Plain requests to a cluster of the test's own.

use futures::StreamExt;
use http::Request;
use kube::Client;
use kube::api::{DynamicObject, WatchEvent};
use kube::client::Body;
use minik::Cluster;
use serde_json::{Value, json};
use tests::DEADLINE;

/// The namespace in which tests work.
pub(crate) const NAMESPACE: &str = "default";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A cluster without nodes whose namespace is as controllers make it, and its administrator's connection.
pub(crate) struct Wire {
    pub(crate) cluster: Cluster,
    client: Client,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) headers: http::HeaderMap,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.body);
        self.body
    }

    /// The message of a failure with this code.
    #[track_caller]
    pub(crate) fn refused(self, code: u16) -> String {
        assert_eq!(self.code, code, "{}", self.body);
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Wire {
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::builder().nodes(0).start().await.expect("a cluster");
        let client = cluster.client();
        tests::settled(&client).await;
        Self { cluster, client }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let (head, body) = self.client.send(request).await.expect("an answer").into_parts();
        let bytes = body.collect_bytes().await.expect("a body");
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code: head.status.as_u16(), body, headers: head.headers }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    pub(crate) async fn patch(&self, kind: &str, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[("content-type", kind)], body.to_string().into()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        let options = json!({"propagationPolicy": "Background"});
        let headers = [("content-type", "application/json")];
        self.send("DELETE", path, &headers, options.to_string().into()).await
    }

    /// Changes an object by update, again when somebody else was faster.
    pub(crate) async fn update(&self, path: &str, mut change: impl FnMut(&mut Value)) -> Value {
        loop {
            let mut object = self.get(path.trim_end_matches("/status")).await.ok();
            change(&mut object);
            let answer = self.put(path, &object).await;
            if answer.code != 409 {
                return answer.ok();
            }
        }
    }

    /// A watch of a list's path from a revision on.
    pub(crate) async fn watch(&self, path: &str, revision: &str, query: &str) -> Watch {
        let uri = format!("{path}?watch=true&resourceVersion={revision}&{query}");
        let request = Request::get(uri).body(Vec::new()).expect("a request");
        let events = self.client.request_events::<DynamicObject>(request).await.expect("a watch");
        Watch(events.boxed())
    }

    /// Waits until what is at a path is right.
    pub(crate) async fn eventually(&self, path: &str, right: impl Fn(&Answer) -> bool) -> Answer {
        testkit::eventually_some(DEADLINE, async || Some(self.get(path).await).filter(&right)).await
    }

    pub(crate) async fn stop(self) {
        drop(self.client);
        self.cluster.stop().await;
    }
}

/// A watch that is read change by change.
pub(crate) struct Watch(futures::stream::BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>);

impl Watch {
    /// The next change of an object: what happened, and the object.
    pub(crate) async fn next(&mut self) -> (&'static str, Value) {
        let event = tokio::time::timeout(DEADLINE, self.0.next()).await.expect("in time");
        match event.expect("no end").expect("a change") {
            WatchEvent::Added(object) => ("ADDED", value(&object)),
            WatchEvent::Modified(object) => ("MODIFIED", value(&object)),
            WatchEvent::Deleted(object) => ("DELETED", value(&object)),
            other => panic!("{other:?}"),
        }
    }

    /// Reads on until this happened to an object that is as it should be.
    pub(crate) async fn sees(&mut self, what: &str, right: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (change, object) = self.next().await;
            if change == what && right(&object) {
                return object;
            }
        }
    }
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object is JSON")
}

/// The revision of an object or a list.
pub(crate) fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("a resourceVersion")
}
