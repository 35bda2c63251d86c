//! The generic registry: one store for every kind, told apart by strategies.
//!
//! **Contract**: a write is visible in the watch cache before it is acknowledged, so whoever was told of a write
//! reads it.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/generic`.

mod admit;
mod compaction;
mod companion;
mod delete;
mod ensure;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod forms;
#[cfg(test)]
mod history_tests;
mod json;
pub mod managed_fields;
pub mod metadata;
mod object;
mod parsed;
mod parts;
mod prepare;
mod store;
mod strategy;
pub mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod texts;
mod tracking;
mod transaction;
mod unstored;
mod version;

pub(crate) use delete::check_preconditions;
pub use delete::{DeleteOptions, Deleted};
pub use error::Error;
pub use managed_fields::Tracking;
pub use object::Object;
pub(crate) use object::encode_as;
pub(crate) use parts::Parts;
pub use store::{Change, Store, UpdateOptions, Updated, WriteOptions};
pub use strategy::{Cell, Column, Deletion, Description, Propagation, Reservation, Strategy, WriteContext};
pub use version::{Conversion, Version};

use crate::admission::Lookup;
use crate::auth::UserInfo;
use crate::watch_cache::{Caches, Pump};
use api::kind::Resource;
use api::status::Status;
use arc_swap::ArcSwap;
use component_base::Context;
use parsed::Parsed;
use serde_json::Value;
use std::any::Any;
use std::sync::Arc;
use storage::Storage;
use tokio::sync::watch;

/// Every kind's store, and the watch cache that they share.
pub struct Registry {
    table: ArcSwap<Table>,
    caches: Arc<Caches>,
    context: Context,
    /// What admission looks at again and again.
    parsed: Parsed,
    /// Told whenever the table has changed.
    exchanged: watch::Sender<()>,
}

/// The stores that there are at a moment; cheap to copy.
#[derive(Clone, Default)]
struct Table {
    /// By group and plural, whatever the version.
    stores: imbl::OrdMap<String, Arc<Store>>,
    /// The store, and which of its versions, by group, version and plural.
    served: imbl::HashMap<String, (Arc<Store>, usize)>,
}

impl Table {
    fn remove(&mut self, group: &str, plural: &str) -> Option<Arc<Store>> {
        let store = self.stores.remove(&index_key(group, plural))?;
        for version in store.versions() {
            self.served.remove(&served_key(group, &version.resource().version, plural));
        }
        Some(store)
    }

    /// Puts a store into the table; returns the one that was in its place.
    fn put(&mut self, store: &Arc<Store>) -> Option<Arc<Store>> {
        let Resource { group, plural, .. } = store.resource();
        let before = self.remove(group, plural);
        for (i, version) in store.versions().iter().enumerate() {
            // A kind may be in several groups (events), under one name in each.
            let Resource { group, version: name, plural, .. } = version.resource();
            self.stores.insert(index_key(group, plural), Arc::clone(store));
            if version.is_served() {
                self.served.insert(served_key(group, name, plural), (Arc::clone(store), i));
            }
        }
        before
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("stores", &self.table.load().stores.len()).finish_non_exhaustive()
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
        let mut table = Table::default();
        for strategy in strategies {
            if let Some(cache) = caches.cache(strategy.resource()) {
                table.put(&Arc::new(Store::new(strategy, Arc::clone(&caches), cache, context)));
            }
        }
        let exchanged = watch::Sender::new(());
        Ok(Arc::new(Self {
            table: ArcSwap::from_pointee(table),
            caches,
            context: context.clone(),
            parsed: Parsed::default(),
            exchanged,
        }))
    }

    /// Serves one more kind, or the next form of one that it serves. When this returns, its objects can be read.
    ///
    /// To be called by one task at a time for one kind.
    pub(crate) async fn install(&self, strategy: Arc<dyn Strategy>) -> Result<(), Error> {
        let cache = self.caches.add(Arc::clone(&strategy)).await?;
        let store = Arc::new(Store::new(strategy, Arc::clone(&self.caches), cache, &self.context));
        let before = self.change(|table| table.put(&store));
        if let Some(before) = before {
            self.caches.remove(before.cache());
        }
        Ok(())
    }

    /// Serves a kind no more; who watches it is told so by the end of the watch.
    pub(crate) fn uninstall(&self, group: &str, plural: &str) {
        if let Some(store) = self.change(|table| table.remove(group, plural)) {
            self.caches.remove(store.cache());
        }
    }

    fn change(&self, change: impl Fn(&mut Table) -> Option<Arc<Store>>) -> Option<Arc<Store>> {
        let mut outcome = None;
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            outcome = change(&mut table);
            table
        });
        self.exchanged.send_replace(());
        outcome
    }

    /// Packs what has not changed lately, of kinds that are packed; for now and then.
    pub fn pack(&self) {
        self.stores().iter().for_each(|store| store.cache().pack_past());
    }

    /// The store of a resource.
    pub fn store(&self, group: &str, plural: &str) -> Option<Arc<Store>> {
        self.table.load().stores.get(&index_key(group, plural)).cloned()
    }

    /// The store of a resource and the version in which this group-version serves it.
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<(Arc<Store>, Version)> {
        let table = self.table.load();
        let (store, version) = table.served.get(&served_key(group, version, plural))?;
        Some((Arc::clone(store), store.versions()[*version].clone()))
    }

    /// Every store, by group and plural.
    pub fn stores(&self) -> Vec<Arc<Store>> {
        let table = self.table.load();
        let first = |(key, store): &(&String, &Arc<Store>)| {
            let resource = store.resource();
            **key == index_key(&resource.group, &resource.plural)
        };
        table.stores.iter().filter(first).map(|(_, store)| Arc::clone(store)).collect()
    }

    /// What tells one set of kinds from another: it is the same as long as nothing is installed or uninstalled.
    pub(crate) fn kinds(&self) -> Arc<dyn Any + Send + Sync> {
        self.table.load_full()
    }

    /// Tells when a kind was installed or uninstalled.
    pub(crate) fn kinds_followed(&self) -> watch::Receiver<()> {
        self.exchanged.subscribe()
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
        Some(self.parsed.of(&object))
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(store) = self.store(group, plural) else { return Vec::new() };
        store.snapshot().namespace(namespace).map(|object| Arc::new(object.to_value())).collect()
    }
}
