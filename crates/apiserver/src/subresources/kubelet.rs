//! The way to kubelets, and to whatever else a request is passed on to: dialled streams that speak HTTP/1.1.
//!
//! **Contract**: one connection a request; it ends with the request, or with the tunnel that it becomes.
//! **Upstream**: `pkg/kubelet/client` (`ConnectionInfoGetter`), `k8s.io/apimachinery/pkg/util/proxy/dial.go`.

use crate::body::{self, Body};
use crate::serve::Peer;
use crate::server::Server;
use api::status::Status;
use async_trait::async_trait;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// `status.daemonEndpoints.kubeletEndpoint.Port` of a node that has reported none.
const KUBELET_PORT: u16 = 10250;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How long a connection may take to be made. **Upstream**: `ProxyDialer`'s timeout.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A byte stream to a kubelet, or to a pod.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> NodeStream for T {}

/// Reaches kubelets (by TLS in a cluster of several machines, in memory when the kubelet is in this process) and what
/// runs on their nodes.
#[async_trait]
pub trait NodeDialer: Send + Sync {
    /// A connection, ready for HTTP/1.1, to the kubelet of this node.
    async fn dial(&self, node: &NodeTarget) -> io::Result<Box<dyn NodeStream>>;

    /// A connection to an address in the cluster: of a pod, or of a node.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn NodeStream>> {
        let stream = TcpStream::connect((host, port)).await?;
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream))
    }
}

/// Where a kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTarget {
    /// The Node's name.
    pub name: String,
    /// Its first usable address (InternalIP, then Hostname), if it has reported one.
    pub address: Option<String>,
    /// `status.daemonEndpoints.kubeletEndpoint.Port`, 10250 by default.
    pub port: u16,
}

impl NodeTarget {
    /// Where the kubelet of this node listens.
    pub(crate) fn of(node: &Value) -> Self {
        let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_type = |wanted: &str| {
            let found = addresses.iter().find(|a| a["type"] == wanted)?;
            found["address"].as_str().map(str::to_owned)
        };
        // Upstream's default order is Hostname first; here a host name need not resolve.
        let address = ["InternalIP", "Hostname", "ExternalIP"].into_iter().find_map(of_type);
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(KUBELET_PORT);
        Self { name: api::meta::name(node).to_owned(), address, port }
    }

    /// The node's address, or its name if it has reported none.
    pub fn host(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.name)
    }
}

/// Where the node's kubelet listens.
pub(super) async fn target(server: &Server, node: &str) -> Result<NodeTarget, Status> {
    Ok(NodeTarget::of(&super::store(server, "", "nodes")?.get("", node).await?.to_value()))
}

/// Sends a GET to a kubelet.
pub(crate) async fn ask(
    server: &Server,
    target: &NodeTarget,
    path: &str,
) -> Result<http::Response<Body>, Status> {
    let host = join(target.host(), target.port);
    let failed = |error: &dyn std::fmt::Display| {
        Status::new(500, "InternalError", format!("Get \"https://{host}{path}\": {error}"))
    };
    let stream = server.nodes.dial(target).await.map_err(|error| failed(&error))?;
    let request = http::Request::get(path)
        .header(http::header::HOST, &host)
        .body(body::empty())
        .map_err(|_| Status::bad_request("the names in the request do not make a URL"))?;
    let answer = send(server, stream, request).await.map_err(|error| failed(&error))?;
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// A connection to an address in the cluster, in time.
pub(crate) async fn connect(
    nodes: &dyn NodeDialer,
    host: &str,
    port: u16,
) -> Result<Box<dyn NodeStream>, String> {
    match tokio::time::timeout(DIAL_TIMEOUT, nodes.connect(host, port)).await {
        Ok(dialled) => dialled.map_err(|error| dial_error(host, port, &error)),
        Err(_) => Err(format!("dial tcp {}: i/o timeout", join(host, port))),
    }
}

/// A failed connection in the words of Go's net package.
pub(crate) fn dial_error(host: &str, port: u16, error: &io::Error) -> String {
    format!("dial tcp {}: {}", join(host, port), why(error))
}

/// `host:port`, with brackets where they are needed.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Why a connection failed, in the words of Go's net package.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Notes for a backend where a request comes from, behind those who have passed it on before.
pub(crate) fn append_forwarded_for(headers: &mut HeaderMap, extensions: &Extensions) {
    let Some(address) = extensions.get::<Arc<Peer>>().and_then(|peer| peer.address) else { return };
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<String> = before.map(str::to_owned).chain([address.to_string()]).collect();
    if let Ok(value) = HeaderValue::from_str(&all.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// Sends a request over a fresh connection. The answer may be an upgrade of it.
pub(super) async fn send(
    server: &Server,
    stream: Box<dyn NodeStream>,
    request: http::Request<Body>,
) -> hyper::Result<http::Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await?;
    server.context.shutdown.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a backend broke");
        }
    });
    sender.send_request(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_where_a_request_comes_from() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("10.0.0.1"));
        append_forwarded_for(&mut headers, &Extensions::new());
        assert_eq!(headers[FORWARDED_FOR], "10.0.0.1");
        let mut extensions = Extensions::new();
        extensions.insert(Arc::new(Peer { address: "10.0.0.2".parse().ok(), ..Peer::default() }));
        append_forwarded_for(&mut headers, &extensions);
        assert_eq!(headers[FORWARDED_FOR], "10.0.0.1, 10.0.0.2");
    }

    #[test]
    fn failures_are_told_in_gos_words() {
        assert_eq!(why(&io::ErrorKind::ConnectionRefused.into()), "connect: connection refused");
        assert_eq!(
            (join("::1", 80), join("10.0.0.1", 80)),
            ("[::1]:80".to_owned(), "10.0.0.1:80".to_owned())
        );
    }
}
