//! The suite on the reference model, and what only it can do.
#![allow(clippy::unwrap_used)]

use futures::StreamExt as _;
use std::sync::Arc;

use storage::testing::{self, Fixture};
use storage::{Error, Expect, HistoryLimit, Key, ListOptions, Memory, OpenOptions, Storage, Txn};

async fn make() -> Fixture {
    let store = Memory::new(OpenOptions::new(testing::clock()));
    Fixture { store: Arc::new(store), guard: Box::new(()) }
}

storage::suite!(make);

async fn put(store: &Memory, key: &str, value: &str) -> u64 {
    store.commit(Txn::new().put(key, value.to_owned(), Expect::Any)).await.unwrap().revision
}

#[tokio::test]
async fn a_fork_goes_its_own_way() {
    let one = Memory::new(OpenOptions::new(testing::clock()));
    put(&one, "/a", "1").await;
    let two = one.fork();
    put(&one, "/a", "one").await;
    put(&two, "/b", "two").await;
    put(&two, "/c", "two").await;
    assert_eq!(one.current_revision().await.unwrap(), 3);
    assert_eq!(two.current_revision().await.unwrap(), 4);
    assert!(one.get(&Key::from("/b")).await.unwrap().item.is_none());
    assert_eq!(two.get(&Key::from("/a")).await.unwrap().item.unwrap().value, "1");
    let past = ListOptions { revision: Some(1), ..ListOptions::default() };
    assert!(two.list("/", past).await.unwrap().items.is_empty(), "a fork knows the history before it");
}

#[tokio::test]
async fn history_is_bounded() {
    let mut options = OpenOptions::new(testing::clock());
    options.history = HistoryLimit { events: 10, bytes: 1 << 20 };
    let store = Memory::new(options);
    for i in 0..50 {
        put(&store, "/a", &i.to_string()).await;
    }
    assert_eq!(store.compacted_revision().await.unwrap(), 41);
    let past = ListOptions { revision: Some(40), ..ListOptions::default() };
    let error = store.list("/", past).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { requested: 40, compacted: 41 }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn expiry_follows_the_clock_it_is_given() {
    let clock = testing::clock();
    let store = Memory::new(OpenOptions::new(clock.clone()));
    let hour = std::time::Duration::from_secs(3600);
    let since = store.current_revision().await.unwrap();
    let mut watch = store.watch("/", since).await.unwrap();
    store.commit(Txn::new().put_expiring("/a", "x", hour, Expect::Any)).await.unwrap();
    assert!(watch.next().await.unwrap().unwrap().events[0].value.is_some());
    let start = clock();
    // The clock is paused: it goes on to the moment at which there is something to do.
    assert!(watch.next().await.unwrap().unwrap().events[0].value.is_none());
    assert!((3_599_000..=3_601_000).contains(&(clock() - start)), "{}", clock() - start);
    assert!(store.get(&Key::from("/a")).await.unwrap().item.is_none());
}
