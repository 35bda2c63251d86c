//! Admission: what looks at more than the object itself before it is written.
//!
//! **Contract**: plugins run in the order of THE LIST, mutating ones first; each sees the others' changes. A plugin
//! reads other objects through [`Lookup`] only (the watch cache: no storage read on the write path). Those that objects
//! configure ([`Outsider`]: webhooks and policies) may wait, and see an object as the request's client does ([`Forms`]).
//! **Upstream**: `k8s.io/apiserver/pkg/admission`.

mod always_pull_images;
mod certificates;
mod chain;
mod configuration;
mod configured;
pub(crate) mod declared;
mod default_storage_class;
mod default_toleration_seconds;
mod deny_service_external_ips;
mod extended_resource_toleration;
mod form;
mod limit_pod_hard_anti_affinity_topology;
mod limit_ranger;
mod matching;
mod metrics;
mod namespace_lifecycle;
mod node_restriction;
mod persistent_volume_claim_resize;
pub mod plugins;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
pub(crate) mod policies;
mod priority;
mod refusal;
mod reinvocation;
mod request;
mod resource_claims;
mod resource_quota;
mod role_escalation;
mod runtime_class;
mod service_account;
mod service_account_token;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;
#[cfg(test)]
mod tests;
pub(crate) mod variables;
mod webhooks;

pub use chain::{Chain, Part};
pub use configuration::Configuration;
pub(crate) use configured::Configured;
pub use form::{Alone, Form, Forms, Shown};
pub(crate) use metrics::AdmissionMetrics;
pub use reinvocation::Reinvocation;
pub use request::Sent;
pub(crate) use webhooks::webhook_url;

use crate::auth::{Authorizer, UserInfo};
use crate::outbound::Dial;
use crate::registry::Registry;
use api::kind::{Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use component_base::Rng;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// The plugins that objects configure, in upstream's order: policies before webhooks, mutating ones first.
pub(crate) fn outsiders(
    registry: &Arc<Registry>,
    services: &Arc<dyn Dial>,
    authorizer: &Arc<dyn Authorizer>,
    metrics: &Arc<AdmissionMetrics>,
) -> Vec<Arc<dyn Outsider>> {
    let policies = policies::policies(registry, authorizer, metrics);
    let webhooks = webhooks::webhooks(registry, services, authorizer, metrics);
    let [mutating, validating] = [0, 1]
        .map(|half| policies.iter().chain(&webhooks).map(|pair| Arc::clone(&pair[half])).collect::<Vec<_>>());
    mutating.into_iter().chain(validating).collect()
}

/// What the request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object.
    Update,
    /// An object about to go.
    Delete,
    /// An exec, attach, port-forward or proxy.
    Connect,
}

impl Operation {
    /// Upstream's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Reads of other objects, from memory.
pub trait Lookup: Send + Sync {
    /// The object as stored, or `None`. `group` and `plural` name the resource.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a resource (in one namespace, or all when empty).
    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>>;
}

/// One request as admission sees it.
pub struct Attributes<'a> {
    /// What it does.
    pub operation: Operation,
    /// To which resource.
    pub resource: &'a Resource,
    /// To which subresource; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name; empty when it is yet to be generated.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The time of the request.
    pub now: Timestamp,
    /// Randomness.
    pub rng: &'a Rng,
    /// Other objects.
    pub lookup: &'a dyn Lookup,
    /// The object as it was.
    pub old: Option<&'a Value>,
    /// The revision of which the change is made; 0: there is none.
    pub revision: u64,
    /// How others than the plugins see the object.
    pub forms: &'a dyn Forms,
    /// The options that came with the request.
    pub sent: Sent<'a>,
    /// What is to be asked again because others have changed the object since.
    pub reinvocation: Reinvocation,
    /// What plugins have to say besides yes or no.
    pub outcome: Outcome,
}

/// What admission adds to a request.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
    /// Objects that change along with the request's own, in one transaction.
    pub companions: Vec<Companion>,
}

/// Another object that a write changes.
#[derive(Clone, Debug)]
pub struct Companion {
    /// Its resource.
    pub resource: Resource,
    /// What becomes of it; `resourceVersion` is the one of which it was made.
    pub object: Value,
}

impl Companion {
    /// A ResourceQuota.
    pub fn quota(object: Value) -> Self {
        let (plural, singular) = ("resourcequotas", "resourcequota");
        let resource = Resource::new("", "v1", "ResourceQuota", plural, singular, Scope::Namespaced);
        Self { resource, object }
    }
}

/// An object that a new one cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// API group.
    pub group: &'static str,
    /// Plural of the resource.
    pub plural: &'static str,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A plugin; it overrides what it has an opinion on.
pub trait Plugin: Send + Sync {
    /// Upstream's name: `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Another object that this one needs and that a controller is about to make; the request waits a moment for it.
    fn awaits(&self, _: &dyn Lookup, _: &Resource, _namespace: &str, _object: &Value) -> Option<Awaited> {
        None
    }

    /// Changes the object before validation.
    fn mutate(&self, _attributes: &mut Attributes<'_>, _object: &mut Value) -> Result<(), Status> {
        Ok(())
    }

    /// Accepts or refuses the final object (`None` for a deletion).
    fn validate(&self, _attributes: &mut Attributes<'_>, _object: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// A plugin that objects configure, and that may have to wait for somebody's answer.
#[async_trait]
pub trait Outsider: Send + Sync {
    /// Upstream's name: `MutatingAdmissionWebhook`.
    fn name(&self) -> &'static str;

    /// Whether nothing is configured, so that nothing is to be done about any request.
    fn is_idle(&self) -> bool;

    /// Changes the object before validation (`None` for a deletion).
    async fn mutate(
        &self,
        _attributes: &mut Attributes<'_>,
        _object: Option<&mut Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Accepts or refuses the final object (`None` for a deletion).
    async fn validate(
        &self,
        _attributes: &mut Attributes<'_>,
        _object: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }
}
