//! Applies and the entries of managedFields, through requests.

use super::tests::{Answer, Api, WIDGETS};
use crate::registry::fixture::widget;
use serde_json::{Value, json};

const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

async fn apply(api: &Api, query: &str, body: &str) -> Answer {
    api.send("PATCH", &format!("{WIDGETS}/{query}"), &[APPLY], body.to_owned()).await
}

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or("").to_owned();
    entries
        .map(|e| format!("{} {} {}", text(e, "manager"), text(e, "operation"), text(e, "subresource")))
        .map(|text| text.trim_end().to_owned())
        .collect()
}

const CONFIG: &str =
    "apiVersion: test.io/v1\nkind: Widget\nmetadata: {name: a}\nspec: {color: red, size: 1}\n";

#[tokio::test]
async fn applying_creates_and_the_same_again_changes_nothing() {
    let api = Api::new().await;
    let created = apply(&api, "a?fieldManager=m", CONFIG).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let again = apply(&api, "a?fieldManager=m", CONFIG).await;
    assert_eq!((again.code, again.json()), (200, created.json()));
    let dry = apply(&api, "b?fieldManager=m&dryRun=All", &CONFIG.replace("name: a", "name: b")).await;
    assert_eq!(dry.code, 201, "{}", dry.text);
    assert_eq!(api.get(&format!("{WIDGETS}/b")).await.code, 404);
    // JSON is YAML, and the name may be the path's.
    let json = json!({"apiVersion": "test.io/v1", "kind": "Widget", "spec": {"color": "red", "size": 1}});
    let again = apply(&api, "a?fieldManager=m", &json.to_string()).await;
    assert_eq!((again.code, again.json()), (200, created.json()));
    assert_eq!(managers(&created.json()), ["m Apply"]);
    let escaped = r#"{"apiVersion":"test.io/v1","kind":"Widget","spec":{"note":"\ud83d\ude00\/"}}"#;
    let other = apply(&api, "c?fieldManager=m", escaped).await.json();
    assert_eq!(other["spec"]["note"], "\u{1f600}/");
    let less = apply(&api, "a?fieldManager=m", &CONFIG.replace(", size: 1", "")).await.json();
    assert_eq!(less["spec"], json!({"color": "red"}));
}

#[tokio::test]
async fn appliers_at_the_same_time_all_get_their_fields() {
    let api = Api::new().await;
    let appliers = (0..8).map(|n| {
        let api = &api;
        async move {
            let config = CONFIG.replace("{color: red, size: 1}", &format!("{{f{n}: {n}}}"));
            let answer = apply(api, &format!("a?fieldManager=m{n}"), &config).await;
            assert!(matches!(answer.code, 200 | 201), "{}", answer.text);
            answer.code
        }
    });
    let codes = futures::future::join_all(appliers).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 1);
    let object = api.get(&format!("{WIDGETS}/a")).await.json();
    assert_eq!(managers(&object).len(), 8);
    assert!((0..8).all(|n| object["spec"][format!("f{n}")] == n), "{object}");
}

#[tokio::test]
async fn refuses_applies_in_upstreams_words() {
    let api = Api::new().await;
    apply(&api, "a?fieldManager=m", CONFIG).await;
    let other = CONFIG.replace("size: 1", "size: 2");
    let table = [
        (
            "a",
            CONFIG,
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        ("a?fieldManager=n", &other, 409, "Apply failed with 1 conflict: conflict with \"m\": .spec.size"),
        ("a?fieldManager=n", "{", 400, "error decoding YAML"),
        (
            "b?fieldManager=n",
            CONFIG,
            400,
            "the name of the object (a) does not match the name on the URL (b)",
        ),
        ("b/status?fieldManager=n", "{apiVersion: test.io/v1, kind: Widget}", 404, "not found"),
    ];
    for (query, body, code, text) in table {
        let answer = apply(&api, query, body).await;
        assert_eq!(answer.code, code, "{query}: {}", answer.text);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(text), "{message}");
    }
    let forced = apply(&api, "a?fieldManager=n&force=true", &other).await;
    assert_eq!((forced.code, &forced.json()["spec"]["size"]), (200, &json!(2)));
    let uri = format!("{WIDGETS}/a?force=true");
    let answer = api.send("PATCH", &uri, &[MERGE], "{}").await;
    assert_eq!(answer.code, 422);
    assert!(answer.text.contains("may not be specified for non-apply patch"), "{}", answer.text);
}

#[tokio::test]
async fn each_writer_owns_what_it_wrote_through_its_subresource() {
    let api = Api::new().await;
    let agent = ("user-agent", "tool/v1.2 (linux)");
    let created = api.send("POST", WIDGETS, &[agent], widget("a").to_string()).await.json();
    assert_eq!(managers(&created), ["tool Update"]);
    assert_eq!(
        created["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {".": {}, "f:color": {}}})
    );
    let status = r#"{apiVersion: test.io/v1, kind: Widget, status: {ok: true}, spec: {color: no}}"#;
    let applied = apply(&api, "a/status?fieldManager=s", status).await.json();
    assert_eq!(managers(&applied), ["s Apply status", "tool Update"]);
    assert_eq!((&applied["status"], &applied["spec"]["color"]), (&json!({"ok": true}), &json!("grey")));
    let uri = format!("{WIDGETS}/a");
    let patch = r#"{"spec":{"color":"blue"}}"#;
    let patched = api.send("PATCH", &format!("{uri}?fieldManager=p"), &[MERGE], patch).await.json();
    assert_eq!(managers(&patched), ["s Apply status", "p Update", "tool Update"]);
    // The same again, by whomever, is no write; so is a PUT of what was read, with the entries or without.
    let again = api.send("PATCH", &format!("{uri}?fieldManager=q"), &[MERGE], patch).await.json();
    assert_eq!(again, patched);
    let mut bare = patched.clone();
    bare["metadata"].as_object_mut().unwrap().shift_remove("managedFields");
    for body in [&patched, &bare] {
        assert_eq!(api.send("PUT", &uri, &[agent], body.to_string()).await.json(), patched);
    }
    let reset = r#"{"metadata":{"managedFields":[{}]}}"#;
    let reset = api.send("PATCH", &uri, &[MERGE], reset).await.json();
    assert!(reset["metadata"]["managedFields"].is_null());
    assert_eq!(reset["spec"], patched["spec"]);
}
