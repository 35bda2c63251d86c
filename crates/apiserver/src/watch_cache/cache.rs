//! The objects of one resource, and its watchers.
//!
//! **Contract**: the lock is held for memory work only, never across an await.

use super::ring::{Change, Event, Ring};
use super::selection::Selection;
use super::watchers::{Watcher, Watchers};
use crate::registry::{Object, Parts, Strategy};
use api::kind::Resource;
use bytes::Bytes;
use imbl::OrdMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::{Key, KeyValue};
use tokio::sync::mpsc;

/// Changes that may wait for a watcher before it is ended.
const WATCHER_BACKLOG: usize = 1024;

/// The state of a resource at one revision: O(1) to take, never changes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    objects: OrdMap<Key, Arc<Object>>,
    prefix: Arc<str>,
    namespaced: bool,
    revision: u64,
}

impl Snapshot {
    /// Whether the objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.namespaced
    }

    /// One object by `namespace/name`, or name.
    pub fn get(&self, path: &str) -> Option<&Arc<Object>> {
        self.objects.get(format!("{}{path}", self.prefix).as_str())
    }

    /// The revision of the state (of this resource; others may be further).
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All objects in the order of their keys: by namespace, then name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// The objects of one namespace, or all of them if it is empty.
    pub fn namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object>> + use<'_> {
        let prefix = if namespace.is_empty() {
            self.prefix.to_string()
        } else {
            format!("{}{namespace}/", self.prefix)
        };
        self.after(None, &prefix)
    }

    /// The objects whose keys begin with `prefix`, which ends with a slash, after the one with key `start`.
    pub(crate) fn after(
        &self,
        start: Option<&str>,
        prefix: &str,
    ) -> impl Iterator<Item = &Arc<Object>> + use<'_> {
        let from = Key::from(start.unwrap_or(prefix));
        let from = if start.is_some() { Bound::Excluded(from) } else { Bound::Included(from) };
        // No key has to be read again: the next character ends the range.
        let within = prefix.strip_suffix('/').unwrap_or(prefix);
        let to = Bound::Excluded(Key::from(format!("{within}0")));
        self.objects.range::<_, Key>((from, to)).map(|(_, object)| object)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// One resource's part of the watch cache.
pub struct Cache {
    strategy: Arc<dyn Strategy>,
    /// What has to be read of its objects.
    parts: Parts,
    prefix: Arc<str>,
    state: Mutex<State>,
    /// Grows with each change of an object.
    changes: AtomicU64,
}

struct State {
    objects: OrdMap<Key, Arc<Object>>,
    ring: Ring,
    /// Every change of this resource up to here is in `objects`.
    revision: u64,
    /// Changes that came before the state they change; `None` once that is there.
    early: Option<Vec<storage::Event>>,
    watchers: Watchers,
    /// Beside which objects are packed that are like no neighbour.
    model: Option<Bytes>,
    /// The number of those that are told of everything, for each of them to see.
    crowd: Arc<AtomicUsize>,
}

/// A new watcher's link to a cache.
pub(super) struct Link {
    /// The state at the moment of linking; every later change comes through `receiver`.
    pub(super) snapshot: Snapshot,
    /// The changes since the revision asked for; `None` if the ring does not reach back so far.
    pub(super) missed: Option<Vec<Change>>,
    pub(super) receiver: mpsc::Receiver<Change>,
    /// The number of watchers that are told of every change of the resource.
    pub(super) crowd: Arc<AtomicUsize>,
}

/// What the keys of a resource begin with.
pub(crate) fn prefix(resource: &Resource) -> String {
    let group = if resource.group.is_empty() { "core" } else { &resource.group };
    format!("{}{group}/{}/", super::ROOT, resource.plural)
}

impl Cache {
    pub(super) fn new(strategy: Arc<dyn Strategy>) -> Self {
        let prefix = prefix(strategy.resource()).into();
        let state = State {
            objects: OrdMap::new(),
            ring: Ring::default(),
            revision: 0,
            early: Some(Vec::new()),
            watchers: Watchers::default(),
            model: None,
            crowd: Arc::default(),
        };
        let parts = Object::parts(&*strategy);
        Self { strategy, parts, prefix, state: Mutex::new(state), changes: AtomicU64::new(0) }
    }

    /// What the keys of this resource begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn shared_prefix(&self) -> Arc<str> {
        Arc::clone(&self.prefix)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.state().objects.get(key).cloned()
    }

    /// Everything, now.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_of(&self.state())
    }

    fn snapshot_of(&self, state: &State) -> Snapshot {
        Snapshot {
            objects: state.objects.clone(),
            prefix: Arc::clone(&self.prefix),
            namespaced: self.strategy.resource().namespaced(),
            revision: state.revision,
        }
    }

    /// A number that grows with each change, so that who has worked something out knows whether it still holds.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The number of watchers.
    pub fn watchers(&self) -> usize {
        self.state().watchers.len()
    }

    /// Links a new watcher. `since`: also the changes after that revision.
    pub(super) fn link(&self, since: Option<u64>, selection: &Selection) -> Link {
        let (sender, receiver) = mpsc::channel(WATCHER_BACKLOG);
        let mut state = self.state();
        let missed = match since {
            None => Some(Vec::new()),
            Some(revision) => state
                .ring
                .since(revision)
                .map(|events| events.filter_map(|event| event.for_watcher(selection)).collect()),
        };
        state.watchers.add(Watcher { selection: selection.clone(), sender });
        state.crowd.store(state.watchers.crowd(), Ordering::Relaxed);
        let snapshot = self.snapshot_of(&state);
        Link { snapshot, missed, receiver, crowd: Arc::clone(&state.crowd) }
    }

    /// The object that is stored like this.
    pub(crate) fn object(&self, key: Key, revision: u64, stored: &[u8]) -> Result<Object, serde_json::Error> {
        Object::decode(&*self.strategy, &self.parts, &self.prefix, key, revision, stored)
    }

    /// Reads a stored value; a damaged one is reported and treated as absent.
    pub(super) fn decode(&self, stored: &KeyValue) -> Option<Arc<Object>> {
        match self.object(stored.key.clone(), stored.mod_revision, &stored.value) {
            Ok(object) => Some(Arc::new(object)),
            Err(error) => {
                tracing::error!(key = %stored.key, %error, "a stored object is damaged");
                None
            }
        }
    }

    /// The state, to change it. Whoever is told of a change finds the number of changes grown, and a snapshot waits for the
    /// end of the change; the other way round, a watcher would take what it knows for what holds.
    fn changing(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        self.changes.fetch_add(1, Ordering::Release);
        state
    }

    /// Takes over changes, in their order. Those that it already has are left out.
    pub(super) fn apply(&self, events: &[storage::Event]) {
        let decoded: Vec<Option<Arc<Object>>> =
            events.iter().map(|event| event.value.as_ref().and_then(|stored| self.decode(stored))).collect();
        let mut state = self.changing();
        match &mut state.early {
            Some(early) => early.extend_from_slice(events),
            None => {
                let past = state.apply(events, decoded);
                drop(state);
                self.pack(past.iter().filter_map(|event| event.new.as_ref()));
            }
        }
    }

    /// Packs those objects that have not changed lately. Those that were loaded are not packed by themselves.
    pub(crate) fn pack_past(&self) {
        let (Snapshot { objects, .. }, ring_start) = {
            let state = self.state();
            (self.snapshot_of(&state), state.ring.start())
        };
        self.pack(objects.values().filter(|object| object.revision() <= ring_start));
    }

    /// Packs objects, each beside what its neighbour is packed beside, which most often is of the same maker.
    fn pack<'a>(&self, objects: impl IntoIterator<Item = &'a Arc<Object>>) {
        if !self.strategy.is_packed() {
            return;
        }
        for object in objects {
            let models = self.state().models_for(object);
            if let Some(unlike) = models.and_then(|models| object.pack(models)) {
                self.state().model = Some(unlike);
            }
        }
    }

    /// Takes over objects of which nobody is told.
    pub(crate) fn load(&self, items: Vec<Arc<Object>>) {
        let mut state = self.changing();
        for object in items {
            state.objects.insert(object.key().clone(), object);
        }
    }

    /// Declares the loaded state complete up to `revision`.
    pub(super) fn loaded(&self, revision: u64) {
        let mut state = self.changing();
        state.revision = revision;
        state.ring = Ring::starting_at(revision);
        let early = state.early.take().unwrap_or_default();
        let decoded = early.iter().map(|event| event.value.as_ref().and_then(|stored| self.decode(stored)));
        let decoded = decoded.collect();
        let _loaded = state.apply(&early, decoded);
    }

    /// Ends all watchers: another cache takes this one's place, or its resource is gone.
    pub(super) fn end(&self) {
        self.state().watchers.clear();
    }

    /// Brings the cache to a newly listed state after history was lost. What happened in between nobody can tell, so
    /// watchers are ended: they resume if the storage remembers, or list anew.
    pub(super) fn replace(&self, items: Vec<Arc<Object>>, revision: u64) {
        let mut state = self.changing();
        state.objects = items.into_iter().map(|object| (object.key().clone(), object)).collect();
        state.ring = Ring::starting_at(revision);
        state.revision = revision;
        state.early = None;
        state.watchers.clear();
    }
}

impl State {
    /// Takes over changes but those that it already has. Hands out those that are now too old for the ring.
    fn apply(&mut self, events: &[storage::Event], decoded: Vec<Option<Arc<Object>>>) -> Vec<Arc<Event>> {
        let known = self.revision;
        let mut past = Vec::new();
        for (event, new) in events.iter().zip(decoded) {
            if event.revision > known {
                past.extend(self.change(&event.key, event.revision, new));
            }
        }
        past
    }

    /// Beside what an object may be packed; nothing if there is a newer one, which takes its place soon.
    fn models_for(&self, object: &Arc<Object>) -> Option<impl Iterator<Item = Bytes> + use<>> {
        self.objects.get(object.key()).filter(|newest| Arc::ptr_eq(newest, object))?;
        let before = (Bound::Unbounded, Bound::Excluded(object.key().clone()));
        let neighbour = self.objects.range::<_, Key>(before).next_back();
        let models = [neighbour.and_then(|(_, neighbour)| neighbour.model()), self.model.clone()];
        Some(models.into_iter().flatten())
    }

    fn change(&mut self, key: &Key, revision: u64, new: Option<Arc<Object>>) -> Vec<Arc<Event>> {
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), Arc::clone(object)),
            None => self.objects.remove(key),
        };
        self.revision = self.revision.max(revision);
        if old.is_none() && new.is_none() {
            return Vec::new();
        }
        let event = Arc::new(Event::new(revision, old, new));
        self.watchers.tell(&event);
        self.crowd.store(self.watchers.crowd(), Ordering::Relaxed);
        self.ring.push(event)
    }
}
