//! Tests of `informer`, against a scripted server.

use super::*;
use crate::fake::{Fake, Reply, event, list, object, status};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn told(delta: Option<Delta<ConfigMap>>) -> String {
    let name = |object: &ConfigMap| {
        let meta = &object.metadata;
        format!("{}@{}", meta.name.as_deref().unwrap(), meta.resource_version.as_deref().unwrap())
    };
    match delta {
        None => "end".to_owned(),
        Some(Delta::Synced) => "synced".to_owned(),
        Some(Delta::Added(object)) => format!("+{}", name(&object)),
        Some(Delta::Updated { old, new }) => format!("{}>{}", name(&old), name(&new)),
        Some(Delta::Deleted(object)) => format!("-{}", name(&object)),
    }
}

struct Case {
    fake: Fake,
    context: Context,
    informer: Informer<ConfigMap>,
    changes: Subscription<ConfigMap>,
}

impl Case {
    fn new() -> Self {
        let (fake, context) = (Fake::default(), Context::simulated(1));
        let informers = Informers::new(fake.client(), &context);
        let informer = informers.of::<ConfigMap>();
        let changes = informer.subscribe();
        Self { fake, context, informer, changes }
    }

    async fn sees(&mut self, expected: &[&str]) {
        for expected in expected {
            let delta = tokio::time::timeout(Duration::from_secs(300), self.changes.recv()).await;
            assert_eq!(told(delta.unwrap_or_else(|_| panic!("waited in vain for {expected}"))), *expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lists_then_follows_the_watch() {
    let mut case = Case::new();
    case.fake.then(list(5, &[object("a", "u1", 3)]));
    let watch = case.fake.then_watch();
    case.sees(&["+a@3", "synced"]).await;
    assert!(case.informer.has_synced());
    watch.send(event("ADDED", &object("b", "u2", 6))).unwrap();
    watch.send(event("MODIFIED", &object("a", "u1", 7))).unwrap();
    watch.send(event("DELETED", &object("b", "u2", 8))).unwrap();
    case.sees(&["+b@6", "a@3>a@7", "-b@8"]).await;
    assert_eq!(case.informer.list().len(), 1);
    assert!(case.informer.get("ns", "a").is_some() && case.informer.get("ns", "b").is_none());
    assert_eq!(case.informer.list_in("ns").len(), 1);
    let seen = case.fake.seen();
    assert_eq!(seen[0].uri, "/api/v1/configmaps?&resourceVersion=0");
    assert!(
        seen[1].uri.contains("watch=true") && seen[1].uri.contains("resourceVersion=5"),
        "{}",
        seen[1].uri
    );
    assert!(seen[1].uri.contains("allowWatchBookmarks=true"), "{}", seen[1].uri);
}

#[tokio::test(start_paused = true)]
async fn resumes_from_the_last_revision_it_saw() {
    let mut case = Case::new();
    case.fake.then(list(5, &[]));
    let watch = case.fake.then_watch();
    case.sees(&["synced"]).await;
    watch.send(event("ADDED", &object("a", "u1", 6))).unwrap();
    let bookmark = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "40"}});
    watch.send(event("BOOKMARK", &bookmark)).unwrap();
    case.sees(&["+a@6"]).await;
    drop(watch);
    let next = case.fake.request(3).await;
    assert!(next.uri.contains("resourceVersion=40"), "{}", next.uri);
    // A connection that breaks is resumed, too, after a delay.
    case.fake.then(Reply::Break);
    let watch = case.fake.then_watch();
    let next = case.fake.request(4).await;
    assert!(next.uri.contains("resourceVersion=40"), "{}", next.uri);
    watch.send(event("MODIFIED", &object("a", "u1", 41))).unwrap();
    case.sees(&["a@6>a@41"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_revision_lists_again_and_announces_the_difference() {
    for in_stream in [true, false] {
        let mut case = Case::new();
        case.fake.then(list(
            5,
            &[object("a", "u1", 1), object("b", "u2", 2), object("c", "u3", 3), object("d", "u4", 4)],
        ));
        let expired = status(410, "Expired");
        if in_stream {
            case.fake.then_watch().send(event("ERROR", &expired)).unwrap();
        } else {
            case.fake.then(Reply::Json(410, expired));
        }
        // a is the same, b changed, c went, d was made anew, e is new.
        case.fake.then(list(
            20,
            &[object("a", "u1", 1), object("b", "u2", 12), object("d", "u9", 14), object("e", "u5", 15)],
        ));
        case.sees(&["+a@1", "+b@2", "+c@3", "+d@4", "synced"]).await;
        case.sees(&["b@2>b@12", "-d@4", "+d@14", "+e@15", "-c@3"]).await;
        // The history is gone: a cache may be as old as we were.
        assert_eq!(case.fake.request(3).await.uri, "/api/v1/configmaps?");
        assert!(case.fake.request(4).await.uri.contains("resourceVersion=20"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_list_is_retried_with_backoff() {
    let mut case = Case::new();
    let started = case.context.clock.instant();
    case.fake.then(Reply::Json(503, status(503, "ServiceUnavailable"))).then(Reply::Break).then(list(5, &[]));
    assert!(!case.informer.has_synced());
    case.sees(&["synced"]).await;
    case.informer.synced().await;
    assert!(started.elapsed() >= Duration::from_millis(800 + 1600));
}

#[tokio::test(start_paused = true)]
async fn late_subscribers_get_the_present_first_and_all_end_with_the_context() {
    let mut case = Case::new();
    case.fake.then(list(5, &[object("a", "u1", 3)]));
    let watch = case.fake.then_watch();
    case.sees(&["+a@3", "synced"]).await;
    let mut late = case.informer.subscribe();
    watch.send(event("MODIFIED", &object("a", "u1", 6))).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(told(late.recv().await));
    }
    assert_eq!(seen, ["+a@3", "synced", "a@3>a@6"]);
    case.sees(&["a@3>a@6"]).await;
    case.context.shutdown.trigger();
    case.sees(&["end"]).await;
    assert_eq!(told(late.recv().await), "end");
}

#[tokio::test(start_paused = true)]
async fn a_selection_has_one_watch_however_many_ask() {
    let (fake, context) = (Fake::default(), Context::simulated(1));
    let informers = Informers::new(fake.client(), &context);
    let selection = Selection::all().namespace("ns").fields("metadata.name=a").labels("x=y");
    fake.then(list(5, &[]));
    let one = informers.select::<ConfigMap>(selection.clone());
    let two = informers.select::<ConfigMap>(selection);
    one.synced().await;
    two.synced().await;
    let watch = fake.request(2).await.uri;
    assert!(watch.starts_with("/api/v1/namespaces/ns/configmaps?"), "{watch}");
    assert!(
        watch.contains("fieldSelector=metadata.name%3Da") && watch.contains("labelSelector=x%3Dy"),
        "{watch}"
    );
    assert_eq!(fake.seen().len(), 2);
    assert!(fake.connections.load(Ordering::SeqCst) <= 2);
}

#[tokio::test(start_paused = true)]
async fn an_index_follows_the_store_and_waiting_for_a_write_ends_with_its_event() {
    let mut case = Case::new();
    let by_letter = case
        .informer
        .index("letter", |map| map.metadata.name.iter().map(|name| name[..1].to_owned()).collect());
    case.fake.then(list(5, &[object("a1", "u1", 3), object("b1", "u2", 4)]));
    let watch = case.fake.then_watch();
    case.sees(&["+a1@3", "+b1@4", "synced"]).await;
    case.informer.caught_up("5").await;
    let names = |letter: &str| {
        let found = by_letter.get(letter);
        found.iter().filter_map(|map| map.metadata.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((names("a"), names("b")), (vec!["a1".to_owned()], vec!["b1".to_owned()]));
    assert_eq!((by_letter.count("a"), by_letter.count("c")), (1, 0));
    assert!(case.informer.contains("ns", "a1") && !case.informer.contains("ns", "a2"));
    let early = tokio::time::timeout(Duration::from_secs(1), case.informer.caught_up("7")).await;
    assert!(early.is_err());
    watch.send(event("ADDED", &object("a2", "u3", 6))).unwrap();
    watch.send(event("DELETED", &object("b1", "u2", 7))).unwrap();
    case.informer.caught_up("7").await;
    assert_eq!((names("a").len(), names("b").len()), (2, 0));
    assert_eq!((by_letter.count("a"), by_letter.values()), (2, vec!["a".to_owned()]));
}
