//! The generic registry: one store for every kind, told apart by strategies.
//!
//! **Contract**: a write is visible in the watch cache before it is acknowledged, so whoever was told of a write
//! reads it.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/generic`.

mod compaction;
mod companion;
mod delete;
mod ensure;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod history_tests;
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
mod tracking;
mod transaction;
mod version;

pub(crate) use delete::check_preconditions;
pub use delete::{DeleteOptions, Deleted};
pub use error::Error;
pub use managed_fields::Tracking;
pub use object::Object;
pub use store::{Change, Store, UpdateOptions, Updated, WriteOptions};
pub use strategy::{Cell, Column, Deletion, Propagation, Reservation, Strategy, WriteContext};
pub use version::{Conversion, Version};

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
    /// By group and plural, whatever the version.
    index: HashMap<String, usize>,
    /// The store, and which of its versions, by group, version and plural.
    served: HashMap<String, (usize, usize)>,
    caches: Arc<Caches>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("stores", &self.stores.len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// Loads what is stored and starts to follow it, and to forget its history.
    ///
    /// The tasks that do so end with `context.shutdown`.
    pub async fn open(
        storage: Arc<dyn Storage>,
        context: &Context,
        strategies: Vec<Arc<dyn Strategy>>,
    ) -> Result<Arc<Self>, Error> {
        let compaction = compaction::run(Arc::clone(&storage), context.clock.clone());
        let caches = Arc::new(Caches::new(storage, &strategies));
        let pump = Pump::load(Arc::clone(&caches)).await?;
        context.shutdown.spawn(pump.run(context.clock.clone()));
        context.shutdown.spawn(compaction);
        let stores: Vec<Arc<Store>> = strategies
            .into_iter()
            .enumerate()
            .map(|(index, strategy)| Arc::new(Store::new(strategy, Arc::clone(&caches), index, context)))
            .collect();
        let (mut index, mut served) = (HashMap::new(), HashMap::new());
        for (i, store) in stores.iter().enumerate() {
            for (j, version) in store.versions().iter().enumerate() {
                let resource = version.resource();
                index.insert(index_key(&resource.group, &resource.plural), i);
                served.insert(served_key(&resource.group, &resource.version, &resource.plural), (i, j));
            }
        }
        Ok(Arc::new(Self { stores, index, served, caches }))
    }

    /// The store of a resource.
    pub fn store(&self, group: &str, plural: &str) -> Option<&Arc<Store>> {
        self.index.get(&index_key(group, plural)).map(|i| &self.stores[*i])
    }

    /// The store of a resource and the version in which this group-version serves it.
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<(&Arc<Store>, &Version)> {
        let (store, version) = *self.served.get(&served_key(group, version, plural))?;
        let store = &self.stores[store];
        Some((store, &store.versions()[version]))
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

fn served_key(group: &str, version: &str, plural: &str) -> String {
    format!("{group}/{version}/{plural}")
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
