//! Strategic merge patches as clients send them, and what they do.

use super::*;
use crate::schema::Schema;
use serde_json::json;

fn pod() -> &'static Type {
    Schema::get().type_by_gvk("", "v1", "Pod").unwrap()
}

fn before() -> Value {
    json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x/a", "x/b"]},
        "spec": {
            "containers": [{"name": "a", "image": "i:1", "args": ["1"]}, {"name": "b", "image": "j"}],
            "nodeSelector": {"k": "v"},
            "tolerations": [{"key": "t"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    })
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn merges_by_the_schemas_keys() {
    let (a, b) = (json!({"name": "a", "image": "i:1", "args": ["1"]}), json!({"name": "b", "image": "j"}));
    let table = [
        // Maps merge, null removes.
        (
            json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
            "/metadata/labels",
            json!({"b": "2", "c": "3"}),
        ),
        (json!({"spec": {"nodeSelector": null}}), "/spec/nodeSelector", Value::Null),
        // Lists of objects merge by key, lists of scalars inside are replaced; what is new comes first.
        (
            containers(json!([{"name": "a", "image": "i:2", "args": ["2"]}])),
            "/spec/containers",
            json!([{"name": "a", "image": "i:2", "args": ["2"]}, b]),
        ),
        (containers(json!([{"name": "c", "image": null}])), "/spec/containers", json!([{"name": "c"}, a, b])),
        (containers(json!([{"name": "b"}, {"name": "c"}])), "/spec/containers", json!([a, b, {"name": "c"}])),
        (containers(json!([{"name": "a", "$patch": "delete"}])), "/spec/containers", json!([b])),
        (
            containers(json!([{"$patch": "replace"}, {"name": "z"}])),
            "/spec/containers",
            json!([{"name": "z"}]),
        ),
        // A list without a merge key is replaced, one that the object lacks is taken.
        (json!({"spec": {"tolerations": [{"key": "u"}]}}), "/spec/tolerations", json!([{"key": "u"}])),
        (
            json!({"spec": {"initContainers": [{"name": "x", "$patch": "delete"}, {"name": "y", "image": null}]}}),
            "/spec/initContainers",
            json!([{"name": "y"}]),
        ),
        // Sets of scalars unite.
        (json!({"metadata": {"finalizers": ["x/c"]}}), "/metadata/finalizers", json!(["x/c", "x/a", "x/b"])),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
            "/metadata/finalizers",
            json!(["x/b"]),
        ),
        // Whole maps.
        (
            json!({"spec": {"nodeSelector": {"$patch": "replace", "n": "w"}}}),
            "/spec/nodeSelector",
            json!({"n": "w"}),
        ),
        (json!({"spec": {"nodeSelector": {"$patch": "delete"}}}), "/spec/nodeSelector", json!({})),
        (json!({"spec": {"$retainKeys": ["nodeSelector"]}}), "/spec", json!({"nodeSelector": {"k": "v"}})),
        // kubectl apply that changes the source of a volume.
        (
            json!({"spec": {
                "$setElementOrder/volumes": [{"name": "v"}],
                "volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "emptyDir": null, "hostPath": {"path": "/"}}],
            }}),
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/"}}]),
        ),
    ];
    for (patch, pointer, expected) in table {
        let mut object = before();
        apply(&patch, &mut object, pod()).unwrap();
        assert_eq!(object.pointer(pointer).unwrap_or(&Value::Null), &expected, "{patch}");
    }
}

#[test]
fn orders_lists_as_asked() {
    let names = |list: &[&str]| -> Value { list.iter().map(|name| json!({"name": name})).collect() };
    // Order before, items patched (`-` deletes), order asked for, order after.
    let table: [[&[&str]; 4]; 7] = [
        [&["a", "b"], &["c"], &["c", "b", "a"], &["c", "b", "a"]],
        [&["a", "b"], &["c"], &["a", "b", "c"], &["a", "b", "c"]],
        [&["a", "b"], &[], &["b", "a"], &["b", "a"]],
        [&["s", "a"], &["c"], &["a", "c"], &["s", "a", "c"]],
        [&["a", "s"], &["c"], &["a", "c"], &["a", "c", "s"]],
        [&["a", "s", "b"], &["-a"], &["b"], &["s", "b"]],
        [&[], &["b", "a"], &["b", "a"], &["b", "a"]],
    ];
    for [old, patched, order, after] in table {
        let mut object = json!({"spec": {"containers": names(old)}});
        let patched: Value = patched
            .iter()
            .map(|name| match name.strip_prefix('-') {
                Some(name) => json!({"name": name, "$patch": "delete"}),
                None => json!({"name": name}),
            })
            .collect();
        let patch = json!({"spec": {"containers": patched, "$setElementOrder/containers": names(order)}});
        apply(&patch, &mut object, pod()).unwrap();
        assert_eq!(object["spec"]["containers"], names(after), "{old:?} {patch}");
    }
    let mut object = json!({"metadata": {"finalizers": ["x/a", "x/b"]}});
    let patch = json!({"metadata": {
        "$setElementOrder/finalizers": ["x/c", "x/b"],
        "$deleteFromPrimitiveList/finalizers": ["x/a"],
        "finalizers": ["x/c"],
    }});
    apply(&patch, &mut object, pod()).unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!(["x/c", "x/b"]));
}

#[test]
fn refuses_malformed_patches() {
    let table = [
        (
            containers(json!([{"image": "x"}])),
            400,
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (containers(json!([{"$patch": "delete"}])), 400, "does not contain declared merge key: name"),
        (containers(json!([{"$patch": "nope", "name": "a"}])), 400, "unknown patch type: nope in map: "),
        (containers(json!([{"$patch": "merge", "name": "a"}])), 400, "merging lists cannot yet be specified"),
        (containers(json!([[]])), 422, "lists of lists are not supported"),
        (json!({"spec": {"$patch": "nope"}}), 400, "unknown patch type: nope in map: "),
        (json!({"spec": {"$retainKeys": 1}}), 400, "invalid patch format of retainKeys"),
        (json!({"spec": {"$retainKeys": ["a"], "nodeName": "n"}}), 400, "invalid patch format of retainKeys"),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": 1}}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": {}}}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}}),
            400,
            "doesn't match $setElementOrder list",
        ),
    ];
    for (patch, code, text) in table {
        let status = apply(&patch, &mut before(), pod()).unwrap_err();
        assert_eq!(status.code, code, "{patch}");
        assert!(status.message.contains(text), "{patch}: {}", status.message);
    }
}
