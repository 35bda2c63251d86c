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
mod watchers;

pub(crate) use cache::prefix;
pub use cache::{Cache, Snapshot};
pub(crate) use pump::Pump;
pub use ring::{Change, ChangeType};
pub use selection::Selection;
pub use subscription::Subscription;

use crate::registry::{Error, Strategy};
use api::kind::Resource;
use arc_swap::ArcSwap;
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
    /// By what the keys begin with. There are two of a resource while one takes the other's place.
    fed: ArcSwap<imbl::HashMap<Arc<str>, Vec<Arc<Cache>>>>,
    /// Held by who adds a cache or lists all anew: neither may miss what the other does.
    listing: tokio::sync::Mutex<()>,
    revision: watch::Sender<u64>,
    following: AtomicBool,
    ended: AtomicBool,
}

impl Caches {
    /// Empty caches, one a strategy.
    pub(crate) fn new(storage: Arc<dyn Storage>, strategies: &[Arc<dyn Strategy>]) -> Self {
        let caches = strategies.iter().map(|strategy| Arc::new(Cache::new(Arc::clone(strategy))));
        let fed = caches.map(|cache| (cache.shared_prefix(), vec![cache])).collect();
        Self {
            storage,
            fed: ArcSwap::from_pointee(fed),
            listing: tokio::sync::Mutex::new(()),
            revision: watch::Sender::new(0),
            following: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// The cache of a resource that was there from the beginning.
    pub(crate) fn cache(&self, resource: &Resource) -> Option<Arc<Cache>> {
        self.fed.load().get(prefix(resource).as_str())?.last().cloned()
    }

    /// A cache of one more resource, or the next of one that has another already; complete when this returns.
    pub(crate) async fn add(&self, strategy: Arc<dyn Strategy>) -> Result<Arc<Cache>, Error> {
        let _alone = self.listing.lock().await;
        let cache = Arc::new(Cache::new(strategy));
        // From here on changes are put aside until what was there before is known.
        self.change(&cache, |caches| caches.push(Arc::clone(&cache)));
        let listed = pump::list(self, cache.prefix(), |_, items| {
            cache.load(items.iter().filter_map(|item| cache.decode(item)).collect());
        });
        match listed.await {
            Ok(revision) => {
                cache.loaded(revision);
                Ok(cache)
            }
            Err(error) => {
                self.remove(&cache);
                Err(error)
            }
        }
    }

    /// Ends a cache and its watchers.
    pub(crate) fn remove(&self, cache: &Arc<Cache>) {
        self.change(cache, |caches| caches.retain(|other| !Arc::ptr_eq(other, cache)));
        cache.end();
    }

    fn change(&self, cache: &Arc<Cache>, change: impl Fn(&mut Vec<Arc<Cache>>)) {
        self.fed.rcu(|fed| {
            let mut fed = imbl::HashMap::clone(fed);
            let mut caches = fed.remove(cache.prefix()).unwrap_or_default();
            change(&mut caches);
            if !caches.is_empty() {
                fed.insert(cache.shared_prefix(), caches);
            }
            fed
        });
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
}

/// What the keys of a key's resource begin with: `/registry/<group>/<plural>/`.
fn prefix_of(key: &str) -> Option<&str> {
    let plural_start = ROOT.len() + key.get(ROOT.len()..)?.find('/')? + 1;
    let end = plural_start + key[plural_start..].find('/')? + 1;
    Some(&key[..end])
}
