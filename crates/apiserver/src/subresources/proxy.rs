//! `pods/proxy`, `services/proxy`, `nodes/proxy`: any HTTP request, passed on to a pod, a service's endpoint, a kubelet.
//!
//! **Contract**: bodies are streamed both ways, upgrades tunnelled. The path is what follows `proxy`, as sent.
//! **Upstream**: `pkg/registry/core/{pod,service,node}` (`ResourceLocation`),
//! `k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go`.

mod endpoint;
mod forward;
mod html;
mod rewrite;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use endpoint::{ReadyAddress, ready_addresses};
pub(crate) use forward::remove_hop_by_hop;

use super::{Facts, NodeStream, NodeTarget, Subresource, admit, kubelet, tunnel};
use crate::admission::Operation;
use crate::auth::UserInfo;
use crate::body::{self, Request, Response};
use crate::decode::text;
use crate::request::RequestInfo;
use crate::server::Server;
use api::kind::GroupVersionKind;
use api::status::Status;
use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use rewrite::Page;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

/// One of the three.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Pods,
    Services,
    Nodes,
}

impl Proxy {
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pods => ("pods", "PodProxyOptions", "pod"),
            Self::Services => ("services", "ServiceProxyOptions", "service"),
            Self::Nodes => ("nodes", "NodeProxyOptions", "node"),
        }
    }
}

#[async_trait]
impl Subresource for Proxy {
    fn facts(&self) -> Facts {
        let (plural, kind, _) = self.names();
        Facts {
            group: "",
            version: "v1",
            plural,
            name: "proxy",
            namespaced: *self != Self::Nodes,
            kind: GroupVersionKind::new("", "v1", kind),
            verbs: &["create", "delete", "get", "patch", "update"],
        }
    }

    fn serves(&self, verb: &str) -> bool {
        matches!(verb, "" | "head") || self.facts().verbs.contains(&verb)
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status> {
        let (_, kind, singular) = self.names();
        let (prefix, path) = split_path(&info.path);
        let mut options = json!({"kind": kind, "apiVersion": "v1", "path": path});
        admit(server, info, user, Operation::Connect, false, &mut options).await?;
        let id = Id::parse(&info.name)
            .ok_or_else(|| Status::bad_request(format!("invalid {singular} request {:?}", info.name)))?;
        let destination = match self {
            Self::Pods => pod(server, &info.namespace, &id).await?,
            Self::Services => endpoint::service(server, &info.namespace, &id).await?,
            Self::Nodes => node(server, &id).await?,
        };
        let upgrades = tunnel::is_upgrade(request.headers());
        if path.is_empty() && !upgrades && matches!(*request.method(), Method::GET | Method::HEAD) {
            return moved(request.uri());
        }
        let target = target(&path, request.uri())?;
        match destination.dial(server).await {
            Ok(stream) if upgrades => tunnel::open(server, stream, request, target).await,
            Ok(stream) => {
                let page = Page { prefix, backend: destination.authority(), requested: host(&request) };
                forward::forward(server, stream, request, target, &page).await
            }
            Err(why) if upgrades => Err(tunnel::failed(&format!("error dialing backend: {why}"))),
            Err(why) => Err(unreachable(&why)),
        }
    }
}

/// 503: nobody answers at the other end.
fn unreachable(why: &str) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}

/// What a path names: `name`, `name:port`, `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
struct Id<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Id<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https");
        (known && !name.is_empty()).then_some(Self { https: scheme == "https", name, port })
    }

    /// The port as a number, if it is given.
    fn number(&self) -> Result<Option<u16>, Status> {
        let invalid = |_| Status::unavailable(format!("invalid port {:?}", self.port));
        if self.port.is_empty() { Ok(None) } else { self.port.parse().map(Some).map_err(invalid) }
    }
}

/// Where a request goes.
enum Destination {
    Kubelet(NodeTarget),
    Address { https: bool, host: String, port: u16 },
}

impl Destination {
    fn address(https: bool, host: &str, port: Option<u16>) -> Self {
        let port = port.unwrap_or(if https { 443 } else { 80 });
        Self::Address { https, host: host.to_owned(), port }
    }

    fn authority(&self) -> String {
        match self {
            Self::Kubelet(target) => kubelet::join(target.host(), target.port),
            Self::Address { host, port, .. } => kubelet::join(host, *port),
        }
    }

    async fn dial(&self, server: &Server) -> Result<Box<dyn NodeStream>, String> {
        match self {
            Self::Kubelet(target) => server.nodes.dial(target).await.map_err(|error| error.to_string()),
            Self::Address { https, host, port } => {
                let stream = kubelet::connect(&*server.nodes, host, *port).await?;
                if *https { tls::wrap(stream, host).await } else { Ok(stream) }
            }
        }
    }
}

/// A pod at its own address, on the port named or its first.
async fn pod(server: &Server, namespace: &str, id: &Id<'_>) -> Result<Destination, Status> {
    let pod = super::store(server, "", "pods")?.get(namespace, id.name).await?.to_value();
    let containers = pod["spec"]["containers"].as_array();
    let first = containers.into_iter().flatten().find_map(|c| c["ports"][0]["containerPort"].as_u64());
    let port = match id.number()? {
        None => first.and_then(|port| u16::try_from(port).ok()),
        port => port,
    };
    let address = text(&pod["status"]["podIPs"][0]["ip"]);
    if !address.parse().is_ok_and(is_global_unicast) {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(Destination::address(id.https, address, port))
}

/// The kubelet of a node, or another port of the node's.
async fn node(server: &Server, id: &Id<'_>) -> Result<Destination, Status> {
    let target = kubelet::target(server, id.name).await?;
    match id.number()? {
        Some(port) if port != target.port => Ok(Destination::address(id.https, target.host(), Some(port))),
        _ => Ok(Destination::Kubelet(target)),
    }
}

/// **Upstream**: `net.IP.IsGlobalUnicast`.
fn is_global_unicast(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !local && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

/// A path up to and with `proxy`, and what follows, tidied: nothing, or from the slash on.
fn split_path(path: &str) -> (String, String) {
    // `/api/v1/nodes/x/proxy`, `/api/v1/namespaces/y/pods/x/proxy`
    let segments = if path.starts_with("/api/v1/namespaces/") { 7 } else { 5 };
    let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    let (prefix, rest) = path.split_at(end);
    let rest = normal(rest);
    let rest = match (rest.as_str(), rewrite::clean(&rest)) {
        ("", _) => String::new(),
        (_, cleaned) if cleaned.is_empty() => "/".to_owned(),
        (_, cleaned) => cleaned,
    };
    (prefix.to_owned(), rest)
}

/// What Go escapes in a path.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// A path with those characters escaped, and only those, that Go escapes: a slash that a client has escaped is one.
/// **Upstream**: `URL.EscapedPath`.
fn normal(path: &str) -> String {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    percent_encode(&bytes, &ESCAPED).to_string()
}

/// Path and query for the backend.
fn target(path: &str, asked: &Uri) -> Result<Uri, Status> {
    let path = if path.is_empty() { "/" } else { path };
    let target = match asked.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    target.parse().map_err(|_| Status::bad_request("the path does not make a URL"))
}

/// Sends a browser to where relative links work.
fn moved(asked: &Uri) -> Result<Response, Status> {
    let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{}/{query}", asked.path()))
        .map_err(|_| Status::bad_request("the path does not make a URL"))?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The host that the client asked for, by header or, in HTTP/2, by authority.
fn host(request: &Request) -> String {
    let named = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).map(str::to_owned);
    named.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default()
}
