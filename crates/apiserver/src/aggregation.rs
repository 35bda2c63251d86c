//! Aggregation: group-versions that another server serves, as APIServices say.
//!
//! **Contract**: a request for such a group-version is authenticated and authorized here, and then passed on as the user's,
//! whatever it is: reads, writes, watches, upgrades. What the server serves is listed in discovery and OpenAPI along with
//! what is served here. While it cannot be reached its requests get 503 and its group stays listed, as stale; nothing else
//! is harmed.
//! **Upstream**: `k8s.io/kube-aggregator`.

mod availability;
mod discovery;
mod openapi;
mod proxy;
pub(crate) mod registration;
mod remote;

pub(crate) use availability::follow;
pub(crate) use discovery::{add_groups, add_legacy_groups, group};
pub(crate) use openapi::{add_documents, add_paths, document_group_version};
pub(crate) use proxy::pass_on;

use crate::admission::Lookup;
use crate::config::Config;
use crate::outbound::Dial;
use crate::registry::{Registry, Store};
use remote::Remote;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const GROUP: &str = "apiregistration.k8s.io";
pub(crate) const SERVICES: &str = "apiservices";

/// Who we are to the servers.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

/// The servers of other group-versions.
pub(crate) struct Aggregator {
    remotes: crate::admission::Configured<Option<Remote>>,
    store: Arc<Store>,
    identity: Identity,
    services: Arc<dyn Dial>,
    /// What was last learnt of each, by the name of its APIService.
    learnt: Mutex<HashMap<String, Learnt>>,
}

/// What a server told of itself when it was last reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    /// Its resources as aggregated discovery lists them.
    resources: Value,
    /// Where its OpenAPI document is: `serverRelativeURL`.
    openapi: Option<String>,
    /// What its OpenAPI document of version 2 says of the group-version.
    document: Option<Arc<Value>>,
}

impl Aggregator {
    /// `None`: APIServices are not served.
    pub(crate) fn new(registry: &Registry, config: &Config, services: &Arc<dyn Dial>) -> Option<Self> {
        let store = registry.store(GROUP, SERVICES)?;
        Some(Self {
            remotes: crate::admission::Configured::new(&store, Remote::read),
            store: Arc::clone(&store),
            identity: Identity {
                certificate: config.front_proxy_cert_pem.clone(),
                key: config.front_proxy_key_pem.clone(),
            },
            services: Arc::clone(services),
            learnt: Mutex::default(),
        })
    }

    /// The server of a group-version, if it is not this one.
    pub(crate) fn remote(&self, group: &str, version: &str) -> Option<Arc<Option<Remote>>> {
        let remotes = self.remotes.get();
        remotes.get(&format!("{version}.{group}")).filter(|remote| remote.is_some()).map(Arc::clone)
    }

    /// Whether there is any.
    pub(crate) fn has_remotes(&self) -> bool {
        self.remotes.get().iter().any(|(_, remote)| remote.is_some())
    }

    /// All of them, by the name of their APIService.
    fn all(&self) -> Vec<(String, Arc<Option<Remote>>)> {
        let remotes = self.remotes.get();
        let all = remotes.iter().filter(|(_, remote)| remote.is_some());
        all.map(|(name, remote)| (name.to_owned(), Arc::clone(remote))).collect()
    }

    fn learnt(&self, name: &str) -> Option<Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn learn(&self, name: &str, learnt: Learnt) {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), learnt);
    }

    fn forget_but(&self, names: &[String]) {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(name));
    }

    /// The APIService as it is now.
    fn object(&self, lookup: &dyn Lookup, name: &str) -> Option<Arc<Value>> {
        lookup.get(&self.store.resource().group, &self.store.resource().plural, "", name)
    }
}
