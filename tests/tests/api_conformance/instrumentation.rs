//! sig-instrumentation: events in both groups.

use super::operations::{Case, operations};
use super::wire::Wire;
use serde_json::{Value, json};

fn core(_: &str) -> Value {
    json!({"message": "This is a test event", "reason": "Test", "type": "Normal",
        "source": {"component": "test-event"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}})
}

fn new(_: &str) -> Value {
    json!({"note": "This is a test event", "reason": "Test", "type": "Normal", "action": "Do",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/controller",
        "reportingInstance": "instance", "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}})
}

operations! {
    events_should_manage_the_lifecycle_of_an_event_and_delete_a_collection_of_events:
        Case::new("v1", "Event", "events", core);
    events_api_should_ensure_that_an_event_can_be_fetched_patched_deleted_and_listed_and_delete_a_collection:
        Case::new("events.k8s.io/v1", "Event", "events", new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_the_same_in_both_groups() {
    let wire = Wire::start().await;
    let mut event = new("");
    event["kind"] = "Event".into();
    event["apiVersion"] = "events.k8s.io/v1".into();
    event["metadata"] = json!({"name": "e"});
    let created = wire.post("/apis/events.k8s.io/v1/namespaces/default/events", &event).await.ok();
    let core = wire.get("/api/v1/namespaces/default/events/e").await.ok();
    assert_eq!(core["metadata"]["uid"], created["metadata"]["uid"]);
    assert_eq!(
        (&core["message"], &core["reportingComponent"]),
        (&created["note"], &created["reportingController"])
    );
    wire.stop().await;
}
