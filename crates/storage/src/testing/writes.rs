//! Checks of revisions, conditions and transactions.

use std::sync::Arc;

use bytes::Bytes;

use super::{content, delete, put, read, text};
use crate::{Error, Expect, Key, KeyValue, Storage, Txn};

/// An empty store is at revision 1 and answers every read.
pub async fn an_empty_store_is_at_revision_one(store: Arc<dyn Storage>) {
    assert_eq!(store.current_revision().await.expect("revision"), 1);
    assert_eq!(store.compacted_revision().await.expect("compacted"), 1);
    let lookup = store.get(&Key::from("/a")).await.expect("get");
    assert_eq!((lookup.item, lookup.revision), (None, 1));
    assert!(content(&store, "").await.is_empty());
}

/// One transaction, one revision, however many keys it writes.
pub async fn a_transaction_raises_the_revision_by_one(store: Arc<dyn Storage>) {
    assert_eq!(put(&store, "/a", "1").await, 2);
    let many = (0..20).fold(Txn::new(), |txn, i| txn.put(format!("/many/{i}"), "x", Expect::Absent));
    let committed = store.commit(many.delete("/a", Expect::Any)).await.expect("commit");
    assert_eq!((committed.revision, committed.changed), (3, true));
    assert!(content(&store, "/many/").await.values().all(|kv| kv.mod_revision == 3));
    assert_eq!(read(&store, "/a").await, None);
    assert_eq!(store.current_revision().await.expect("revision"), 3);
}

/// Transactions that have no effect leave the revision alone.
pub async fn writing_nothing_raises_nothing(store: Arc<dyn Storage>) {
    put(&store, "/a", "1").await;
    let committed = store.commit(Txn::new().delete("/none", Expect::Any)).await.expect("commit");
    assert_eq!((committed.revision, committed.changed), (2, false));
    let committed = store.commit(Txn::new().delete("/none", Expect::Absent)).await.expect("commit");
    assert!(!committed.changed);
    assert_eq!(put(&store, "/a", "1").await, 3, "writing the same value is a write");
}

/// Updates keep the create revision; deletion ends it.
pub async fn remembers_which_revision_created_a_key(store: Arc<dyn Storage>) {
    let get = async || store.get(&Key::from("/a")).await.expect("get").item.expect("there");
    put(&store, "/a", "1").await;
    put(&store, "/a", "2").await;
    let kv = get().await;
    assert_eq!((kv.create_revision, kv.mod_revision, text(&kv)), (2, 3, "2".to_owned()));
    delete(&store, "/a").await;
    put(&store, "/a", "3").await;
    let kv = get().await;
    assert_eq!((kv.create_revision, kv.mod_revision), (5, 5));
}

fn conflict(error: Error) -> (Key, Option<KeyValue>) {
    match error {
        Error::Conflict { key, current } => (key, current.map(|kv| *kv)),
        other => panic!("{other:?} instead of a conflict"),
    }
}

/// Each condition lets through what it says, and a conflict carries the present value.
pub async fn conditions_guard_writes(store: Arc<dyn Storage>) {
    put(&store, "/a", "1").await;
    let refused = [
        ("/a", Expect::Absent, Some("1")),
        ("/a", Expect::ModRevision(1), Some("1")),
        ("/a", Expect::ModRevision(3), Some("1")),
        ("/b", Expect::ModRevision(2), None),
    ];
    for (key, expect, present) in refused {
        for txn in [Txn::new().put(key, "x", expect), Txn::new().delete(key, expect)] {
            let error = store.commit(txn).await.expect_err("must not be written");
            let (named, current) = conflict(error);
            assert_eq!(named, Key::from(key));
            assert_eq!(current.as_ref().map(text).as_deref(), present, "{key} {expect:?}");
            assert!(current.is_none_or(|kv| kv.mod_revision == 2 && kv.create_revision == 2));
        }
    }
    assert_eq!(store.current_revision().await.expect("revision"), 2);
    for (key, expect) in [("/a", Expect::ModRevision(2)), ("/b", Expect::Absent), ("/b", Expect::Any)] {
        store.commit(Txn::new().put(key, "y", expect)).await.expect("allowed");
    }
    store.commit(Txn::new().delete("/b", Expect::ModRevision(5 - 1 + 1))).await.expect("allowed");
}

/// All or nothing.
pub async fn a_failed_condition_writes_nothing_at_all(store: Arc<dyn Storage>) {
    put(&store, "/c", "old").await;
    let txn = Txn::new()
        .put("/a", "new", Expect::Absent)
        .delete("/c", Expect::Any)
        .put("/c2", "new", Expect::ModRevision(7))
        .put("/d", "new", Expect::Absent);
    let (key, current) = conflict(store.commit(txn).await.expect_err("must not be written"));
    assert_eq!((key, current), (Key::from("/c2"), None));
    assert_eq!(content(&store, "").await.len(), 1);
    assert_eq!(read(&store, "/c").await.as_deref(), Some("old"));
    assert_eq!(store.current_revision().await.expect("revision"), 2);
}

/// A transaction may depend on keys that it does not write.
pub async fn conditions_on_other_keys_count(store: Arc<dyn Storage>) {
    let guard = put(&store, "/guard", "1").await;
    let guarded = |value: &'static str| {
        Txn::new().when("/guard", Expect::ModRevision(guard)).put("/a", value, Expect::Any)
    };
    store.commit(guarded("first")).await.expect("the guard holds");
    put(&store, "/guard", "2").await;
    let (key, current) = conflict(store.commit(guarded("second")).await.expect_err("the guard changed"));
    assert_eq!(key, Key::from("/guard"));
    assert_eq!(current.as_ref().map(text).as_deref(), Some("2"));
    assert_eq!(read(&store, "/a").await.as_deref(), Some("first"));
}

/// The order within a transaction would be ambiguous.
pub async fn refuses_a_key_that_is_written_twice(store: Arc<dyn Storage>) {
    let txn = Txn::new().put("/a", "1", Expect::Any).delete("/a", Expect::Any);
    let error = store.commit(txn).await.expect_err("ambiguous");
    assert!(matches!(error, Error::InvalidTxn(_)), "{error:?}");
    assert_eq!(store.current_revision().await.expect("revision"), 1);
}

/// Values from nothing to the size that upstream allows, and every byte.
pub async fn keeps_big_and_empty_values(store: Arc<dyn Storage>) {
    let big: Bytes = (0..1_400_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let every: Bytes = (0..=255_u8).collect();
    for round in 0..3 {
        for (key, value) in [("/big", &big), ("/every", &every), ("/empty", &Bytes::new())] {
            store.commit(Txn::new().put(key, value.clone(), Expect::Any)).await.expect("put");
            let item = store.get(&Key::from(key)).await.expect("get").item.expect("there");
            assert!(item.value == *value, "{key} differs in round {round}");
        }
    }
    let sizes: Vec<_> = content(&store, "").await.values().map(|kv| kv.value.len()).collect();
    assert_eq!(sizes, [1_400_000, 0, 256]);
}

/// Compare-and-write is enough to count.
pub async fn concurrent_increments_are_never_lost(store: Arc<dyn Storage>) {
    const WRITERS: usize = 8;
    const EACH: usize = 15;
    put(&store, "/n", "0").await;
    let writer = |store: Arc<dyn Storage>| async move {
        for _ in 0..EACH {
            let mut seen = store.get(&Key::from("/n")).await.expect("get").item;
            loop {
                let kv = seen.expect("never deleted");
                let next = text(&kv).parse::<usize>().expect("a number") + 1;
                let expect = Expect::ModRevision(kv.mod_revision);
                match store.commit(Txn::new().put("/n", next.to_string(), expect)).await {
                    Ok(_) => break,
                    Err(Error::Conflict { current, .. }) => seen = current.map(|kv| *kv),
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    };
    let tasks: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(writer(store.clone()))).collect();
    for task in tasks {
        task.await.expect("writer");
    }
    assert_eq!(read(&store, "/n").await, Some((WRITERS * EACH).to_string()));
    assert_eq!(store.current_revision().await.expect("revision"), 2 + (WRITERS * EACH) as u64);
}
