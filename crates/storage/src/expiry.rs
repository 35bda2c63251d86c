//! The timer that makes keys with a time to live go away, for the backends that expire keys themselves.
//!
//! **Contract:** deadlines are wall-clock times, so they survive a restart; only the waiting uses tokio's time. The
//! task holds no strong reference to the store and ends with it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{Clock, Key};

/// The longest wait, so that a wall clock that was set forward is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The shortest wait, so that many deadlines close together become one transaction.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// The wait after an expiry that could not be written.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Which keys expire when: milliseconds since 1970 and the key.
pub(crate) type Deadlines = BTreeSet<(u64, Key)>;

/// A store that expires keys itself.
#[async_trait]
pub(crate) trait Expiring: Send + Sync + 'static {
    /// Its timer.
    fn timer(&self) -> &Timer;
    /// When the next key expires.
    fn next_deadline(&self) -> Option<u64>;
    /// Deletes every key whose deadline is not after `now`.
    async fn expire(&self, now: u64);
}

/// Wakes the expiry task of one store.
pub(crate) struct Timer {
    now: Clock,
    wake: Arc<Notify>,
    running: AtomicBool,
}

impl Timer {
    /// A timer that has not been started.
    pub(crate) fn new(now: Clock) -> Self {
        Self { now, wake: Arc::default(), running: AtomicBool::new(false) }
    }

    /// The wall-clock time at which something written now expires.
    pub(crate) fn deadline(&self, ttl: Duration) -> u64 {
        (self.now)().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)).max(1)
    }

    /// Says that the deadlines have changed (or that the store is going away).
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Starts the task if it is not running, and tells it that the deadlines have changed.
pub(crate) fn schedule<S: Expiring>(store: &Arc<S>) {
    let timer = store.timer();
    if !timer.running.swap(true, Ordering::AcqRel) {
        tokio::spawn(run(Arc::downgrade(store), timer.now.clone(), timer.wake.clone()));
    }
    timer.wake();
}

async fn run<S: Expiring>(store: Weak<S>, now: Clock, wake: Arc<Notify>) {
    loop {
        let Some(next) = store.upgrade().map(|store| store.next_deadline()) else { return };
        let Some(deadline) = next else {
            wake.notified().await;
            continue;
        };
        let wait = Duration::from_millis(deadline.saturating_sub(now()));
        if !wait.is_zero() {
            let wait = wait.clamp(SHORTEST_WAIT, LONGEST_WAIT);
            // A notification and a timeout mean the same: look again.
            let _ = tokio::time::timeout(wait, wake.notified()).await;
            continue;
        }
        let Some(store) = store.upgrade() else { return };
        store.expire(now()).await;
        let failed = store.next_deadline().is_some_and(|next| next <= deadline);
        drop(store);
        if failed {
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}
