//! Claims for devices, what is known of devices, and the allocations that are under way.
//!
//! **Contract**: a device that was given to a claim is in use until the API shows that it is not, or the attempt to
//! write so failed. A change costs as much as the pool or the claim that changed.
//! **Not here**: who gets which device (`plugins::dynamic_resources`).
//! **Upstream**: `pkg/scheduler/framework/plugins/dynamicresources/dra_manager.go`.

mod in_use;
mod pool;
mod selector;

pub use in_use::{Capacities, DeviceId, InUse};
pub use pool::{Counters, Offer, Pool, PoolId, SliceInfo, consumption};
pub use selector::Selector;

use selector::Selectors;

use super::Preparation;
use api::k8s_openapi::api::core::v1::Node;
use api::k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use api::resource_claim::{CLASS_RESOURCE, EXTENDED_CLAIM, allocation};
use client::Key;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Everything about devices.
#[derive(Debug, Default)]
pub struct Devices {
    claims: HashMap<Key, Arc<ResourceClaim>>,
    pub(crate) classes: BTreeMap<String, Arc<DeviceClass>>,
    slices: HashMap<String, Arc<SliceInfo>>,
    /// The names of a pool's slices, of every generation.
    by_pool: HashMap<PoolId, BTreeSet<String>>,
    pools: BTreeMap<PoolId, Pool>,
    /// Pools with a slice of one node.
    by_node: HashMap<String, BTreeSet<PoolId>>,
    /// Pools with a slice that may be of several nodes.
    shared: BTreeSet<PoolId>,
    /// What is being written, by the claim's UID.
    in_flight: HashMap<String, Arc<AllocationResult>>,
    in_use: InUse,
    selectors: Selectors,
}

impl Devices {
    /// A claim.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<ResourceClaim>> {
        self.claims.get(&Key::new(namespace, name))
    }

    /// A class.
    pub fn class(&self, name: &str) -> Option<&Arc<DeviceClass>> {
        self.classes.get(name)
    }

    /// The class that stands for an extended resource: by its name, or the newest of those that say so.
    pub fn class_of(&self, resource: &str) -> Option<&str> {
        if let Some(name) = resource.strip_prefix(CLASS_RESOURCE) {
            return self.classes.get_key_value(name).map(|(name, _)| name.as_str());
        }
        let says_so = |class: &&DeviceClass| class.spec.extended_resource_name.as_deref() == Some(resource);
        let all = self.classes.values().map(Arc::as_ref).filter(says_so);
        let age = |class: &&DeviceClass| {
            let since = class.metadata.creation_timestamp.as_ref().map(|since| since.0);
            (since, Reverse(class.metadata.name.clone()))
        };
        all.max_by_key(age).and_then(|class| class.metadata.name.as_deref())
    }

    /// The claim that was made for a pod's extended resources.
    pub fn extended_claim(&self, namespace: &str, pod: &str) -> Option<&Arc<ResourceClaim>> {
        let mut all = self.claims.values();
        all.find(|claim| {
            claim.metadata.namespace.as_deref() == Some(namespace) && extended_of(claim) == Some(pod)
        })
    }

    /// The UID of that claim as long as it is not made.
    pub fn provisional(pod: &str) -> String {
        format!("extended resources of {pod}")
    }

    /// Whether a claim has devices, of which the API does not know yet.
    pub fn is_in_flight(&self, claim: &ResourceClaim) -> bool {
        claim.metadata.uid.as_ref().is_some_and(|uid| self.in_flight.contains_key(uid))
    }

    /// What claims have.
    pub fn in_use(&self) -> &InUse {
        &self.in_use
    }

    /// A selector, compiled once.
    pub fn selector(&self, source: &str) -> Arc<Selector> {
        self.selectors.get(source)
    }

    /// The pools of which a node may have something, in a fixed order.
    pub fn pools<'a>(&'a self, node: &Node) -> Vec<&'a Pool> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let mut ids: BTreeSet<&PoolId> = self.shared.iter().collect();
        ids.extend(self.by_node.get(name).into_iter().flatten());
        ids.into_iter().filter_map(|id| self.pools.get(id)).collect()
    }

    /// A claim is new or changed; says how it was.
    pub(crate) fn set_claim(&mut self, claim: Arc<ResourceClaim>) -> Option<Arc<ResourceClaim>> {
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        let allocated = allocation(&claim);
        if let Some(provisional) = extended_of(&claim).filter(|_| allocated.is_some()).map(Self::provisional)
        {
            self.in_flight.remove(&provisional);
            self.in_use.set(&provisional, None);
        }
        if allocated.is_some() {
            self.in_flight.remove(&uid);
        }
        match allocated {
            Some(allocation) => self.in_use.set(&uid, Some(allocation)),
            None if self.in_flight.contains_key(&uid) => {}
            None => self.in_use.set(&uid, None),
        }
        let old = self.claims.insert(Key::of(claim.as_ref()), claim)?;
        if old.metadata.uid.as_deref() != Some(&uid) {
            self.forget_claim(&old);
        }
        Some(old)
    }

    /// A claim is gone.
    pub(crate) fn remove_claim(&mut self, claim: &ResourceClaim) {
        self.claims.remove(&Key::of(claim));
        self.forget_claim(claim);
    }

    fn forget_claim(&mut self, claim: &ResourceClaim) {
        let uid = claim.metadata.uid.as_deref().unwrap_or_default();
        self.in_flight.remove(uid);
        self.in_use.set(uid, None);
    }

    /// A slice is new or changed, or gone.
    pub(crate) fn set_slice(&mut self, name: &str, slice: Option<Arc<ResourceSlice>>) {
        let old = match slice {
            Some(slice) => {
                let info = Arc::new(SliceInfo::new(slice));
                let id = info.pool.clone();
                let old = self.slices.insert(name.to_owned(), info);
                self.by_pool.entry(id.clone()).or_default().insert(name.to_owned());
                self.gather(&id);
                old.filter(|old| old.pool != id)
            }
            None => self.slices.remove(name),
        };
        let Some(old) = old else { return };
        if let Some(names) = self.by_pool.get_mut(&old.pool) {
            names.remove(name);
            if names.is_empty() {
                self.by_pool.remove(&old.pool);
            }
        }
        self.gather(&old.pool);
    }

    /// Makes a pool anew from its slices.
    fn gather(&mut self, id: &PoolId) {
        if let Some(old) = self.pools.remove(id) {
            self.shared.remove(id);
            for node in old.nodes() {
                if let Some(pools) = self.by_node.get_mut(node) {
                    pools.remove(id);
                    if pools.is_empty() {
                        self.by_node.remove(node);
                    }
                }
            }
        }
        let names = self.by_pool.get(id).into_iter().flatten();
        let slices = names.filter_map(|name| self.slices.get(name).cloned()).collect();
        let Some(pool) = Pool::of(id.clone(), slices) else { return };
        if pool.is_shared() {
            self.shared.insert(id.clone());
        }
        for node in pool.nodes() {
            self.by_node.entry(node.to_owned()).or_default().insert(id.clone());
        }
        self.pools.insert(id.clone(), pool);
    }

    /// Takes what is decided for done.
    pub(crate) fn assume(&mut self, preparations: &[Preparation]) {
        for preparation in preparations {
            if let Preparation::Reserve { claim, allocation: Some(allocation), .. } = preparation {
                let uid = claim.metadata.uid.clone().unwrap_or_default();
                self.in_use.set(&uid, Some(allocation));
                self.in_flight.insert(uid, allocation.clone());
            }
        }
    }

    /// It has failed, but for those claims (by UID) that were written: the watch will show these.
    pub(crate) fn give_up(&mut self, preparations: &[Preparation], written: &BTreeSet<String>) -> bool {
        let mut gave_up = false;
        for preparation in preparations {
            if let Preparation::Reserve { claim, allocation: Some(_), .. } = preparation {
                let uid = claim.metadata.uid.as_deref().unwrap_or_default();
                if !written.contains(uid) && self.in_flight.remove(uid).is_some() {
                    self.in_use.set(uid, None);
                    gave_up = true;
                }
            }
        }
        gave_up
    }
}

/// The pod (by UID) for whose extended resources a claim was made.
pub(crate) fn extended_of(claim: &ResourceClaim) -> Option<&str> {
    let annotations = claim.metadata.annotations.as_ref()?;
    annotations.get(EXTENDED_CLAIM).filter(|value| *value == "true")?;
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

#[cfg(test)]
mod tests;
