//! sig-api-machinery, FieldValidation: what a client writes and nobody knows is told.

use super::wire::{MERGE, STRATEGIC, Wire};
use serde_json::json;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_validation_should_detect_unknown_metadata_fields_of_a_typed_object() {
    let wire = Wire::start().await;
    let object = json!({"kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "d", "unknownMeta": "foo"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}, "unknownPodMeta": 1}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let strict = format!("{DEPLOYMENTS}?fieldValidation=Strict");
    let refused = wire.post(&strict, &object).await.refused(400);
    for field in ["metadata.unknownMeta", "spec.template.metadata.unknownPodMeta"] {
        assert!(refused.contains(&format!("unknown field \"{field}\"")), "{refused}");
    }
    let ignored = wire.post(&format!("{DEPLOYMENTS}?fieldValidation=Ignore"), &object).await;
    assert!(!ignored.headers.contains_key("warning"));
    assert!(ignored.ok()["metadata"]["unknownMeta"].is_null());
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_validation_should_detect_unknown_and_duplicate_fields_of_patches() {
    let wire = Wire::start().await;
    let object = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    wire.post(DEPLOYMENTS, &object).await.ok();
    let merge = r#"{"spec": {"paused": true, "paused": false, "unknown1": "x"}}"#;
    let json = r#"[{"op": "add", "path": "/spec/unknown1", "value": "x", "foo": "bar"},
        {"op": "add", "path": "/spec/minReadySeconds", "path": "/spec/paused", "value": true}]"#;
    let merged = [r#"duplicate field "spec.paused""#, r#"unknown field "spec.unknown1""#];
    let operated = [
        r#"json patch unknown field "[0].foo""#,
        r#"json patch duplicate field "[1].path""#,
        r#"unknown field "spec.unknown1""#,
    ];
    let patches = [
        (MERGE, merge, &merged[..]),
        (STRATEGIC, merge, &merged),
        ("application/json-patch+json", json, &operated),
    ];
    for (kind, body, problems) in patches {
        let patch = async |validation: &str| {
            let path = format!("{DEPLOYMENTS}/d?fieldValidation={validation}");
            wire.send("PATCH", &path, &[("content-type", kind)], body.into()).await
        };
        let refused = patch("Strict").await.refused(422);
        assert!(refused.contains(&format!("strict decoding error: {}", problems.join(", "))), "{refused}");
        let warned = patch("Warn").await;
        let warnings: Vec<String> = warned
            .headers
            .get_all("warning")
            .iter()
            .map(|value| value.to_str().expect("a text").replace("\\\"", "\""))
            .collect();
        assert_eq!(warnings, problems.iter().map(|p| format!("299 - \"{p}\"")).collect::<Vec<_>>(), "{kind}");
        warned.ok();
        let ignored = patch("Ignore").await;
        assert!(!ignored.headers.contains_key("warning"), "{kind}");
        ignored.ok();
    }
    wire.stop().await;
}
