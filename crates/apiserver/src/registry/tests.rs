//! The store, over memory storage.

use super::fixture::{open, strategies, widget};
use super::*;
use api::meta;
use serde_json::json;

async fn create(registry: &Registry, object: Value) -> Result<Value, Status> {
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    store.create(&mut WriteOptions::new(&user), "ns", object).await.map(|o| o.to_value())
}

async fn update(
    registry: &Registry,
    name: &str,
    what: UpdateOptions,
    mut change: impl FnMut(&mut Value) + Send,
) -> Result<Value, Status> {
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    store
        .update(&mut WriteOptions::new(&user), "ns", name, what, &mut |old| {
            let mut object = old.unwrap().clone();
            change(&mut object);
            Ok(object)
        })
        .await
        .map(|updated| updated.object.to_value())
}

async fn delete(registry: &Registry, name: &str, options: DeleteOptions) -> Result<Deleted, Status> {
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    store.delete(&mut WriteOptions::new(&user), "ns", name, &options).await
}

fn get(registry: &Registry, name: &str) -> Option<Value> {
    registry.store("test.io", "widgets").unwrap().cached("ns", name).map(|o| o.to_value())
}

#[tokio::test]
async fn creates_with_identity_defaults_and_generation() {
    let (registry, ..) = open(1).await;
    let object = create(&registry, widget("a")).await.unwrap();
    assert_eq!(object["metadata"]["namespace"], "ns");
    assert_eq!(object["metadata"]["generation"], 1);
    assert_eq!(object["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(object["spec"]["color"], "grey");
    assert_eq!(meta::uid(&object).len(), 36);
    assert_eq!(get(&registry, "a").unwrap(), object);
    let text = String::from_utf8(
        registry.store("test.io", "widgets").unwrap().cached("ns", "a").unwrap().json().to_vec(),
    )
    .unwrap();
    assert!(
        text.starts_with(r#"{"kind":"Widget","apiVersion":"test.io/v1","metadata":{"resourceVersion":""#)
    );
    let again = create(&registry, widget("a")).await.unwrap_err();
    assert_eq!((again.code, &*again.message), (409, "widgets.test.io \"a\" already exists"));
    let mut with_version = widget("b");
    with_version["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(create(&registry, with_version).await.unwrap_err().code, 400);
}

#[tokio::test]
async fn generates_names_and_refuses_none() {
    let (registry, ..) = open(1).await;
    let mut object = widget("");
    object["metadata"]["generateName"] = "x".repeat(70).into();
    let created = create(&registry, object).await.unwrap();
    assert_eq!(meta::name(&created).len(), 63);
    let error = create(&registry, widget("")).await.unwrap_err();
    assert!(error.message.contains("metadata.name: Required value: name or generateName is required"));
}

#[tokio::test]
async fn an_update_without_change_is_not_written() {
    let (registry, ..) = open(1).await;
    let object = create(&registry, widget("a")).await.unwrap();
    let same = update(&registry, "a", UpdateOptions::Object, |_| {}).await.unwrap();
    assert_eq!(object, same);
}

#[tokio::test]
async fn spec_and_status_are_written_apart() {
    let (registry, ..) = open(1).await;
    create(&registry, widget("a")).await.unwrap();
    let both = |object: &mut Value| {
        object["spec"]["size"] = 3.into();
        object["status"] = json!({"ready": true});
    };
    let object = update(&registry, "a", UpdateOptions::Object, both).await.unwrap();
    assert_eq!((&object["spec"]["size"], &object["status"]), (&json!(3), &Value::Null));
    assert_eq!(object["metadata"]["generation"], 2);
    let status = |object: &mut Value| {
        object["spec"]["size"] = 4.into();
        object["status"] = json!({"ready": true});
        object["metadata"]["labels"] = json!({"a": "b"});
    };
    let object = update(&registry, "a", UpdateOptions::Status, status).await.unwrap();
    assert_eq!((&object["spec"]["size"], &object["status"]["ready"]), (&json!(3), &json!(true)));
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(object["metadata"]["labels"]["a"], "b");
}

#[tokio::test]
async fn a_stale_version_conflicts_and_none_does_not() {
    let (registry, ..) = open(1).await;
    create(&registry, widget("a")).await.unwrap();
    let stale = |object: &mut Value| object["metadata"]["resourceVersion"] = "1".into();
    let error = update(&registry, "a", UpdateOptions::Object, stale).await.unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (
            409,
            "Operation cannot be fulfilled on widgets.test.io \"a\": the object has been modified; \
             please apply your changes to the latest version and try again"
        )
    );
    let unconditional = |object: &mut Value| {
        metadata::of(object).shift_remove("resourceVersion");
        object["spec"]["size"] = 1.into();
    };
    update(&registry, "a", UpdateOptions::Object, unconditional).await.unwrap();
    let other_uid = |object: &mut Value| object["metadata"]["uid"] = "other".into();
    let error = update(&registry, "a", UpdateOptions::Object, other_uid).await.unwrap_err();
    assert!(error.message.contains("Precondition failed: UID in precondition: other"), "{error}");
}

#[tokio::test]
async fn metadata_errors_are_upstreams() {
    let (registry, ..) = open(1).await;
    create(&registry, widget("a")).await.unwrap();
    let change = |object: &mut Value| {
        object["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
        object["metadata"]["labels"] = json!({"a b": "c"});
        object["metadata"]["finalizers"] = json!(["orphan", "foregroundDeletion"]);
        object["spec"]["size"] = (-1).into();
    };
    let error = update(&registry, "a", UpdateOptions::Object, change).await.unwrap_err();
    assert_eq!(error.code, 422);
    let fields: Vec<&str> =
        error.details.as_ref().unwrap().causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, ["metadata.creationTimestamp", "metadata.labels", "metadata.finalizers", "spec.size"]);
    let mut named = widget("a_b");
    named["metadata"]["annotations"] = json!({"x": "y".repeat(300_000)});
    let error = create(&registry, named).await.unwrap_err();
    assert!(error.message.contains("metadata.annotations: Too long: may not be more than 262144 bytes"));
}

#[tokio::test]
async fn claims_are_held_by_one_object_and_given_back() {
    let (registry, ..) = open(1).await;
    let with_port = |name: &str, port: i64| {
        let mut object = widget(name);
        object["spec"]["port"] = port.into();
        object
    };
    create(&registry, with_port("a", 80)).await.unwrap();
    let error = create(&registry, with_port("b", 80)).await.unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (
            422,
            "Widget.test.io \"b\" is invalid: spec.port: Invalid value: 80: provided port is already allocated"
        )
    );
    let move_on = |object: &mut Value| object["spec"]["port"] = 81.into();
    update(&registry, "a", UpdateOptions::Object, move_on).await.unwrap();
    create(&registry, with_port("b", 80)).await.unwrap();
    assert_eq!(create(&registry, with_port("c", 81)).await.unwrap_err().code, 422);
    delete(&registry, "a", DeleteOptions::default()).await.unwrap();
    create(&registry, with_port("c", 81)).await.unwrap();
}

#[tokio::test]
async fn grace_marks_and_may_only_be_shortened() {
    let (registry, ..) = open(1).await;
    let mut object = widget("a");
    object["spec"]["grace"] = 30.into();
    create(&registry, object).await.unwrap();
    let deleted = delete(&registry, "a", DeleteOptions::default()).await.unwrap();
    assert!(!deleted.removed);
    let object = get(&registry, "a").unwrap();
    assert_eq!(object["metadata"]["deletionTimestamp"], "2026-01-01T00:00:30Z");
    assert_eq!(object["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(object["metadata"]["generation"], 2);
    let longer = DeleteOptions { grace_period_seconds: Some(60), ..DeleteOptions::default() };
    assert!(!delete(&registry, "a", longer).await.unwrap().removed);
    assert_eq!(get(&registry, "a").unwrap(), object);
    let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
    delete(&registry, "a", shorter).await.unwrap();
    assert_eq!(get(&registry, "a").unwrap()["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
    let error = create(&registry, widget("a")).await.unwrap_err();
    assert_eq!(error.message, "object is being deleted: widgets.test.io \"a\" already exists");
    assert!(delete(&registry, "a", DeleteOptions::now()).await.unwrap().removed);
    assert_eq!(get(&registry, "a"), None);
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_is_gone() {
    let (registry, ..) = open(1).await;
    let mut object = widget("a");
    object["metadata"]["finalizers"] = json!(["x/y"]);
    create(&registry, object).await.unwrap();
    let foreground =
        DeleteOptions { propagation_policy: Some("Foreground".to_owned()), ..DeleteOptions::default() };
    assert!(!delete(&registry, "a", foreground).await.unwrap().removed);
    let object = get(&registry, "a").unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!(["x/y", "foregroundDeletion"]));
    assert_eq!(object["metadata"]["deletionGracePeriodSeconds"], 0);
    let add = |object: &mut Value| metadata::set_finalizers(object, vec!["x/y".into(), "new/one".into()]);
    let error = update(&registry, "a", UpdateOptions::Object, add).await.unwrap_err();
    assert!(error.message.contains("found new finalizers []string{\"new/one\"}"), "{error}");
    update(&registry, "a", UpdateOptions::Object, |o| metadata::set_finalizers(o, vec![])).await.unwrap();
    assert_eq!(get(&registry, "a"), None);
}

#[tokio::test]
async fn what_the_kind_holds_stays_too() {
    let (registry, ..) = open(1).await;
    let user = loopback_user();
    let store = registry.store("", "gadgets").unwrap();
    let object = json!({"metadata": {"name": "g"}, "held": true});
    store.create(&mut WriteOptions::new(&user), "", object).await.unwrap();
    let deleted =
        store.delete(&mut WriteOptions::new(&user), "", "g", &DeleteOptions::default()).await.unwrap();
    assert!(!deleted.removed);
    let object = store.cached("", "g").unwrap().to_value();
    assert_eq!(object["phase"], "Terminating");
    assert!(meta::deletion_timestamp(&object).is_some());
    assert!(object["metadata"]["deletionGracePeriodSeconds"].is_null());
    let again =
        store.delete(&mut WriteOptions::new(&user), "", "g", &DeleteOptions::default()).await.unwrap();
    assert_eq!(again.object.to_value(), object);
    store
        .update(&mut WriteOptions::new(&user), "", "g", UpdateOptions::Raw, &mut |old| {
            let mut object = old.unwrap().clone();
            object["held"] = false.into();
            Ok(object)
        })
        .await
        .unwrap();
    assert!(store.cached("", "g").is_none());
}

#[tokio::test]
async fn delete_checks_its_preconditions() {
    let (registry, ..) = open(1).await;
    create(&registry, widget("a")).await.unwrap();
    let other = DeleteOptions { uid: Some("other".to_owned()), ..DeleteOptions::default() };
    let error = delete(&registry, "a", other).await.unwrap_err();
    assert_eq!(error.code, 409);
    assert!(error.message.contains("the UID in the precondition (other) does not match"), "{error}");
    assert_eq!(delete(&registry, "b", DeleteOptions::default()).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn concurrent_changes_are_all_made() {
    let (registry, ..) = open(1).await;
    create(&registry, widget("a")).await.unwrap();
    let writers = (0..20).map(|_| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let count = |object: &mut Value| {
                let size = object["spec"]["size"].as_i64().unwrap_or(0);
                object["spec"]["size"] = (size + 1).into();
            };
            update(&registry, "a", UpdateOptions::Object, count).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(get(&registry, "a").unwrap()["spec"]["size"], 20);
}

#[tokio::test]
async fn dry_runs_store_nothing() {
    let (registry, ..) = open(1).await;
    let user = loopback_user();
    let store = registry.store("test.io", "widgets").unwrap();
    let mut options = WriteOptions { dry_run: true, ..WriteOptions::new(&user) };
    let object = store.create(&mut options, "ns", widget("a")).await.unwrap().to_value();
    assert_eq!(meta::resource_version(&object), "");
    assert_eq!(get(&registry, "a"), None);
    let stored = create(&registry, widget("a")).await.unwrap();
    assert_eq!(store.create(&mut options, "ns", widget("a")).await.unwrap_err().code, 409);
    let mut grow = |old: Option<&Value>| {
        let mut object = old.unwrap().clone();
        object["spec"]["size"] = 9.into();
        Ok(object)
    };
    let updated =
        store.update(&mut options, "ns", "a", UpdateOptions::Object, &mut grow).await.unwrap().object;
    assert_eq!(updated.to_value()["spec"]["size"], 9);
    assert!(store.delete(&mut options, "ns", "a", &DeleteOptions::default()).await.unwrap().removed);
    assert_eq!(get(&registry, "a").unwrap(), stored);
}

#[tokio::test]
async fn ensures_objects_in_one_transaction_and_leaves_those_that_exist() {
    let (registry, ..) = open(1).await;
    let objects =
        || (0..50).map(|i| ("", "gadgets", json!({"metadata": {"name": format!("g{i}")}}))).collect();
    let before = registry.revision();
    assert_eq!(registry.ensure(objects()).await.unwrap(), 50);
    assert_eq!(registry.revision(), before + 1);
    assert_eq!(registry.ensure(objects()).await.unwrap(), 0);
}

#[tokio::test]
async fn another_registry_over_the_same_storage_reads_what_was_written() {
    let (registry, storage, context) = open(1).await;
    let object = create(&registry, widget("a")).await.unwrap();
    let again = Registry::open(storage, &context, strategies()).await.unwrap();
    assert_eq!(get(&again, "a").unwrap(), object);
    assert_eq!(Lookup::list(&*again, "test.io", "widgets", "ns").len(), 1);
    assert_eq!(Lookup::list(&*again, "test.io", "widgets", "n").len(), 0);
}

#[tokio::test]
async fn an_object_too_big_for_the_store_is_refused() {
    let (registry, ..) = open(1).await;
    let mut object = widget("a");
    object["spec"]["text"] = "x".repeat(transaction::MAX_OBJECT_BYTES).into();
    let error = create(&registry, object).await.unwrap_err();
    assert!(error.message.starts_with("etcdserver: request is too large"), "{error}");
}
