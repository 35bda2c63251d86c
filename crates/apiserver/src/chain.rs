//! What every request passes through, whichever connection it came by.
//!
//! ```text
//! audit id → panic guard → time limit → request info → authenticate → audit → impersonate → priority and fairness
//!   → authorize → dispatch
//! ```
//!
//! **Contract**: every failure leaves here as a `Status`; neither tokens nor bodies are logged.
//! **Not here**: what a path means (`dispatch`).
//! **Upstream**: `k8s.io/apiserver/pkg/server/config.go` (`DefaultBuildHandlerChain`).

use crate::audit::{self, Annotations, Origin, Record};
use crate::auth::{Action, UserInfo, forbidden};
use crate::body::{self, BoxError, Request, Response};
use crate::flowcontrol::{self, Flow};
use crate::guard::{Drained, Guarded};
use crate::metrics::{RequestKind, RequestLabels};
use crate::negotiate::Negotiated;
use crate::request::RequestInfo;
use crate::serve::Peer;
use crate::server::Server;
use crate::{dispatch, negotiate, respond};
use api::status::Status;
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Bytes of the largest body. **Upstream**: `MaxRequestBodyBytes`.
pub(crate) const MAX_BODY_BYTES: usize = 3 << 20;
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const FLOW_SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// What becomes known of a request on its way.
#[derive(Default)]
struct Trace {
    audit_id: String,
    user: Option<Arc<UserInfo>>,
    /// Its place among the priority levels, if it has one.
    flow: Option<Flow>,
    /// What is to be written down about it, if anything.
    record: Option<Record>,
    /// Texts for `Warning:` headers, besides those of who answers.
    warnings: Vec<String>,
}

/// Serves one request; the story of this file.
pub(crate) async fn serve<B>(
    server: Arc<Server>,
    peer: Arc<Peer>,
    request: http::Request<B>,
) -> Result<Response, Infallible>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let started = server.context.clock.instant();
    let (head, body) = request.into_parts();
    let (body, rest) = Drained::new(body.map_err(Into::into).boxed_unsync());
    let mut request = Request::from_parts(head, body.boxed_unsync());
    request.extensions_mut().insert(Arc::clone(&peer));
    let info = Arc::new(RequestInfo::new(request.method(), request.uri()));
    let kind = kind(&info);
    let mut trace = Trace { audit_id: audit_id(&server, &request), ..Trace::default() };
    let is_head = *request.method() == Method::HEAD;
    let form = failures(&info, request.headers());
    let inflight = server.metrics.enter(kind);

    let guarded = AssertUnwindSafe(limited(&server, &info, kind, &peer, request, &mut trace));
    let result = match guarded.catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            tracing::error!(verb = info.verb, path = %info.path, "a handler panicked");
            let why = "this request caused the server to panic, look in the logs for details";
            if let Some(record) = trace.record.take() {
                let words = words(&*panic).to_owned();
                record.panicked(&words).await;
            }
            Err(Status::internal(why))
        }
    };
    let mut response = result.unwrap_or_else(|status| {
        if let Some(record) = &mut trace.record {
            record.answered_with(&status);
        }
        respond::status(&status, form)
    });
    if let Some(record) = trace.record.take() {
        response = record.follow(response).await;
    }

    rest.read().await;

    let took = server.context.clock.instant() - started;
    let code = response.status().as_u16();
    let (user, audit_id) = (trace.user.as_ref().map_or("", |user| &user.name), &trace.audit_id);
    tracing::debug!(verb = info.verb, path = %info.path, user, code, ?took, audit_id, "request");
    let labels = RequestLabels {
        verb: info.verb.to_uppercase(),
        group: info.group.clone(),
        version: info.version.clone(),
        // What a client made up must not become a time series.
        resource: if code == 404 { String::new() } else { info.resource.clone() },
        subresource: if code == 404 { String::new() } else { info.subresource.clone() },
        code,
    };
    server.metrics.observe(&labels, (kind != RequestKind::LongRunning).then_some(took));
    let response = finished(&server, response, &trace, kind, inflight);
    Ok(if is_head { without_body(response) } else { response })
}

/// Gives up after a minute, unless the request is meant to run long.
async fn limited(
    server: &Arc<Server>,
    info: &Arc<RequestInfo>,
    kind: RequestKind,
    peer: &Peer,
    request: Request,
    trace: &mut Trace,
) -> Result<Response, Status> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length = length.and_then(|v| v.parse::<usize>().ok());
    let authorized = authorized(server, info, kind, peer, request, trace);
    if kind == RequestKind::LongRunning {
        // What is passed on may be as long as its receiver likes.
        return authorized.await;
    }
    if length.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Status::too_large(MAX_BODY_BYTES));
    }
    tokio::time::timeout(server.config.options.request_timeout, authorized).await.unwrap_or_else(|_| {
        let why = "request did not complete within requested timeout - context deadline exceeded";
        Err(Status::timeout(why, 0))
    })
}

/// Finds out who asks and whether they may, then lets them in their turn.
async fn authorized(
    server: &Arc<Server>,
    info: &Arc<RequestInfo>,
    kind: RequestKind,
    peer: &Peer,
    mut request: Request,
    trace: &mut Trace,
) -> Result<Response, Status> {
    let annotations = server.audit.as_ref().map(|_| Annotations::default());
    let who = server.authenticator.authenticate(peer, request.headers_mut(), &info.path, &mut trace.warnings);
    let who = audit::annotating(annotations.as_ref(), who).await;
    let nobody = UserInfo::default();
    if let (Some(audit), Some(annotations)) = (&server.audit, &annotations) {
        let origin = Origin {
            audit_id: &trace.audit_id,
            uri: request.uri(),
            headers: request.headers(),
            address: peer.address,
            received: server.context.clock.now(),
            is_stream: kind == RequestKind::LongRunning,
        };
        trace.record = audit.begin(&action(info, who.as_deref().unwrap_or(&nobody)), origin, annotations);
        match (&who, trace.record.take()) {
            (Ok(_), Some(mut record)) => {
                let kept = record.received().await;
                trace.record = Some(record);
                kept.map_err(|_| Status::internal("failed to store audit event"))?;
            }
            (Err(status), Some(record)) => record.unauthenticated(status).await,
            (_, None) => {}
        }
    }
    let user = who?;
    trace.user = Some(Arc::clone(&user));
    // The credential has served its purpose; nothing behind this line can pass it on or log it.
    request.headers_mut().remove(header::AUTHORIZATION);
    let impersonated =
        server.impersonation.apply(&action(info, &user), request.headers_mut(), &*server.authorizer).await?;
    if let (Some(record), Some(other)) = (&mut trace.record, &impersonated) {
        record.impersonates(&other.user, other.constraint);
    }
    let user = impersonated.map_or(user, |other| other.user);

    let action = action(info, &user);
    // Held until the head of the response is there. Streams take none, but a watch does while it begins.
    let _seat = match &server.flow {
        Some(flow) if kind != RequestKind::LongRunning || info.verb == "watch" => {
            let seats = flowcontrol::seats(&server.registry, info);
            flow.take(&action, (&user, info), seats, &mut trace.flow).await?
        }
        _ => None,
    };
    let _plain_seat = match kind {
        RequestKind::ReadOnly | RequestKind::Mutating if server.flow.is_none() => {
            Some(server.limits.take(kind == RequestKind::Mutating)?)
        }
        _ => None,
    };
    let decision = server.authorizer.decide(&action).await;
    if let Some(record) = &trace.record {
        record.annotate("authorization.k8s.io/decision", if decision.allowed { "allow" } else { "forbid" });
        record.annotate("authorization.k8s.io/reason", &decision.reason);
    }
    if !decision.allowed {
        return Err(forbidden(&action, &decision.reason));
    }
    // What streams say is nobody's to read.
    if let Some(record) = trace.record.as_mut().filter(|_| kind != RequestKind::LongRunning) {
        request = record.read(request, info.verb).await?;
    }
    audit::annotating(annotations.as_ref(), dispatch::dispatch(server, info, &user, request)).await
}

/// The question that the authorizer is asked about a request.
pub(crate) fn action<'a>(info: &'a RequestInfo, user: &'a UserInfo) -> Action<'a> {
    let selects = matches!(info.verb, "list" | "watch" | "deletecollection");
    Action {
        user,
        verb: info.verb,
        is_resource: info.is_resource,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
        field_selector: if selects { info.query.text("fieldSelector") } else { "" },
        label_selector: if selects { info.query.text("labelSelector") } else { "" },
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

fn kind(info: &RequestInfo) -> RequestKind {
    let streams = matches!(&*info.subresource, "attach" | "exec" | "log" | "portforward" | "proxy");
    if info.is_resource && (info.verb == "watch" || streams) {
        RequestKind::LongRunning
    } else if matches!(info.verb, "get" | "list" | "watch" | "head" | "options") {
        RequestKind::ReadOnly
    } else {
        RequestKind::Mutating
    }
}

/// The form of a failure: what the client accepts, if that can be.
fn failures(info: &RequestInfo, headers: &HeaderMap) -> Negotiated {
    negotiate::plain(headers, info.query.optional_flag("pretty")).unwrap_or(Negotiated::FALLBACK)
}

/// The answer to a HEAD, which says how long a body would be and has none: over HTTP/2 nobody else takes it away.
fn without_body(response: Response) -> Response {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| body::empty());
    // Nothing means that it is not known here: whoever was asked by a proxy has sent none.
    if let Some(length) = length.filter(|length| *length > 0) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    response
}

fn audit_id(server: &Server, request: &Request) -> String {
    let given = request.headers().get(AUDIT_ID).and_then(|v| v.to_str().ok());
    match given.filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None => server.context.rng.uuid(),
    }
}

/// Adds what every response carries, and ties the request's place in the count to the end of the body.
fn finished(
    server: &Arc<Server>,
    mut response: Response,
    trace: &Trace,
    kind: RequestKind,
    inflight: crate::metrics::InflightGuard,
) -> Response {
    let headers = response.headers_mut();
    respond::add_warnings(headers, &trace.warnings);
    let mut set = |name: HeaderName, value: HeaderValue| {
        headers.entry(name).or_insert(value);
    };
    if let Ok(audit_id) = HeaderValue::from_str(&trace.audit_id) {
        set(AUDIT_ID, audit_id);
    }
    set(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Some(flow) = &trace.flow {
        set(FLOW_SCHEMA, flow.schema.clone());
        set(PRIORITY_LEVEL, flow.level.clone());
    }
    if kind != RequestKind::LongRunning {
        return response;
    }
    let shutdown = server.context.shutdown.clone();
    response.map(|body| Guarded::new(body, shutdown, inflight).boxed_unsync())
}
