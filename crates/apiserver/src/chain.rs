//! What every request passes through, whichever connection it came by.
//!
//! ```text
//! audit id → panic guard → seats, time limit → request info → authenticate → impersonate → authorize → dispatch
//! ```
//!
//! **Contract**: every failure leaves here as a `Status`; neither tokens nor bodies are logged.
//! **Not here**: what a path means (`dispatch`).
//! **Upstream**: `k8s.io/apiserver/pkg/server/config.go` (`DefaultBuildHandlerChain`).

use crate::auth::{ANONYMOUS, Action, UserInfo, forbidden, impersonation};
use crate::body::{BoxError, Request, Response};
use crate::guard::{Drained, Guarded};
use crate::metrics::{RequestKind, RequestLabels};
use crate::negotiate::Encoding;
use crate::request::RequestInfo;
use crate::serve::Peer;
use crate::server::Server;
use crate::{dispatch, negotiate, respond};
use api::status::Status;
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the largest body. **Upstream**: `MaxRequestBodyBytes`.
pub(crate) const MAX_BODY_BYTES: usize = 3 << 20;
/// **Upstream**: `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

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
    let request = Request::from_parts(head, body.boxed_unsync());
    let info = RequestInfo::new(request.method(), request.uri());
    let kind = kind(&info);
    let audit_id = audit_id(&server, &request);
    let encoding = failures(&info, request.headers());
    let inflight = server.metrics.enter(kind);

    let mut user_name = String::new();
    let guarded = AssertUnwindSafe(limited(&server, &info, kind, &peer, request, &mut user_name));
    let result = guarded.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(verb = info.verb, path = %info.path, "a handler panicked");
        Err(Status::internal("this request caused the server to panic, look in the logs for details"))
    });
    let response = result.unwrap_or_else(|status| respond::status(&status, encoding));

    rest.read().await;

    let took = server.context.clock.instant() - started;
    let code = response.status().as_u16();
    tracing::debug!(verb = info.verb, path = %info.path, user = %user_name, code, ?took, audit_id, "request");
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
    Ok(finished(&server, response, &audit_id, kind, inflight))
}

/// Takes a seat, and gives up after a minute, unless the request is meant to run long.
async fn limited(
    server: &Arc<Server>,
    info: &RequestInfo,
    kind: RequestKind,
    peer: &Peer,
    request: Request,
    user_name: &mut String,
) -> Result<Response, Status> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length = length.and_then(|v| v.parse::<usize>().ok());
    let authorized = authorized(server, info, peer, request, user_name);
    if kind == RequestKind::LongRunning {
        // What is passed on may be as long as its receiver likes.
        return authorized.await;
    }
    if length.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Status::too_large(MAX_BODY_BYTES));
    }
    let _seat = server.limits.take(kind == RequestKind::Mutating)?;
    tokio::time::timeout(REQUEST_TIMEOUT, authorized).await.unwrap_or_else(|_| {
        let why = "request did not complete within requested timeout - context deadline exceeded";
        Err(Status::timeout(why, 0))
    })
}

/// Finds out who asks and whether they may, then lets them.
async fn authorized(
    server: &Arc<Server>,
    info: &RequestInfo,
    peer: &Peer,
    mut request: Request,
    user_name: &mut String,
) -> Result<Response, Status> {
    let user = server.authenticator.authenticate(peer.identity.as_ref(), request.headers())?;
    if user.name == ANONYMOUS && !is_open(&info.path) {
        return Err(Status::unauthorized());
    }
    user_name.clone_from(&user.name);
    // The credential has served its purpose; nothing behind this line can pass it on or log it.
    request.headers_mut().remove(header::AUTHORIZATION);
    let user = impersonation::apply(user, request.headers_mut(), &*server.authorizer)?;

    let action = action(info, &user);
    let decision = server.authorizer.authorize(&action);
    if !decision.allowed {
        return Err(forbidden(&action, &decision.reason));
    }
    dispatch::dispatch(server, info, user, request).await
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

/// Whether a path may be asked for without credentials (RBAC has the last word on it too).
fn is_open(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz")
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

/// The encoding of a failure: what the client accepts where objects are served, elsewhere JSON.
fn failures(info: &RequestInfo, headers: &HeaderMap) -> Encoding {
    if info.is_resource { negotiate::plain(headers).unwrap_or_default() } else { Encoding::Json }
}

fn audit_id(server: &Server, request: &Request) -> String {
    let given = request.headers().get(AUDIT_ID).and_then(|v| v.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= 64) {
        Some(id) => id.to_owned(),
        None => server.context.rng.uuid(),
    }
}

/// Adds what every response carries, and ties the request's place in the count to the end of the body.
fn finished(
    server: &Arc<Server>,
    mut response: Response,
    audit_id: &str,
    kind: RequestKind,
    inflight: crate::metrics::InflightGuard,
) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.entry(name).or_insert(value);
        }
    };
    set(AUDIT_ID, audit_id);
    set(header::CACHE_CONTROL, "no-cache, private");
    set(HeaderName::from_static("x-kubernetes-pf-flowschema-uid"), &server.flow.0);
    set(HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"), &server.flow.1);
    if kind != RequestKind::LongRunning {
        return response;
    }
    let shutdown = server.context.shutdown.clone();
    response.map(|body| Guarded::new(body, shutdown, inflight).boxed_unsync())
}
