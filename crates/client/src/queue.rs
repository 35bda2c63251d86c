//! The keyed work queue: each key once, delayed keys, keys with backoff.
//!
//! **Contract**: a key that is added while it waits is handed out once; one that is added while it is worked on is
//! handed out again after [`Queue::done`], never to two workers at a time. Delays run on the clock it is made with.
//! **Upstream**: `client-go/util/workqueue` with its default controller rate limiter.

use component_base::Clock;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// First delay of a failing key (upstream: `DefaultTypedControllerRateLimiter`).
const BASE_DELAY: Duration = Duration::from_millis(5);
/// Longest delay of a failing key.
const MAX_DELAY: Duration = Duration::from_secs(1000);
/// Retries a second over all keys, after the burst.
const RETRIES_PER_SECOND: u32 = 10;
/// Retries that are let through at once.
const RETRY_BURST: u32 = 100;

/// A queue of keys; cloning shares it.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

#[derive(Debug)]
struct Inner<K> {
    clock: Clock,
    state: Mutex<State<K>>,
    changed: Notify,
    base: Duration,
    most: Duration,
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<(K, Instant)>,
    dirty: HashSet<K>,
    processing: HashSet<K>,
    delayed: BTreeMap<(Instant, u64), K>,
    delays: HashMap<K, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<K, u32>,
    /// When the bucket of retries would be full again.
    bucket: Option<Instant>,
    added: u64,
    retried: u64,
    closed: bool,
}

/// What a queue has done so far, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Keys that wait for a worker.
    pub depth: usize,
    /// Keys handed to workers and not done.
    pub processing: usize,
    /// Keys added, without duplicates.
    pub added: u64,
    /// Keys added with backoff.
    pub retried: u64,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// A queue with upstream's backoff: 5 ms doubled up to 1000 s.
    pub fn new(clock: &Clock) -> Self {
        Self::with_backoff(clock, BASE_DELAY, MAX_DELAY)
    }

    /// A queue whose failing keys wait from `base` doubled up to `most`.
    pub fn with_backoff(clock: &Clock, base: Duration, most: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeMap::new(),
            delays: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            bucket: None,
            added: 0,
            retried: 0,
            closed: false,
        };
        let (clock, state) = (clock.clone(), Mutex::new(state));
        Self { inner: Arc::new(Inner { clock, state, changed: Notify::new(), base, most }) }
    }

    fn now(&self) -> Instant {
        self.inner.clock.instant()
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next key to work on; none once the queue is closed and empty. Follow it with [`Queue::done`].
    pub async fn get(&self) -> Option<K> {
        self.get_with_wait().await.map(|(key, _)| key)
    }

    /// The next key, and how long it waited for a worker.
    pub async fn get_with_wait(&self) -> Option<(K, Duration)> {
        loop {
            let changed = self.inner.changed.notified();
            let next = {
                let mut state = self.state();
                let now = self.now();
                state.release_due(now);
                if let Some((key, since)) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.processing.insert(key.clone());
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        // Another worker takes over the watch for what is left.
                        self.inner.changed.notify_one();
                    }
                    return Some((key, now.duration_since(since)));
                }
                if state.closed {
                    self.inner.changed.notify_one();
                    return None;
                }
                state.delayed.keys().next().map(|(due, _)| *due)
            };
            match next {
                None => changed.await,
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = self.inner.clock.sleep_until(due) => {}
                    }
                }
            }
        }
    }

    /// Adds a key, unless it waits already.
    pub fn add(&self, key: K) {
        if self.state().add(key, self.now()) {
            self.inner.changed.notify_one();
        }
    }

    /// Adds a key after a delay; the earliest of several delays holds.
    pub fn add_after(&self, key: K, delay: Duration) {
        let now = self.now();
        let Some(due) = now.checked_add(delay).filter(|_| !delay.is_zero()) else {
            return self.add(key);
        };
        let mut state = self.state();
        if state.closed || state.delays.get(&key).is_some_and(|(known, _)| *known <= due) {
            return;
        }
        if let Some(known) = state.delays.remove(&key) {
            state.delayed.remove(&known);
        }
        let slot = (due, state.sequence);
        state.sequence += 1;
        state.delayed.insert(slot, key.clone());
        state.delays.insert(key, slot);
        drop(state);
        self.inner.changed.notify_one();
    }

    /// Adds a key after a delay that grows with each failure in a row.
    pub fn add_rate_limited(&self, key: K) {
        let delay = {
            let mut state = self.state();
            state.retried += 1;
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let factor = 2u32.checked_pow(*failures);
            *failures = failures.saturating_add(1);
            let own = factor.and_then(|factor| self.inner.base.checked_mul(factor));
            own.unwrap_or(self.inner.most).min(self.inner.most).max(state.reserve_retry(self.now()))
        };
        self.add_after(key, delay);
    }

    /// Forgets a key's failures, after a success.
    pub fn forget(&self, key: &K) {
        self.state().failures.remove(key);
    }

    /// How often in a row the key failed.
    pub fn requeues(&self, key: &K) -> u32 {
        self.state().failures.get(key).copied().unwrap_or(0)
    }

    /// Ends the work on a key; if it was added meanwhile, it is ready again.
    pub fn done(&self, key: &K) {
        let mut state = self.state();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back((key.clone(), self.now()));
            drop(state);
            self.inner.changed.notify_one();
        }
    }

    /// Takes nothing more and drops what is delayed; what is ready is still handed out.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.delayed.clear();
        state.delays.clear();
        drop(state);
        self.inner.changed.notify_waiters();
        self.inner.changed.notify_one();
    }

    /// What the queue has done so far.
    pub fn counters(&self) -> Counters {
        let state = self.state();
        Counters {
            depth: state.ready.len(),
            processing: state.processing.len(),
            added: state.added,
            retried: state.retried,
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether a worker should wake.
    fn add(&mut self, key: K, now: Instant) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) {
            return false;
        }
        self.added += 1;
        if self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back((key, now));
        true
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            self.delays.remove(&key);
            self.add(key, now);
        }
    }

    /// Takes a token of the bucket shared by all keys: how long until it is there.
    fn reserve_retry(&mut self, now: Instant) -> Duration {
        let each = Duration::from_secs(1) / RETRIES_PER_SECOND;
        let full = self.bucket.map_or(now, |full| full.max(now)) + each;
        self.bucket = Some(full);
        full.duration_since(now).saturating_sub(each * RETRY_BURST)
    }
}

#[cfg(test)]
mod tests;
