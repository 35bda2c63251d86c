//! The matrix with the Python client: one process that tries everything and tells as JSON.

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::kinds::{Kind, question};
use tests::root;
use tests::served::Served;

use super::matrix::{Matrix, Outcome, VERBS};
use super::prepare;

/// The matrix's name for it.
pub(crate) const CLIENT: &str = "python";
const TAG: &str = "py";

/// Tries every verb on every kind.
pub(crate) async fn run(served: &Served, kinds: &[Kind], matrix: &mut Matrix) {
    prepare::namespaces(served, TAG).await;
    let stored: Vec<&Kind> = kinds.iter().filter(|kind| kind.has("create") && kind.has("get")).collect();
    let [first, second] = ["a", "b"].map(|set| prepare::objects(&stored, TAG, set));
    let mut tasks: Vec<Value> = first
        .iter()
        .zip(&second)
        .map(|(first, second)| task(first.kind, json!({"object": first.object, "second": second.object})))
        .collect();
    for kind in kinds {
        if let Some(mut body) = question(&kind.kind, &prepare::namespace(TAG)) {
            body["metadata"] = json!({});
            body["apiVersion"] = kind.api_version().into();
            body["kind"] = kind.kind.as_str().into();
            if kind.namespaced {
                body["metadata"]["namespace"] = prepare::namespace(TAG).into();
            }
            tasks.push(task(kind, json!({"question": body})));
        } else if kind.kind == "Binding" {
            let (pod, binding) = prepare::bound(&prepare::namespace(TAG));
            tasks.push(task(kind, json!({"pod": pod, "binding": binding})));
        } else if !kind.has("create") {
            tasks.push(task(kind, json!({})));
        }
    }
    for kind in kinds {
        for verb in VERBS.into_iter().filter(|verb| !prepare::serves(kind, verb)) {
            matrix.note(CLIENT, &kind.label(), verb, Outcome::NotServed);
        }
    }
    let file = served.file("tasks.json", &Value::from(tasks).to_string());
    let script = root().join("tests/python/matrix.py");
    let script = script.to_str().expect("a path of letters");
    let said = served.run(&interpreter(), &[script, &file]).await.ok();
    for line in said.lines() {
        let told: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        let outcome = if told["error"].is_null() { Outcome::Passed } else { Outcome::Failed(text("error")) };
        matrix.note(CLIENT, &text("kind"), &text("verb"), outcome);
    }
}

fn task(kind: &Kind, mut task: Value) -> Value {
    let verbs: Vec<&str> = VERBS.into_iter().filter(|verb| prepare::serves(kind, verb)).collect();
    let facts = json!({"label": kind.label(), "group": kind.group, "version": kind.version, "kind": kind.kind,
        "namespaced": kind.namespaced, "verbs": verbs, "status": kind.status_patch(), "tag": TAG});
    for (field, value) in facts.as_object().into_iter().flatten() {
        task[field] = value.clone();
    }
    task
}

/// A Python that has the package `kubernetes`: `MINIK_PYTHON`, else the one on PATH.
fn interpreter() -> PathBuf {
    std::env::var_os("MINIK_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from)
}
