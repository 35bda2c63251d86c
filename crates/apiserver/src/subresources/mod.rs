//! THE LIST: every path below an object that is no plain read or write of it, one file each.
//!
//! **Contract**: a subresource's facts go into discovery; its handler runs behind the same chain as everything else.
//! **Not here**: `status`, which the generic store serves for every kind that has one.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/rest` (`Connecter`, `NamedCreater`).

mod approval;
mod binding;
mod eviction;
mod finalize;
mod log;
mod log_options;
mod scale;
mod token;
mod view;

use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::negotiate::Encoding;
use crate::registry::Store;
use crate::request::RequestInfo;
use crate::respond;
use crate::server::Server;
use api::kind::GroupVersionKind;
use api::status::Status;
use async_trait::async_trait;
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What discovery publishes about a subresource.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Group of the parent resource.
    pub group: &'static str,
    /// Version of the parent resource.
    pub version: &'static str,
    /// Plural of the parent resource, `pods`.
    pub plural: &'static str,
    /// Last path segment, `log`.
    pub name: &'static str,
    /// Whether the parent is namespaced.
    pub namespaced: bool,
    /// The kind that goes over the wire.
    pub kind: GroupVersionKind,
    /// The verbs served, sorted.
    pub verbs: &'static [&'static str],
}

/// One subresource.
#[async_trait]
pub trait Subresource: Send + Sync {
    /// What discovery publishes.
    fn facts(&self) -> Facts;

    /// Serves one authorized request; the verb is one of the facts' verbs.
    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status>;
}

/// Every subresource but `status`.
pub fn all() -> Vec<Arc<dyn Subresource>> {
    vec![
        Arc::new(approval::Approval),
        Arc::new(binding::Binding),
        Arc::new(eviction::Eviction),
        Arc::new(log::Log),
        Arc::new(finalize::Finalize),
        Arc::new(scale::Scale::of("", "replicationcontrollers")),
        Arc::new(scale::Scale::of("apps", "deployments")),
        Arc::new(scale::Scale::of("apps", "replicasets")),
        Arc::new(scale::Scale::of("apps", "statefulsets")),
        Arc::new(token::Token),
    ]
}

/// A byte stream to a kubelet.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> NodeStream for T {}

/// Reaches kubelets: by TLS in a cluster of several machines, in memory when the kubelet is in this process.
#[async_trait]
pub trait NodeDialer: Send + Sync {
    /// A connection, ready for HTTP/1.1, to the kubelet of this node.
    async fn dial(&self, node: &NodeTarget) -> std::io::Result<Box<dyn NodeStream>>;
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

/// The store of the parent resource.
fn store<'a>(server: &'a Server, group: &str, plural: &str) -> Result<&'a Arc<Store>, Status> {
    server.registry.store(group, plural).ok_or_else(Status::no_such_path)
}

/// `?dryRun=All`
fn dry_run(info: &RequestInfo) -> Result<bool, Status> {
    match info.query.get("dryRun") {
        None | Some("") => Ok(false),
        Some("All") => Ok(true),
        Some(other) => {
            let path = api::field::Path::new("dryRun");
            let error = api::field::Error::not_supported(&path, other, &["All"]);
            Err(Status::invalid("meta.k8s.io", "CreateOptions", "", &vec![error]))
        }
    }
}

/// The Status of something that was done and has no object to show.
fn success(code: u16, encoding: Encoding) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    respond::object(code, &status, encoding)
}
