//! The kubelet's own HTTP API.
//!
//! **Contract**: serves HTTP/1.1 on any byte stream; whoever opens the stream (the launcher in memory, a TLS listener
//! on a machine of its own) has authenticated the peer and asked whether it may. Bodies are streamed, nothing is
//! gathered in memory but what is made here. Failures are plain text in upstream's words.
//! **Upstream**: `pkg/kubelet/server`.

mod configz;
mod containers;
mod logs;
mod metrics;
mod node_logs;
mod pods;
mod request;
mod streams;
mod summary;
mod usage;
mod volumes;

use crate::machine::MachineInfo;
use crate::network_files::ClusterDns;
use crate::node_shutdown::{NodeShutdown, ShutdownGrace};
use crate::tally::Tally;
use crate::volumes::Registry;
use api::k8s_openapi::api::core::v1::Pod;
use bytes::Bytes;
use client::Informer;
use component_base::{Context, Metrics};
use containers::Containers;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use request::Query;
use runtime::RuntimeService;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

type Body = UnsyncBoxBody<Bytes, runtime::Error>;
type Answer = Result<Response<Body>, Refusal>;
type Request = http::Request<Incoming>;

/// What the server answers from.
pub(crate) struct Host {
    pub(crate) context: Context,
    pub(crate) node_name: String,
    pub(crate) runtime: Arc<dyn RuntimeService>,
    pub(crate) pods: Informer<Pod>,
    pub(crate) machine: MachineInfo,
    pub(crate) cluster_dns: ClusterDns,
    pub(crate) pod_cidr: Option<String>,
    /// The node is a machine that can be looked at, none on paper.
    pub(crate) is_real: bool,
    /// What probes have found.
    pub(crate) probes: Metrics,
    pub(crate) volumes: Registry,
    pub(crate) evictions: Tally,
    pub(crate) preemptions: Tally,
    pub(crate) shutdown_grace: ShutdownGrace,
    pub(crate) shutdown: NodeShutdown,
}

/// The kubelet's HTTP API.
pub struct Server {
    host: Host,
    containers: Containers,
    rates: usage::Rates,
    volumes: volumes::Volumes,
}

impl Server {
    pub(crate) fn new(host: Host) -> Self {
        let containers = Containers::new(host.runtime.clone(), host.pods.clone());
        Self { host, containers, rates: usage::Rates::default(), volumes: volumes::Volumes::default() }
    }

    /// Ends the node's pods before the node ends, if it was set up to ([`ShutdownGrace`]); returns when they have, or when
    /// their time is over.
    pub async fn shut_down_node(&self) {
        self.host.shutdown.run().await;
    }

    /// Serves one connection until the peer closes it.
    pub async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!("kubelet connection: {error}");
        }
    }

    async fn answer(&self, mut request: Request) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        self.route(&path, &query, &mut request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn route(&self, path: &str, query: &Query, request: &mut Request) -> Answer {
        let reads = matches!(request.method().as_str(), "GET" | "HEAD");
        let segments = request::segments(path);
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        // The second form names the pod's UID besides.
        let (kind, target) = match parts.as_slice() {
            [kind, namespace, pod, container] => (*kind, Some((*namespace, *pod, None, *container))),
            [kind, namespace, pod, uid, container] => {
                (*kind, Some((*namespace, *pod, Some(*uid), *container)))
            }
            [kind, ..] => (*kind, None),
            [] => ("", None),
        };
        if kind != "healthz" {
            // Nobody is told that a pod is missing of which the API has only not told yet.
            self.host.pods.synced().await;
        }
        match (kind, target) {
            ("exec", Some(target)) => self.exec(target, query, request).await,
            ("attach", Some(target)) => self.attach(target, query, request).await,
            ("run", Some(target)) if request.method() == http::Method::POST => self.run(target, query).await,
            ("containerLogs", Some((namespace, pod, None, container))) if reads => {
                self.container_log(namespace, pod, container, query, request).await
            }
            _ => match parts.as_slice() {
                ["portForward", namespace, pod] => {
                    self.port_forward(namespace, pod, None, query, request).await
                }
                ["portForward", namespace, pod, uid] => {
                    self.port_forward(namespace, pod, Some(uid), query, request).await
                }
                _ if !reads => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")),
                ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => Ok(text("ok")),
                ["pods"] => Ok(self.pods()),
                ["runningpods"] => self.running_pods().await,
                ["configz"] => Ok(json(&configz::configuration(&self.host))),
                ["stats", "summary"] => self.summary(query).await,
                ["metrics"] => self.own_metrics().await,
                ["metrics", "resource"] => self.resource_metrics().await,
                ["metrics", "cadvisor"] => self.container_metrics().await,
                ["metrics", "probes"] => Ok(metrics::exposition(self.host.probes.encode_text())),
                ["logs", ..] if self.host.is_real => node_logs::get(node_logs::DIRECTORY, path).await,
                _ => Err(Refusal::new(StatusCode::NOT_FOUND, "404 page not found")),
            },
        }
    }
}

/// A status code and the text that the user sees.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), headers: Vec::new() }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    fn internal(error: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    fn into_response(self) -> Response<Body> {
        let mut response = text(self.message);
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl From<streaming::upgrade::Refusal> for Refusal {
    fn from(refusal: streaming::upgrade::Refusal) -> Self {
        let streaming::upgrade::Refusal { status, headers, message } = refusal;
        Self { status, message, headers }
    }
}

fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn text(bytes: impl Into<Bytes>) -> Response<Body> {
    with_type(body(bytes), "text/plain; charset=utf-8")
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(body(bytes), "application/json"),
        Err(error) => Refusal::internal(error).into_response(),
    }
}

fn with_type(body: Body, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
