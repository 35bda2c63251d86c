//! Checks of watches: order, resumption, progress, slow readers.

use std::sync::Arc;

use futures::StreamExt;

use super::{delete, end_of, events_until, put, text, within};
use crate::{Error, Event, Expect, Key, ListOptions, Storage, Txn, WatchStream};

async fn watch(store: &Arc<dyn Storage>, prefix: &str, from: u64) -> WatchStream {
    store.watch(prefix, from).await.expect("watch")
}

/// An event as (key, revision, value, previous value).
fn told(event: &Event) -> (String, u64, Option<String>, Option<String>) {
    let value = event.value.as_ref().map(text);
    (event.key.to_string(), event.revision, value, event.prev.as_ref().map(text))
}

/// Create, update, delete, create again, with what was there before.
pub async fn a_watch_tells_old_and_new_values(store: Arc<dyn Storage>) {
    let mut live = watch(&store, "/p/", 1).await;
    put(&store, "/p/a", "1").await;
    put(&store, "/p/a", "2").await;
    delete(&store, "/p/a").await;
    put(&store, "/p/a", "3").await;
    let some = |text: &str| Some(text.to_owned());
    let key = || "/p/a".to_owned();
    let expected = [
        (key(), 2, some("1"), None),
        (key(), 3, some("2"), some("1")),
        (key(), 4, None, some("2")),
        (key(), 5, some("3"), None),
    ];
    let events = events_until(&mut live, 5).await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    let update = events[1].value.as_ref().expect("an update");
    assert_eq!((update.create_revision, update.mod_revision), (2, 3));
    let gone = events[2].prev.as_ref().expect("what was deleted");
    assert_eq!((gone.create_revision, gone.mod_revision), (2, 3));
    let replayed = events_until(&mut watch(&store, "/p/", 1).await, 5).await;
    assert_eq!(replayed, events);
}

/// From any revision on: exactly the rest.
pub async fn a_watch_resumes_at_every_revision(store: Arc<dyn Storage>) {
    for i in 0..30 {
        put(&store, &format!("/p/{}", i % 7), &i.to_string()).await;
        if i % 5 == 4 {
            delete(&store, &format!("/p/{}", i % 7)).await;
        }
    }
    let current = store.current_revision().await.expect("revision");
    let all = events_until(&mut watch(&store, "/p/", 1).await, current).await;
    assert_eq!(all.len() as u64, current - 1);
    for from in 1..current {
        let rest = events_until(&mut watch(&store, "/p/", from).await, current).await;
        assert_eq!(rest, all[(from - 1) as usize..], "from {from}");
    }
}

/// List, then watch from the list's revision, while somebody writes: the two fit without a gap.
pub async fn a_watch_of_a_page_misses_nothing(store: Arc<dyn Storage>) {
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..200_u32 {
                put(&store, &format!("/p/{}", i % 10), &i.to_string()).await;
            }
        })
    };
    let mut state = std::collections::BTreeMap::new();
    let page = store.list("/p/", ListOptions::default()).await.expect("list");
    state.extend(page.items.into_iter().map(|kv| (kv.key.clone(), kv)));
    let mut live = watch(&store, "/p/", page.revision).await;
    for event in events_until(&mut live, 201).await {
        assert_eq!(state.get(&event.key), event.prev.as_ref(), "{event:?}");
        state.insert(event.key.clone(), event.value.expect("no deletions here"));
    }
    writer.await.expect("writer");
    assert_eq!(state, super::content(&store, "/p/").await);
}

/// A watch may begin at a revision that has not come yet.
pub async fn a_watch_of_the_future_leaves_out_what_comes_before(store: Arc<dyn Storage>) {
    let mut later = watch(&store, "/", 3).await;
    for i in 2..=5 {
        put(&store, "/a", &i.to_string()).await;
    }
    let revisions: Vec<_> = events_until(&mut later, 5).await.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [4, 5]);
}

/// A gap is an error, never silence.
pub async fn a_watch_of_compacted_history_ends(store: Arc<dyn Storage>) {
    for i in 0..10 {
        put(&store, "/a", &i.to_string()).await;
    }
    store.compact(8).await.expect("compact");
    // From the revision before, etcd still tells the change, but no longer what it replaced.
    for from in [2, 7] {
        let error = match store.watch("/", from).await {
            Ok(mut stream) => end_of(&mut stream).await.expect("an error"),
            Err(error) => error,
        };
        match error {
            Error::Compacted { requested, compacted } => assert_eq!((requested, compacted), (from, 8)),
            other => panic!("{other:?}"),
        }
    }
    let rest = events_until(&mut watch(&store, "/", 8).await, 11).await;
    assert_eq!(rest.iter().map(|event| event.revision).collect::<Vec<_>>(), [9, 10, 11]);
    assert_eq!(rest[0].prev.as_ref().map(text).as_deref(), Some("6"), "compaction keeps the last state");
}

/// A watch comes up to the current revision even if nothing concerns it.
pub async fn foreign_changes_are_progress(store: Arc<dyn Storage>) {
    put(&store, "/q/a", "1").await;
    let mut live = watch(&store, "/p/", 1).await;
    assert_eq!(events_until(&mut live, 2).await, []);
    for i in 0..20 {
        put(&store, "/q/a", &i.to_string()).await;
        let current = store.current_revision().await.expect("revision");
        assert_eq!(events_until(&mut live, current).await, []);
    }
    let last = put(&store, "/p/a", "1").await;
    assert_eq!(events_until(&mut live, last).await.len(), 1);
}

/// The changes of one transaction come together and in its order.
pub async fn a_transaction_is_never_split(store: Arc<dyn Storage>) {
    let mut live = watch(&store, "/p/", 1).await;
    let keys: Vec<_> = (0..50).map(|i| Key::from(format!("/p/{:02}", (i * 7) % 50))).collect();
    for _ in 0..5 {
        let txn = keys.iter().fold(Txn::new(), |txn, key| txn.put(key.clone(), "x", Expect::Any));
        store.commit(txn.put("/q", "x", Expect::Any)).await.expect("commit");
    }
    let mut replay = watch(&store, "/p/", 1).await;
    for stream in [&mut live, &mut replay] {
        let mut revision = 1;
        while revision < 6 {
            let batch = within(stream.next()).await.expect("goes on").expect("batch");
            assert_eq!(batch.events.len() % 50, 0, "split: {} events", batch.events.len());
            for (i, event) in batch.events.iter().enumerate() {
                assert_eq!(event.key, keys[i % 50]);
            }
            revision = batch.revision;
        }
    }
}

/// Many at once, of different prefixes and beginnings.
pub async fn many_watches_see_the_same(store: Arc<dyn Storage>) {
    let mut readers = Vec::new();
    for i in 0..60_u64 {
        let prefix = if i % 2 == 0 { "/" } else { "/p/1" };
        let mut live = watch(&store, prefix, 1 + i % 3).await;
        let task = tokio::spawn(async move { events_until(&mut live, 41).await });
        readers.push((i, task));
    }
    for i in 0..40 {
        put(&store, &format!("/p/{}", i % 10), "x").await;
    }
    let all = events_until(&mut watch(&store, "/", 1).await, 41).await;
    for (i, task) in readers {
        let wanted =
            |event: &&Event| event.revision > 1 + i % 3 && (i % 2 == 0 || event.key.starts_with("/p/1"));
        let expected: Vec<_> = all.iter().filter(wanted).cloned().collect();
        assert_eq!(task.await.expect("reader"), expected);
    }
}

/// Nobody waits for a reader, and it finds everything when it wakes up (or hears that it is too late).
pub async fn a_reader_that_sleeps_delays_nobody(store: Arc<dyn Storage>) {
    let mut sleeper = watch(&store, "/", 1).await;
    put(&store, "/p/a", "first").await;
    let first = within(sleeper.next()).await.expect("goes on").expect("batch");
    let value = "x".repeat(10_000);
    let mut last = 0;
    for i in 0..500 {
        last = put(&store, &format!("/p/{}", i % 50), &value).await;
    }
    let rest = events_until(&mut sleeper, last).await;
    let revisions: Vec<_> = rest.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (first.revision + 1..=last).collect::<Vec<_>>());
}
