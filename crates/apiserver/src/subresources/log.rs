//! `pods/log`: asks the kubelet of the pod's node, and streams what it answers.
//!
//! **Contract**: nothing is gathered; the kubelet's request ends when the client goes away. A client may ask for
//! WebSocket messages instead of a body.
//! **Upstream**: `pkg/registry/core/pod/strategy.go` (`LogLocation`), `validation.ValidatePodLogOptions`.

use super::container::container;
use super::log_options::LogOptions;
use super::{Facts, Subresource, kubelet};
use crate::auth::UserInfo;
use crate::body::{self, Body, Request, Response};
use crate::decode::text;
use crate::request::RequestInfo;
use crate::respond;
use crate::server::Server;
use api::kind::GroupVersionKind;
use api::status::Status;
use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyDataStream;
use std::sync::Arc;

/// Bytes of a kubelet's refusal that are passed on. **Upstream**: `maxErrorBody`.
const MAX_REFUSAL: usize = 10 << 10;

/// The subresource.
pub(super) struct Log;

#[async_trait]
impl Subresource for Log {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "pods",
            name: "log",
            namespaced: true,
            kind: GroupVersionKind::new("", "v1", "Pod"),
            verbs: &["get"],
        }
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        _: &UserInfo,
        mut request: Request,
    ) -> Result<Response, Status> {
        let options = LogOptions::parse(&info.name, &info.query)?;
        let pod = super::store(server, "", "pods")?.get(&info.namespace, &info.name).await?.to_value();
        let container = container(&pod, &info.name, &options.container)?;
        let node = text(&pod["spec"]["nodeName"]);
        if node.is_empty() {
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return Ok(response);
        }
        let path = format!(
            "/containerLogs/{}/{}/{container}?{}",
            info.namespace,
            info.name,
            options.query(server.context.clock.now())
        );
        let target = kubelet::target(server, node).await?;
        let answer = kubelet::ask(server, &target, &path).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        if streaming::logs::is_requested(request.headers()) {
            return over_websocket(server, &mut request, answer.into_body());
        }
        let mut response = Response::new(answer.into_body());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }
}

/// The same log in messages.
fn over_websocket(server: &Server, request: &mut Request, log: Body) -> Result<Response, Status> {
    let (response, accepted) = match streaming::logs::accept(request) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let mut response = respond::text(refusal.status.as_u16(), refusal.message);
            response.headers_mut().extend(refusal.headers);
            return Ok(response);
        }
    };
    server.context.shutdown.spawn(async move {
        if let Err(error) = streaming::logs::send(accepted, BodyDataStream::new(log)).await {
            tracing::debug!(%error, "a log over WebSocket broke off");
        }
    });
    Ok(response.map(|()| body::empty()))
}

/// What a kubelet's refusal says, as a Status.
async fn refusal(answer: http::Response<Body>) -> Status {
    let code = answer.status().as_u16();
    let bytes = body::read(answer.into_body(), MAX_REFUSAL).await.unwrap_or_default();
    let message = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(message),
        404 => Status::new(404, "NotFound", message),
        _ => Status::internal(&message),
    }
}
