//! The default store: one crash-safe file.
//!
//! **Contract:** a commit is acknowledged after it is durable; concurrent commits share one flush; history lies in the
//! file within a limit and survives a restart; the file belongs to one process at a time and is readable by its owner
//! only. Keys stay in memory, values are read from the file through a small cache. Beside the file lies its log (`.log`),
//! which belongs to it.
//!
//! - `file`: the tables of the redb database and the meaning of its failures
//! - `index`: which version of which key is where, in memory
//! - `log`: what is durable and not in the database yet
//! - `writer`: the thread that commits

mod file;
mod index;
mod log;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use self::file::{Opened, StoreFile, Values};
use self::index::{Index, Version};
use self::writer::{Request, Staged};
use crate::expiry::{self, Expiring, Timer};
use crate::feed::{BATCH_EVENTS, Feed, History, watch_store};
use crate::{
    Batch, Committed, Error, Event, HistoryLimit, Key, KeyValue, ListOptions, Lookup, Op, OpenOptions, Page,
    Result, Revision, Storage, Txn, WatchStream,
};

/// Recent changes kept in memory for watches that are up to date; older ones are read from the file.
const FEED_LIMIT: HistoryLimit = HistoryLimit { events: 1024, bytes: 1 << 20 };
/// Pages up to this size are read on the caller's thread.
const SMALL_PAGE: usize = 32;

/// A store in one file.
pub struct Embedded {
    inner: Arc<Inner>,
    requests: mpsc::UnboundedSender<Request>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    file: StoreFile,
    index: RwLock<Index>,
    feed: Feed,
    timer: Timer,
    options: OpenOptions,
    closed: AtomicBool,
    requests: mpsc::WeakUnboundedSender<Request>,
}

impl Embedded {
    /// Opens the file, or makes it (its folder must exist). Must be called in a tokio runtime.
    pub async fn open(path: &Path, options: OpenOptions) -> Result<Self> {
        let (place, cache_bytes) = (path.to_owned(), options.cache_bytes);
        let opened = tokio::task::spawn_blocking(move || StoreFile::open(&place, cache_bytes));
        let (file, Opened { index, garbage }) =
            opened.await.map_err(|e| Error::Backend { operation: "open", source: e.into() })??;
        let (requests, queue) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            file,
            feed: Feed::new(index.revision, FEED_LIMIT),
            timer: Timer::new(options.now.clone()),
            options,
            closed: AtomicBool::new(false),
            requests: requests.downgrade(),
            index: RwLock::new(index),
        });
        let for_writer = inner.clone();
        let writer = std::thread::Builder::new()
            .name("storage-writer".to_owned())
            .spawn(move || writer::run(&for_writer, queue, garbage))
            .map_err(|source| Error::Io { operation: "open", path: path.to_owned(), source })?;
        if inner.next_deadline().is_some() {
            expiry::schedule(&inner);
        }
        Ok(Self { inner, requests, writer: Mutex::new(Some(writer)) })
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<Committed> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

type Reply = oneshot::Sender<Result<Committed>>;

impl Drop for Embedded {
    /// Waits until the file is released, so that it can be opened again at once.
    fn drop(&mut self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = self.requests.send(Request::Close { reply: oneshot::channel().0 });
            if writer.join().is_err() {
                tracing::error!("storage writer panicked");
            }
        }
        self.inner.timer.wake();
    }
}

impl Inner {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_index(&self) -> Result<RwLockReadGuard<'_, Index>> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(self.index()) }
    }

    /// Makes what is durable visible: to reads first, then to watches.
    fn show(&self, transactions: Vec<Vec<Staged>>) {
        if transactions.is_empty() {
            return;
        }
        let mut index = self.index_mut();
        let mut published: Vec<Vec<Event>> = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            let mut events = Vec::with_capacity(transaction.len());
            for staged in transaction {
                index.apply(staged.event.key.clone(), staged.version);
                events.push(staged.event);
            }
            published.push(events);
        }
        self.feed.publish(published);
    }

    /// Takes over the index of a file that was opened again.
    fn replace(&self, index: Index) {
        let mut present = self.index_mut();
        if index.revision != present.revision {
            self.feed.reset(index.revision);
        }
        *present = index;
    }

    /// Refuses calls, ends watches, releases the file.
    fn shut(&self) {
        self.closed.store(true, Ordering::Release);
        self.feed.close();
        self.file.close();
    }

    fn read_page(&self, found: Vec<(Key, Version)>, values: &Values) -> Result<Vec<KeyValue>> {
        let read = |(key, version): (Key, Version)| {
            Ok(key_value(&key, &version, values.get(&self.file, version.id)?))
        };
        found.into_iter().map(read).collect()
    }

    fn read_changes(&self, prefix: &str, from: Revision) -> Result<Batch> {
        // The view is opened under the lock: compaction takes a version out of the index before the file.
        let (changes, revision, values) = {
            let index = self.open_index()?;
            let (changes, revision) = index.changes(prefix, from, BATCH_EVENTS)?;
            (changes, revision, self.file.values()?)
        };
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            let read = |version: Version| -> Result<KeyValue> {
                Ok(key_value(&change.key, &version, values.get(&self.file, version.id)?))
            };
            let value = change.version.live().map(read).transpose()?;
            let prev = change.prev.map(read).transpose()?;
            events.push(Event { revision: change.version.id.0, value, prev, key: change.key });
        }
        Ok(Batch { revision, events })
    }
}

fn key_value(key: &Key, version: &Version, value: Bytes) -> KeyValue {
    KeyValue { key: key.clone(), value, create_revision: version.create_revision, mod_revision: version.id.0 }
}

/// Runs a read that may take a while on a thread for such things.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(read).await;
    done.map_err(|e| Error::Backend { operation: "read", source: e.into() })?
}

#[async_trait]
impl Storage for Embedded {
    async fn get(&self, key: &Key) -> Result<Lookup> {
        let (version, values, revision) = {
            let index = self.inner.open_index()?;
            let Some(version) = index.latest(key) else {
                return Ok(Lookup { item: None, revision: index.revision });
            };
            (version, self.inner.file.values()?, index.revision)
        };
        let value = values.get(&self.inner.file, version.id)?;
        Ok(Lookup { item: Some(key_value(key, &version, value)), revision })
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page> {
        let (found, remaining, values, revision) = {
            let index = self.inner.open_index()?;
            let revision = index.readable(options.revision)?;
            let limit = options.limit.unwrap_or(usize::MAX);
            let (found, remaining) = index.page(prefix, options.start_after.as_deref(), limit, revision);
            (found, remaining, self.inner.file.values()?, revision)
        };
        let items = if found.len() <= SMALL_PAGE {
            self.inner.read_page(found, &values)?
        } else {
            let inner = self.inner.clone();
            blocking(move || inner.read_page(found, &values)).await?
        };
        Ok(Page { items, revision, remaining })
    }

    async fn commit(&self, txn: Txn) -> Result<Committed> {
        txn.validate()?;
        let expiring = txn.ops.iter().any(|(op, _)| matches!(op, Op::Put { ttl: Some(_), .. }));
        let committed = self.ask(|reply| Request::Commit { txn, reply }).await?;
        if expiring {
            expiry::schedule(&self.inner);
        }
        Ok(committed)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        drop(self.inner.open_index()?);
        Ok(watch_store(&self.inner, prefix, from))
    }

    async fn current_revision(&self) -> Result<Revision> {
        Ok(self.inner.open_index()?.revision)
    }

    async fn compacted_revision(&self) -> Result<Revision> {
        Ok(self.inner.open_index()?.compacted)
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.ask(|reply| Request::Compact { to, reply }).await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        match self.ask(|reply| Request::Close { reply }).await {
            Ok(_) | Err(Error::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl History for Inner {
    fn feed(&self) -> &Feed {
        &self.feed
    }

    async fn older(self: Arc<Self>, prefix: &str, from: Revision) -> Result<Batch> {
        let prefix = prefix.to_owned();
        blocking(move || self.read_changes(&prefix, from)).await
    }
}

#[async_trait]
impl Expiring for Inner {
    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn next_deadline(&self) -> Option<u64> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        self.index().deadlines.first().map(|(deadline, _)| *deadline)
    }

    async fn expire(&self, now: u64) {
        let Some(requests) = self.requests.upgrade() else { return };
        let (reply, answer) = oneshot::channel();
        if requests.send(Request::Expire { now, reply }).is_ok() {
            // A failure has been logged by the writer; the keys are still due and are tried again.
            let _ = answer.await;
        }
    }
}
