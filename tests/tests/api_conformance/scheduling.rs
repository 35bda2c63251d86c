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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_range_should_create_a_limit_range_with_defaults_and_ensure_pods_have_those_defaults_applied() {
    let wire = Wire::start().await;
    let limit = |resource: &str| json!({"cpu": resource, "memory": "200Mi"});
    let range = json!({"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "range"}, "spec": {"limits": [{
        "type": "Container", "min": limit("50m"), "max": limit("500m"), "default": limit("300m"), "defaultRequest": limit("100m")}]}});
    wire.post("/api/v1/namespaces/default/limitranges", &range).await.ok();
    let pod = |name: &str, resources: Value| {
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
    };
    let pods = "/api/v1/namespaces/default/pods";
    for (name, given, resources) in [
        ("bare", json!({}), json!({"requests": limit("100m"), "limits": limit("300m")})),
        (
            "partial",
            json!({"requests": {"cpu": "200m"}}),
            json!({"requests": limit("200m"), "limits": limit("300m")}),
        ),
    ] {
        let made = wire.post(pods, &pod(name, given)).await.ok();
        assert_eq!(made["spec"]["containers"][0]["resources"], resources, "{name}");
    }
    for (given, why) in [
        (json!({"requests": {"cpu": "10m"}}), "minimum cpu usage per Container is 50m, but request is 10m"),
        (json!({"limits": {"cpu": "600m"}}), "maximum cpu usage per Container is 500m, but limit is 600m"),
    ] {
        let refused = wire.post(pods, &pod("refused", given)).await.refused(403);
        assert!(refused.contains(why), "{refused}");
    }
    wire.stop().await;
}
