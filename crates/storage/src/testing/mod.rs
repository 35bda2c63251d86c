//! One suite for every backend, as a library, and what it needs.
//!
//! A backend's test file says how to make an empty store and calls [`suite!`](crate::suite): each check becomes a test
//! of its own. A check is a named async function that knows nothing of backends.
//!
//! - `writes`, `lists`, `watches`, `lifetime`: the promises of [`Storage`], one by one
//! - `model`: writers at random, a watch, and a model that must agree
//! - `etcd_server`: a real etcd that lives as long as a test

mod etcd_server;
mod lifetime;
mod lists;
mod model;
mod watches;
mod writes;

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

pub use self::etcd_server::{EtcdServer, ServerTls};
use crate::{Clock, Error, Event, Expect, Key, KeyValue, ListOptions, Revision, Storage, Txn, WatchStream};

/// The checks, under one roof for [`suite!`](crate::suite).
pub mod checks {
    pub use super::lifetime::*;
    pub use super::lists::*;
    pub use super::model::*;
    pub use super::watches::*;
    pub use super::writes::*;
}

/// Longer than anything takes that works.
const DEADLINE: Duration = Duration::from_secs(120);

/// An empty store, and what has to live as long as it does (a folder, a server).
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn Storage>,
    /// Dropped after the test.
    pub guard: Box<dyn Any + Send>,
}

/// THE LIST of checks. `suite!(make)` turns each into a test on what `make().await` returns (a [`Fixture`]).
#[macro_export]
macro_rules! suite {
    ($make:path) => {
        $crate::suite!(@tests $make:
            an_empty_store_is_at_revision_one,
            a_transaction_raises_the_revision_by_one,
            writing_nothing_raises_nothing,
            remembers_which_revision_created_a_key,
            conditions_guard_writes,
            a_failed_condition_writes_nothing_at_all,
            conditions_on_other_keys_count,
            refuses_a_key_that_is_written_twice,
            keeps_big_and_empty_values,
            concurrent_increments_are_never_lost,
            lists_in_the_order_of_keys,
            prefixes_are_isolated,
            counts_what_a_page_leaves_out,
            pages_of_one_revision_agree_while_writers_run,
            lists_the_past,
            refuses_the_future_and_the_compacted,
            a_watch_tells_old_and_new_values,
            a_watch_resumes_at_every_revision,
            a_watch_of_a_page_misses_nothing,
            a_watch_of_the_future_leaves_out_what_comes_before,
            a_watch_of_compacted_history_ends,
            foreign_changes_are_progress,
            a_transaction_is_never_split,
            many_watches_see_the_same,
            a_reader_that_sleeps_delays_nobody,
            keys_expire,
            a_later_write_ends_or_renews_the_time_to_live,
            closing_ends_everything,
            random_writers_agree_with_the_model,
        );
    };
    (@tests $make:path: $($check:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let fixture = $make().await;
                $crate::testing::within($crate::testing::checks::$check(fixture.store.clone())).await;
            }
        )*
    };
}

/// Fails if the future takes unreasonably long.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("still not done at the deadline")
}

/// A wall clock that follows tokio's time.
pub fn clock() -> Clock {
    let start = tokio::time::Instant::now();
    Arc::new(move || 1_700_000_000_000 + u64::try_from(start.elapsed().as_millis()).expect("short enough"))
}

/// Writes one value, whatever is there; returns the revision.
pub(crate) async fn put(store: &Arc<dyn Storage>, key: &str, value: &str) -> Revision {
    let txn = Txn::new().put(key, value.to_owned(), Expect::Any);
    store.commit(txn).await.expect("put").revision
}

/// Deletes one key; returns the revision.
pub(crate) async fn delete(store: &Arc<dyn Storage>, key: &str) -> Revision {
    store.commit(Txn::new().delete(key, Expect::Any)).await.expect("delete").revision
}

/// The value of a key as text.
pub(crate) async fn read(store: &Arc<dyn Storage>, key: &str) -> Option<String> {
    store.get(&Key::from(key)).await.expect("get").item.map(|kv| text(&kv))
}

/// A value as text.
pub(crate) fn text(kv: &KeyValue) -> String {
    String::from_utf8(kv.value.to_vec()).expect("a value that a test wrote")
}

/// The present content under a prefix.
pub(crate) async fn content(store: &Arc<dyn Storage>, prefix: &str) -> BTreeMap<Key, KeyValue> {
    let page = store.list(prefix, ListOptions::default()).await.expect("list");
    page.items.into_iter().map(|kv| (kv.key.clone(), kv)).collect()
}

/// Events of a watch until it has come to `revision`; checks that revisions never fall.
pub(crate) async fn events_until(watch: &mut WatchStream, revision: Revision) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut reached = 0;
    while reached < revision {
        let next = tokio::time::timeout(DEADLINE, watch.next()).await.expect("a batch in time");
        let batch = next.expect("the watch goes on").expect("a batch");
        assert!(batch.revision >= reached, "fell from {reached} to {}", batch.revision);
        reached = batch.revision;
        for event in batch.events {
            assert!(event.revision <= batch.revision, "{event:?} beyond its batch");
            assert!(events.last().is_none_or(|last| last.revision <= event.revision), "{event:?} is late");
            events.push(event);
        }
    }
    events
}

/// The error that a watch ends with.
pub(crate) async fn end_of(watch: &mut WatchStream) -> Option<Error> {
    loop {
        match tokio::time::timeout(DEADLINE, watch.next()).await.expect("an end in time") {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                assert!(watch.next().await.is_none(), "something came after {error}");
                return Some(error);
            }
            None => return None,
        }
    }
}
