//! ONE suite for every kind: rules that a strategy follows whatever its kind.
//!
//! **Contract**: runs over `resources::all()`; a kind without an [`examples::Example`] fails it. What a kind alone does
//! is tested beside its strategy.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/rest/resttest`.

mod examples;
mod protobuf;

use super::fixture::memory;
use super::{Column, table};
use super::{DeleteOptions, Object, Registry, Store, Strategy, UpdateOptions, WriteContext, WriteOptions};
use super::{loopback_user, metadata, prepare};
use crate::auth::UserInfo;
use crate::patch::Patch;
use crate::resources;
use crate::watch_cache::Selection;
use api::kind::Resource;
use api::meta;
use api::schema::Schema;
use component_base::{Context, Rng};
use examples::Example;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const NAMESPACE: &str = "default";

/// Every kind with its example.
fn kinds() -> Vec<(Arc<dyn Strategy>, Example)> {
    let mut examples = examples::all();
    let kinds = resources::all()
        .into_iter()
        .map(|strategy| {
            let kind = &*strategy.resource().kind;
            let found = examples.iter().position(|e| e.kind == kind);
            let index =
                found.unwrap_or_else(|| panic!("no example of {kind} in registry/testing/examples.rs"));
            (strategy, examples.swap_remove(index))
        })
        .collect();
    assert!(examples.is_empty(), "examples of kinds that are not served: {:?}", examples[0].kind);
    kinds
}

/// The example as a client sends it.
fn object(resource: &Resource, body: &Value) -> Value {
    let mut object = json!({"kind": resource.kind, "apiVersion": resource.api_version()});
    for (field, value) in body.as_object().unwrap() {
        object[field] = value.clone();
    }
    if resource.namespaced() && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = NAMESPACE.into();
    }
    object
}

/// The example as the store would write it.
fn prepared(strategy: &dyn Strategy, body: &Value) -> Value {
    let (rng, user) = (Rng::seeded(1), UserInfo::default());
    let context = WriteContext { now: Timestamp::UNIX_EPOCH, rng: &rng, user: &user };
    let mut object = object(strategy.resource(), body);
    prepare::default(strategy, &mut object);
    strategy.prepare_for_create(&context, &mut object);
    object
}

fn texts(errors: &api::field::ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn facts_are_well_formed_and_in_the_schema() {
    for (strategy, _) in kinds() {
        let resource = strategy.resource();
        let known = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
        assert!(known.is_some(), "{} is in the schema", resource.kind);
        assert_eq!(resource.singular, resource.kind.to_lowercase());
        assert_eq!(resource.plural, resource.plural.to_lowercase());
        assert!(strategy.verbs().is_sorted(), "{}", resource.kind);
    }
}

#[test]
fn examples_decode_strictly() {
    for (strategy, example) in kinds() {
        let resource = strategy.resource();
        let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind).unwrap();
        let decoded = api::schema::strict::decode_value(object(resource, &example.valid), ty);
        let decoded = decoded.unwrap_or_else(|e| panic!("{}: {e}", resource.kind));
        assert_eq!(decoded.strict_error(), None, "{}", resource.kind);
    }
}

#[test]
fn defaulting_twice_is_defaulting_once() {
    for (strategy, example) in kinds() {
        let mut once = object(strategy.resource(), &example.valid);
        prepare::default(&*strategy, &mut once);
        let mut twice = once.clone();
        prepare::default(&*strategy, &mut twice);
        assert_eq!(once, twice);
        let prepared = prepared(&*strategy, &example.valid);
        let mut again = prepared.clone();
        prepare::default(&*strategy, &mut again);
        assert_eq!(prepared, again, "a stored object is not changed by defaulting");
    }
}

#[test]
fn valid_examples_pass_and_invalid_ones_do_not() {
    for (strategy, example) in kinds() {
        let kind = &strategy.resource().kind;
        let valid = prepared(&*strategy, &example.valid);
        assert_eq!(texts(&metadata::validate(&*strategy, &valid)), Vec::<String>::new(), "{kind}");
        assert_eq!(texts(&strategy.validate(&valid)), Vec::<String>::new(), "{kind}");
        for (body, expected) in &example.invalid {
            let invalid = prepared(&*strategy, body);
            assert_eq!(texts(&strategy.validate(&invalid)), *expected, "{kind}");
        }
    }
}

#[test]
fn an_update_without_change_is_valid_and_an_immutable_field_is_not() {
    let (rng, user) = (Rng::seeded(2), UserInfo::default());
    let context = WriteContext { now: Timestamp::UNIX_EPOCH, rng: &rng, user: &user };
    for (strategy, example) in kinds() {
        let old = prepared(&*strategy, &example.valid);
        let update = |mut new: Value| {
            prepare::default(&*strategy, &mut new);
            strategy.prepare_for_update(&context, &mut new, &old);
            (texts(&strategy.validate_update(&new, &old)), new)
        };
        assert_eq!(update(old.clone()), (Vec::new(), old.clone()), "{}", strategy.resource().kind);
        for (pointer, value, expected) in &example.immutable {
            let mut new = old.clone();
            *new.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
            let (errors, _) = update(new);
            let found = errors.iter().any(|error| error.starts_with(expected));
            assert!(found, "{pointer}: {errors:?} has no {expected}");
        }
    }
}

#[test]
fn names_are_checked() {
    for (strategy, _) in kinds() {
        let kind = &strategy.resource().kind;
        assert!(strategy.validate_name("example", false).is_empty(), "{kind}");
        assert!(strategy.validate_name("example-", true).is_empty(), "{kind}");
        for name in ["a/b", "a%b", ".."] {
            assert!(!strategy.validate_name(name, false).is_empty(), "{kind}: {name}");
        }
    }
}

#[test]
fn rows_fit_columns_and_fields_fit_labels() {
    for (strategy, example) in kinds() {
        let kind = &strategy.resource().kind;
        let stored = prepared(&*strategy, &example.valid);
        let columns = strategy.columns();
        assert_eq!(
            columns.iter().filter(|c| *c == &Column { priority: c.priority, ..Column::NAME }).count(),
            1,
            "{kind}"
        );
        for object in [&stored, &json!({})] {
            assert_eq!(strategy.row(object, Timestamp::UNIX_EPOCH).len(), columns.len(), "{kind}");
            assert_eq!(strategy.selectable_fields(object).len(), strategy.field_labels().len(), "{kind}");
        }
        for label in strategy.field_labels() {
            assert_eq!(strategy.canonical_field_label(label), *label);
        }
    }
}

/// Upstream says nothing of a RuntimeClass's handler: it looks for it among the fields of metadata.
#[test]
fn columns_are_described() {
    for (strategy, _) in kinds() {
        let kind = &strategy.resource().kind;
        for column in table::definitions(strategy.resource(), strategy.columns()) {
            let silent = kind == "RuntimeClass" && column["name"] == "Handler";
            assert_eq!(column["description"] == "", silent, "{kind}: {column}");
        }
    }
}

#[test]
fn selectable_fields_are_of_what_is_read_for_them() {
    let set = json!({
        "spec": {"nodeName": "n", "unschedulable": true, "hostNetwork": true, "signerName": "s", "driver": "d"},
        "status": {"phase": "P", "replicas": 2, "succeeded": 3, "podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}]},
        "source": {"component": "c"},
    });
    for (strategy, example) in kinds() {
        let mut object = prepared(&*strategy, &example.valid);
        for (part, fields) in set.as_object().unwrap() {
            for (name, value) in fields.as_object().unwrap() {
                object[part][name] = value.clone();
            }
        }
        let read = Object::parts(&*strategy).read(object.to_string().as_bytes()).unwrap();
        let kind = &strategy.resource().kind;
        assert_eq!(strategy.selectable_fields(&read), strategy.selectable_fields(&object), "{kind}");
    }
}

/// Decoding refuses most mistyped values, but not each hook may rely on it: none may panic.
#[test]
fn hooks_survive_mistyped_values() {
    let (rng, user) = (Rng::seeded(3), UserInfo::default());
    let context = WriteContext { now: Timestamp::UNIX_EPOCH, rng: &rng, user: &user };
    for (strategy, example) in kinds() {
        let good = prepared(&*strategy, &example.valid);
        let mut pointers = Vec::new();
        collect_pointers(&good, String::new(), &mut pointers);
        for pointer in pointers.iter().filter(|p| !p.is_empty()) {
            for wrong in [Value::Null, json!(-1), json!("x"), json!([]), json!([1]), json!({})] {
                let mut object = good.clone();
                *object.pointer_mut(pointer).unwrap() = wrong;
                strategy.default(&mut object);
                strategy.prepare_for_create(&context, &mut object);
                strategy.prepare_for_update(&context, &mut object, &good);
                strategy.prepare_for_status_update(&context, &mut object, &good);
                strategy.prepare_for_delete(&mut object);
                strategy.validate(&object);
                strategy.validate_update(&object, &good);
                strategy.validate_update(&good, &object);
                strategy.validate_status_update(&object, &good);
                strategy.warnings(&object, None);
                strategy.selectable_fields(&object);
                strategy.row(&object, Timestamp::UNIX_EPOCH);
                strategy.reservations(&object);
                strategy.deletion(&object, None);
                strategy.is_held(&object);
            }
        }
    }
}

fn collect_pointers(value: &Value, at: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect_pointers(value, format!("{at}/{key}"), pointers);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                collect_pointers(value, format!("{at}/{i}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(at);
}

#[tokio::test]
async fn lives_through_the_store() {
    let context = Context::simulated(1);
    let storage = memory(&context).await;
    let registry = Registry::open(storage, &context, resources::all()).await.unwrap();
    for (strategy, example) in kinds() {
        let resource = strategy.resource();
        let store = registry.store(&resource.group, &resource.plural).unwrap();
        life(&store, &example).await;
    }
}

/// Create, get, list, watch, update, patch, delete.
async fn life(store: &Store, example: &Example) {
    let (resource, user) = (store.resource(), loopback_user());
    let kind = &resource.kind;
    let mut options = WriteOptions::new(&user);
    let namespace = if resource.namespaced() { NAMESPACE } else { "" };
    let mut watch = store.subscribe_now(&Selection::namespace(namespace));
    let sent = object(resource, &example.valid);
    let name = meta::name(&sent).to_owned();
    let created = store.create(&mut options, namespace, sent).await.unwrap_or_else(|e| panic!("{kind}: {e}"));
    let created = created.to_value();
    assert_eq!(meta::uid(&created).len(), 36, "{kind}");
    assert_eq!(store.get(namespace, &name).await.unwrap().to_value(), created);
    assert_eq!(store.snapshot().namespace(namespace).count(), 1, "{kind}");
    assert_eq!(watch.next().await.unwrap().object.to_value(), created, "{kind}");

    // The same again: nothing is written.
    let mut same = |old: Option<&Value>| Ok(old.unwrap().clone());
    let written = store.update(&mut options, namespace, &name, UpdateOptions::Object, &mut same).await;
    assert_eq!(written.unwrap().object.to_value(), created, "{kind}");

    let patch = br#"{"metadata":{"labels":{"changed":"yes"}}}"#;
    let patch = Patch::parse("application/merge-patch+json", store.resource(), patch).unwrap();
    let mut change = |old: Option<&Value>| {
        let mut new = old.unwrap().clone();
        patch.apply(&mut new)?;
        Ok(new)
    };
    let written = store.update(&mut options, namespace, &name, UpdateOptions::Object, &mut change).await;
    let patched = written.unwrap_or_else(|e| panic!("{kind}: {e}")).object.to_value();
    assert_eq!(meta::label(&patched, "changed"), Some("yes"));
    assert_ne!(meta::resource_version(&patched), meta::resource_version(&created));
    assert_eq!(meta::generation(&patched), meta::generation(&created), "{kind}: labels are no wish");
    assert_eq!(watch.next().await.unwrap().object.to_value(), patched, "{kind}");

    // Some kinds would keep the object until the garbage collector has orphaned its dependents.
    let background = Some("Background".to_owned());
    let wanted = DeleteOptions { propagation_policy: background, ..DeleteOptions::now() };
    let deleted = store.delete(&mut options, namespace, &name, &wanted).await.unwrap();
    if !deleted.removed {
        // A kind may hold its objects until its controller lets go, through a subresource.
        let held = deleted.object.to_value();
        assert!(store.strategy().is_held(&held) || meta::finalizers(&held).next().is_some(), "{kind}");
        let mut release = |old: Option<&Value>| {
            let mut new = old.unwrap().clone();
            new["spec"]["finalizers"] = json!([]);
            new["metadata"]["finalizers"] = json!([]);
            Ok(new)
        };
        store.update(&mut options, namespace, &name, UpdateOptions::Raw, &mut release).await.unwrap();
    }
    assert_eq!(store.get(namespace, &name).await.unwrap_err().code, 404, "{kind}");
    assert_eq!(store.snapshot().namespace(namespace).count(), 0, "{kind}");
}

#[tokio::test]
async fn two_services_never_share_an_address() {
    let context = Context::simulated(1);
    let storage = memory(&context).await;
    // Room for very few: random choices collide, and are chosen anew.
    let cidr = resources::ServiceCidr::new("10.0.0.0".parse().unwrap(), 29);
    let registry = Registry::open(
        storage,
        &context,
        resources::with_service_cidrs(&[cidr], &component_base::Health::default()),
    )
    .await
    .unwrap();
    let store = registry.store("", "services").unwrap();
    let user = loopback_user();
    let service = |name: &str, address: &str| {
        json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"clusterIP": address, "ports": [{"port": 80}]}})
    };
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..4 {
        let created = store
            .create(&mut WriteOptions::new(&user), NAMESPACE, service(&format!("s{i}"), ""))
            .await
            .unwrap();
        assert!(seen.insert(created.to_value()["spec"]["clusterIP"].as_str().unwrap().to_owned()));
    }
    let taken = seen.first().unwrap().clone();
    let error =
        store.create(&mut WriteOptions::new(&user), NAMESPACE, service("x", &taken)).await.unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"{taken}\"]: failed to allocate IP {taken}: provided IP is already allocated"
        )
    );
    store.delete(&mut WriteOptions::new(&user), NAMESPACE, "s0", &DeleteOptions::now()).await.unwrap();
    store.create(&mut WriteOptions::new(&user), NAMESPACE, service("y", "")).await.unwrap();
}
