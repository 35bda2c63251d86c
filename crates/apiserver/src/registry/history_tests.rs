//! Watches against a model: several servers on one storage, concurrent writers, restarts, compaction.

use super::fixture::{memory, strategies, widget};
use super::{DeleteOptions, Registry, UpdateOptions, WriteOptions, loopback_user};
use crate::watch_cache::{Change, ChangeType, Selection};
use component_base::{Context, Rng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::testing::EtcdServer;
use storage::{Etcd, Storage};
use tokio::sync::RwLock;

const WRITERS: u64 = 4;
const WRITES: u64 = 60;
const NAMES: u64 = 6;
const WATCHERS: u64 = 4;
/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that can be started anew at any time.
struct Server {
    storage: Arc<dyn Storage>,
    running: RwLock<(Arc<Registry>, Context)>,
}

impl Server {
    async fn start(storage: Arc<dyn Storage>, seed: u64) -> Self {
        let running = RwLock::new(Self::open(&storage, seed).await);
        Self { storage, running }
    }

    async fn open(storage: &Arc<dyn Storage>, seed: u64) -> (Arc<Registry>, Context) {
        let context = Context::simulated(seed);
        (Registry::open(Arc::clone(storage), &context, strategies()).await.unwrap(), context)
    }

    async fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.running.read().await.0)
    }

    async fn restart(&self, seed: u64) {
        let new = Self::open(&self.storage, seed).await;
        let (_, context) = std::mem::replace(&mut *self.running.write().await, new);
        context.shutdown.trigger();
    }
}

/// Every write that was acknowledged: revision, what it did, to which name.
type Journal = Arc<Mutex<BTreeMap<u64, (ChangeType, String)>>>;

async fn write(servers: &[Arc<Server>], rng: &Rng, journal: &Journal) {
    let user = loopback_user();
    for number in 0..WRITES {
        let server = &servers[usize::try_from(rng.below(servers.len() as u64)).unwrap()];
        let registry = server.registry().await;
        let store = registry.store("test.io", "widgets").unwrap();
        let name = format!("w{}", rng.below(NAMES));
        let mut options = WriteOptions::new(&user);
        let done = match rng.below(4) {
            0 => {
                let deleted = store.delete(&mut options, "ns", &name, &DeleteOptions::default()).await;
                deleted.map(|deleted| (ChangeType::Deleted, deleted.object))
            }
            1 => store.create(&mut options, "ns", widget(&name)).await.map(|o| (ChangeType::Added, o)),
            _ => {
                let mut change = |old: Option<&Value>| {
                    let mut new = old.cloned().unwrap();
                    new["spec"]["number"] = format!("{number} {}", rng.below(u64::MAX)).into();
                    Ok(new)
                };
                let updated =
                    store.update(&mut options, "ns", &name, UpdateOptions::Object, &mut change).await;
                updated.map(|updated| (ChangeType::Modified, updated.object))
            }
        };
        match done {
            Ok((change, object)) => {
                let before = journal.lock().unwrap().insert(object.revision(), (change, name));
                assert!(before.is_none(), "two writes have one revision");
            }
            // 504: the server was told to end.
            Err(status) => assert!(matches!(status.code, 404 | 409 | 504), "{status}"),
        }
        tokio::task::yield_now().await;
    }
}

/// What one watcher has seen.
struct Watcher {
    rng: Rng,
    /// Where it is.
    revision: u64,
    state: BTreeMap<String, u64>,
    /// The changes since the last list, and where that was.
    seen: Vec<(u64, ChangeType, String)>,
    listed: u64,
    lists: u64,
}

impl Watcher {
    fn new(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        Self { rng, revision: 0, state: BTreeMap::new(), seen: Vec::new(), listed: 0, lists: 0 }
    }

    async fn list(&mut self, registry: &Registry) {
        let store = registry.store("test.io", "widgets").unwrap();
        if store.catch_up().await.is_err() {
            // This server was told to end.
            return;
        }
        let mut subscription = store.subscribe_now(&Selection::default());
        let initial = std::mem::take(&mut subscription.initial);
        self.state = initial.iter().map(|o| (o.name().to_owned(), o.revision())).collect();
        (self.revision, self.listed) = (subscription.revision, subscription.revision);
        self.seen.clear();
        self.lists += 1;
    }

    fn take(&mut self, change: &Change) {
        let (name, revision) = (change.object.name().to_owned(), change.object.revision());
        assert!(revision > self.revision, "{revision} after {}", self.revision);
        let before = match change.change {
            ChangeType::Deleted => self.state.remove(&name),
            ChangeType::Added | ChangeType::Modified => self.state.insert(name.clone(), revision),
        };
        assert_eq!(before.is_none(), change.change == ChangeType::Added, "{name} at {revision}");
        self.revision = revision;
        self.seen.push((revision, change.change, name));
    }

    /// Watches until everything up to `end` was seen, once that is known; now and then goes elsewhere.
    async fn watch(&mut self, servers: &[Arc<Server>], end: &tokio::sync::watch::Receiver<Option<u64>>) {
        loop {
            let server = &servers[usize::try_from(self.rng.below(servers.len() as u64)).unwrap()];
            let registry = server.registry().await;
            let store = registry.store("test.io", "widgets").unwrap();
            if self.lists == 0 {
                self.list(&registry).await;
                continue;
            }
            let mut subscription = match store.subscribe_since(&Selection::default(), self.revision).await {
                Ok(subscription) => subscription,
                Err(status) if status.code == 410 => {
                    self.list(&registry).await;
                    continue;
                }
                Err(status) => panic!("{status}"),
            };
            let patience = self.rng.below(20) + 1;
            for _ in 0..patience {
                if end.borrow().is_some_and(|end| self.revision >= end) {
                    return;
                }
                // The server may be another by now, whose predecessor tells nothing any more.
                let next = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await;
                let Ok(Some(change)) = next else { break };
                self.take(&change);
            }
        }
    }
}

/// Writers, watchers, restarts and compaction at the same time; then everybody must have seen the same.
async fn run(storages: Vec<Arc<dyn Storage>>, seed: u64) {
    let mut servers = Vec::new();
    for (i, storage) in storages.into_iter().enumerate() {
        servers.push(Arc::new(Server::start(storage, seed + i as u64).await));
    }
    let journal = Journal::default();
    let (ended, end) = tokio::sync::watch::channel(None);
    let watchers: Vec<_> = (0..WATCHERS)
        .map(|i| {
            let (servers, end) = (servers.clone(), end.clone());
            tokio::spawn(async move {
                let mut watcher = Watcher::new(seed + 100 + i);
                watcher.watch(&servers, &end).await;
                watcher
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|i| {
            let (servers, journal) = (servers.clone(), Arc::clone(&journal));
            tokio::spawn(async move { write(&servers, &Rng::seeded(seed + 200 + i), &journal).await })
        })
        .collect();
    let trouble = {
        let servers = servers.clone();
        tokio::spawn(async move {
            let rng = Rng::seeded(seed + 300);
            for round in 0..8 {
                let server = &servers[usize::try_from(rng.below(servers.len() as u64)).unwrap()];
                let revision = server.storage.current_revision().await.unwrap();
                if rng.below(2) == 0 {
                    server.storage.compact(revision).await.unwrap();
                } else {
                    server.restart(seed + 400 + round).await;
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let all = futures::future::join_all(writers);
    tokio::time::timeout(PATIENCE, all).await.unwrap().into_iter().for_each(|done| done.unwrap());
    tokio::time::timeout(PATIENCE, trouble).await.unwrap().unwrap();
    let journal = journal.lock().unwrap().clone();
    let last = *journal.keys().next_back().unwrap();
    ended.send(Some(last)).unwrap();
    let watchers = tokio::time::timeout(PATIENCE, futures::future::join_all(watchers)).await.unwrap();
    let mut state = BTreeMap::new();
    for (revision, (change, name)) in &journal {
        match change {
            ChangeType::Deleted => drop(state.remove(name)),
            ChangeType::Added | ChangeType::Modified => drop(state.insert(name.clone(), *revision)),
        }
    }
    for watcher in watchers {
        let watcher = watcher.unwrap();
        assert_eq!(watcher.state, state, "the state that follows from what was watched");
        let expected: Vec<(u64, ChangeType, String)> = journal
            .range(watcher.listed + 1..)
            .map(|(revision, (change, name))| (*revision, *change, name.clone()))
            .collect();
        assert_eq!(watcher.seen, expected, "everything since {}, in order", watcher.listed);
    }
    for server in servers {
        let registry = server.registry().await;
        let store = registry.store("test.io", "widgets").unwrap();
        store.catch_up().await.unwrap();
        let listed: BTreeMap<String, u64> =
            store.snapshot().iter().map(|o| (o.name().to_owned(), o.revision())).collect();
        assert_eq!(listed, state);
        server.running.read().await.1.shutdown.trigger();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watches_are_ordered_complete_and_resume() {
    for seed in 0..10 {
        let storage = memory(&Context::simulated(seed)).await;
        run(vec![Arc::clone(&storage), storage], seed * 1000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_on_one_etcd_show_the_same() {
    let etcd = EtcdServer::start().await;
    let mut storages: Vec<Arc<dyn Storage>> = Vec::new();
    for _ in 0..2 {
        storages.push(Arc::new(Etcd::open(etcd.config()).await.unwrap()));
    }
    run(storages, 7).await;
}

/// A write to one server is read from the other as soon as it was acknowledged.
#[tokio::test]
async fn what_one_server_acknowledged_the_other_reads() {
    let etcd = EtcdServer::start().await;
    let one = Server::start(Arc::new(Etcd::open(etcd.config()).await.unwrap()), 1).await.registry().await;
    let two = Server::start(Arc::new(Etcd::open(etcd.config()).await.unwrap()), 2).await.registry().await;
    let user = loopback_user();
    for i in 0..20 {
        let (from, to) = if i % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let name = format!("w{i}");
        let store = from.store("test.io", "widgets").unwrap();
        let written = store.create(&mut WriteOptions::new(&user), "ns", widget(&name)).await.unwrap();
        let read = to.store("test.io", "widgets").unwrap().get("ns", &name).await.unwrap();
        assert_eq!(read.to_value(), written.to_value());
    }
}

/// Events are forgotten an hour after their last write.
#[tokio::test(start_paused = true)]
async fn events_expire() {
    let context = Context::simulated(1);
    let storage = memory(&context).await;
    let registry = Registry::open(storage, &context, crate::resources::all()).await.unwrap();
    let store = registry.store("events.k8s.io", "events").unwrap();
    let user = loopback_user();
    let event = serde_json::json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "ns"}, "reason": "Started"});
    let started = context.clock.now();
    store.create(&mut WriteOptions::new(&user), "ns", event).await.unwrap();
    let mut watch = store.subscribe_now(&Selection::default());
    tokio::time::sleep(Duration::from_secs(1800)).await;
    let mut change = |old: Option<&Value>| {
        let mut new = old.cloned().unwrap();
        new["count"] = 2.into();
        Ok(new)
    };
    store.update(&mut WriteOptions::new(&user), "ns", "e", UpdateOptions::Object, &mut change).await.unwrap();
    assert_eq!(watch.next().await.unwrap().change, ChangeType::Modified);
    assert_eq!(watch.next().await.unwrap().change, ChangeType::Deleted);
    let took = context.clock.now().duration_since(started).as_secs();
    assert!((5400..5500).contains(&took), "{took}");
    assert_eq!(store.get("ns", "e").await.unwrap_err().code, 404);
}
