//! sig-scheduling: classes and ranges.

use super::operations::{Case, operations};
use super::wire::{MERGE, Wire};
use serde_json::{Value, json};

fn limit_range(_: &str) -> Value {
    json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}}]}})
}

fn priority_class(_: &str) -> Value {
    json!({"value": 1000, "description": "e2e"})
}

operations! {
    limit_range_should_list_patch_and_delete_a_limit_range_by_collection:
        Case::new("v1", "LimitRange", "limitranges", limit_range);
    priority_class_endpoints_verify_priority_class_endpoints_can_be_operated_with_different_http_methods:
        Case::new("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", priority_class).cluster_scoped();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priority_class_endpoints_keep_the_value_as_it_is() {
    let wire = Wire::start().await;
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = json!({"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": "p"}, "value": 10});
    wire.post(path, &class).await.ok();
    let refused = wire.patch(MERGE, &format!("{path}/p"), &json!({"value": 20})).await.refused(422);
    assert!(refused.contains("may not be changed in an update"), "{refused}");
    let described = wire.patch(MERGE, &format!("{path}/p"), &json!({"description": "new"})).await.ok();
    assert_eq!((&described["value"], &described["description"]), (&json!(10), &json!("new")));
    wire.stop().await;
}
