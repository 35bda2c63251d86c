//! What is recorded of webhooks: who owns what they change, and how often they were asked.

use super::{MAPS, MUTATING, cluster, configure, hook, map, rule};
use serde_json::json;
use tests::raw::{create, get, text};
use tests::tls_server::{Webhook, patched};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_cannot_break_the_record_of_owners_and_is_counted() {
    let (cluster, client) = cluster().await;
    let webhook = Webhook::start(&["localhost"], |_, request| {
        if request["object"]["metadata"]["name"] == "refused" {
            return json!({"allowed": false, "status": {"code": 409, "message": "no"}});
        }
        patched(&json!([
            {"op": "add", "path": "/metadata/managedFields", "value": [{"manager": "x", "operation": "Nonsense"}]},
            {"op": "add", "path": "/data", "value": {"a": "b"}}]))
    })
    .await;
    let rules = json!([rule(&["CREATE"], &[""], &["configmaps"])]);
    configure(&client, MUTATING, "m", vec![hook("m", &webhook.at("/"), rules)]).await.expect("configured");
    let request = http::Request::post(format!("{MAPS}?fieldManager=me"))
        .header("content-type", "application/json")
        .body(kube::client::Body::from(map("kept", &json!({"own": "yes"})).to_string().into_bytes()))
        .expect("a request");
    let answer = client.send(request).await.expect("an answer");
    let warning =
        answer.headers().get("warning").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert!(warning.contains(".metadata.managedFields was in an invalid state after admission"), "{warning}");
    let kept = get(&client, &format!("{MAPS}/kept")).await.expect("a map");
    assert_eq!(
        (&kept["data"], &kept["metadata"]["managedFields"][0]["manager"]),
        (&json!({"a": "b"}), &json!("me"))
    );
    create(&client, MAPS, &map("refused", &json!({}))).await.expect_err("a refusal");

    let metrics = text(&client, "/metrics").await;
    for (name, labels) in [
        (
            "apiserver_admission_webhook_admission_duration_seconds_count",
            &["rejected=\"false\"", "operation=\"CREATE\""][..],
        ),
        ("apiserver_admission_webhook_request_total", &["code=\"200\"", "rejected=\"true\""]),
        (
            "apiserver_admission_webhook_rejection_count",
            &["error_type=\"no_error\"", "rejection_code=\"409\""],
        ),
    ] {
        let counted = |line: &str| {
            line.starts_with(name)
                && line.contains("name=\"m.example.com\"")
                && line.contains("type=\"admit\"")
                && labels.iter().all(|label| line.contains(label))
        };
        assert!(metrics.lines().any(counted), "{name} {labels:?}");
    }
    cluster.stop().await;
}
