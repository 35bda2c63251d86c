//! What is written along with an object: changes of others that admission asks for, such as what a quota counts.
//!
//! **Contract**: in the object's own transaction and only if nobody changed the other meanwhile; else the whole write
//! is prepared and judged again.

use super::Store;
use super::object::encode_as;
use crate::admission::Companion;
use crate::watch_cache;
use api::meta;
use api::status::Status;
use std::time::Duration;
use storage::{Expect, Key, Txn};
use tokio::time::Instant;

/// How long a write goes on being judged again. **Upstream**: `quotaEvaluator.Evaluate`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The end of being judged again.
pub(super) struct Patience(Instant);

impl Patience {
    pub(super) fn of(store: &Store) -> Self {
        Self(store.context.clock.instant() + TIMEOUT)
    }

    /// Somebody was faster: waits until the cache shows it.
    pub(super) async fn again(&self, store: &Store) -> Result<(), Status> {
        if store.context.clock.instant() >= self.0 {
            return Err(Status::internal("resource quota evaluation timed out"));
        }
        store.catch_up().await
    }
}

/// Adds the companions to a transaction.
pub(super) fn accompany(txn: Txn, companions: &[Companion]) -> Txn {
    companions.iter().fold(txn, |txn, companion| {
        let revision = meta::resource_version(&companion.object).parse().unwrap_or(0);
        let value = encode_as(&companion.resource, &companion.object);
        txn.put(key(companion), value, Expect::ModRevision(revision))
    })
}

/// Whether a key is that of a companion.
pub(super) fn is_companion(companions: &[Companion], taken: &Key) -> bool {
    companions.iter().any(|companion| key(companion) == *taken)
}

/// Where it is stored.
pub(super) fn key(companion: &Companion) -> Key {
    let (namespace, name) = (meta::namespace(&companion.object), meta::name(&companion.object));
    let prefix = watch_cache::prefix(&companion.resource);
    if namespace.is_empty() {
        Key::from(format!("{prefix}{name}"))
    } else {
        Key::from(format!("{prefix}{namespace}/{name}"))
    }
}
