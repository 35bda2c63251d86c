//! The storage's history, forgotten when it is five to ten minutes old.
//!
//! **Contract**: of several servers on one storage, one compacts at a time: who writes the key first in a round. A
//! revision is compacted no sooner than one round after it was the newest, so lists and watches have that long.
//! **Upstream**: `k8s.io/apiserver/pkg/storage/etcd3/compact.go`, `--etcd-compaction-interval`.

use component_base::Clock;
use component_base::logging::Chain;
use std::sync::Arc;
use std::time::Duration;
use storage::{Error, Expect, Key, Storage, Txn};

/// **Upstream**: `--etcd-compaction-interval`, 5m.
const INTERVAL: Duration = Duration::from_secs(300);
/// **Upstream**: `compactRevKey`.
const KEY: &str = "compact_rev_key";

/// What one server knows of the rounds.
#[derive(Debug, Default)]
struct Rounds {
    /// When the key was last written, by whomever; `None`: never.
    written: Option<u64>,
    /// The newest revision at the end of the last round; 0: there was none.
    revision: u64,
}

/// Compacts round by round until the storage is closed.
pub(super) async fn run(storage: Arc<dyn Storage>, clock: Clock) {
    let mut rounds = Rounds::default();
    loop {
        clock.sleep(INTERVAL).await;
        match rounds.next(&*storage).await {
            Ok(()) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(error = %Chain(&error), "cannot compact the storage"),
        }
    }
}

impl Rounds {
    async fn next(&mut self, storage: &dyn Storage) -> Result<(), Error> {
        let expect = self.written.map_or(Expect::Absent, Expect::ModRevision);
        match storage.commit(Txn::new().put(KEY, self.revision.to_string(), expect)).await {
            Ok(committed) => {
                let due = std::mem::replace(&mut self.revision, committed.revision);
                self.written = Some(committed.revision);
                if due > 0 {
                    storage.compact(due).await?;
                    tracing::debug!(revision = due, "compacted");
                }
                Ok(())
            }
            // Another server was faster; this one waits for the next round.
            Err(Error::Conflict { .. }) => {
                let found = storage.get(&Key::from(KEY)).await?;
                self.written = found.item.map(|item| item.mod_revision);
                self.revision = found.revision;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use crate::registry::fixture::{memory, strategies};
    use component_base::Context;

    #[tokio::test(start_paused = true)]
    async fn history_is_forgotten_after_the_second_round() {
        let context = Context::simulated(1);
        let storage = memory(&context).await;
        let registry = Registry::open(Arc::clone(&storage), &context, strategies()).await.unwrap();
        let before = registry.revision();
        tokio::time::sleep(INTERVAL + Duration::from_secs(1)).await;
        assert!(storage.compacted_revision().await.unwrap() <= before, "the first round compacts nothing");
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(storage.compacted_revision().await.unwrap(), before + 1);
    }

    #[tokio::test]
    async fn of_two_servers_one_compacts() {
        let context = Context::simulated(1);
        let storage = memory(&context).await;
        let (mut one, mut two) = (Rounds::default(), Rounds::default());
        one.next(&*storage).await.unwrap();
        let first = one.revision;
        two.next(&*storage).await.unwrap();
        assert_eq!((two.written, two.revision), (Some(first), first));
        one.next(&*storage).await.unwrap();
        assert_eq!(storage.compacted_revision().await.unwrap(), first);
        // The other was not asked this time; it only learns that there was a round.
        two.next(&*storage).await.unwrap();
        assert_eq!(two.written, one.written);
        two.next(&*storage).await.unwrap();
        assert_eq!(storage.compacted_revision().await.unwrap(), one.revision);
    }
}
