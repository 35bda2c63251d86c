//! What is the same for every kind: discovery, create, get, list, watch, patch, update, apply, status, delete,
//! collection.

use super::wire::{MERGE, NAMESPACE, STRATEGIC, Wire, revision};
use serde_json::{Value, json};

/// A kind, and an object of it.
pub(crate) struct Case {
    /// `apps/v1`, or `v1`.
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    /// The names of two objects.
    pub(crate) names: [&'static str; 2],
    /// The object without kind, apiVersion and metadata, by name.
    pub(crate) object: fn(&str) -> Value,
    /// A merge patch of what the author wishes, if the kind counts generations: it must bump the generation.
    pub(crate) wish: Option<Value>,
    /// A merge patch of the status, if there is one.
    pub(crate) status: Option<Value>,
}

impl Case {
    pub(crate) fn new(
        api_version: &'static str,
        kind: &'static str,
        plural: &'static str,
        object: fn(&str) -> Value,
    ) -> Self {
        let names = ["one", "two"];
        Self { api_version, kind, plural, namespaced: true, names, object, wish: None, status: None }
    }

    pub(crate) fn cluster_scoped(self) -> Self {
        Self { namespaced: false, ..self }
    }

    pub(crate) fn named(self, one: &'static str, two: &'static str) -> Self {
        Self { names: [one, two], ..self }
    }

    pub(crate) fn wish(self, wish: Value) -> Self {
        Self { wish: Some(wish), ..self }
    }

    pub(crate) fn status(self, status: Value) -> Self {
        Self { status: Some(status), ..self }
    }

    fn root(&self) -> String {
        match self.api_version.contains('/') {
            true => format!("/apis/{}", self.api_version),
            false => format!("/api/{}", self.api_version),
        }
    }

    /// Where objects are listed; across all namespaces the second.
    fn paths(&self) -> (String, String) {
        let (root, plural) = (self.root(), self.plural);
        let all = format!("{root}/{plural}");
        (if self.namespaced { format!("{root}/namespaces/{NAMESPACE}/{plural}") } else { all.clone() }, all)
    }

    fn full(&self, name: &str) -> Value {
        let mut object = json!({"kind": self.kind, "apiVersion": self.api_version,
            "metadata": {"name": name, "labels": {"e2e": "conformance"}}});
        for (field, value) in (self.object)(name).as_object().into_iter().flatten() {
            object[field] = value.clone();
        }
        object
    }
}

const MARKED: &str = "labelSelector=e2e%3Dconformance";

fn is(name: &str) -> impl Fn(&Value) -> bool + '_ {
    move |object| object["metadata"]["name"] == name
}

fn annotated<'a>(name: &'a str, key: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |object| object["metadata"]["name"] == name && object["metadata"]["annotations"][key] == "true"
}

/// Every operation on objects of a kind.
pub(crate) async fn run(case: Case) {
    run_in(Wire::start().await, case).await;
}

/// [`run`] in a cluster where something is there already.
pub(crate) async fn run_in(wire: Wire, case: Case) {
    discovered(&wire, &case).await;
    let (path, all) = case.paths();
    let [one, two] = case.names;
    let at = format!("{path}/{one}");
    let start = revision(&wire.get(&path).await.ok()).to_string();
    let mut watch = wire.watch(&path, &start, MARKED).await;

    for name in [one, two] {
        let created = wire.post(&path, &case.full(name)).await;
        assert_eq!(created.code, 201, "{}", created.body);
        assert_eq!(
            (&created.body["kind"], &created.body["apiVersion"]),
            (&json!(case.kind), &json!(case.api_version))
        );
        let seen = watch.sees("ADDED", is(name)).await;
        assert_eq!(seen["metadata"]["uid"], created.body["metadata"]["uid"]);
    }
    wire.post(&path, &case.full(one)).await.refused(409);
    let got = wire.get(&at).await.ok();
    assert_eq!(got["metadata"]["name"], one);
    for list in [&path, &all] {
        let list = wire.get(&format!("{list}?{MARKED}")).await.ok();
        assert_eq!(list["kind"], format!("{}List", case.kind));
        assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "{list}");
    }
    let one_only = wire.get(&format!("{all}?fieldSelector=metadata.name%3D{one}")).await.ok();
    assert_eq!(one_only["items"].as_array().map(Vec::len), Some(1));

    for (kind, key) in [(MERGE, "merged"), (STRATEGIC, "strategic")] {
        let patch = json!({"metadata": {"annotations": {key: "true"}}});
        let patched = wire.patch(kind, &at, &patch).await.ok();
        assert!(annotated(one, key)(&patched) && revision(&patched) > revision(&got), "{patched}");
        watch.sees("MODIFIED", annotated(one, key)).await;
    }
    let applied = json!({"kind": case.kind, "apiVersion": case.api_version,
        "metadata": {"name": one, "annotations": {"applied": "true"}}});
    let to = format!("{at}?fieldManager=conformance");
    let applied = wire.patch("application/apply-patch+yaml", &to, &applied).await.ok();
    assert!(annotated(one, "applied")(&applied));
    let updated =
        wire.update(&at, |object| object["metadata"]["annotations"]["updated"] = "true".into()).await;
    assert!(annotated(one, "updated")(&updated) && revision(&updated) > revision(&applied));
    watch.sees("MODIFIED", annotated(one, "updated")).await;
    // A stale version is told from a new one.
    wire.put(&at, &got).await.refused(409);

    if let Some(wish) = &case.wish {
        let before = wire.get(&at).await.ok()["metadata"]["generation"].as_i64().expect("a generation");
        let patched = wire.patch(MERGE, &at, wish).await.ok();
        assert_eq!(patched["metadata"]["generation"], before + 1, "{patched}");
    }
    if let Some(status) = &case.status {
        has_status(&wire, &at, status).await;
    }

    let gone = wire.delete(&at).await;
    assert!(matches!(gone.code, 200 | 202), "{} {}", gone.code, gone.body);
    wire.eventually(&at, |answer| answer.code == 404).await;
    watch.sees("DELETED", is(one)).await;
    wire.delete(&format!("{path}?{MARKED}")).await.ok();
    watch.sees("DELETED", is(two)).await;
    let nothing = |answer: &super::wire::Answer| answer.body["items"].as_array().is_some_and(Vec::is_empty);
    wire.eventually(&format!("{path}?{MARKED}"), nothing).await;
    wire.stop().await;
}

/// The group, its version and the resource are in the documents.
async fn discovered(wire: &Wire, case: &Case) {
    if let Some((group, version)) = case.api_version.split_once('/') {
        let groups = wire.get("/apis").await.ok();
        let mut groups = groups["groups"].as_array().into_iter().flatten();
        assert!(groups.any(|g| g["name"] == group), "{group} is in /apis");
        let document = wire.get(&format!("/apis/{group}")).await.ok();
        let mut versions = document["versions"].as_array().into_iter().flatten();
        assert!(versions.any(|v| v["version"] == version), "{version} is in /apis/{group}");
    }
    let resources = wire.get(&case.root()).await.ok();
    let names: Vec<&str> =
        resources["resources"].as_array().into_iter().flatten().filter_map(|r| r["name"].as_str()).collect();
    assert!(names.contains(&case.plural), "{} is among {names:?}", case.plural);
    let status = format!("{}/status", case.plural);
    assert!(case.status.is_none() || names.contains(&&*status), "{status} is among {names:?}");
}

/// The status is read, patched and updated on its own.
async fn has_status(wire: &Wire, at: &str, status: &Value) {
    let at = format!("{at}/status");
    let before = wire.get(&at).await.ok();
    let mut wanted = json!({"metadata": {"annotations": {"patchedstatus": "true"}}});
    wanted["status"] = status.clone();
    let patched = wire.patch(MERGE, &at, &wanted).await.ok();
    holds(&patched["status"], status);
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
    assert_eq!(patched["metadata"]["generation"], before["metadata"]["generation"], "a status is no wish");
    let updated = wire
        .update(&at, |object| {
            for (field, value) in status.as_object().into_iter().flatten() {
                object["status"][field] = value.clone();
            }
            object["metadata"]["annotations"]["updatedstatus"] = "true".into();
        })
        .await;
    holds(&updated["status"], status);
    assert_eq!(updated["metadata"]["annotations"]["updatedstatus"], "true");
}

/// Whether a value says at least what another says.
#[track_caller]
fn holds(value: &Value, wanted: &Value) {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().for_each(|(field, wanted)| holds(value.get(field).unwrap_or(&Value::Null), wanted));
        }
        (Value::Array(value), Value::Array(wanted)) if value.len() == wanted.len() => {
            value.iter().zip(wanted).for_each(|(value, wanted)| holds(value, wanted));
        }
        _ => assert_eq!(value, wanted),
    }
}

/// A test for each behaviour whose pattern is [`run`].
macro_rules! operations {
    ($($name:ident: $case:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::operations::run($case).await;
        })*
    };
}
pub(crate) use operations;
