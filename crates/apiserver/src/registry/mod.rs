//! The generic registry: one store for every kind, told apart by strategies.
//!
//! **Contract**: a write is visible in the watch cache before it is acknowledged, so whoever was told of a write
//! reads it.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/generic`.

mod delete;
mod ensure;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
pub mod managed_fields;
pub mod metadata;
mod object;
mod prepare;
mod store;
mod strategy;
pub mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;

pub use delete::{DeleteOptions, Deleted};
pub(crate) use delete::check_preconditions;
pub use error::Error;
pub use managed_fields::Tracking;
pub use object::Object;
pub use store::{Store, UpdateOptions, Updated, WriteOptions};
pub use strategy::{Cell, Column, Deletion, Propagation, Reservation, Strategy, WriteContext};

use crate::admission::Lookup;
use crate::auth::UserInfo;
use crate::watch_cache::{Caches, Pump};
use api::status::Status;
use component_base::Context;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use storage::Storage;

/// Every kind's store, and the watch cache that they share.
pub struct Registry {
    stores: Vec<Arc<Store>>,
    index: HashMap<String, usize>,
    caches: Arc<Caches>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("stores", &self.stores.len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// Loads what is stored and starts to follow it.
    ///
    /// The task that follows ends with `context.shutdown`.
    pub async fn open(
        storage: Arc<dyn Storage>,
        context: &Context,
        strategies: Vec<Arc<dyn Strategy>>,
    ) -> Result<Arc<Self>, Error> {
        let caches = Arc::new(Caches::new(Arc::clone(&storage), &strategies));
        let pump = Pump::load(Arc::clone(&caches)).await?;
        context.shutdown.spawn(pump.run(context.clock.clone()));
        let stores: Vec<Arc<Store>> = strategies
            .into_iter()
            .enumerate()
            .map(|(index, strategy)| Arc::new(Store::new(strategy, Arc::clone(&caches), index, context)))
            .collect();
        let index = stores
            .iter()
            .enumerate()
            .map(|(i, store)| (index_key(&store.resource().group, &store.resource().plural), i))
            .collect();
        Ok(Arc::new(Self { stores, index, caches }))
    }

    /// The store of a resource.
    pub fn store(&self, group: &str, plural: &str) -> Option<&Arc<Store>> {
        self.index.get(&index_key(group, plural)).map(|i| &self.stores[*i])
    }

    /// Every store, in the order of THE LIST.
    pub fn stores(&self) -> &[Arc<Store>] {
        &self.stores
    }

    /// The newest revision that every read sees.
    pub fn revision(&self) -> u64 {
        self.caches.revision()
    }

    /// Whether the watch of the storage is at work (for `/readyz`).
    pub fn is_following(&self) -> bool {
        self.caches.is_following()
    }

    /// Creates objects of the server's own in as few transactions as it can; those that exist stay as they are.
    /// Returns how many were made. Admission is not asked.
    pub async fn ensure(&self, objects: Vec<(&str, &str, Value)>) -> Result<usize, Status> {
        ensure::ensure(self, objects).await
    }
}

/// The server itself, as the author of what it makes on its own.
pub fn loopback_user() -> UserInfo {
    UserInfo::authenticated("system:apiserver", [crate::auth::GROUP_MASTERS.to_owned()])
}

fn index_key(group: &str, plural: &str) -> String {
    format!("{group}/{plural}")
}

impl Lookup for Registry {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let object = self.store(group, plural)?.cached(namespace, name)?;
        Some(Arc::new(object.to_value()))
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(store) = self.store(group, plural) else { return Vec::new() };
        store.snapshot().namespace(namespace).map(|object| Arc::new(object.to_value())).collect()
    }
}
