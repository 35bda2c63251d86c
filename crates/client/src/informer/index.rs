//! Objects of an informer by something else than their name: by their controller, by a node, by a label.
//!
//! **Contract**: an index changes together with the store, before a change is announced.
//! **Upstream**: `client-go/tools/cache.Indexer`.

use super::kept::Kept;
use super::store::Shared;
use super::{Informer, Watched};
use crate::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The values under which an object is found.
pub type Keys<K> = fn(&K) -> Vec<String>;

/// One way to look objects up; cloning shares it.
pub struct Index<K> {
    name: &'static str,
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self { name: self.name, shared: self.shared.clone() }
    }
}

impl<K> std::fmt::Debug for Index<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.name)
    }
}

impl<K: Watched> Index<K> {
    /// The objects under a value, by namespace and name.
    pub fn get(&self, value: &str) -> Vec<Arc<K>> {
        self.shared.indexed(self.name, value)
    }

    /// How many objects are under a value.
    pub fn count(&self, value: &str) -> usize {
        self.shared.index(self.name, |entries| entries.count(value))
    }

    /// The values under which there are objects, in no order.
    pub fn values(&self) -> Vec<String> {
        self.shared.index(self.name, Entries::values)
    }
}

impl<K: Watched> Informer<K> {
    /// The index of this name, built now if nobody asked for it before; one name stands for one function.
    pub fn index(&self, name: &'static str, keys: Keys<K>) -> Index<K> {
        self.shared.add_index(name, keys);
        Index { name, shared: self.shared.clone() }
    }
}

/// Objects by namespace and name.
type Named<K> = BTreeMap<Key, Arc<Kept<K>>>;

/// The entries of one index.
pub(super) struct Entries<K> {
    pub(super) name: &'static str,
    keys: Keys<K>,
    objects: HashMap<String, Named<K>>,
}

impl<K: Watched> Entries<K> {
    pub(super) fn new(name: &'static str, keys: Keys<K>) -> Self {
        Self { name, keys, objects: HashMap::new() }
    }

    pub(super) fn insert(&mut self, object: &K, kept: &Arc<Kept<K>>) {
        for value in (self.keys)(object) {
            self.objects.entry(value).or_default().insert(Key::of(object), kept.clone());
        }
    }

    pub(super) fn remove(&mut self, object: &K) {
        for value in (self.keys)(object) {
            let Some(objects) = self.objects.get_mut(&value) else { continue };
            objects.remove(&Key::of(object));
            if objects.is_empty() {
                self.objects.remove(&value);
            }
        }
    }

    pub(super) fn get(&self, value: &str) -> Vec<Arc<Kept<K>>> {
        self.objects.get(value).into_iter().flat_map(|objects| objects.values().cloned()).collect()
    }

    fn count(&self, value: &str) -> usize {
        self.objects.get(value).map_or(0, BTreeMap::len)
    }

    fn values(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }
}
