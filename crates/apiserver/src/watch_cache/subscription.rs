//! One watcher: the state or the changes it missed, then everything that follows.

use super::cache::Link;
use super::ring::{Change, Event};
use super::selection::Selection;
use super::{BLOCK_TIMEOUT, Cache, Caches};
use crate::registry::Object;
use api::status::Status;
use futures::StreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Fewer watchers of a resource are told of each change at once.
const CROWD: usize = 50;
/// A few times what it costs to send something to a watcher over TLS and, on the same machine, to read it: most of the
/// time is the writers'.
const REST_PER_WATCHER: Duration = Duration::from_micros(100);
const LONGEST_REST: Duration = Duration::from_millis(100);

/// A linked watcher.
#[derive(Debug)]
pub struct Subscription {
    /// The state to begin with; empty if the watcher asked for changes after a revision.
    pub initial: Vec<Arc<Object>>,
    /// The revision of that state.
    pub revision: u64,
    missed: VecDeque<Change>,
    receiver: mpsc::Receiver<Change>,
    crowd: Arc<AtomicUsize>,
    delivered: u64,
    /// Changes up to here are not told: the watcher asked for those that come later.
    after: u64,
}

impl Subscription {
    /// The next change; `None` when the watcher was too slow or the server ends.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let change = match self.missed.pop_front() {
                Some(change) => change,
                None => self.receiver.recv().await?,
            };
            if let Some(change) = self.told(change) {
                return Some(change);
            }
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Option<Change> {
        loop {
            let change = self.missed.pop_front().or_else(|| self.receiver.try_recv().ok())?;
            if let Some(change) = self.told(change) {
                return Some(change);
            }
        }
    }

    /// The change, if it is one that the watcher is to be told.
    fn told(&mut self, change: Change) -> Option<Change> {
        let revision = change.object.revision();
        (revision > self.after).then(|| {
            self.delivered = revision;
            change
        })
    }

    /// How long to let changes gather before the next are sent: sending costs about as much whether it is one change or
    /// ten, and with many watchers that cost would leave no time for the writers.
    pub fn rest(&self) -> Duration {
        match self.crowd.load(Ordering::Relaxed) {
            crowd if crowd < CROWD => Duration::ZERO,
            crowd => LONGEST_REST.min(REST_PER_WATCHER * u32::try_from(crowd).unwrap_or(u32::MAX)),
        }
    }

    /// What was delivered last.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }
}

impl Caches {
    /// Links a watcher that begins with the present state.
    pub(crate) fn subscribe_now(&self, cache: &Cache, selection: &Selection) -> Subscription {
        let published = self.revision();
        let Link { snapshot, receiver, crowd, .. } = cache.link(None, selection);
        let initial: Vec<Arc<Object>> = selection.list(&snapshot).cloned().collect();
        let revision = snapshot.revision().max(published);
        let missed = VecDeque::new();
        Subscription { initial, revision, missed, receiver, crowd, delivered: revision, after: 0 }
    }

    /// Links a watcher that wants every change after `since`, which may lie in the future: what comes until then is
    /// left out, as upstream does.
    pub(crate) async fn subscribe_since(
        &self,
        cache: &Cache,
        selection: &Selection,
        since: u64,
    ) -> Result<Subscription, Status> {
        let Link { snapshot, missed, receiver, crowd } = cache.link(Some(since), selection);
        let missed = match missed {
            Some(missed) => missed.into(),
            None => self.history(cache, selection, since, snapshot.revision()).await?,
        };
        let initial = Vec::new();
        Ok(Subscription { initial, revision: since, missed, receiver, crowd, delivered: since, after: since })
    }

    /// The changes after `since` up to `until`, from the storage's history.
    async fn history(
        &self,
        cache: &Cache,
        selection: &Selection,
        since: u64,
        until: u64,
    ) -> Result<VecDeque<Change>, Status> {
        let read = async {
            let mut watch = self.storage().watch(cache.prefix(), since).await?;
            let mut changes = VecDeque::new();
            while let Some(batch) = watch.next().await {
                let batch = batch?;
                for event in batch.events.iter().filter(|event| event.revision <= until) {
                    let old = event.prev.as_ref().and_then(|stored| cache.decode(stored));
                    let new = event.value.as_ref().and_then(|stored| cache.decode(stored));
                    changes.extend(Event::new(event.revision, old, new).for_watcher(selection));
                }
                if batch.revision >= until {
                    return Ok(changes);
                }
            }
            Err(storage::Error::Closed)
        };
        match tokio::time::timeout(BLOCK_TIMEOUT, read).await {
            Ok(Ok(changes)) => Ok(changes),
            Ok(Err(storage::Error::Compacted { compacted, .. })) => Err(too_old(since, compacted)),
            Ok(Err(_)) | Err(_) => Err(too_old(since, until)),
        }
    }
}

/// The Status of a watch that asks for what is forgotten.
fn too_old(since: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {since} ({oldest})"))
}
