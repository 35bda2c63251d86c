//! Checks of expiry and of closing.

use std::sync::Arc;
use std::time::Duration;

use super::{content, end_of, events_until, put, read, text};
use crate::{Error, Expect, Key, ListOptions, Storage, Txn};

/// Short, but etcd knows whole seconds only.
const TTL: Duration = Duration::from_secs(1);

async fn put_expiring(store: &Arc<dyn Storage>, key: &str, ttl: Duration) -> u64 {
    let txn = Txn::new().put_expiring(key, "expiring", ttl, Expect::Any);
    store.commit(txn).await.expect("put").revision
}

/// Expiry is a deletion like any other: with a revision, with an event.
pub async fn keys_expire(store: Arc<dyn Storage>) {
    put(&store, "/kept", "x").await;
    let first = put_expiring(&store, "/gone", TTL).await;
    put_expiring(&store, "/later", Duration::from_secs(3600)).await;
    assert_eq!(read(&store, "/gone").await.as_deref(), Some("expiring"));
    let mut live = store.watch("/", first + 1).await.expect("watch");
    let events = events_until(&mut live, first + 2).await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].key.as_str(), events[0].revision), ("/gone", first + 2));
    assert_eq!(events[0].value, None);
    assert_eq!(events[0].prev.as_ref().map(text).as_deref(), Some("expiring"));
    let left: Vec<_> = content(&store, "").await.into_keys().collect();
    assert_eq!(left, [Key::from("/kept"), Key::from("/later")]);
    assert_eq!(store.current_revision().await.expect("revision"), first + 2);
}

/// What counts is the last write.
pub async fn a_later_write_ends_or_renews_the_time_to_live(store: Arc<dyn Storage>) {
    for key in ["/ended", "/renewed", "/deleted", "/plain"] {
        put_expiring(&store, key, TTL).await;
    }
    put(&store, "/ended", "stays").await;
    put_expiring(&store, "/renewed", Duration::from_secs(3600)).await;
    store.commit(Txn::new().delete("/deleted", Expect::Any)).await.expect("delete");
    let before = put(&store, "/deleted", "stays").await;
    // The last of them to be due shows that the others would have gone by now.
    put_expiring(&store, "/last", TTL + Duration::from_secs(1)).await;
    let mut live = store.watch("/", before).await.expect("watch");
    let mut reached = before;
    loop {
        reached += 1;
        let events = events_until(&mut live, reached).await;
        if events.iter().any(|event| event.key.as_str() == "/last" && event.value.is_none()) {
            break;
        }
    }
    let left: Vec<_> = content(&store, "").await.into_keys().map(|key| key.to_string()).collect();
    assert_eq!(left, ["/deleted", "/ended", "/renewed"]);
}

/// After closing: watches end, calls fail, closing again is fine.
pub async fn closing_ends_everything(store: Arc<dyn Storage>) {
    put(&store, "/a", "1").await;
    let mut live = store.watch("/", 2).await.expect("watch");
    store.close().await.expect("close");
    assert!(end_of(&mut live).await.is_none());
    assert!(matches!(store.get(&Key::from("/a")).await, Err(Error::Closed)));
    assert!(matches!(store.list("/", ListOptions::default()).await, Err(Error::Closed)));
    let txn = Txn::new().put("/a", "2", Expect::Any);
    assert!(matches!(store.commit(txn).await, Err(Error::Closed)));
    assert!(matches!(store.watch("/", 1).await, Err(Error::Closed)));
    assert!(matches!(store.current_revision().await, Err(Error::Closed)));
    store.close().await.expect("close again");
}
