//! sig-apps: workloads, as far as their objects alone show it.

use super::operations::{Case, operations};
use super::wire::{MERGE, Wire};
use serde_json::{Value, json};

fn template(name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10.2"}]}})
}

fn workload(name: &str) -> Value {
    json!({"spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name), "replicas": 0}})
}

fn daemon_set(name: &str) -> Value {
    json!({"spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name)}})
}

fn stateful_set(name: &str) -> Value {
    let mut object = workload(name);
    object["spec"]["serviceName"] = "none".into();
    object
}

fn replication_controller(name: &str) -> Value {
    json!({"spec": {"selector": {"app": name}, "template": template(name), "replicas": 0}})
}

fn job(name: &str) -> Value {
    let mut template = template(name);
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"spec": {"suspend": true, "template": template}})
}

fn cron_job(name: &str) -> Value {
    json!({"spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": job(name)}})
}

fn budget(name: &str) -> Value {
    json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}})
}

fn revision(_: &str) -> Value {
    json!({"revision": 1, "data": {"spec": {"a": 1}}})
}

/// A condition that no controller writes.
fn condition() -> Value {
    json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}])
}

operations! {
    cron_job_should_support_cron_job_api_operations: Case::new("batch/v1", "CronJob", "cronjobs", cron_job)
        .wish(json!({"spec": {"schedule": "1 0 1 1 *"}}))
        .status(json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}));
    controller_revision_should_manage_the_lifecycle_of_a_controller_revision:
        Case::new("apps/v1", "ControllerRevision", "controllerrevisions", revision);
    disruption_controller_should_create_update_patch_status_and_delete_a_collection_of_a_pod_disruption_budget:
        Case::new("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", budget)
            .wish(json!({"spec": {"minAvailable": 2}}));
    deployment_should_validate_deployment_status_endpoints_and_delete_a_collection:
        Case::new("apps/v1", "Deployment", "deployments", workload).wish(json!({"spec": {"minReadySeconds": 3}}));
    replica_set_should_list_and_delete_a_collection_of_replica_sets:
        Case::new("apps/v1", "ReplicaSet", "replicasets", workload).wish(json!({"spec": {"minReadySeconds": 3}}));
    stateful_set_should_list_patch_and_delete_a_collection_of_stateful_sets:
        Case::new("apps/v1", "StatefulSet", "statefulsets", stateful_set)
            .wish(json!({"spec": {"minReadySeconds": 3}}));
    daemon_set_should_list_and_delete_a_collection_of_daemon_sets:
        Case::new("apps/v1", "DaemonSet", "daemonsets", daemon_set).wish(json!({"spec": {"minReadySeconds": 3}}));
    job_should_manage_the_lifecycle_of_a_job: Case::new("batch/v1", "Job", "jobs", job)
        .wish(json!({"spec": {"parallelism": 2}}));
    replication_controller_should_test_the_lifecycle_of_a_replication_controller:
        Case::new("v1", "ReplicationController", "replicationcontrollers", replication_controller)
            .wish(json!({"spec": {"minReadySeconds": 3}}));
}

/// Conditions that a client writes into a status stay beside those of the controllers.
async fn status_conditions(api_version: &str, kind: &str, plural: &str, object: Value) {
    let wire = Wire::start().await;
    let path = format!("/apis/{api_version}/namespaces/default/{plural}");
    let mut full = json!({"kind": kind, "apiVersion": api_version, "metadata": {"name": "one"}});
    full["spec"] = object["spec"].clone();
    wire.post(&path, &full).await.ok();
    let status = format!("{path}/one/status");
    wire.patch(MERGE, &status, &json!({"status": {"conditions": condition()}})).await.ok();
    let has = |answer: &super::wire::Answer| {
        let mut conditions = answer.body["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "StatusUpdate" && c["message"] == "Set from e2e test")
    };
    wire.eventually(&status, has).await;
    let updated = wire
        .update(&status, |object| {
            object["status"]["conditions"] = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E",
                "message": "Updated from e2e test"}]);
        })
        .await;
    assert_eq!(updated["status"]["conditions"][0]["message"], "Updated from e2e test");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployment_should_validate_deployment_status_endpoints() {
    status_conditions("apps/v1", "Deployment", "deployments", workload("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_set_should_validate_replica_set_status_endpoints() {
    status_conditions("apps/v1", "ReplicaSet", "replicasets", workload("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stateful_set_should_validate_stateful_set_status_endpoints() {
    status_conditions("apps/v1", "StatefulSet", "statefulsets", stateful_set("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemon_set_should_verify_changes_to_a_daemon_set_status() {
    status_conditions("apps/v1", "DaemonSet", "daemonsets", daemon_set("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_should_apply_changes_to_a_job_status() {
    status_conditions("batch/v1", "Job", "jobs", job("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disruption_controller_should_update_and_patch_the_status_of_a_pod_disruption_budget() {
    status_conditions("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", budget("one")).await;
}

/// A scale subresource is read, updated and patched, and the object follows.
async fn scale(api_version: &str, kind: &str, plural: &str, object: Value) {
    let wire = Wire::start().await;
    let root = if api_version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{api_version}") };
    let path = format!("{root}/namespaces/default/{plural}");
    let mut full = json!({"kind": kind, "apiVersion": api_version, "metadata": {"name": "one"}});
    full["spec"] = object["spec"].clone();
    wire.post(&path, &full).await.ok();
    let at = format!("{path}/one/scale");
    let scale = wire.get(&at).await.ok();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(scale["spec"]["replicas"].as_i64().unwrap_or(0), 0);
    let mut wanted = scale.clone();
    wanted["metadata"]["resourceVersion"] = Value::Null;
    wanted["spec"]["replicas"] = 2.into();
    assert_eq!(wire.put(&at, &wanted).await.ok()["spec"]["replicas"], 2);
    assert_eq!(wire.get(&format!("{path}/one")).await.ok()["spec"]["replicas"], 2);
    let patched = wire.patch(MERGE, &at, &json!({"spec": {"replicas": 4}})).await.ok();
    assert_eq!(patched["spec"]["replicas"], 4);
    assert_eq!(wire.get(&format!("{path}/one")).await.ok()["spec"]["replicas"], 4);
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployment_should_have_a_working_scale_subresource() {
    scale("apps/v1", "Deployment", "deployments", workload("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_set_should_have_a_working_scale_subresource() {
    scale("apps/v1", "ReplicaSet", "replicasets", workload("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stateful_set_should_have_a_working_scale_subresource() {
    scale("apps/v1", "StatefulSet", "statefulsets", stateful_set("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replication_controller_should_get_and_update_a_replication_controller_scale() {
    scale("v1", "ReplicationController", "replicationcontrollers", replication_controller("one")).await;
}
