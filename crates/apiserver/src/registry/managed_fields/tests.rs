//! Who owns what after updates.

use super::*;
use crate::patch::apply::{Shape, compare};
use api::schema::Schema;

fn shape() -> Shape<'static> {
    Shape::of_object(Schema::get().type_by_gvk("apps", "v1", "Deployment"))
}

fn by(manager: &str, second: u8) -> Entry {
    let now = format!("2026-01-01T00:00:{second:02}Z").parse().unwrap();
    entry(manager, "", "apps/v1".to_owned(), now)
}

fn write(old: &Value, new: &Value, entry: Entry) -> Value {
    let mut new = new.clone();
    metadata::of(&mut new).insert("uid".to_owned(), "u".into());
    let sent = take(&mut new);
    let written = Written { own: compare(old, &new, shape()), ..Written::default() };
    update(old, &mut new, sent.as_ref(), &written, entry);
    new
}

fn owned(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.map(|e| (e["manager"].as_str().unwrap().to_owned(), e["fieldsV1"].clone())).collect()
}

#[test]
fn a_creator_owns_everything_as_upstream_writes_it() {
    let object = json!({"kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "d", "namespace": "n", "creationTimestamp": "t", "generation": 1, "labels": {"a": "b"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "containers": [{"name": "c", "image": "i", "resources": {},
                    "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                "securityContext": {},
                "volumes": [{"name": "v", "emptyDir": {}}],
            }},
        },
    });
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                        {".": {}, "f:containerPort": {}, "f:protocol": {}}}}},
                "f:securityContext": {},
                "f:volumes": {".": {}, "k:{\"name\":\"v\"}": {".": {}, "f:emptyDir": {}, "f:name": {}}},
            }},
        },
    });
    let created = write(&Value::Null, &object, by("kubectl-create", 1));
    assert_eq!(owned(&created), [("kubectl-create".to_owned(), expected)]);
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!((&entry["operation"], &entry["time"]), (&json!("Update"), &json!("2026-01-01T00:00:01Z")));
}

#[test]
fn who_changes_a_field_owns_it() {
    let object = |spec: Value| json!({"metadata": {"name": "d"}, "spec": spec});
    let created = write(
        &Value::Null,
        &object(json!({"replicas": 1, "paused": true, "minReadySeconds": 1})),
        by("a", 1),
    );
    let changed = write(&created, &object(json!({"replicas": 2, "paused": true})), by("b", 2));
    assert_eq!(
        owned(&changed),
        [
            ("a".to_owned(), json!({"f:spec": {"f:paused": {}}})),
            ("b".to_owned(), json!({"f:spec": {"f:replicas": {}}})),
        ]
    );
    // The same again is nobody's, and the time stays.
    assert_eq!(write(&changed, &object(json!({"replicas": 2, "paused": true})), by("c", 3)), changed);
    // A list in its order: by time.
    let again = write(&changed, &object(json!({"replicas": 2, "paused": false})), by("a", 4));
    assert_eq!(owned(&again).iter().map(|(m, _)| m.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    // Whoever loses everything is forgotten.
    let all = write(&again, &object(json!({"replicas": 3, "paused": true})), by("z", 5));
    assert_eq!(owned(&all).len(), 1);
}

#[test]
fn what_clients_send_counts() {
    let object = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "paused": true}});
    let created = write(&Value::Null, &object, by("a", 1));
    let with = |entries: Value| {
        let mut object = created.clone();
        object["metadata"]["managedFields"] = entries;
        object
    };
    // Nothing, an empty list, and what cannot be read keep what there is; `[{}]` forgets it, for good.
    for kept in [json!([]), json!([{"manager": "x", "operation": "Nope"}]), Value::Null] {
        assert_eq!(owned(&write(&created, &with(kept), by("b", 2))), owned(&created));
    }
    let reset = write(&created, &with(json!([{}])), by("b", 2));
    assert!(owned(&reset).is_empty());
    let mut changed = reset.clone();
    changed["spec"]["replicas"] = 2.into();
    assert!(owned(&write(&reset, &changed, by("b", 3))).is_empty());
    // Renamed by hand, as kubectl does when it migrates from client-side apply.
    let mut entries = created["metadata"]["managedFields"].clone();
    entries[0]["manager"] = "kubectl".into();
    entries[0]["operation"] = "Apply".into();
    let renamed = write(&created, &with(entries.clone()), by("b", 2));
    assert_eq!(renamed["metadata"]["managedFields"], entries);
    // A subresource cannot.
    let through = Entry { subresource: "status".to_owned(), ..by("b", 2) };
    assert_eq!(owned(&write(&created, &with(json!([{}])), through)), owned(&created));
}

#[test]
fn many_updaters_become_ancient() {
    let labels = |n: u8| -> Value {
        let labels: Map<String, Value> = (0..n).map(|i| (format!("l{i}"), "x".into())).collect();
        json!({"metadata": {"name": "d", "labels": labels}})
    };
    let mut object = write(&Value::Null, &labels(1), by("m0", 0));
    for n in 1..14 {
        object = write(&object, &labels(n + 1), by(&format!("m{n}"), n));
    }
    let owned = owned(&object);
    assert_eq!(owned.len(), MAX_UPDATE_MANAGERS);
    assert_eq!(owned[0].0, ANCIENT);
    assert_eq!(
        owned[0].1,
        json!({"f:metadata": {"f:labels": {".": {}, "f:l0": {}, "f:l1": {}, "f:l2": {}, "f:l3": {}, "f:l4": {}}}})
    );
    assert_eq!(owned[9].0, "m13");
}

#[test]
fn a_new_time_alone_is_taken_back() {
    let object = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1}});
    let old = write(&Value::Null, &object, by("a", 1));
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = "2026-01-01T00:00:09Z".into();
    let mut settled = new.clone();
    settle(&mut settled, &old);
    assert_eq!(settled, old);
    new["spec"]["replicas"] = 2.into();
    let mut kept = new.clone();
    settle(&mut kept, &old);
    assert_eq!(kept, new);
}
