//! The pump over a storage whose watches break and forget.

use super::*;
use crate::registry::fixture::{memory, strategies, widget};
use crate::registry::{Registry, WriteOptions, loopback_user};
use async_trait::async_trait;
use component_base::Context;
use futures::StreamExt;
use std::sync::Mutex;
use storage::{Committed, Key, ListOptions, Lookup, Page, Result, Revision, Txn, WatchStream};
use tokio::sync::watch::Sender;

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Teller {
    /// The call, as an embedded storage does.
    Call,
    /// The stream, some time later, as etcd does.
    Stream,
}

/// Memory storage whose watches can be cut.
struct Faulty {
    inner: Arc<dyn Storage>,
    cut: Sender<u64>,
    /// Who tells that history is gone when a watch is asked for next, if anybody.
    compacted: Mutex<Option<Teller>>,
}

#[async_trait]
impl Storage for Faulty {
    async fn get(&self, key: &Key) -> Result<Lookup> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page> {
        self.inner.list(prefix, options).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed> {
        self.inner.commit(txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        let teller = self.compacted.lock().unwrap().take();
        let gone = storage::Error::Compacted { requested: from, compacted: from + 1 };
        match teller {
            Some(Teller::Call) => return Err(gone),
            Some(Teller::Stream) => {
                let later = async move {
                    tokio::task::yield_now().await;
                    Err(gone)
                };
                return Ok(futures::stream::once(later).boxed());
            }
            None => {}
        }
        let mut cut = self.cut.subscribe();
        let watch = self.inner.watch(prefix, from).await?;
        Ok(watch.take_until(async move { drop(cut.changed().await) }).boxed())
    }

    async fn current_revision(&self) -> Result<Revision> {
        self.inner.current_revision().await
    }

    async fn compacted_revision(&self) -> Result<Revision> {
        self.inner.compacted_revision().await
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.inner.compact(to).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

async fn open() -> (Arc<Registry>, Arc<Faulty>) {
    let context = Context::simulated(1);
    let inner = memory(&context).await;
    let faulty = Arc::new(Faulty { inner, cut: Sender::new(0), compacted: Mutex::default() });
    let registry = Registry::open(Arc::clone(&faulty) as _, &context, strategies()).await.unwrap();
    (registry, faulty)
}

async fn create(registry: &Registry, name: &str) {
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    store.create(&mut WriteOptions::new(&user), "ns", widget(name)).await.unwrap();
}

async fn told(subscription: &mut Subscription) -> (ChangeType, String) {
    let change = tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap().unwrap();
    (change.change, change.object.name().to_owned())
}

#[tokio::test]
async fn a_broken_watch_is_resumed_without_loss() {
    let (registry, faulty) = open().await;
    let store = registry.store("test.io", "widgets").unwrap();
    let mut subscription = store.subscribe_now(&Selection::default());
    for i in 0..20 {
        faulty.cut.send_modify(|n| *n += 1);
        create(&registry, &format!("w{i}")).await;
        assert_eq!(told(&mut subscription).await, (ChangeType::Added, format!("w{i}")));
    }
}

#[tokio::test]
async fn lost_history_is_made_up_for_by_a_new_list() {
    lose_history(Teller::Call).await;
    lose_history(Teller::Stream).await;
}

async fn lose_history(teller: Teller) {
    let (registry, faulty) = open().await;
    let store = registry.store("test.io", "widgets").unwrap();
    create(&registry, "a").await;
    create(&registry, "b").await;
    let before = registry.revision();
    let mut subscription = store.subscribe_now(&Selection::default());
    // While the server looks away, somebody else deletes one object and writes another.
    *faulty.compacted.lock().unwrap() = Some(teller);
    let new = faulty.inner.get(&Key::from(store.key("ns", "a"))).await.unwrap().item.unwrap().value;
    faulty.cut.send_modify(|n| *n += 1);
    let txn = Txn::new().delete(store.key("ns", "b"), storage::Expect::Any).put(
        store.key("ns", "c"),
        new,
        storage::Expect::Absent,
    );
    faulty.inner.commit(txn).await.unwrap();
    // Nobody can tell what happened meanwhile: the watch ends, and whoever watched lists anew.
    let ended = tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap();
    assert!(ended.is_none());
    store.catch_up().await.unwrap();
    let names: Vec<String> = store.snapshot().iter().map(|o| o.name().to_owned()).collect();
    assert_eq!(names, ["a", "c"]);
    assert!(registry.revision() > before && registry.is_following());
}

#[tokio::test]
async fn a_write_is_acknowledged_even_if_the_pump_has_ended() {
    let context = Context::simulated(1);
    let storage = memory(&context).await;
    let registry = Registry::open(storage, &context, strategies()).await.unwrap();
    create(&registry, "a").await;
    context.shutdown.trigger();
    context.shutdown.finished().await;
    assert!(!registry.is_following());
    let revision = registry.revision();
    assert_eq!(registry.store("test.io", "widgets").unwrap().wait_for(revision).await.err(), None);
    assert!(registry.store("test.io", "widgets").unwrap().wait_for(revision + 1).await.is_err());
}
