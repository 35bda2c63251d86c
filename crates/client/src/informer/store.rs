//! The objects of one informer, its subscribers, and the differences between two lists.

use super::index::{Entries, Keys};
use super::kept::Kept;
use super::sent::Sent;
use super::{Delta, Interner, Watched};
use crate::Key;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

type Objects<K> = BTreeMap<String, BTreeMap<String, Arc<Kept<K>>>>;

/// What the reflector writes and everybody else reads.
pub(super) struct Shared<K> {
    interner: Interner,
    state: Mutex<State<K>>,
    /// Grows with each change of `state`, under its lock.
    changes: AtomicU64,
    synced: watch::Sender<bool>,
    revision: watch::Sender<u64>,
}

struct State<K> {
    objects: Objects<K>,
    indexes: Vec<Entries<K>>,
    subscribers: Vec<mpsc::UnboundedSender<Delta<K>>>,
    synced: bool,
    closed: bool,
}

impl<K> Shared<K> {
    pub(super) fn new(interner: Interner) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            indexes: Vec::new(),
            subscribers: Vec::new(),
            synced: false,
            closed: false,
        };
        Self {
            interner,
            state: Mutex::new(state),
            changes: AtomicU64::new(0),
            synced: watch::Sender::new(false),
            revision: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to change it. Whoever sees the number of changes grown waits for the end of the change.
    fn changing(&self) -> MutexGuard<'_, State<K>> {
        let state = self.state();
        self.changes.fetch_add(1, Ordering::Release);
        state
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub(super) async fn synced(&self) {
        // The sender lives as long as `self`.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Everything up to this revision is known; what is not a number is nothing to wait for.
    pub(super) fn reached(&self, revision: &str) {
        let Ok(revision) = revision.parse::<u64>() else { return };
        self.revision.send_if_modified(|known| {
            let newer = revision > *known;
            *known = revision.max(*known);
            newer
        });
    }

    pub(super) async fn caught_up(&self, revision: &str) {
        let Ok(revision) = revision.parse::<u64>() else { return };
        let _ = self.revision.subscribe().wait_for(|known| *known >= revision).await;
    }

    /// Ends every subscription.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.subscribers.clear();
    }
}

impl<K: Watched> Shared<K> {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let kept = self.state().objects.get(namespace)?.get(name).cloned()?;
        Some(self.interner.get(&kept))
    }

    pub(super) fn contains(&self, namespace: &str, name: &str) -> bool {
        self.state().objects.get(namespace).is_some_and(|names| names.contains_key(name))
    }

    pub(super) fn list(&self, namespace: Option<&str>) -> Vec<Arc<K>> {
        let kept: Vec<Arc<Kept<K>>> = {
            let state = self.state();
            match namespace {
                Some(namespace) => {
                    state.objects.get(namespace).into_iter().flat_map(BTreeMap::values).cloned().collect()
                }
                None => state.objects.values().flat_map(BTreeMap::values).cloned().collect(),
            }
        };
        // Who lists everything does not use everything.
        kept.iter().map(|kept| kept.peek()).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.state().objects.values().map(BTreeMap::len).sum()
    }

    pub(super) fn subscribe(&self) -> mpsc::UnboundedReceiver<Delta<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        for object in state.objects.values().flat_map(BTreeMap::values) {
            let _ = sender.send(Delta::Added(object.peek()));
        }
        if state.synced {
            let _ = sender.send(Delta::Synced);
        }
        if !state.closed {
            state.subscribers.push(sender);
        }
        receiver
    }

    pub(super) fn add_index(&self, name: &'static str, keys: Keys<K>) {
        let mut state = self.state();
        if state.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Entries::new(name, keys);
        let all = state.objects.values().flat_map(BTreeMap::values);
        all.for_each(|kept| index.insert(&kept.peek(), kept));
        state.indexes.push(index);
    }

    pub(super) fn indexed(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let found = self.index(name, |entries| entries.get(value));
        found.iter().map(|kept| self.interner.get(kept)).collect()
    }

    /// What an index has to say; nothing if there is none of this name.
    pub(super) fn index<T: Default>(&self, name: &str, ask: impl FnOnce(&Entries<K>) -> T) -> T {
        let state = self.state();
        state.indexes.iter().find(|index| index.name == name).map(ask).unwrap_or_default()
    }

    /// Takes a whole list: announces what differs from what is known.
    pub(super) fn replace(&self, items: &[Sent<'_>]) -> serde_json::Result<()> {
        let items: Vec<_> = items.iter().map(|sent| self.take(sent)).collect::<Result<_, _>>()?;
        let mut state = self.changing();
        let mut gone = std::mem::take(&mut state.objects);
        for (key, kept) in items {
            let known = gone.get_mut(&key.namespace).and_then(|names| names.remove(&key.name));
            if let Some(known) = known {
                state.objects.entry(key.namespace.clone()).or_default().insert(key.name.clone(), known);
            }
            state.apply(&self.interner, key, kept);
        }
        for object in gone.into_values().flat_map(BTreeMap::into_values).map(|kept| kept.peek()) {
            state.indexes.iter_mut().for_each(|index| index.remove(&object));
            self.interner.forget(&*object);
            state.announce(Delta::Deleted(object));
        }
        if !state.synced {
            state.synced = true;
            state.announce(Delta::Synced);
            self.synced.send_replace(true);
        }
        Ok(())
    }

    /// Takes an added or modified object.
    pub(super) fn apply(&self, sent: &Sent<'_>) -> serde_json::Result<()> {
        let (key, kept) = self.take(sent)?;
        self.changing().apply(&self.interner, key, kept);
        Ok(())
    }

    fn take(&self, sent: &Sent<'_>) -> serde_json::Result<(Key, Arc<Kept<K>>)> {
        Ok((sent.key(), self.interner.share(sent)?))
    }

    /// Takes a deleted object's last state.
    pub(super) fn delete(&self, sent: &Sent<'_>) -> serde_json::Result<()> {
        let object: K = sent.decode()?;
        let Key { namespace, name } = sent.key();
        let mut state = self.changing();
        self.interner.forget(&object);
        let Some(names) = state.objects.get_mut(&namespace) else { return Ok(()) };
        let known = names.remove(&name);
        if names.is_empty() {
            state.objects.remove(&namespace);
        }
        if let Some(known) = known {
            if !state.indexes.is_empty() {
                let known = known.peek();
                state.indexes.iter_mut().for_each(|index| index.remove(&known));
            }
            state.announce(Delta::Deleted(Arc::new(object)));
        }
        Ok(())
    }
}

impl<K: Watched> State<K> {
    fn apply(&mut self, interner: &Interner, key: Key, kept: Arc<Kept<K>>) {
        let old = self.objects.entry(key.namespace).or_default().insert(key.name, kept.clone());
        if old.as_ref().is_some_and(|old| Arc::ptr_eq(old, &kept))
            || self.indexes.is_empty() && self.subscribers.is_empty()
        {
            return;
        }
        let (old, new) = (old.map(|old| old.peek()), interner.get(&kept));
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(old);
            }
            index.insert(&new, &kept);
        }
        match old {
            None => self.announce(Delta::Added(new)),
            Some(old) if old.meta().uid != new.meta().uid => {
                // Deleted and made anew while nobody watched: two objects, not one.
                self.announce(Delta::Deleted(old));
                self.announce(Delta::Added(new));
            }
            Some(old) if old.meta().resource_version == new.meta().resource_version => {}
            Some(old) => self.announce(Delta::Updated { old, new }),
        }
    }
}

impl<K> State<K> {
    fn announce(&mut self, delta: Delta<K>)
    where
        K: Clone,
    {
        self.subscribers.retain(|subscriber| {
            let delta = match &delta {
                Delta::Added(object) => Delta::Added(object.clone()),
                Delta::Updated { old, new } => Delta::Updated { old: old.clone(), new: new.clone() },
                Delta::Deleted(object) => Delta::Deleted(object.clone()),
                Delta::Synced => Delta::Synced,
            };
            subscriber.send(delta).is_ok()
        });
    }
}
