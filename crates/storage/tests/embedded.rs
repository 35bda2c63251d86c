//! The suite on the embedded store, and what only a file can do: survive, be damaged, be locked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use storage::testing::{self, Fixture, within};
use storage::{Embedded, Error, Event, Expect, HistoryLimit, Key, ListOptions, OpenOptions, Storage, Txn};

async fn make() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).await;
    Fixture { store: Arc::new(store), guard: Box::new(folder) }
}

storage::suite!(make);

fn options() -> OpenOptions {
    OpenOptions::new(testing::clock())
}

async fn open(path: &Path) -> Embedded {
    Embedded::open(path, options()).await.unwrap()
}

async fn put(store: &Embedded, key: &str, value: impl Into<bytes::Bytes>) -> u64 {
    store.commit(Txn::new().put(key, value, Expect::Any)).await.unwrap().revision
}

async fn events(store: &Embedded, from: u64) -> Vec<Event> {
    let to = store.current_revision().await.unwrap();
    let mut watch = store.watch("/", from).await.unwrap();
    let (mut events, mut reached) = (Vec::new(), from);
    while reached < to {
        let batch = within(watch.next()).await.unwrap().unwrap();
        reached = batch.revision;
        events.extend(batch.events);
    }
    events
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    for i in 0..100 {
        put(&store, &format!("/a/{}", i % 10), format!("{i}")).await;
    }
    store.commit(Txn::new().delete("/a/3", Expect::Any).delete("/a/4", Expect::Any)).await.unwrap();
    store.compact(20).await.unwrap();
    let before = store.list("/", ListOptions::default()).await.unwrap();
    let told = events(&store, 20).await;
    drop(store);

    let store = open(&path).await;
    assert_eq!(store.list("/", ListOptions::default()).await.unwrap(), before);
    assert_eq!(store.compacted_revision().await.unwrap(), 20);
    assert_eq!(events(&store, 20).await, told);
    let past = ListOptions { revision: Some(30), ..ListOptions::default() };
    let page = store.list("/a/", past).await.unwrap();
    let revisions: Vec<_> = page.items.iter().map(|kv| kv.mod_revision).collect();
    assert_eq!(revisions, [22, 23, 24, 25, 26, 27, 28, 29, 30, 21]);
    assert_eq!(put(&store, "/a/3", "again").await, before.revision + 1);
}

#[tokio::test]
async fn the_revision_survives_the_deletion_and_compaction_of_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    put(&store, "/a", "1").await;
    store.commit(Txn::new().delete("/a", Expect::Any)).await.unwrap();
    store.compact(3).await.unwrap();
    store.close().await.unwrap();
    let store = open(&path).await;
    assert_eq!(store.current_revision().await.unwrap(), 3);
    assert_eq!(store.compacted_revision().await.unwrap(), 3);
    assert_eq!(put(&store, "/a", "2").await, 4);
}

#[tokio::test]
async fn a_watch_that_lags_reads_history_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).await;
    let mut sleeper = store.watch("/", 1).await.unwrap();
    for i in 0..3_000_u32 {
        let key = format!("/{}", i % 20);
        let txn = if i % 50 == 49 {
            Txn::new().delete(key, Expect::Any)
        } else {
            Txn::new().put(key, i.to_string(), Expect::Any)
        };
        store.commit(txn).await.unwrap();
    }
    let last = store.current_revision().await.unwrap();
    let mut state = BTreeMap::new();
    let mut next = 2;
    while next <= last {
        for event in within(sleeper.next()).await.unwrap().unwrap().events {
            assert_eq!(event.revision, next);
            assert_eq!(state.get(&event.key), event.prev.as_ref());
            match event.value {
                Some(kv) => state.insert(event.key, kv),
                None => state.remove(&event.key),
            };
            next += 1;
        }
    }
    let page = store.list("/", ListOptions::default()).await.unwrap();
    assert_eq!(page.items, state.into_values().collect::<Vec<_>>());
}

#[tokio::test]
async fn history_is_bounded_by_count_and_by_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, history) in [
        ("count", HistoryLimit { events: 50, bytes: 1 << 20 }),
        ("bytes", HistoryLimit { events: 10_000, bytes: 50 * 1_000 }),
    ] {
        let path = folder.path().join(name);
        let open = async || Embedded::open(&path, OpenOptions { history, ..options() }).await.unwrap();
        let store = open().await;
        put(&store, "/kept", "x").await;
        let mut sleeper = store.watch("/", 1).await.unwrap();
        for i in 0..500_u32 {
            put(&store, "/a", vec![i as u8; 996]).await;
        }
        let compacted = store.compacted_revision().await.unwrap();
        assert!((440..=462).contains(&compacted), "{name}: {compacted}");
        let end = within(sleeper.next()).await.unwrap().unwrap_err();
        assert!(matches!(end, Error::Compacted { requested: 1, .. }), "{name}: {end:?}");
        assert_eq!(events(&store, compacted).await.len() as u64, 502 - compacted);
        drop(store);
        let store = open().await;
        assert!(store.compacted_revision().await.unwrap() >= compacted - 10);
        assert!(store.get(&Key::from("/kept")).await.unwrap().item.is_some());
    }
}

#[tokio::test]
async fn the_file_does_not_grow_with_the_number_of_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let history = HistoryLimit { events: 100, bytes: 1 << 20 };
    let store = Embedded::open(&path, OpenOptions { history, ..options() }).await.unwrap();
    for i in 0..3_000_u32 {
        put(&store, &format!("/{}", i % 10), vec![i as u8; 2_000]).await;
    }
    drop(store);
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 4 << 20, "{size} bytes for 110 values of 2 kB");
}

#[tokio::test]
async fn deadlines_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let time = Arc::new(AtomicU64::new(1_000_000));
    let options = || {
        let time = time.clone();
        OpenOptions::new(Arc::new(move || time.load(Ordering::Relaxed)))
    };
    let store = Embedded::open(&path, options()).await.unwrap();
    let txn = Txn::new().put_expiring("/hour", "x", Duration::from_secs(3_600), Expect::Any).put_expiring(
        "/day",
        "x",
        Duration::from_secs(86_400),
        Expect::Any,
    );
    store.commit(txn).await.unwrap();
    drop(store);
    time.fetch_add(3_600_001, Ordering::Relaxed);

    let store = Embedded::open(&path, options()).await.unwrap();
    let mut watch = store.watch("/", 2).await.unwrap();
    let batch = within(watch.next()).await.unwrap().unwrap();
    assert_eq!((batch.revision, batch.events.len()), (3, 1));
    assert_eq!((batch.events[0].key.as_str(), &batch.events[0].value), ("/hour", &None));
    assert!(store.get(&Key::from("/day")).await.unwrap().item.is_some());
}

#[tokio::test]
async fn a_file_belongs_to_its_owner_and_to_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    put(&store, "/a", "1").await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = Embedded::open(&path, options()).await.map(drop).unwrap_err();
    assert!(matches!(&error, Error::Locked { path: named } if *named == path), "{error:?}");
    store.close().await.unwrap();
    let again = open(&path).await;
    assert_eq!(again.get(&Key::from("/a")).await.unwrap().item.unwrap().value, "1");
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none").join("store");
    let error = Embedded::open(&path, options()).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Io { operation: "open", .. }), "{error:?}");
    assert!(error.to_string().contains("none/store"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    let store = open(&good).await;
    for i in 0..200 {
        put(&store, &format!("/{i}"), vec![i as u8; 3_000]).await;
    }
    drop(store);
    let good = fs::read(good).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("text", b"this is not a store\n".repeat(1_000)),
        ("short text", b"no".to_vec()),
        ("zeroes", vec![0; 1 << 20]),
        ("half", changed(&|bytes| bytes.truncate(bytes.len() / 2))),
        ("header only", changed(&|bytes| bytes.truncate(4096))),
        ("header overwritten", changed(&|bytes| bytes[..512].fill(0x5a))),
        ("magic number", changed(&|bytes| bytes[3] ^= 0xff)),
        ("commit slots", changed(&|bytes| bytes[64..320].fill(0))),
        ("everything but the header", changed(&|bytes| bytes[4096..].fill(0x5a))),
    ];
    for (name, bytes) in cases {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let error = Embedded::open(&path, options()).await.map(drop).expect_err(name);
        assert!(matches!(&error, Error::Corrupt { path: named, .. } if *named == path), "{name}: {error:?}");
        assert!(fs::read(&path).unwrap() == bytes, "{name}: the file was changed");
    }
}
