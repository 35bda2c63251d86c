//! sig-node: pods, their configuration and their nodes, as objects.

use super::operations::{Case, operations};
use super::wire::{MERGE, STRATEGIC, Wire};
use serde_json::{Value, json};

fn pod(_: &str) -> Value {
    json!({"spec": {"terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10.2"}]}})
}

fn config_map(_: &str) -> Value {
    json!({"data": {"valueName": "value"}})
}

fn secret(_: &str) -> Value {
    json!({"data": {"key": "dmFsdWU="}, "type": "Opaque"})
}

fn template(name: &str) -> Value {
    json!({"template": {"metadata": {"labels": {"app": name}}, "spec": pod(name)["spec"]}})
}

fn runtime_class(_: &str) -> Value {
    json!({"handler": "e2e"})
}

fn lease(_: &str) -> Value {
    json!({"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:05.000000Z", "leaseTransitions": 0}})
}

fn node(_: &str) -> Value {
    json!({})
}

fn device_class(_: &str) -> Value {
    json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}})
}

fn request() -> Value {
    json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}})
}

fn claim(_: &str) -> Value {
    json!({"spec": request()})
}

fn claim_template(_: &str) -> Value {
    json!({"spec": {"spec": request()}})
}

fn slice(name: &str) -> Value {
    json!({"spec": {"driver": "e2e.example.com", "nodeName": "n",
        "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d"}]}})
}

operations! {
    config_map_should_run_through_a_config_map_lifecycle: Case::new("v1", "ConfigMap", "configmaps", config_map);
    secrets_should_patch_a_secret_and_run_through_its_lifecycle: Case::new("v1", "Secret", "secrets", secret);
    pod_templates_should_run_the_lifecycle_replace_and_delete_a_collection:
        Case::new("v1", "PodTemplate", "podtemplates", template);
    pods_should_run_through_the_lifecycle_patch_a_pod_status_and_delete_a_collection:
        Case::new("v1", "Pod", "pods", pod)
            .status(json!({"message": "Patched by e2e test", "reason": "E2E"}));
    runtime_class_should_support_runtime_classes_api_operations:
        Case::new("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", runtime_class).cluster_scoped();
    lease_lease_api_should_be_available: Case::new("coordination.k8s.io/v1", "Lease", "leases", lease);
    node_lifecycle_should_run_through_the_lifecycle_of_a_node:
        Case::new("v1", "Node", "nodes", node).cluster_scoped().status(json!({"capacity": {"scheduling.k8s.io/foo": "3"}}));
    dra_crud_device_classes: Case::new("resource.k8s.io/v1", "DeviceClass", "deviceclasses", device_class)
        .cluster_scoped();
    dra_crud_resource_claims: Case::new("resource.k8s.io/v1", "ResourceClaim", "resourceclaims", claim);
    dra_crud_resource_claim_templates:
        Case::new("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates", claim_template);
    dra_crud_resource_slices: Case::new("resource.k8s.io/v1", "ResourceSlice", "resourceslices", slice)
        .cluster_scoped();
}

const PODS: &str = "/api/v1/namespaces/default/pods";

fn full(name: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": pod(name)["spec"]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_extended_should_set_the_qos_class() {
    let wire = Wire::start().await;
    let amounts = json!({"cpu": "100m", "memory": "100Mi"});
    for (name, resources, class) in [
        ("guaranteed", json!({"requests": amounts, "limits": amounts}), "Guaranteed"),
        ("burstable", json!({"requests": amounts}), "Burstable"),
        ("best-effort", json!({}), "BestEffort"),
    ] {
        let mut pod = full(name);
        pod["spec"]["containers"][0]["resources"] = resources;
        assert_eq!(wire.post(PODS, &pod).await.ok()["status"]["qosClass"], class);
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_extended_pod_generation_should_start_at_1_and_increment_per_update() {
    let wire = Wire::start().await;
    let created = wire.post(PODS, &full("p")).await.ok();
    assert_eq!(created["metadata"]["generation"], 1);
    let at = format!("{PODS}/p");
    let labelled = wire.patch(MERGE, &at, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(labelled["metadata"]["generation"], 1, "metadata is no wish");
    for (generation, patch) in [
        (2, json!({"spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.9"}]}})),
        (3, json!({"spec": {"activeDeadlineSeconds": 100}})),
        (4, json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}})),
    ] {
        let patched = wire.patch(STRATEGIC, &at, &patch).await.ok();
        assert_eq!(patched["metadata"]["generation"], generation, "{patched}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_should_allow_active_deadline_seconds_to_be_updated_and_little_else() {
    let wire = Wire::start().await;
    wire.post(PODS, &full("p")).await.ok();
    let at = format!("{PODS}/p");
    let updated = wire.update(&at, |pod| pod["spec"]["activeDeadlineSeconds"] = 5.into()).await;
    assert_eq!(updated["spec"]["activeDeadlineSeconds"], 5);
    let refused = wire.patch(STRATEGIC, &at, &json!({"spec": {"hostname": "other"}})).await.refused(422);
    assert!(refused.contains("pod updates may not change fields other than"), "{refused}");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_map_should_be_immutable_if_immutable_field_is_set() {
    let wire = Wire::start().await;
    for (kind, plural) in [("ConfigMap", "configmaps"), ("Secret", "secrets")] {
        let path = format!("/api/v1/namespaces/default/{plural}");
        let object =
            json!({"kind": kind, "apiVersion": "v1", "metadata": {"name": "one"}, "immutable": true});
        wire.post(&path, &object).await.ok();
        let at = format!("{path}/one");
        let refused = wire.patch(MERGE, &at, &json!({"data": {"a": "Yg=="}})).await.refused(422);
        assert!(refused.contains("field is immutable when `immutable` is set"), "{refused}");
        let refused = wire.patch(MERGE, &at, &json!({"immutable": false})).await.refused(422);
        assert!(refused.contains("field is immutable when `immutable` is set"), "{refused}");
        wire.patch(MERGE, &at, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
        assert_eq!(wire.delete(&at).await.code, 200);
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_map_and_secret_should_fail_to_create_due_to_an_empty_key() {
    let wire = Wire::start().await;
    for (kind, plural) in [("ConfigMap", "configmaps"), ("Secret", "secrets")] {
        let object =
            json!({"kind": kind, "apiVersion": "v1", "metadata": {"name": "one"}, "data": {"": "Yg=="}});
        let refused = wire.post(&format!("/api/v1/namespaces/default/{plural}"), &object).await.refused(422);
        assert!(refused.contains("data[]: Invalid value: \"\""), "{refused}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runtime_class_should_reject_a_pod_requesting_a_non_existent_or_deleted_runtime_class() {
    let wire = Wire::start().await;
    let with = |name: &str| {
        let mut pod = full(name);
        pod["spec"]["runtimeClassName"] = "e2e".into();
        pod
    };
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let gone = "pod rejected: RuntimeClass \"e2e\" not found";
    let refused = wire.post(PODS, &with("a")).await.refused(403);
    assert!(refused.contains(gone), "{refused}");
    let class = json!({"kind": "RuntimeClass", "apiVersion": "node.k8s.io/v1", "metadata": {"name": "e2e"},
        "handler": "e2e", "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
    wire.post(classes, &class).await.ok();
    let made = wire.post(PODS, &with("a")).await.ok();
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "10m", "memory": "1Mi"}));
    wire.delete(&format!("{classes}/e2e")).await.ok();
    let refused = wire.post(PODS, &with("b")).await.refused(403);
    assert!(refused.contains(gone), "{refused}");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sysctls_should_reject_invalid_sysctls() {
    let wire = Wire::start().await;
    let mut pod = full("p");
    pod["spec"]["securityContext"] = json!({"sysctls": [
        {"name": "foo-", "value": "bar"}, {"name": "kernel.shmmax", "value": "100000000"},
        {"name": "safe-and-unsafe", "value": "100000000"}, {"name": "bar..", "value": "42"}]});
    let refused = wire.post(PODS, &pod).await.refused(422);
    for (name, wrong) in
        [("foo-", true), ("bar..", true), ("safe-and-unsafe", false), ("kernel.shmmax", false)]
    {
        assert_eq!(refused.contains(&format!("Invalid value: \"{name}\"")), wrong, "{refused}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_extended_pod_generation_of_a_gracefully_deleted_pod_grows() {
    let wire = Wire::start().await;
    let mut pod = full("p");
    pod["spec"]["nodeName"] = "nowhere".into();
    pod["metadata"]["finalizers"] = json!(["example.com/held"]);
    wire.post(PODS, &pod).await.ok();
    let deleted = wire.delete(&format!("{PODS}/p")).await.ok();
    assert_eq!(deleted["metadata"]["generation"], 2, "{deleted}");
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    wire.stop().await;
}
