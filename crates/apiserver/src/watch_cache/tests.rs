//! The watch cache against a model: writers and watchers with selectors, resumed at random points.

use super::*;
use crate::registry::fixture::{open, strategies, widget};
use crate::registry::{DeleteOptions, Registry, UpdateOptions, WriteOptions, loopback_user};
use component_base::{Context, Rng};
use serde_json::Value;
use std::collections::BTreeMap;

type Model = BTreeMap<String, (u64, String)>;

fn selection(registry: &Registry, namespace: &str, labels: &str, fields: &str) -> Selection {
    let store = registry.store("test.io", "widgets").unwrap();
    Selection::parse(&store.versions()[0], namespace, labels, fields).unwrap()
}

fn entry(object: &crate::registry::Object) -> (String, (u64, String)) {
    let color = object.field(0).unwrap_or_default().to_owned();
    (object.key().to_string(), (object.revision(), color))
}

/// Applies a change to what a watcher believes, and checks that it makes sense.
fn follow(model: &mut Model, change: &Change) {
    let (key, value) = entry(&change.object);
    match change.change {
        ChangeType::Added => assert!(model.insert(key.clone(), value).is_none(), "{key} added twice"),
        ChangeType::Modified => {
            let old = model.insert(key.clone(), value.clone()).expect("modified before added");
            assert!(old.0 < value.0, "{key} went back");
        }
        ChangeType::Deleted => {
            let old = model.remove(&key).expect("deleted before added");
            assert_eq!(old.1, value.1, "a deletion tells the last selected state");
            assert!(old.0 < value.0, "a deletion has the revision of the change");
        }
    }
}

fn state(registry: &Registry, selection: &Selection) -> Model {
    let snapshot = registry.store("test.io", "widgets").unwrap().snapshot();
    selection.list(&snapshot).map(|object| entry(object)).collect()
}

async fn write(registry: &Registry, rng: &Rng) {
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    let namespace = format!("ns{}", rng.below(2));
    let name = format!("w{}", rng.below(12));
    let color = ["red", "green", "blue"][usize::try_from(rng.below(3)).unwrap()];
    let paint = |object: &mut Value| {
        object["spec"]["color"] = color.into();
        object["metadata"]["labels"] = serde_json::json!({"color": color});
    };
    let mut options = WriteOptions::new(&user);
    let result = match rng.below(5) {
        0 => store.delete(&mut options, &namespace, &name, &DeleteOptions::default()).await.map(drop),
        1 | 2 => {
            let mut object = widget(&name);
            paint(&mut object);
            store.create(&mut options, &namespace, object).await.map(drop)
        }
        _ => store
            .update(&mut options, &namespace, &name, UpdateOptions::Object, &mut |old| {
                let mut object = old.unwrap().clone();
                paint(&mut object);
                Ok(object)
            })
            .await
            .map(drop),
    };
    if let Err(status) = result {
        assert!(matches!(status.code, 404 | 409), "{status}");
    }
}

/// One watcher: begins with the state, follows, breaks off now and then and resumes where it was.
async fn watcher(
    registry: Arc<Registry>,
    selection: Selection,
    rng: Rng,
    end: watch::Receiver<u64>,
) -> Model {
    let store = registry.store("test.io", "widgets").unwrap();
    let mut subscription = store.subscribe_now(&selection);
    let mut model: Model = subscription.initial.iter().map(|object| entry(object)).collect();
    let mut seen = subscription.revision;
    loop {
        let last = *end.borrow();
        if last > 0 && seen >= last {
            return model;
        }
        // Up to the published revision everything is at hand.
        let published = store.revision();
        while let Some(change) = subscription.try_next() {
            let revision = change.object.revision();
            assert!(revision >= seen, "changes come in order");
            seen = revision;
            follow(&mut model, &change);
            if rng.below(10) == 0 {
                subscription = store.subscribe_since(&selection, seen).await.unwrap();
            }
        }
        seen = seen.max(published);
        if rng.below(5) == 0 {
            subscription = store.subscribe_since(&selection, seen).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_watcher_ends_with_the_state_whatever_it_selects_and_wherever_it_resumes() {
    for seed in 0..8 {
        let (registry, _storage, _context) = open(seed).await;
        let (end, receiver) = watch::channel(0);
        let selections = [
            ("", "", ""),
            ("ns0", "", ""),
            ("", "color=red", ""),
            ("ns1", "color in (red,green)", "spec.color!=green"),
            ("", "", "spec.color=blue"),
            ("ns0", "", "metadata.name=w3"),
        ];
        let watchers: Vec<_> = selections
            .iter()
            .enumerate()
            .map(|(i, (namespace, labels, fields))| {
                let selection = selection(&registry, namespace, labels, fields);
                let rng = Rng::seeded(seed * 100 + i as u64);
                let task =
                    tokio::spawn(watcher(Arc::clone(&registry), selection.clone(), rng, receiver.clone()));
                (selection, task)
            })
            .collect();
        let writers: Vec<_> = (0..4)
            .map(|i| {
                let (registry, rng) = (Arc::clone(&registry), Rng::seeded(seed * 1000 + i));
                tokio::spawn(async move {
                    for _ in 0..150 {
                        write(&registry, &rng).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        end.send_replace(registry.revision());
        for (selection, task) in watchers {
            let model = tokio::time::timeout(Duration::from_secs(120), task).await.unwrap().unwrap();
            assert_eq!(model, state(&registry, &selection), "seed {seed}, {selection:?}");
        }
    }
}

#[tokio::test]
async fn a_watch_resumes_across_a_restart_from_the_storages_history() {
    let (registry, storage, _context) = open(1).await;
    let rng = Rng::seeded(1);
    write(&registry, &rng).await;
    let everything = selection(&registry, "", "", "");
    let store = registry.store("test.io", "widgets").unwrap();
    let mut subscription = store.subscribe_now(&everything);
    let mut model: Model = subscription.initial.iter().map(|object| entry(object)).collect();
    let seen = subscription.revision;
    for _ in 0..60 {
        write(&registry, &rng).await;
    }
    while let Some(change) = subscription.try_next() {
        follow(&mut model, &change);
    }
    let again = Registry::open(storage, &Context::simulated(2), strategies()).await.unwrap();
    let store = again.store("test.io", "widgets").unwrap();
    let mut resumed: Model = registry_state_at_start(&subscription);
    let mut subscription = store.subscribe_since(&everything, seen).await.unwrap();
    while let Some(change) = subscription.try_next() {
        follow(&mut resumed, &change);
    }
    assert_eq!(resumed, model);
    assert_eq!(resumed, state(&again, &everything));
}

fn registry_state_at_start(subscription: &Subscription) -> Model {
    subscription.initial.iter().map(|object| entry(object)).collect()
}

#[tokio::test]
async fn what_is_forgotten_is_expired() {
    let (registry, storage, context) = open(1).await;
    let rng = Rng::seeded(1);
    for _ in 0..30 {
        write(&registry, &rng).await;
    }
    storage.compact(registry.revision() - 2).await.unwrap();
    let again = Registry::open(storage, &context, strategies()).await.unwrap();
    let store = again.store("test.io", "widgets").unwrap();
    let error = store.subscribe_since(&selection(&again, "", "", ""), 2).await.unwrap_err();
    assert_eq!((error.code, error.reason), (410, "Expired"));
    assert!(error.message.starts_with("too old resource version: 2 ("), "{error}");
}

#[tokio::test]
async fn a_watch_from_the_future_leaves_out_what_comes_until_then() {
    let (registry, ..) = open(1).await;
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    let since = registry.revision() + 2;
    let mut watch = store.subscribe_since(&selection(&registry, "", "", ""), since).await.unwrap();
    for name in ["a", "b", "c"] {
        store.create(&mut WriteOptions::new(&user), "ns", widget(name)).await.unwrap();
    }
    assert_eq!(watch.next().await.unwrap().object.name(), "c");
    assert!(watch.try_next().is_none());
}

#[tokio::test]
async fn a_watcher_that_does_not_keep_up_is_ended_and_holds_nobody_up() {
    let (registry, ..) = open(1).await;
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    let everything = selection(&registry, "", "", "");
    let mut slow = store.subscribe_now(&everything);
    store.create(&mut WriteOptions::new(&user), "ns", widget("a")).await.unwrap();
    for i in 0..1100 {
        store
            .update(&mut WriteOptions::new(&user), "ns", "a", UpdateOptions::Object, &mut |old| {
                let mut object = old.unwrap().clone();
                object["spec"]["size"] = i.into();
                Ok(object)
            })
            .await
            .unwrap();
    }
    let mut delivered = 0;
    while slow.next().await.is_some() {
        delivered += 1;
    }
    assert_eq!(delivered, 1024);
    // It resumes where it was: part of that is no longer in the ring, but in the storage.
    let mut resumed = store.subscribe_since(&everything, slow.delivered()).await.unwrap();
    let mut rest = 0;
    while resumed.try_next().is_some() {
        rest += 1;
    }
    assert_eq!(delivered + rest, 1101);
}

#[tokio::test]
async fn what_rests_is_packed_and_reads_as_before() {
    let (registry, storage, _context) = open(1).await;
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    let mut written = Vec::new();
    for i in 0..600 {
        let made = store.create(&mut WriteOptions::new(&user), "ns", widget(&format!("w{i}"))).await.unwrap();
        written.push((made.json(), made));
    }
    let packed = |registry: &Registry| {
        let snapshot = registry.store("test.io", "widgets").unwrap().snapshot();
        written
            .iter()
            .filter(|(_, made)| snapshot.get(&format!("ns/{}", made.name())).unwrap().model().is_some())
            .count()
    };
    // The newest are in the ring; the first is what the others are packed beside.
    assert_eq!(packed(&registry), 600 - 512 - 1);
    let reads_as_before = |registry: &Registry| {
        let snapshot = registry.store("test.io", "widgets").unwrap().snapshot();
        assert_eq!(snapshot.len(), written.len());
        for (json, made) in &written {
            let object = snapshot.get(&format!("ns/{}", made.name())).unwrap();
            assert_eq!((&object.json(), object.json_len()), (json, json.len()));
        }
    };
    reads_as_before(&registry);
    registry.pack();
    reads_as_before(&registry);
    let again = Registry::open(storage, &Context::simulated(2), strategies()).await.unwrap();
    assert_eq!(packed(&again), 0);
    again.pack();
    assert_eq!(packed(&again), 599);
    reads_as_before(&again);
}

#[test]
fn selectors_are_refused_in_upstreams_words() {
    let strategies = strategies();
    let parse = |index: usize, labels: &str, fields: &str| {
        let strategy: &Arc<dyn Strategy> = &strategies[index];
        Selection::parse(&crate::registry::Version::stored(strategy), "", labels, fields).unwrap_err()
    };
    assert_eq!(parse(0, "", "spec.nope=1").message, "field label not supported: spec.nope");
    assert_eq!(
        parse(1, "", "spec.nope=1").message,
        "\"spec.nope\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    assert_eq!(parse(0, "a==b==c", "").code, 400);
}
