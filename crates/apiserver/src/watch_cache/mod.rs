//! The watch cache: every resource's objects in memory, and who is told of their changes.
//!
//! **Contract**
//! - One task, the pump, follows the storage and feeds every resource's cache; then it publishes the revision. Whoever
//!   has waited for a revision ([`Caches::wait_for`]) reads everything written up to it, of every resource.
//! - All watchers of a resource see the same changes in the same order. A watcher that does not keep up is ended;
//!   it never holds up the others or a writer.
//! - Changes older than the ring are read from the storage's own history, so watches resume across our restart.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/storage/cacher`.

mod cache;
mod pump;
#[cfg(test)]
mod pump_tests;
mod ring;
mod selection;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use cache::prefix;
pub use cache::{Cache, Snapshot};
pub(crate) use pump::Pump;
pub use ring::{Change, ChangeType};
pub use selection::Selection;
pub use subscription::Subscription;

use crate::registry::Strategy;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage::Storage;
use tokio::sync::watch;

/// Below this prefix are all objects.
pub(crate) const ROOT: &str = "/registry/";
/// How long a read waits for a revision that it was promised. **Upstream**: `blockTimeout`.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// The caches of all resources.
pub struct Caches {
    storage: Arc<dyn Storage>,
    caches: Vec<Cache>,
    index: HashMap<String, usize>,
    revision: watch::Sender<u64>,
    following: AtomicBool,
    ended: AtomicBool,
}

impl Caches {
    /// Empty caches, one a strategy.
    pub(crate) fn new(storage: Arc<dyn Storage>, strategies: &[Arc<dyn Strategy>]) -> Self {
        let caches: Vec<Cache> = strategies.iter().map(|s| Cache::new(Arc::clone(s))).collect();
        let index = caches.iter().enumerate().map(|(i, cache)| (cache.prefix().to_owned(), i)).collect();
        Self {
            storage,
            caches,
            index,
            revision: watch::Sender::new(0),
            following: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// The cache of the strategy with this index.
    pub(crate) fn cache(&self, index: usize) -> &Cache {
        &self.caches[index]
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The revision up to which every cache is complete.
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Whether the pump follows the storage at the moment.
    pub fn is_following(&self) -> bool {
        self.following.load(Ordering::Acquire)
    }

    /// Waits until every cache is complete up to `revision`; `Err` is how far they are when patience ends.
    pub async fn wait_for(&self, revision: u64) -> Result<(), u64> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut receiver = self.revision.subscribe();
        // Once the pump has ended there is nothing to wait for.
        let reached = receiver.wait_for(|current| *current >= revision || self.ended.load(Ordering::Acquire));
        let _ = tokio::time::timeout(BLOCK_TIMEOUT, reached).await;
        match self.revision() {
            current if current >= revision => Ok(()),
            current => Err(current),
        }
    }

    /// Which cache a key belongs to: `/registry/<group>/<plural>/…`.
    fn index_of(&self, key: &str) -> Option<usize> {
        let plural_start = ROOT.len() + key.get(ROOT.len()..)?.find('/')? + 1;
        let end = plural_start + key[plural_start..].find('/')? + 1;
        self.index.get(&key[..end]).copied()
    }
}
