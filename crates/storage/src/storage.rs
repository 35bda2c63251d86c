//! The trait that every backend implements, and its promises.
//!
//! **Contract**
//! - There is one revision for the whole store. An empty store is at revision 1; every transaction that writes
//!   something raises it by exactly one. On etcd, others may raise it too. It never goes back, not even by a crash.
//! - A commit that returned `Ok` survives a crash of the process (memory: of the caller) and, in `embedded` and `etcd`,
//!   of the machine. A transaction is written whole or not at all.
//! - Reads are linearizable: they see every commit that was acknowledged before they began, and a watch that was asked
//!   for from the revision of a read delivers exactly what the read did not see.
//! - Expiry of a time to live is an ordinary deletion, with its own revision and event.
//! - Prefixes are plain text: ask for `/registry/pods/`, with the last slash, not to meet `/registry/podsets/`.
//!   The empty prefix is everything.
//! - Every future may be dropped at any point. A dropped `commit` may or may not have been written.
//!
//! **Upstream:** etcd's KV, Watch and Lease API (`etcd.io/docs/v3.4/learning/api`).

use std::ops::Bound;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{Batch, Key, KeyValue, Result};

/// A point in the history of the store.
pub type Revision = u64;

/// The revision of an empty store.
pub(crate) const FIRST_REVISION: Revision = 1;

/// The stream of a watch. It ends after an error, and when the store is closed.
pub type WatchStream = BoxStream<'static, Result<Batch>>;

/// What must be true of a key before a transaction writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists and was last written by this revision.
    ModRevision(Revision),
    /// Nothing is asked.
    Any,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a value. A time to live (whole seconds on etcd, rounded up) replaces an earlier one; `None` ends it.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Bytes,
        /// After how long the key deletes itself.
        ttl: Option<Duration>,
    },
    /// Removes a key. Removing a key that does not exist writes nothing.
    Delete {
        /// Which.
        key: Key,
    },
}

impl Op {
    /// The key that is written.
    pub fn key(&self) -> &Key {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// A condition on a key that the transaction does not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: Key,
    /// What must be true of it.
    pub expect: Expect,
}

/// A transaction: all conditions hold and everything is written, or nothing is. No key may be written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Conditions on other keys, checked first.
    pub conditions: Vec<Condition>,
    /// The writes, each with the condition on its own key.
    pub ops: Vec<(Op, Expect)>,
}

impl Txn {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write of a value.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Bytes>, expect: Expect) -> Self {
        self.ops.push((Op::Put { key: key.into(), value: value.into(), ttl: None }, expect));
        self
    }

    /// Adds a write of a value that deletes itself after `ttl`.
    #[must_use]
    pub fn put_expiring(
        mut self,
        key: impl Into<Key>,
        value: impl Into<Bytes>,
        ttl: Duration,
        expect: Expect,
    ) -> Self {
        self.ops.push((Op::Put { key: key.into(), value: value.into(), ttl: Some(ttl) }, expect));
        self
    }

    /// Adds a deletion.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>, expect: Expect) -> Self {
        self.ops.push((Op::Delete { key: key.into() }, expect));
        self
    }

    /// Adds a condition on a key that is not written.
    #[must_use]
    pub fn when(mut self, key: impl Into<Key>, expect: Expect) -> Self {
        self.conditions.push(Condition { key: key.into(), expect });
        self
    }

    /// Every condition, those on other keys first.
    pub(crate) fn expectations(&self) -> impl Iterator<Item = (&Key, Expect)> {
        let own = self.ops.iter().map(|(op, expect)| (op.key(), *expect));
        self.conditions.iter().map(|c| (&c.key, c.expect)).chain(own)
    }

    /// Bytes of keys and values.
    pub(crate) fn size(&self) -> usize {
        let value = |op: &Op| match op {
            Op::Put { value, .. } => value.len(),
            Op::Delete { .. } => 0,
        };
        self.ops.iter().map(|(op, _)| op.key().len() + value(op)).sum()
    }

    /// Refuses a key that is written twice.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut seen = std::collections::HashSet::with_capacity(self.ops.len());
        match self.ops.iter().find(|(op, _)| !seen.insert(op.key())) {
            Some((op, _)) => Err(crate::Error::InvalidTxn(format!("key {} is written twice", op.key()))),
            None => Ok(()),
        }
    }
}

impl Expect {
    /// Whether the condition holds for a key whose present mod revision is `current`.
    pub(crate) fn holds(self, current: Option<Revision>) -> bool {
        match self {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::ModRevision(revision) => current == Some(revision),
        }
    }
}

/// The range of keys in which a page begins.
pub(crate) fn keys_after<'a>(
    prefix: &'a str,
    start_after: Option<&'a str>,
) -> (Bound<&'a str>, Bound<&'a str>) {
    let start = match start_after {
        Some(key) if key >= prefix => Bound::Excluded(key),
        _ => Bound::Included(prefix),
    };
    (start, Bound::Unbounded)
}

/// A transaction that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The revision after the transaction: its own if it wrote something.
    pub revision: Revision,
    /// Whether it wrote anything (only deletions of absent keys do not).
    pub changed: bool,
}

/// The answer to a get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// What is stored.
    pub item: Option<KeyValue>,
    /// The revision that the store was at.
    pub revision: Revision,
}

/// What part of a prefix to list, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Only keys after this one: the last key of the page before.
    pub start_after: Option<Key>,
    /// At most so many items. `Some(0)` counts without reading.
    pub limit: Option<usize>,
    /// The state as it was at this revision; `None` is now.
    pub revision: Option<Revision>,
}

/// The answer to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The values in the order of their keys.
    pub items: Vec<KeyValue>,
    /// The revision that the items were read at: the one asked for, or the newest. Pages that follow ask for it.
    pub revision: Revision,
    /// How many items of the prefix come after the last one of this page.
    pub remaining: usize,
}

impl Page {
    /// Whether there is another page.
    pub fn more(&self) -> bool {
        self.remaining > 0
    }
}

/// A store of revisioned keys and bytes. The file's header holds the promises.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The value of one key.
    async fn get(&self, key: &Key) -> Result<Lookup>;

    /// The values under a prefix, in the order of their keys.
    ///
    /// Fails with `Compacted` or `FutureRevision` if the state at `options.revision` cannot be told.
    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page>;

    /// Writes a transaction; returns when it is durable. Fails with `Conflict` if a condition does not hold.
    async fn commit(&self, txn: Txn) -> Result<Committed>;

    /// Every change after revision `from` under a prefix, in order, none lost.
    ///
    /// Changes under other prefixes appear as batches without events (several may be merged into one), so that a
    /// reader can wait until a watch has come up to [`Storage::current_revision`]. `from` may be in the future: the
    /// watch then leaves out what comes until then. If history after `from` is gone - at the start, or because the
    /// reader is too slow - the stream (or this call) ends with `Compacted`. A reader never delays a writer.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream>;

    /// The newest revision; every commit acknowledged before the call is included.
    async fn current_revision(&self) -> Result<Revision>;

    /// The oldest revision that can still be read at and watched from.
    async fn compacted_revision(&self) -> Result<Revision>;

    /// Forgets history before `to`. Does nothing if that is gone already.
    async fn compact(&self, to: Revision) -> Result<()>;

    /// Ends watches and releases the store. Calls after it fail with `Closed`.
    async fn close(&self) -> Result<()>;
}
