//! The one writer: a thread that turns a queue of transactions into few durable ones.
//!
//! **Contract**
//! - Group commit: everything that has queued up during one flush goes into the next. Each transaction is checked, in
//!   the order of the queue, against what is stored and what was accepted before it in the same flush.
//! - Nothing is visible to readers or watches, and nothing is answered, before the flush has succeeded.
//! - If the flush fails, every transaction in it fails, and the file is opened again.
//! - A flush is an append to the log; what has gathered there goes into the database after the answers.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Inner;
use super::file::{Values, encode};
use super::index::{Version, VersionId};
use super::log::{Record, Row};
use crate::{Committed, Error, Event, Expect, Key, KeyValue, Op, Result, Revision, Txn};

/// The most requests in one flush.
const MOST_REQUESTS: usize = 1024;
/// The most bytes in one flush (one transaction may be bigger).
const MOST_BYTES: usize = 8 << 20;

/// What the writer is asked to do.
pub(super) enum Request {
    /// Write a transaction.
    Commit { txn: Txn, reply: oneshot::Sender<Result<Committed>> },
    /// Forget history.
    Compact { to: Revision, reply: oneshot::Sender<Result<Committed>> },
    /// Delete the keys whose time has passed.
    Expire { now: u64, reply: oneshot::Sender<Result<Committed>> },
    /// Release the file and end.
    Close { reply: oneshot::Sender<Result<Committed>> },
}

/// What became of a request, to be told after the flush.
type Answer = (oneshot::Sender<Result<Committed>>, Result<Committed>);

/// Ends when every sender is gone or `Close` comes.
pub(super) fn run(
    inner: &Arc<Inner>,
    mut requests: mpsc::UnboundedReceiver<Request>,
    mut garbage: Vec<VersionId>,
) {
    let mut queue = Vec::new();
    while let Some(first) = requests.blocking_recv() {
        let mut bytes = size(&first);
        queue.push(first);
        while queue.len() < MOST_REQUESTS && bytes < MOST_BYTES {
            let Ok(request) = requests.try_recv() else { break };
            bytes += size(&request);
            queue.push(request);
        }
        let closing = flush(inner, &mut queue, &mut garbage);
        if closing.is_some() || inner.file.checkpoint_is_due(garbage.len()) {
            checkpoint(inner, &mut garbage);
        }
        if let Some(reply) = closing {
            requests.close();
            inner.shut();
            let _ = reply.send(Ok(Committed { revision: 0, changed: false }));
            break;
        }
    }
    inner.shut();
}

fn size(request: &Request) -> usize {
    match request {
        Request::Commit { txn, .. } => txn.size(),
        _ => 0,
    }
}

/// One flush: stage, make durable, show, answer. Returns who asked to close.
fn flush(
    inner: &Inner,
    queue: &mut Vec<Request>,
    garbage: &mut Vec<VersionId>,
) -> Option<oneshot::Sender<Result<Committed>>> {
    let mut closing = None;
    let mut answers = Vec::with_capacity(queue.len());
    let written = write(inner, queue, garbage, &mut answers, &mut closing);
    match written {
        Ok(staged) => {
            inner.show(staged);
            for (reply, answer) in answers {
                // The caller may have gone; the write stands.
                let _ = reply.send(answer);
            }
        }
        Err(error) => {
            tracing::error!(error = %error, "store write failed");
            for (reply, _) in answers {
                let _ = reply.send(Err(again(&error)));
            }
            recover(inner, garbage);
        }
    }
    // A statement of its own, so that the read lock is gone when the write lock is taken.
    let excess = inner.index().excess(&inner.options.history);
    if let Some(to) = excess {
        garbage.extend(inner.index_mut().compact(to));
        inner.feed.forget(to);
    }
    closing
}

/// The whole of one durable transaction.
fn write(
    inner: &Inner,
    queue: &mut Vec<Request>,
    garbage: &mut Vec<VersionId>,
    answers: &mut Vec<Answer>,
    closing: &mut Option<oneshot::Sender<Result<Committed>>>,
) -> Result<Vec<Vec<Staged>>> {
    // Whatever fails from here on, everybody in the queue gets an answer.
    let mut work = Vec::with_capacity(queue.len());
    let failed = || Err(Error::Closed);
    for request in queue.drain(..) {
        match request {
            Request::Close { reply } => *closing = Some(reply),
            Request::Commit { txn, reply } => {
                work.push(Work::Txn(txn));
                answers.push((reply, failed()));
            }
            Request::Compact { to, reply } => {
                work.push(Work::Compact(to));
                answers.push((reply, failed()));
            }
            Request::Expire { now, reply } => {
                work.push(Work::Expire(now));
                answers.push((reply, failed()));
            }
        }
    }
    if work.is_empty() {
        return Ok(Vec::new());
    }
    if !inner.file.is_open() {
        recover(inner, garbage);
    }
    let before = inner.index().compacted;
    let mut stage = Stage::new(inner);
    for (work, answer) in work.into_iter().zip(answers.iter_mut()) {
        answer.1 = match work {
            Work::Txn(txn) => stage.commit(txn)?,
            Work::Expire(now) => stage.expire(now)?,
            Work::Compact(to) => stage.compact(to, garbage),
        };
    }
    let Stage { done, rows, base, .. } = stage;
    let compacted = inner.index().compacted;
    if !done.is_empty() || compacted != before {
        inner.file.append(Record { compacted, revision: base + done.len() as u64, rows })?;
    }
    Ok(done)
}

/// Moves what the log has into the database. If that fails, the log goes on: nothing is lost.
fn checkpoint(inner: &Inner, garbage: &mut Vec<VersionId>) {
    let (compacted, revision) = {
        let index = inner.index();
        (index.compacted, index.revision)
    };
    match inner.file.checkpoint(garbage, compacted, revision) {
        Ok(()) => garbage.clear(),
        Err(error) => {
            tracing::error!(error = %error, "store checkpoint failed");
            recover(inner, garbage);
        }
    }
}

enum Work {
    Txn(Txn),
    Compact(Revision),
    Expire(u64),
}

/// Opens the file again and shows what it holds, in case a write that was reported as failed is there after all.
fn recover(inner: &Inner, garbage: &mut Vec<VersionId>) {
    match inner.file.reopen() {
        Ok(opened) => {
            *garbage = opened.garbage;
            inner.replace(opened.index);
        }
        Err(error) => tracing::error!(error = %error, "store cannot be opened again"),
    }
}

/// The same failure, for each of those who wait.
fn again(error: &Error) -> Error {
    match error {
        Error::Full => Error::Full,
        Error::Closed => Error::Closed,
        Error::Corrupt { path, source } => {
            Error::Corrupt { path: path.clone(), source: source.to_string().into() }
        }
        Error::Io { operation, path, source } => Error::Io {
            operation,
            path: path.clone(),
            source: std::io::Error::new(source.kind(), source.to_string()),
        },
        Error::Backend { operation, source } => {
            Error::Backend { operation, source: source.to_string().into() }
        }
        other => Error::Backend { operation: "write", source: other.to_string().into() },
    }
}

/// A change that is in the open transaction.
pub(super) struct Staged {
    pub(super) version: Version,
    pub(super) event: Event,
}

/// The flush being put together.
struct Stage<'a> {
    inner: &'a Inner,
    /// What was stored before it; read when first needed.
    values: Option<Values>,
    /// What it has written so far; a `None` value means deleted.
    written: HashMap<Key, Option<KeyValue>>,
    done: Vec<Vec<Staged>>,
    rows: Vec<(VersionId, Row)>,
    base: Revision,
}

impl<'a> Stage<'a> {
    fn new(inner: &'a Inner) -> Self {
        let base = inner.index().revision;
        Self { inner, values: None, written: HashMap::new(), done: Vec::new(), rows: Vec::new(), base }
    }

    fn revision(&self) -> Revision {
        self.base + self.done.len() as u64
    }

    fn current_revision_of(&self, key: &Key) -> Option<Revision> {
        match self.written.get(key) {
            Some(written) => written.as_ref().map(|kv| kv.mod_revision),
            None => self.inner.index().latest(key).map(|version| version.id.0),
        }
    }

    fn current(&mut self, key: &Key) -> Result<Option<KeyValue>> {
        if let Some(written) = self.written.get(key) {
            return Ok(written.clone());
        }
        let Some(version) = self.inner.index().latest(key) else { return Ok(None) };
        let values = match &mut self.values {
            Some(values) => values,
            none => none.insert(self.inner.file.values()?),
        };
        let value = values.get(&self.inner.file, version.id)?;
        Ok(Some(super::key_value(key, &version, value)))
    }

    /// The outer error is the file's, the inner one the transaction's.
    fn commit(&mut self, txn: Txn) -> Result<Result<Committed>> {
        for (key, expect) in txn.expectations() {
            if !expect.holds(self.current_revision_of(key)) {
                let current = self.current(key)?.map(Box::new);
                return Ok(Err(Error::Conflict { key: key.clone(), current }));
            }
        }
        let revision = self.revision() + 1;
        let mut staged = Vec::with_capacity(txn.ops.len());
        for (op, _) in txn.ops {
            staged.extend(self.write(op, (revision, staged.len() as u32))?);
        }
        let changed = !staged.is_empty();
        if changed {
            self.done.push(staged);
        }
        Ok(Ok(Committed { revision: self.revision(), changed }))
    }

    fn write(&mut self, op: Op, id: VersionId) -> Result<Option<Staged>> {
        let (key, value, ttl) = match op {
            Op::Put { key, value, ttl } => (key, Some(value), ttl),
            Op::Delete { key } => (key, None, None),
        };
        let prev = self.current(&key)?;
        if value.is_none() && prev.is_none() {
            return Ok(None);
        }
        let bytes = key.len() + value.as_ref().map_or(0, Bytes::len);
        let version = Version {
            id,
            create_revision: prev.as_ref().map_or(id.0, |prev| prev.create_revision),
            deadline: ttl.map_or(0, |ttl| self.inner.timer.deadline(ttl)),
            bytes: u32::try_from(bytes).map_err(|_| Error::TooLarge { size: bytes })?,
            deleted: value.is_none(),
        };
        self.rows.push((id, Row { version: encode(&key, &version).into(), value: value.clone() }));
        let value = value.map(|value| super::key_value(&key, &version, value));
        self.written.insert(key.clone(), value.clone());
        Ok(Some(Staged { version, event: Event { key, revision: id.0, value, prev } }))
    }

    fn expire(&mut self, now: u64) -> Result<Result<Committed>> {
        let due =
            self.inner.index().deadlines.iter().take_while(|due| due.0 <= now).cloned().collect::<Vec<_>>();
        let mut ops = Vec::with_capacity(due.len());
        for (_, key) in due {
            // Written again in this flush: the new deadline counts, not the old one.
            if !self.written.contains_key(&key) {
                ops.push((Op::Delete { key }, Expect::Any));
            }
        }
        self.commit(Txn { conditions: Vec::new(), ops })
    }

    fn compact(&mut self, to: Revision, garbage: &mut Vec<VersionId>) -> Result<Committed> {
        let current = self.inner.index().revision;
        if to > current {
            return Err(Error::FutureRevision { requested: to, current });
        }
        // Readers must not find a version in the index that the file no longer has: so the index goes first.
        garbage.extend(self.inner.index_mut().compact(to));
        self.inner.feed.forget(to);
        Ok(Committed { revision: self.revision(), changed: false })
    }
}
