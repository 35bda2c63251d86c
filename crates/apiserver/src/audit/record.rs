//! One request's record, and how it gets to know bodies.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/audit/request.go`, `pkg/apis/audit/v1/types.go`.

use super::policy::{Level, Stage, Verdict};
use super::{Annotations, Audit, Lost};
use crate::auth::{Action, UserInfo};
use crate::body::{self, BoxError, ReadError, Request, Response};
use crate::chain::MAX_BODY_BYTES;
use api::protobuf;
use api::status::Status;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

/// How much of a user agent is recorded, and what stands for the rest. **Upstream**: `maxUserAgentLength`,
/// `userAgentTruncateSuffix`.
const USER_AGENT_BYTES: usize = 1024;
const TRUNCATED: &str = "...TRUNCATED";
const STATUS: &str = "responseStatus";
/// A longer answer is none that only says that something was done.
const STATUS_BYTES: u64 = 16 << 10;

/// Where a request comes from.
pub(crate) struct Origin<'a> {
    pub(crate) audit_id: &'a str,
    pub(crate) uri: &'a http::Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) address: Option<IpAddr>,
    pub(crate) received: jiff::Timestamp,
    /// Whether the request is meant to run long.
    pub(crate) is_stream: bool,
}

/// What is known about one request so far.
pub(crate) struct Record {
    audit: Arc<Audit>,
    verdict: Verdict,
    event: Map<String, Value>,
    received: jiff::Timestamp,
    annotations: Annotations,
    is_stream: bool,
    written: bool,
}

impl Record {
    pub(super) fn new(
        audit: Arc<Audit>,
        verdict: Verdict,
        action: &Action<'_>,
        origin: Origin<'_>,
        annotations: Annotations,
    ) -> Self {
        let mut event = Map::new();
        let mut set = |key: &str, value: Value| event.insert(key.to_owned(), value);
        set("kind", "Event".into());
        set("apiVersion", "audit.k8s.io/v1".into());
        set("level", verdict.level.name().into());
        set("auditID", origin.audit_id.into());
        // The order of upstream's fields.
        set("stage", Value::Null);
        // HTTP/2 has scheme and host in it.
        set("requestURI", origin.uri.path_and_query().map_or("/", PathAndQuery::as_str).into());
        set("verb", action.verb.into());
        set("user", user(action.user));
        set("sourceIPs", sources(origin.headers, origin.address));
        if let Some(agent) = origin.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            let shown = match agent.get(..USER_AGENT_BYTES) {
                Some(start) if agent.len() > USER_AGENT_BYTES => format!("{start}{TRUNCATED}"),
                _ => agent.to_owned(),
            };
            set("userAgent", shown.into());
        }
        if action.is_resource {
            set("objectRef", reference(action));
        }
        let Origin { received, is_stream, .. } = origin;
        Self { audit, verdict, event, received, annotations, is_stream, written: false }
    }

    /// Adds what the chain itself knows.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        let mut annotations = self.annotations.lock().unwrap_or_else(PoisonError::into_inner);
        annotations.entry(key).or_insert_with(|| value.into());
    }

    /// The user acts as another, by the right of a constrained mode if there is a constraint.
    pub(crate) fn impersonates(&mut self, other: &UserInfo, constraint: &str) {
        self.event.insert("impersonatedUser".to_owned(), user(other));
        if !constraint.is_empty() {
            let metadata = json!({ "impersonationConstraint": constraint });
            self.event.insert("authenticationMetadata".to_owned(), metadata);
        }
    }

    /// Reads the body of a request whose body counts, and gives the request back with it.
    pub(crate) async fn read(&mut self, request: Request, verb: &str) -> Result<Request, Status> {
        let wanted = match self.verdict.level {
            Level::None => false,
            // The name of what is created is in the body only.
            Level::Metadata => verb == "create",
            Level::Request | Level::RequestResponse => {
                matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection")
            }
        };
        if !wanted || !self.event.contains_key("objectRef") {
            return Ok(request);
        }
        let (mut head, body) = request.into_parts();
        if self.verdict.level == Level::RequestResponse {
            // What is recorded is read as it is.
            head.headers.remove(header::ACCEPT_ENCODING);
        }
        let bytes = body::read(body, MAX_BODY_BYTES).await.map_err(|error| match error {
            ReadError::TooLarge(limit) => Status::too_large(limit),
            ReadError::Broken(_) => Status::bad_request("unable to read the body of the request"),
        })?;
        let object = decoded(&head.headers, &bytes).unwrap_or_default();
        if let Some(reference) = self.event.get_mut("objectRef").and_then(Value::as_object_mut) {
            for key in ["name", "namespace", "uid", "resourceVersion"] {
                let known = &object["metadata"][key];
                if !reference.contains_key(key) && known.as_str().is_some_and(|text| !text.is_empty()) {
                    reference.insert(key.to_owned(), known.clone());
                }
            }
        }
        if self.verdict.level >= Level::Request && !object.is_null() {
            self.keep_object("requestObject", object);
        }
        Ok(Request::from_parts(head, body::full(bytes)))
    }

    fn keep_object(&mut self, key: &str, mut object: Value) {
        if self.verdict.omit_managed_fields {
            strip_managed_fields(&mut object);
        }
        self.event.insert(key.to_owned(), object);
    }

    /// Before anything is done. `Err`: nothing may be.
    pub(crate) async fn received(&mut self) -> Result<(), Lost> {
        self.keep(Stage::RequestReceived).await
    }

    /// Nobody knows who asks: that is told when it is answered, and no more than once.
    pub(crate) async fn unauthenticated(mut self, status: &Status) {
        self.answered_with(status);
        self.end(Stage::ResponseStarted).await;
    }

    /// A handler has panicked with these words.
    pub(crate) async fn panicked(mut self, words: &str) {
        let told = json!({"metadata": {}, "status": "Failure", "message": format!("APIServer panic'd: {words}"),
            "reason": "InternalError", "code": 500});
        self.event.insert(STATUS.to_owned(), told);
        self.end(Stage::Panic).await;
    }

    /// Writes the last stage.
    async fn end(mut self, stage: Stage) {
        self.written = true;
        // Only a request that has not begun fails for want of a record.
        let _ = self.keep(stage).await;
    }

    /// Something went wrong; this is what the client is told.
    pub(crate) fn answered_with(&mut self, status: &Status) {
        let mut told = json!({ "metadata": {}, "status": "Failure" });
        told["message"] = json!(status.message);
        told["reason"] = json!(status.reason());
        if let Some(details) = &status.details {
            told["details"] = serde_json::to_value(details).unwrap_or_default();
        }
        told["code"] = json!(status.code);
        self.event.insert(STATUS.to_owned(), told);
    }

    /// The answer says that something was done, and has no object to show.
    fn done_with(&mut self, status: &Value, code: StatusCode) {
        let mut told = json!({ "metadata": {} });
        for field in ["status", "message", "reason", "details"] {
            if let Some(value) = status.get(field) {
                told[field] = value.clone();
            }
        }
        told["code"] = json!(code.as_u16());
        self.event.insert(STATUS.to_owned(), told);
    }

    /// Follows the response to its end, where the record is complete.
    pub(crate) async fn follow(mut self, response: Response) -> Response {
        if !self.event.contains_key(STATUS) {
            let status = json!({ "metadata": {}, "code": response.status().as_u16() });
            self.event.insert(STATUS.to_owned(), status);
        }
        if self.is_stream {
            let _ = self.keep(Stage::ResponseStarted).await;
            return response.map(|body| Recorded { body, _record: self }.boxed_unsync());
        }
        let keeps = self.verdict.level >= Level::RequestResponse;
        let may_be_status = response.body().size_hint().exact().is_some_and(|length| length <= STATUS_BYTES);
        let response = match self.event.contains_key("objectRef") && (keeps || may_be_status) {
            true => self.read_answer(response, keeps).await,
            false => response,
        };
        self.end(Stage::ResponseComplete).await;
        response
    }

    /// Reads the body of an answer whose body counts, and gives the answer back with it.
    async fn read_answer(&mut self, response: Response, keeps: bool) -> Response {
        let (head, body) = response.into_parts();
        match body.collect().await {
            Ok(collected) => {
                let bytes = collected.to_bytes();
                if let Some(object) = decoded(&head.headers, &bytes) {
                    if object["kind"] == "Status" && head.status.is_success() {
                        self.done_with(&object, head.status);
                    }
                    if keeps {
                        self.keep_object("responseObject", object);
                    }
                }
                Response::from_parts(head, body::full(bytes))
            }
            Err(error) => {
                tracing::debug!(%error, "a response broke off");
                Response::from_parts(head, body::empty())
            }
        }
    }

    /// Writes a stage where nobody can wait.
    fn write(&mut self, stage: Stage) {
        if let Some(event) = self.at(stage) {
            self.audit.write(event);
        }
    }

    /// Writes a stage, and waits if requests are to wait.
    async fn keep(&mut self, stage: Stage) -> Result<(), Lost> {
        match self.at(stage) {
            Some(event) => self.audit.keep(event).await,
            None => Ok(()),
        }
    }

    /// The record at a stage, if that is to be written.
    fn at(&self, stage: Stage) -> Option<Value> {
        if self.verdict.omit_stages.contains(&stage) {
            return None;
        }
        let mut event = self.event.clone();
        event.insert("stage".to_owned(), stage.name().into());
        event.insert("requestReceivedTimestamp".to_owned(), api::time::format_micro(self.received).into());
        let now = self.audit.clock.now();
        event.insert("stageTimestamp".to_owned(), api::time::format_micro(now).into());
        let annotations = self.annotations.lock().unwrap_or_else(PoisonError::into_inner);
        let bodies = self.verdict.level >= Level::Request;
        let told = annotations.iter().filter_map(|(key, value)| match key.strip_prefix(super::BODIES) {
            Some(key) => bodies.then(|| (key.to_owned(), value.clone())),
            None => Some((key.clone(), value.clone())),
        });
        let told: Map<String, Value> = told.collect();
        if !told.is_empty() {
            event.insert("annotations".to_owned(), Value::Object(told));
        }
        Some(Value::Object(event))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.written {
            return;
        }
        if !self.event.contains_key(STATUS) {
            // The client has left before it was answered; upstream calls that a success.
            let told = json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
            self.event.insert(STATUS.to_owned(), told);
            if self.is_stream {
                self.write(Stage::ResponseStarted);
            }
        }
        self.write(Stage::ResponseComplete);
    }
}

/// The body of a stream, with whose end the record ends.
struct Recorded {
    body: body::Body,
    _record: Record,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

/// A body as JSON; `None` if it is empty, or in no form that objects have.
fn decoded(headers: &HeaderMap, bytes: &[u8]) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        protobuf::MEDIA_TYPE => protobuf::object(bytes).ok(),
        "application/yaml" | "application/apply-patch+yaml" => serde_saphyr::from_slice(bytes).ok(),
        _ => serde_json::from_slice(bytes).ok(),
    }
}

fn strip_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip_managed_fields);
    }
    if let Some(rows) = object.get_mut("rows").and_then(Value::as_array_mut) {
        rows.iter_mut().filter_map(|row| row.get_mut("object")).for_each(strip_managed_fields);
    }
}

fn user(user: &UserInfo) -> Value {
    let mut object = json!({});
    if !user.name.is_empty() {
        object["username"] = json!(user.name);
    }
    if !user.uid.is_empty() {
        object["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        object["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        object["extra"] = json!(user.extra);
    }
    object
}

/// Who has handed the request on, and who has sent it to us.
fn sources(headers: &HeaderMap, address: Option<IpAddr>) -> Value {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut sources: Vec<IpAddr> =
        text("x-forwarded-for").split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let others = text("x-real-ip").trim().parse().ok().into_iter().chain(address);
    for other in others {
        if !sources.contains(&other) {
            sources.push(other);
        }
    }
    if sources.is_empty() {
        // A connection in memory.
        sources.push(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));
    }
    json!(sources)
}

fn reference(action: &Action<'_>) -> Value {
    let mut reference = Map::new();
    for (key, text) in [
        ("resource", action.resource),
        ("namespace", action.namespace),
        ("name", action.name),
        ("apiGroup", action.group),
        ("apiVersion", action.version),
        ("subresource", action.subresource),
    ] {
        if !text.is_empty() {
            reference.insert(key.to_owned(), text.into());
        }
    }
    Value::Object(reference)
}
