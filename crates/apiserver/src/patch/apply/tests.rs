//! Applies of one manager and of several; invariants over random configurations.

use super::*;
use api::kind::{Resource, Scope};
use component_base::Context;

fn deployment() -> Resource {
    Resource::new("apps", "v1", "Deployment", "deployments", "deployment", Scope::Namespaced)
}

fn config(spec: &Value) -> Value {
    json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}, "spec": spec})
}

fn by(manager: &str, config: &Value) -> Apply {
    Apply {
        config: config.clone(),
        manager: manager.to_owned(),
        subresource: String::new(),
        force: false,
        time: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn run(live: Option<&Value>, manager: &str, config: &Value) -> Result<Value, Status> {
    apply((&deployment(), shape(&deployment())), live, &by(manager, config))
}

fn forced(live: &Value, manager: &str, config: &Value) -> Value {
    apply((&deployment(), shape(&deployment())), Some(live), &Apply { force: true, ..by(manager, config) })
        .unwrap()
}

fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

fn template(pod: &Value) -> Value {
    config(&json!({"template": {"spec": pod}}))
}

#[test]
fn owns_what_it_names() {
    let applied = json!({"kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "d", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [
            {"name": "c", "image": "i", "args": ["x"], "ports": [{"containerPort": 80}], "resources": {}},
        ]}}},
    });
    let object = run(None, "m", &applied).unwrap();
    let expected = json!({
        "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x/y\"": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:resources": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }}}},
        },
    });
    assert_eq!(owned(&object, "m"), expected);
    let entry = &object["metadata"]["managedFields"][0];
    assert_eq!((&entry["operation"], &entry["apiVersion"]), (&json!("Apply"), &json!("apps/v1")));
    assert_eq!(entry["fieldsType"], "FieldsV1");
}

#[test]
fn a_conflict_names_the_manager_and_the_field() {
    let live = run(None, "one", &config(&json!({"replicas": 1, "minReadySeconds": 1}))).unwrap();
    let status = run(Some(&live), "two", &config(&json!({"replicas": 2}))).unwrap_err();
    assert_eq!((status.code, status.reason), (409, "Conflict"));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.replicas"));
    assert_eq!(cause.message, "conflict with \"one\"");
    let status = run(Some(&live), "two", &config(&json!({"replicas": 2, "minReadySeconds": 2}))).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.minReadySeconds\n- .spec.replicas"
    );
    // The same value is shared, another one is taken by force.
    let shared = run(Some(&live), "two", &config(&json!({"replicas": 1}))).unwrap();
    assert_eq!(owned(&shared, "one"), owned(&live, "one"));
    assert_eq!(owned(&shared, "two"), json!({"f:spec": {"f:replicas": {}}}));
    let taken = forced(&live, "two", &config(&json!({"replicas": 2})));
    assert_eq!(taken["spec"]["replicas"], 2);
    assert_eq!(owned(&taken, "one"), json!({"f:spec": {"f:minReadySeconds": {}}}));
}

#[test]
fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let both =
        json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}], "hostname": "h"});
    let live = run(None, "one", &template(&both)).unwrap();
    let less =
        run(Some(&live), "one", &template(&json!({"containers": [{"name": "b", "image": "j"}]}))).unwrap();
    assert_eq!(less["spec"]["template"]["spec"], json!({"containers": [{"name": "b", "image": "j"}]}));
    let shared = run(Some(&live), "two", &template(&json!({"hostname": "h"}))).unwrap();
    let less =
        run(Some(&shared), "one", &template(&json!({"containers": [{"name": "b", "image": "j"}]}))).unwrap();
    assert_eq!(less["spec"]["template"]["spec"]["hostname"], "h");
    // The last field takes its parents along; what nobody applied stays.
    let live =
        run(None, "one", &config(&json!({"strategy": {"rollingUpdate": {"maxSurge": 1}}, "paused": true})))
            .unwrap();
    let mut changed = live.clone();
    changed["spec"]["replicas"] = 3.into();
    let less = run(Some(&changed), "one", &config(&json!({"paused": true}))).unwrap();
    assert_eq!(less["spec"], json!({"paused": true, "replicas": 3}));
}

#[test]
fn lists_merge_by_their_type() {
    let pod = json!({
        "containers": [{"name": "a", "image": "i", "args": ["1"]}, {"name": "b", "image": "j"}],
        "tolerations": [{"key": "t"}],
    });
    let live = run(None, "one", &template(&pod)).unwrap();
    let other = json!({"containers": [{"name": "x", "image": "k"}, {"name": "a", "workingDir": "/"}]});
    let merged = run(Some(&live), "two", &template(&other)).unwrap();
    assert_eq!(
        merged["spec"]["template"]["spec"]["containers"],
        json!([{"name": "x", "image": "k"}, {"name": "a", "image": "i", "args": ["1"], "workingDir": "/"},
            {"name": "b", "image": "j"}])
    );
    let status = run(Some(&live), "two", &template(&json!({"tolerations": [{"key": "u"}]}))).unwrap_err();
    assert!(status.message.ends_with(": .spec.template.spec.tolerations"), "{}", status.message);
    let status = run(Some(&live), "two", &template(&json!({"containers": [{"name": "a", "image": "z"}]})))
        .unwrap_err();
    let path = ".spec.template.spec.containers[name=\"a\"].image";
    assert!(status.message.ends_with(path), "{}", status.message);
}

#[test]
fn orders_lists_as_upstream_does() {
    let names = |list: &[&str]| {
        template(&json!({"containers": list.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()}))
    };
    let table: [(&[&str], &[&str], &[&str]); 5] = [
        (&["a", "b"], &["c"], &["a", "b", "c"]),
        (&["x", "a"], &["c", "a"], &["x", "c", "a"]),
        (&["a", "x", "b"], &["b", "a"], &["x", "b", "a"]),
        (&["a", "b"], &["b", "a"], &["b", "a"]),
        (&["a", "s"], &["a", "c"], &["a", "s", "c"]),
    ];
    for (live, applied, expected) in table {
        let live = run(None, "one", &names(live)).unwrap();
        let merged = run(Some(&live), "two", &names(applied)).unwrap();
        assert_eq!(merged["spec"], names(expected)["spec"], "{applied:?}");
    }
}

#[test]
fn objects_of_nobody_belong_to_nobody_in_particular() {
    let live = config(&json!({"replicas": 1}));
    let status = run(Some(&live), "m", &config(&json!({"replicas": 2}))).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn kubectl_inherits_what_it_applied_on_the_clients_side() {
    const NAME: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = config(&json!({"replicas": 1, "minReadySeconds": 5}));
    live["metadata"]["annotations"] =
        json!({NAME: config(&json!({"replicas": 1, "minReadySeconds": 4})).to_string()});
    let applied = config(&json!({"replicas": 2}));
    assert_eq!(run(Some(&live), "other", &applied).unwrap_err().code, 409);
    let object = run(Some(&live), "kubectl", &applied).unwrap();
    assert_eq!(object["spec"]["replicas"], 2);
    let noted: Value =
        serde_json::from_str(object["metadata"]["annotations"][NAME].as_str().unwrap()).unwrap();
    assert_eq!(noted["spec"], json!({"replicas": 2}));
    // What somebody changed since is no longer the annotation's.
    let status = run(Some(&live), "kubectl", &config(&json!({"minReadySeconds": 6}))).unwrap_err();
    assert!(status.message.ends_with(".spec.minReadySeconds"), "{}", status.message);
}

#[test]
fn refuses_what_is_no_configuration() {
    let mut managed = config(&json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    let table = [
        (
            config(&json!({"nope": 1})),
            500,
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.nope: field not declared in schema",
        ),
        (
            template(&json!({"containers": [{"name": "a"}, {"name": "a"}]})),
            500,
            ": .spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            template(&json!({"containers": [{"image": "a"}]})),
            500,
            ".containers: element 0: associative list with keys has an element that omits key field \"name\"",
        ),
        (managed, 400, "metadata.managedFields must be nil"),
        (json!({"kind": "Pod", "apiVersion": "v1"}), 400, "invalid object type"),
    ];
    for (config, code, text) in table {
        let status = run(None, "m", &config).unwrap_err();
        assert_eq!(status.code, code);
        assert!(status.message.contains(text), "{}", status.message);
    }
}

/// A configuration made of some of the fields that exist, with the one value that each may have.
fn random(context: &Context, of: u64) -> Value {
    let mut pod = json!({});
    let mut spec = json!({});
    let mut metadata = json!({"name": "d"});
    let chosen = || context.rng.below(of) == 0;
    for (field, value) in
        [("replicas", json!(1)), ("paused", json!(true)), ("selector", json!({"matchLabels": {"a": "b"}}))]
    {
        if chosen() {
            spec[field] = value;
        }
    }
    for (field, value) in [
        ("hostname", json!("h")),
        ("nodeSelector", json!({"a": "b"})),
        ("tolerations", json!([{"key": "k"}])),
    ] {
        if chosen() {
            pod[field] = value;
        }
    }
    let containers: Vec<Value> = ["a", "b", "c"]
        .iter()
        .filter(|_| chosen())
        .map(|name| {
            let mut container = json!({"name": name});
            for (field, value) in [
                ("image", json!("i")),
                ("env", json!([{"name": "E", "value": "v"}])),
                ("ports", json!([{"containerPort": 1}])),
            ] {
                if chosen() {
                    container[field] = value;
                }
            }
            container
        })
        .collect();
    if !containers.is_empty() {
        pod["containers"] = containers.into();
    }
    if pod != json!({}) {
        spec["template"] = json!({"spec": pod});
    }
    for field in ["labels", "annotations"] {
        for key in ["x", "y"] {
            if chosen() {
                metadata[field][key] = "z".into();
            }
        }
    }
    if chosen() {
        metadata["finalizers"] = json!(["e/f"]);
    }
    json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": spec})
}

/// Without entries, and with lists in the order of their names.
fn essence(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().unwrap().shift_remove("managedFields");
    if let Some(containers) =
        object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut)
    {
        containers.sort_by_key(|c| c["name"].to_string());
    }
    object
}

#[test]
fn applies_are_idempotent_commute_and_can_be_taken_back() {
    for seed in 0..300 {
        let context = Context::simulated(seed);
        let (first, one, two) = (random(&context, 2), random(&context, 2), random(&context, 2));
        let live = run(None, "base", &first).unwrap();
        // Idempotent.
        let once = run(Some(&live), "one", &one).unwrap();
        assert_eq!(run(Some(&once), "one", &one).unwrap(), once, "{one}");
        // Fields that agree or are disjoint commute.
        let onetwo = run(Some(&once), "two", &two).unwrap();
        let twoone = run(Some(&run(Some(&live), "two", &two).unwrap()), "one", &one).unwrap();
        assert_eq!(essence(&onetwo), essence(&twoone), "{one} {two}");
        for manager in ["base", "one", "two"] {
            assert_eq!(owned(&onetwo, manager), owned(&twoone, manager));
        }
        // Nothing of an applier is left once it names nothing and nobody else owns it.
        let nothing = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}});
        let back = run(Some(&onetwo), "two", &nothing).unwrap();
        assert_eq!(essence(&back), essence(&once), "{one} {two}");
        assert_eq!(owned(&back, "two"), Value::Null);
        let back = run(Some(&run(Some(&back), "one", &nothing).unwrap()), "base", &nothing).unwrap();
        assert_eq!(essence(&back), nothing);
    }
}

/// Any JSON, of names that mean something here.
fn garbage(context: &Context, depth: u64) -> Value {
    const NAMES: [&str; 14] = [
        "metadata",
        "spec",
        "template",
        "containers",
        "name",
        "ports",
        "containerPort",
        "finalizers",
        "labels",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "status",
    ];
    let below = |n: usize| usize::try_from(context.rng.below(n as u64)).unwrap();
    let kinds = if depth == 0 { 5 } else { 9 };
    match below(kinds) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(below(3)),
        3 => json!(["delete", "replace", "merge", "a"][below(4)]),
        4 => json!("a"),
        5 => (0..below(4)).map(|_| garbage(context, depth - 1)).collect(),
        _ => {
            let names = (0..below(6)).map(|_| NAMES[below(NAMES.len())].to_owned());
            Value::Object(names.map(|name| (name, garbage(context, depth - 1))).collect())
        }
    }
}

#[test]
fn survives_garbage() {
    let ty = Schema::get().type_by_gvk("apps", "v1", "Deployment").unwrap();
    for seed in 0..3000 {
        let context = Context::simulated(seed);
        let (mut one, two) = (garbage(&context, 6), garbage(&context, 6));
        let (mut config, live) = (two.clone(), random(&context, 2));
        if let Some(fields) = config.as_object_mut() {
            fields.insert("kind".to_owned(), "Deployment".into());
            fields.insert("apiVersion".to_owned(), "apps/v1".into());
        }
        for live in [&one, &live] {
            if live.is_object() {
                // Whatever comes of it.
                drop(run(Some(live), "m", &config).and_then(|object| run(Some(&object), "m", &config)));
            }
            drop(compare(live, &two, Shape::Struct(ty)));
            drop(compare(live, &two, Shape::Unknown));
        }
        drop(crate::patch::strategic::apply(&two, &mut one, ty));
    }
}
