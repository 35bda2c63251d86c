//! The reference model: everything in persistent maps of this process.
//!
//! **Contract:** keeps every promise of [`Storage`] except durability. [`Memory::fork`] is cheap, whatever is stored:
//! both sides share what they had in common and go their own ways.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::expiry::{self, Expiring, Timer};
use crate::feed::{Feed, Found, History, watch_store};
use crate::storage::{FIRST_REVISION, keys_after};
use crate::{
    Batch, Committed, Error, Event, Expect, Key, KeyValue, ListOptions, Lookup, Op, OpenOptions, Page,
    Result, Revision, Storage, Txn, WatchStream,
};

/// A store in memory.
pub struct Memory {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    feed: Feed,
    timer: Timer,
    options: OpenOptions,
}

#[derive(Clone)]
struct State {
    revision: Revision,
    items: OrdMap<Key, Item>,
    deadlines: OrdSet<(u64, Key)>,
    closed: bool,
}

#[derive(Clone)]
struct Item {
    value: Bytes,
    create_revision: Revision,
    mod_revision: Revision,
    deadline: Option<u64>,
}

impl Memory {
    /// An empty store.
    pub fn new(options: OpenOptions) -> Self {
        let state =
            State { revision: FIRST_REVISION, items: OrdMap::new(), deadlines: OrdSet::new(), closed: false };
        let feed = Feed::new(FIRST_REVISION, options.history);
        Self::assemble(state, feed, options)
    }

    /// A second store with the same content and history, independent from now on.
    pub fn fork(&self) -> Self {
        let (state, feed) = {
            let state = self.inner.state();
            (state.clone(), self.inner.feed.fork())
        };
        let expiring = !state.deadlines.is_empty();
        let fork = Self::assemble(state, feed, self.inner.options.clone());
        if expiring {
            expiry::schedule(&fork.inner);
        }
        fork
    }

    fn assemble(state: State, feed: Feed, options: OpenOptions) -> Self {
        let timer = Timer::new(options.now.clone());
        Self { inner: Arc::new(Inner { state: Mutex::new(state), feed, timer, options }) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.inner.feed.close();
        self.inner.timer.wake();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }

    /// Writes and publishes under one lock, so that the feed has the order of the revisions.
    fn apply(&self, state: &mut State, txn: &Txn) -> Committed {
        let revision = state.revision + 1;
        let events: Vec<Event> =
            txn.ops.iter().filter_map(|(op, _)| state.write(op, revision, &self.timer)).collect();
        if events.is_empty() {
            return Committed { revision: state.revision, changed: false };
        }
        state.revision = revision;
        self.feed.publish([events]);
        Committed { revision, changed: true }
    }
}

impl State {
    fn check(&self, txn: &Txn) -> Result<()> {
        for (key, expect) in txn.expectations() {
            let item = self.items.get(key);
            if !expect.holds(item.map(|item| item.mod_revision)) {
                let current = item.map(|item| Box::new(item.key_value(key)));
                return Err(Error::Conflict { key: key.clone(), current });
            }
        }
        Ok(())
    }

    fn write(&mut self, op: &Op, revision: Revision, timer: &Timer) -> Option<Event> {
        let key = op.key();
        let old = match op {
            Op::Delete { .. } => Some(self.items.remove(key)?),
            Op::Put { value, ttl, .. } => {
                let old = self.items.get(key).cloned();
                let deadline = ttl.map(|ttl| timer.deadline(ttl));
                if let Some(deadline) = deadline {
                    self.deadlines.insert((deadline, key.clone()));
                }
                let create_revision = old.as_ref().map_or(revision, |old| old.create_revision);
                let item = Item { value: value.clone(), create_revision, mod_revision: revision, deadline };
                self.items.insert(key.clone(), item);
                old
            }
        };
        if let Some(deadline) = old.as_ref().and_then(|old| old.deadline) {
            let renewed = self.items.get(key).and_then(|item| item.deadline) == Some(deadline);
            if !renewed {
                self.deadlines.remove(&(deadline, key.clone()));
            }
        }
        let value = self.items.get(key).map(|item| item.key_value(key));
        Some(Event { key: key.clone(), revision, value, prev: old.map(|old| old.key_value(key)) })
    }
}

impl Item {
    fn key_value(&self, key: &Key) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
        }
    }

    fn from_key_value(kv: &KeyValue) -> Self {
        Self {
            value: kv.value.clone(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            deadline: None,
        }
    }
}

#[async_trait]
impl Storage for Memory {
    async fn get(&self, key: &Key) -> Result<Lookup> {
        let state = self.inner.open_state()?;
        let item = state.items.get(key).map(|item| item.key_value(key));
        Ok(Lookup { item, revision: state.revision })
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page> {
        let (items, revision) = {
            let state = self.inner.open_state()?;
            let mut items = state.items.clone();
            let revision = options.revision.unwrap_or(state.revision);
            if revision > state.revision {
                return Err(Error::FutureRevision { requested: revision, current: state.revision });
            }
            for (key, value) in self.inner.feed.undo(prefix, revision)? {
                match value {
                    Some(kv) => items.insert(key, Item::from_key_value(&kv)),
                    None => items.remove(&key),
                };
            }
            (items, revision)
        };
        let bounds = keys_after(prefix, options.start_after.as_deref());
        let limit = options.limit.unwrap_or(usize::MAX);
        let mut page = Page { items: Vec::new(), revision, remaining: 0 };
        for (key, item) in items.range::<_, str>(bounds).take_while(|(key, _)| key.starts_with(prefix)) {
            if page.items.len() < limit {
                page.items.push(item.key_value(key));
            } else {
                page.remaining += 1;
            }
        }
        Ok(page)
    }

    async fn commit(&self, txn: Txn) -> Result<Committed> {
        txn.validate()?;
        let committed = {
            let mut state = self.inner.open_state()?;
            state.check(&txn)?;
            self.inner.apply(&mut state, &txn)
        };
        if txn.ops.iter().any(|(op, _)| matches!(op, Op::Put { ttl: Some(_), .. })) {
            expiry::schedule(&self.inner);
        }
        Ok(committed)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        drop(self.inner.open_state()?);
        Ok(watch_store(&self.inner, prefix, from))
    }

    async fn current_revision(&self) -> Result<Revision> {
        Ok(self.inner.open_state()?.revision)
    }

    async fn compacted_revision(&self) -> Result<Revision> {
        let _state = self.inner.open_state()?;
        Ok(self.inner.feed.base())
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        let state = self.inner.open_state()?;
        if to > state.revision {
            return Err(Error::FutureRevision { requested: to, current: state.revision });
        }
        self.inner.feed.forget(to);
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.inner.state().closed = true;
        self.inner.feed.close();
        Ok(())
    }
}

#[async_trait]
impl History for Inner {
    fn feed(&self) -> &Feed {
        &self.feed
    }

    async fn older(self: Arc<Self>, prefix: &str, from: Revision) -> Result<Batch> {
        match self.feed.read(prefix, from) {
            Found::Batch(batch) => Ok(batch),
            _ => Err(Error::Compacted { requested: from, compacted: self.feed.base() }),
        }
    }
}

#[async_trait]
impl Expiring for Inner {
    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn next_deadline(&self) -> Option<u64> {
        let state = self.state();
        if state.closed { None } else { state.deadlines.get_min().map(|(deadline, _)| *deadline) }
    }

    async fn expire(&self, now: u64) {
        let mut state = self.state();
        let due = state.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let ops = due.map(|(_, key)| (Op::Delete { key: key.clone() }, Expect::Any)).collect();
        self.apply(&mut state, &Txn { conditions: Vec::new(), ops });
    }
}
