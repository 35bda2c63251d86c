//! Recent changes in memory, and the watches that read them.
//!
//! **Contract:** a watch is a loop that pulls: it remembers the revision it has come to, takes whatever the feed holds
//! after it, and sleeps until the feed grows. So a slow reader costs a writer nothing and costs no memory: if the feed
//! has moved on, the reader falls back to [`History::older`], and to `Compacted` where that ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use futures::StreamExt;
use imbl::Vector;
use tokio::sync::watch;

use crate::{Batch, Error, Event, HistoryLimit, Key, KeyValue, Result, Revision, WatchStream};

/// The most changes put into one batch (a transaction is never split).
pub(crate) const BATCH_EVENTS: usize = 512;

/// A store whose watches read from a feed.
#[async_trait]
pub(crate) trait History: Send + Sync + 'static {
    /// The recent changes.
    fn feed(&self) -> &Feed;
    /// Changes after `from` that the feed no longer holds.
    async fn older(self: Arc<Self>, prefix: &str, from: Revision) -> Result<Batch>;
}

/// The changes after `base`, one entry a revision.
#[derive(Clone)]
struct Ring {
    base: Revision,
    transactions: Vector<Arc<[Event]>>,
    events: usize,
    bytes: usize,
    closed: bool,
}

/// What a reader finds after its revision.
pub(crate) enum Found {
    /// Changes, or progress.
    Batch(Batch),
    /// Nothing new yet.
    UpToDate,
    /// The feed begins after this revision.
    Behind,
    /// Nothing new, and never will be.
    Closed,
}

/// Recent changes, bounded, with a bell for those who wait.
pub(crate) struct Feed {
    ring: Mutex<Ring>,
    bell: watch::Sender<()>,
    limit: HistoryLimit,
}

impl Feed {
    /// An empty feed of a store that is at `revision`.
    pub(crate) fn new(revision: Revision, limit: HistoryLimit) -> Self {
        let ring = Ring { base: revision, transactions: Vector::new(), events: 0, bytes: 0, closed: false };
        Self { ring: Mutex::new(ring), bell: watch::Sender::new(()), limit }
    }

    /// A feed with the same changes and readers of its own.
    pub(crate) fn fork(&self) -> Self {
        let ring = self.ring().clone();
        Self { ring: Mutex::new(ring), bell: watch::Sender::new(()), limit: self.limit }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds transactions, the first of which is the revision after the newest.
    pub(crate) fn publish(&self, transactions: impl IntoIterator<Item = Vec<Event>>) {
        {
            let mut ring = self.ring();
            for events in transactions {
                ring.events += events.len();
                ring.bytes += weight(&events);
                ring.transactions.push_back(events.into());
            }
            while ring.events > self.limit.events || ring.bytes > self.limit.bytes {
                ring.drop_oldest();
            }
        }
        self.bell.send_replace(());
    }

    /// Forgets everything, because the store was found to be at `revision` already.
    pub(crate) fn reset(&self, revision: Revision) {
        {
            let mut ring = self.ring();
            ring.base = revision;
            ring.transactions.clear();
            ring.events = 0;
            ring.bytes = 0;
        }
        self.bell.send_replace(());
    }

    /// Forgets changes up to and including `to`.
    pub(crate) fn forget(&self, to: Revision) {
        let mut ring = self.ring();
        while ring.base < to && !ring.transactions.is_empty() {
            ring.drop_oldest();
        }
    }

    /// Ends every watch once it has read what is there.
    pub(crate) fn close(&self) {
        self.ring().closed = true;
        self.bell.send_replace(());
    }

    /// The oldest revision from which the feed is complete.
    pub(crate) fn base(&self) -> Revision {
        self.ring().base
    }

    /// What happened under `prefix` after `from`.
    pub(crate) fn read(&self, prefix: &str, from: Revision) -> Found {
        let ring = self.ring();
        let newest = ring.base + ring.transactions.len() as u64;
        if from < ring.base {
            return Found::Behind;
        }
        if from >= newest {
            return if ring.closed { Found::Closed } else { Found::UpToDate };
        }
        let mut batch = Batch { revision: from, events: Vec::new() };
        let first = usize::try_from(from - ring.base).unwrap_or(usize::MAX);
        for transaction in ring.transactions.skip(first).iter() {
            batch.revision += 1;
            batch.events.extend(transaction.iter().filter(|e| e.key.starts_with(prefix)).cloned());
            if batch.events.len() >= BATCH_EVENTS {
                break;
            }
        }
        Found::Batch(batch)
    }

    /// What has to be put back to turn the present into the state at `revision`.
    pub(crate) fn undo(&self, prefix: &str, revision: Revision) -> Result<BTreeMap<Key, Option<KeyValue>>> {
        let ring = self.ring();
        if revision < ring.base {
            return Err(Error::Compacted { requested: revision, compacted: ring.base });
        }
        let mut undo = BTreeMap::new();
        let first = usize::try_from(revision - ring.base).unwrap_or(usize::MAX);
        for transaction in ring.transactions.skip(first).iter() {
            for event in transaction.iter().filter(|e| e.key.starts_with(prefix)) {
                undo.entry(event.key.clone()).or_insert_with(|| event.prev.clone());
            }
        }
        Ok(undo)
    }
}

impl Ring {
    fn drop_oldest(&mut self) {
        if let Some(events) = self.transactions.pop_front() {
            self.base += 1;
            self.events -= events.len();
            self.bytes -= weight(&events);
        }
    }
}

/// The bytes that a transaction keeps alive.
fn weight(events: &[Event]) -> usize {
    events.iter().map(|e| e.key.len() + e.value.as_ref().map_or(0, |kv| kv.value.len())).sum()
}

struct Reader<H> {
    store: Weak<H>,
    bell: watch::Receiver<()>,
    prefix: String,
    from: Revision,
    ended: bool,
}

impl<H: History> Reader<H> {
    async fn next(&mut self) -> Option<Result<Batch>> {
        loop {
            if self.ended {
                return None;
            }
            let store = self.store.upgrade()?;
            self.bell.borrow_and_update();
            let result = match store.feed().read(&self.prefix, self.from) {
                Found::Batch(batch) => Ok(batch),
                Found::Behind => store.older(&self.prefix, self.from).await,
                Found::Closed => return None,
                Found::UpToDate => {
                    drop(store);
                    self.bell.changed().await.ok()?;
                    continue;
                }
            };
            match &result {
                Ok(batch) => self.from = batch.revision,
                Err(_) => self.ended = true,
            }
            return Some(result);
        }
    }
}

/// A watch over a store. It holds no strong reference to the store, and ends when the store is dropped.
pub(crate) fn watch_store<H: History>(store: &Arc<H>, prefix: &str, from: Revision) -> WatchStream {
    let reader = Reader {
        store: Arc::downgrade(store),
        bell: store.feed().bell.subscribe(),
        prefix: prefix.to_owned(),
        from,
        ended: false,
    };
    futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })
    .boxed()
}
