//! THE LIST: every path below an object that is no plain read or write of it, one file each.
//!
//! **Contract**: a subresource's facts go into discovery; its handler runs behind the same chain as everything else.
//! **Not here**: `status`, which the generic store serves for every kind that has one.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/rest` (`Connecter`, `NamedCreater`).

mod approval;
pub(crate) mod binding;
mod connect;
mod container;
mod ephemeral_containers;
mod eviction;
mod finalize;
mod kubelet;
mod log;
mod log_options;
mod pod_part;
mod proxy;
mod resize;
mod scale;
mod token;
mod tunnel;
mod view;

pub(crate) use kubelet::ask as ask_kubelet;
pub use kubelet::{NodeDialer, NodeStream, NodeTarget};
pub(crate) use kubelet::{connect, dial_error};
pub(crate) use proxy::{ReadyAddress, ready_addresses};
pub(crate) use scale::CustomScale;

/// What every request that is passed on to somebody else goes through.
pub(crate) mod passing {
    pub(crate) use super::kubelet::append_forwarded_for;
    pub(crate) use super::proxy::remove_hop_by_hop;
    pub(crate) use super::tunnel::{is_upgrade, open as upgrade};
}

use crate::admission::{Alone, Attributes, Form, Operation, Outcome, Part, Sent};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::negotiate::Negotiated;
use crate::registry::Store;
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{decode, respond};
use api::kind::{GroupVersionKind, Resource, parse_api_version};
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

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

    /// Whether a request with this verb is served: those that discovery publishes, unless methods are passed on.
    fn serves(&self, verb: &str) -> bool {
        self.facts().verbs.contains(&verb)
    }

    /// Serves one authorized request with a verb that is served.
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
        Arc::new(connect::Connect::ATTACH),
        Arc::new(connect::Connect::EXEC),
        Arc::new(connect::Connect::PORT_FORWARD),
        Arc::new(ephemeral_containers::EPHEMERAL_CONTAINERS),
        Arc::new(eviction::Eviction),
        Arc::new(finalize::Finalize),
        Arc::new(log::Log),
        Arc::new(proxy::Proxy::Nodes),
        Arc::new(proxy::Proxy::Pods),
        Arc::new(proxy::Proxy::Services),
        Arc::new(resize::RESIZE),
        Arc::new(scale::Scale::of("", "replicationcontrollers")),
        Arc::new(scale::Scale::of("apps", "deployments")),
        Arc::new(scale::Scale::of("apps", "replicasets")),
        Arc::new(scale::Scale::of("apps", "statefulsets")),
        Arc::new(token::Token),
    ]
}

/// The store of the parent resource.
fn store(server: &Server, group: &str, plural: &str) -> Result<Arc<Store>, Status> {
    server.registry.store(group, plural).ok_or_else(Status::no_such_path)
}

/// Asks the admission plugins about something that is no write of a stored object.
async fn admit(
    server: &Server,
    info: &RequestInfo,
    user: &UserInfo,
    operation: Operation,
    dry_run: bool,
    object: &mut Value,
) -> Result<(), Status> {
    let mut resource = store(server, &info.group, &info.resource)?.resource().clone();
    resource.version = info.version.clone().into();
    admit_as(server, info, user, (operation, Part::All), &resource, dry_run, object).await
}

/// The same about a resource that is given, by some of the plugins.
pub(crate) async fn admit_as(
    server: &Server,
    info: &RequestInfo,
    user: &UserInfo,
    (operation, part): (Operation, Part),
    resource: &Resource,
    dry_run: bool,
    object: &mut Value,
) -> Result<(), Status> {
    let (group, version) = parse_api_version(decode::text(&object["apiVersion"]));
    let kind = GroupVersionKind {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: decode::text(&object["kind"]).to_owned().into(),
    };
    let name = match &*info.name {
        "" => api::meta::name(object).to_owned(),
        name => name.to_owned(),
    };
    let mut attributes = Attributes {
        operation,
        resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &name,
        user,
        dry_run,
        now: server.context.clock.now(),
        rng: &server.context.rng,
        lookup: &*server.registry,
        old: None,
        revision: 0,
        forms: &Alone(Form::with_kind(resource, kind)),
        sent: match operation {
            Operation::Connect => Sent::Nothing,
            _ => Sent::of(info),
        },
        reinvocation: Default::default(),
        outcome: Outcome::default(),
    };
    server.admission.mutate(part, &mut attributes, Some(object)).await?;
    server.admission.validate(part, &mut attributes, Some(object)).await
}

/// `?dryRun=All`
pub(crate) fn dry_run(info: &RequestInfo) -> Result<bool, Status> {
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
fn success(code: u16, form: Negotiated) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    respond::object(code, &status, form)
}
