//! What configuration objects mean, worked out when they change and not when they are needed.
//!
//! **Contract**: whoever was told of a write of a configuration finds it in force. An object that has not changed is not
//! read again. A look costs a comparison of two numbers.

use crate::registry::Store;
use arc_swap::ArcSwap;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The objects of one kind, by name, as `T`.
pub(crate) struct Configured<T> {
    store: Arc<Store>,
    read: fn(&Value) -> T,
    state: ArcSwap<State<T>>,
    reading: Mutex<()>,
}

/// All of them at one moment.
pub(crate) struct State<T> {
    changes: u64,
    entries: Vec<(String, Arc<T>)>,
    revisions: HashMap<String, (u64, Arc<T>)>,
}

impl<T> State<T> {
    /// In the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<T>)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The one of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.revisions.get(name).map(|(_, entry)| entry)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T: Send + Sync> Configured<T> {
    /// Those in this store, each of which `read` understands.
    pub(crate) fn new(store: &Arc<Store>, read: fn(&Value) -> T) -> Self {
        let state = State { changes: 0, entries: Vec::new(), revisions: HashMap::new() };
        Self { store: Arc::clone(store), read, state: ArcSwap::from_pointee(state), reading: Mutex::new(()) }
    }

    /// All of them, now.
    pub(crate) fn get(&self) -> Arc<State<T>> {
        let state = self.state.load();
        if state.changes == self.store.cache().changes() {
            return Arc::clone(&state);
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state.load_full();
        // What changes from here on is seen by the next look.
        let changes = self.store.cache().changes();
        if state.changes == changes {
            return state;
        }
        let state = Arc::new(self.renew(&state, changes));
        self.state.store(Arc::clone(&state));
        state
    }

    fn renew(&self, before: &State<T>, changes: u64) -> State<T> {
        let (mut entries, mut revisions) = (Vec::new(), HashMap::new());
        for object in self.store.snapshot().iter() {
            let (name, revision) = (object.name(), object.revision());
            let known = before.revisions.get(name).filter(|(of, _)| *of == revision);
            let entry = match known {
                Some((_, entry)) => Arc::clone(entry),
                None => Arc::new((self.read)(&object.to_value())),
            };
            entries.push((name.to_owned(), Arc::clone(&entry)));
            revisions.insert(name.to_owned(), (revision, entry));
        }
        State { changes, entries, revisions }
    }
}
