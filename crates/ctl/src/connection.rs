//! Requests to one API server: URLs, `Accept`, warnings, `Status` answers, streams of lines.
//!
//! **Contract.** An answer of 400 and above is `Error::Status`; a body that is not a `Status` is wrapped in one, as
//! client-go does. Warnings go to standard error once each.
//! **Not here.** Where the server is and who asks: `client_config`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use streaming::upgrade::{Connected, Offer};

use crate::report::Error;
use crate::terminal::Terminal;

/// Plain objects.
pub(crate) const JSON: &str = "application/json";
/// A JSON merge patch.
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
/// A strategic merge patch.
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// Tables, in kubectl's order of preference.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// A document and what the server says of it.
pub(crate) struct Tagged {
    /// Its content type.
    pub(crate) media: String,
    /// Its tag; empty where the server gives none.
    pub(crate) tag: String,
    /// The document.
    pub(crate) document: Value,
}

/// A connection to the server of the current context.
pub(crate) struct Connection {
    client: kube::Client,
    server: String,
    timeout: Option<Duration>,
    verbosity: u8,
    warned: Mutex<BTreeSet<String>>,
    terminal: Terminal,
}

impl Connection {
    /// A connection over `client`; `server` is the URL to name in messages.
    pub(crate) fn new(
        client: kube::Client,
        server: String,
        timeout: Option<Duration>,
        verbosity: u8,
        terminal: Terminal,
    ) -> Self {
        Self { client, server, timeout, verbosity, warned: Mutex::default(), terminal }
    }

    /// The server's URL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// A line of `-v`, with klog's head.
    fn trace(&self, text: &str) {
        let now = self.terminal.now().to_zoned(self.terminal.time_zone()).strftime("%m%d %H:%M:%S%.6f");
        self.terminal.err(&format!("I{now} {:>7} connection.rs] {text}\n", std::process::id()));
    }

    /// Whether the server warned about something.
    pub(crate) fn has_warned(&self) -> usize {
        self.warned.lock().expect("no holder panics").len()
    }

    /// GET of a JSON document.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> Result<Value, Error> {
        self.request(Method::GET, path, accept, None).await
    }

    /// GET of a document with its tag and content type; `None` if it is still the one of the tag that is `known`.
    pub(crate) async fn get_tagged(
        &self,
        path: &str,
        accept: &str,
        known: Option<&str>,
    ) -> Result<Option<Tagged>, Error> {
        let response = self.send_known(Method::GET, path, accept, None, known).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let (media, tag) = (header(&response, "content-type"), header(&response, "etag"));
        let bytes = self.read_body(response).await?;
        Ok(Some(Tagged { media, tag, document: parse(&bytes)? }))
    }

    /// One request with a JSON body and a JSON answer.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        self.request_typed(method, path, accept, body.map(|body| (JSON, body))).await
    }

    /// PATCH of a kind: `media` tells which.
    pub(crate) async fn patch(&self, path: &str, media: &str, body: &Value) -> Result<Value, Error> {
        self.request_typed(Method::PATCH, path, JSON, Some((media, body))).await
    }

    async fn request_typed(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, Error> {
        let response = self.send(method, path, accept, body).await?;
        let bytes = self.read_body(response).await?;
        parse(&bytes)
    }

    /// GET of raw bytes.
    pub(crate) async fn get_bytes(&self, path: &str) -> Result<Bytes, Error> {
        let response = self.send(Method::GET, path, "application/json, */*", None).await?;
        self.read_body(response).await
    }

    /// GET of an endless answer.
    pub(crate) async fn stream(&self, path: &str, accept: &str) -> Result<Stream, Error> {
        let response = self.send(Method::GET, path, accept, None).await?;
        Ok(Stream { body: response.into_body(), buffer: Vec::new(), ended: false })
    }

    /// The pages of a list.
    pub(crate) async fn pages(
        &self,
        path: &str,
        labels: &str,
        fields: &str,
        limit: &str,
    ) -> Result<Vec<Value>, Error> {
        let mut pages = Vec::new();
        let mut token = String::new();
        loop {
            let query = [
                ("continue", token),
                ("fieldSelector", fields.to_owned()),
                ("labelSelector", labels.to_owned()),
                ("limit", limit.to_owned()),
            ];
            let page = self.get(&with_query(path, &query), JSON).await?;
            token = page["metadata"]["continue"].as_str().unwrap_or("").to_owned();
            pages.push(page);
            if token.is_empty() {
                return Ok(pages);
            }
        }
    }

    /// The changes of what fields select in a collection since it was listed; none where that is forgotten.
    pub(crate) async fn changes_since(
        &self,
        list: &Value,
        collection: &str,
        fields: &str,
    ) -> Result<Option<Stream>, Error> {
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("");
        let query = [
            ("fieldSelector", fields.to_owned()),
            ("resourceVersion", version.to_owned()),
            ("watch", "true".to_owned()),
        ];
        match self.stream(&with_query(collection, &query), JSON).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if matches!(error.reason(), Some("Expired" | "Gone")) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for another protocol. The inner error is what the server answers instead of agreeing.
    pub(crate) async fn upgrade(&self, path: &str, offer: &Offer) -> Result<Result<Connected, Error>, Error> {
        let method = offer.method();
        if self.verbosity >= 6 {
            self.trace(&format!("\"Request\" verb={:?} url=\"{}{path}\"", method.as_str(), self.server));
        }
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        let mut request = request.map_err(|error| Error::Message(error.to_string()))?;
        offer.apply(request.headers_mut());
        let response = self.client.send(request).await.map_err(|error| self.transport_error(error))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let connected = offer.connected(response).await;
            return Ok(connected.map_err(|error| Error::Message(error.to_string())));
        }
        let bytes = self.read_body(response).await?;
        let refused = match serde_json::from_slice::<Value>(&bytes) {
            Ok(status) if status["kind"] == "Status" => {
                Error::Status { status: Box::new(status), context: None }
            }
            _ => {
                let body = String::from_utf8_lossy(&bytes);
                Error::Message(format!("unable to upgrade connection: {}", body.trim()))
            }
        };
        Ok(Err(refused))
    }

    /// Passes a request on as it is; the answer is the server's, whatever it says.
    pub(crate) async fn pass(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.client.send(request).await.map_err(|error| self.transport_error(error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Response<Body>, Error> {
        self.send_known(method, path, accept, body, None).await
    }

    /// `known` is the tag of an answer that need not be sent again.
    async fn send_known(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
        known: Option<&str>,
    ) -> Result<Response<Body>, Error> {
        let began = self.terminal.now();
        if self.verbosity >= 7 {
            self.trace(&format!(
                "\"Request\" verb={:?} url=\"{}{path}\" headers=\"Accept: {accept}\"",
                method.as_str(),
                self.server
            ));
        }
        let mut request = Request::builder().method(&method).uri(path).header("accept", accept);
        if let Some(tag) = known {
            request = request.header("if-none-match", tag);
        }
        let body = match body {
            Some((media, value)) => {
                request = request.header("content-type", media);
                // Sorted keys, as kubectl sends them: a server reports what it finds in this order.
                let text = crate::output::json::compact(value);
                if self.verbosity >= 8 {
                    self.trace(&format!("\"Request Body\" body={text:?}"));
                }
                Body::from(text.into_bytes())
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| Error::Message(error.to_string()))?;
        let answer = match self.timeout {
            Some(limit) => tokio::time::timeout(limit, self.client.send(request)).await.map_err(|_| {
                Error::Unreachable(
                    "net/http: request canceled (Client.Timeout exceeded while awaiting headers)".to_owned(),
                )
            })?,
            None => self.client.send(request).await,
        };
        let response = answer.map_err(|error| self.transport_error(error))?;
        if self.verbosity >= 6 {
            let status = response.status();
            let took = self.terminal.now().duration_since(began).as_millis();
            let status = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or(""));
            self.trace(&format!(
                "\"Response\" verb={:?} url=\"{}{path}\" status={status:?} milliseconds={took}",
                method.as_str(),
                self.server
            ));
        }
        self.show_warnings(&response);
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let media = header(&response, "content-type");
        let bytes = self.read_body(response).await?;
        Err(Error::Status { status: Box::new(status_of(code, &bytes, &media, &method, path)), context: None })
    }

    async fn read_body(&self, response: Response<Body>) -> Result<Bytes, Error> {
        let bytes =
            response.into_body().collect_bytes().await.map_err(|error| self.transport_error(error))?;
        if self.verbosity >= 8 {
            self.trace(&format!("\"Response Body\" body={:?}", String::from_utf8_lossy(&bytes)));
        }
        Ok(bytes)
    }

    fn show_warnings(&self, response: &Response<Body>) {
        for value in response.headers().get_all("warning") {
            let Some(text) = value.to_str().ok().and_then(warning_text) else { continue };
            if self.warned.lock().expect("no holder panics").insert(text.clone()) {
                self.terminal.err(&format!("Warning: {text}\n"));
            }
        }
    }

    fn transport_error(&self, error: kube::Error) -> Error {
        let mut last = error.to_string();
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = cause {
            if let Some(io) = current.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return Error::Refused(host_of(&self.server));
            }
            last = current.to_string();
            cause = current.source();
        }
        Error::Unreachable(tls_text(&last))
    }
}

/// A TLS failure in Go's words, as far as they are the same thing.
fn tls_text(text: &str) -> String {
    const PEER: &str = "invalid peer certificate: ";
    if text.contains("InvalidContentType") {
        return "tls: first record does not look like a TLS handshake".to_owned();
    }
    let Some(reason) = text.strip_prefix(PEER) else { return text.to_owned() };
    let reason = match reason {
        _ if reason.starts_with("UnknownIssuer") || reason.starts_with("BadSignature") => {
            "certificate signed by unknown authority"
        }
        _ if reason.contains("expired") || reason.contains("not valid yet") => {
            "certificate has expired or is not yet valid"
        }
        other => other,
    };
    format!("tls: failed to verify certificate: x509: {reason}")
}

/// An answer that is read piece by piece.
pub(crate) struct Stream {
    body: Body,
    buffer: Vec<u8>,
    ended: bool,
}

impl Stream {
    /// The next piece as it arrived; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::Message(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The next line with its end, or what is left at the end of the stream.
    pub(crate) async fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(searched + end + 1);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            searched = self.buffer.len();
            if self.ended {
                return Ok((!self.buffer.is_empty()).then(|| std::mem::take(&mut self.buffer)));
            }
            match self.chunk().await? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None => self.ended = true,
            }
        }
    }

    /// The next watch event: its type and object. A stream that breaks off is a stream that ended.
    pub(crate) async fn event(&mut self) -> Result<Option<(String, Value)>, Error> {
        let Ok(Some(line)) = self.line().await else { return Ok(None) };
        let mut event = parse(&line)?;
        let kind = event["type"].as_str().unwrap_or("").to_owned();
        let object = event["object"].take();
        if kind == "ERROR" {
            return Err(Error::Status { status: Box::new(object), context: None });
        }
        Ok(Some((kind, object)))
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Message(format!("the server's answer is not JSON: {error}")))
}

fn header(response: &Response<Body>, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
}

/// The `Status` in an error's body, or the one client-go makes up for the code.
fn status_of(code: u16, bytes: &[u8], media: &str, method: &Method, path: &str) -> Value {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && value["kind"] == "Status"
    {
        return value;
    }
    let body = if media.starts_with("text/") { String::from_utf8_lossy(bytes) } else { "unknown".into() };
    let body = body.trim();
    let (reason, text) = match code {
        400 => ("BadRequest", "the server rejected our request for an unknown reason".to_owned()),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", if body.is_empty() { "unknown".to_owned() } else { body.to_owned() }),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned()),
        406 => ("NotAcceptable", "the server was unable to respond with a content type that the client supports".to_owned()),
        409 if *method == Method::POST => ("AlreadyExists", "the server reported a conflict".to_owned()),
        409 => ("Conflict", "the server reported a conflict".to_owned()),
        415 => ("UnsupportedMediaType", "the server was unable to process the body".to_owned()),
        422 => ("Invalid", "the server rejected our request due to an error in our request".to_owned()),
        429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later".to_owned()),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => ("Timeout", "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned()),
        500.. => ("InternalError", format!("an error on the server ({body:?}) has prevented the request from succeeding")),
        _ => ("", format!("the server responded with the status code {code} but did not return more information")),
    };
    let text = text + &asked(method, path);
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": text, "code": code})
}

/// ` (get pods x)`: what was asked for, at the end of a message that client-go makes up.
fn asked(method: &Method, path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    let skipped = if path.starts_with("/api/") { 2 } else { 3 };
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').skip(skipped).collect();
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    if parts.is_empty() {
        return String::new();
    }
    let group = path.strip_prefix("/apis/").and_then(|rest| rest.split('/').next()).unwrap_or("");
    let resource = crate::output::name::with_group(parts[0], group);
    let name = parts.get(1).map_or(String::new(), |name| format!(" {name}"));
    format!(" ({} {resource}{name})", method.as_str().to_lowercase())
}

/// The text of a `Warning` header: `299 - "text"`.
fn warning_text(value: &str) -> Option<String> {
    let start = value.find('"')?;
    let end = value.rfind('"')?;
    (end > start).then(|| value[start + 1..end].replace("\\\"", "\"").replace("\\\\", "\\"))
}

/// `host:port` of a URL.
pub(crate) fn host_of(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

/// Percent-encodes a query value or path segment.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A path with its query; pairs with an empty value are left out.
pub(crate) fn with_query(path: &str, pairs: &[(&str, String)]) -> String {
    let query: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", encode(value)))
        .collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}
