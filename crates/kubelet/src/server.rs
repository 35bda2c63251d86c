//! The kubelet's own HTTP API: logs of containers, and its health.
//!
//! **Contract**: serves HTTP/1.1 on any byte stream; whoever opens the stream (the launcher in memory, a TLS listener
//! on a machine of its own) has authenticated the peer. Bodies are streamed, nothing is gathered in memory.
//! **Upstream**: `pkg/kubelet/server`.

use api::k8s_openapi::api::core::v1::Pod;
use bytes::Bytes;
use client::Informer;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use runtime::{ContainerFilter, ContainerState, ContainerStatus, LogOptions, RuntimeService, labels};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

type Body = UnsyncBoxBody<Bytes, runtime::Error>;

/// The kubelet's HTTP API.
pub struct Server {
    logs: Logs,
}

impl Server {
    pub(crate) fn new(logs: Logs) -> Self {
        Self { logs }
    }

    /// Serves one connection until the peer closes it.
    pub async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        if let Err(error) =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        {
            tracing::debug!("kubelet connection: {error}");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let answer = match (request.method(), path.as_slice()) {
            (&Method::GET, ["healthz"]) => Ok(text(StatusCode::OK, "ok")),
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                self.logs.get(namespace, pod, container, request.uri().query().unwrap_or_default()).await
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "404 page not found".to_owned())),
        };
        answer.unwrap_or_else(|Refusal(code, message)| text(code, message))
    }
}

/// A status code and the text that the user sees.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(StatusCode, String);

fn text(code: StatusCode, message: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(message.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response
}

/// Logs of this node's containers.
pub(crate) struct Logs {
    runtime: Arc<dyn RuntimeService>,
    pods: Informer<Pod>,
}

impl Logs {
    pub(crate) fn new(runtime: Arc<dyn RuntimeService>, pods: Informer<Pod>) -> Self {
        Self { runtime, pods }
    }

    async fn get(
        &self,
        namespace: &str,
        pod_name: &str,
        container: &str,
        query: &str,
    ) -> Result<Response<Body>, Refusal> {
        let Query { previous, options } = parse(query)?;
        let bad = |message: String| Refusal(StatusCode::BAD_REQUEST, message);
        let not_found = format!("pod {pod_name:?} not found");
        let pod = self.pods.get(namespace, pod_name).ok_or(Refusal(StatusCode::NOT_FOUND, not_found))?;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let attempts = self.attempts(&uid, container).await?;
        let chosen = if previous {
            let message =
                format!("previous terminated container {container:?} in pod {pod_name:?} not found");
            choose_previous(&attempts).ok_or_else(|| bad(message))?
        } else {
            let waiting = waiting_reason(&pod, container);
            let message =
                format!("container {container:?} in pod {pod_name:?} is waiting to start: {waiting}");
            choose_current(&attempts).ok_or_else(|| bad(message))?
        };
        let lines = self.runtime.container_logs(&chosen.id, &options).await.map_err(internal)?;
        let frames = lines.map_ok(|line| Frame::data(line.bytes)).boxed();
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
        Ok(response)
    }

    /// All attempts of a container, newest first.
    async fn attempts(&self, uid: &str, container: &str) -> Result<Vec<ContainerStatus>, Refusal> {
        let wanted = BTreeMap::from([
            (labels::POD_UID.to_owned(), uid.to_owned()),
            (labels::CONTAINER_NAME.to_owned(), container.to_owned()),
        ]);
        let filter = ContainerFilter { labels: wanted, ..Default::default() };
        let mut attempts = Vec::new();
        for listed in self.runtime.list_containers(&filter).await.map_err(internal)? {
            match self.runtime.container_status(&listed.id).await {
                Ok(status) => attempts.push(status),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(internal(error)),
            }
        }
        attempts.sort_by_key(|a| std::cmp::Reverse(a.metadata.attempt));
        Ok(attempts)
    }
}

fn internal(error: runtime::Error) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn choose_current(attempts: &[ContainerStatus]) -> Option<&ContainerStatus> {
    attempts.iter().find(|a| a.state != ContainerState::Created)
}

/// The attempt before the running one, or the last that ended if none runs.
fn choose_previous(attempts: &[ContainerStatus]) -> Option<&ContainerStatus> {
    let latest = attempts.first()?;
    let skip = usize::from(latest.state != ContainerState::Exited || attempts.len() > 1);
    attempts.iter().skip(skip).find(|a| a.state == ContainerState::Exited)
}

fn waiting_reason(pod: &Pod, container: &str) -> String {
    let status = pod.status.iter();
    let all = status.flat_map(|s| {
        s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten())
    });
    let waiting =
        all.filter(|s| s.name == container).find_map(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone());
    waiting.unwrap_or_else(|| "ContainerCreating".to_owned())
}

/// The query of a log request, as the API server passes it on (already validated there).
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    previous: bool,
    options: LogOptions,
}

fn parse(query: &str) -> Result<Query, Refusal> {
    let given: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let invalid =
        |name: &str| Refusal(StatusCode::BAD_REQUEST, format!("unable to parse the value of {name:?}"));
    let flag = |name: &str| given.get(name).is_some_and(|v| matches!(*v, "true" | "1"));
    let number = |name: &str| match given.get(name) {
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| invalid(name)),
        None => Ok(None),
    };
    let time = |name: &str| match given.get(name) {
        Some(text) => text
            .replace("%3A", ":")
            .replace("%2B", "+")
            .parse::<Timestamp>()
            .map(Some)
            .map_err(|_| invalid(name)),
        None => Ok(None),
    };
    Ok(Query {
        previous: flag("previous"),
        options: LogOptions {
            follow: flag("follow"),
            tail_lines: number("tailLines")?,
            since: time("sinceTime")?,
            timestamps: flag("timestamps"),
            limit_bytes: number("limitBytes")?,
            stream: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_log_request() {
        let got =
            parse("follow=true&tailLines=5&timestamps=true&limitBytes=9&sinceTime=2026-01-01T00%3A00%3A00Z");
        let expected = LogOptions {
            follow: true,
            tail_lines: Some(5),
            since: Some("2026-01-01T00:00:00Z".parse().expect("a time")),
            timestamps: true,
            limit_bytes: Some(9),
            stream: None,
        };
        assert_eq!(got, Ok(Query { previous: false, options: expected }));
        assert!(parse("tailLines=x").is_err());
    }
}
