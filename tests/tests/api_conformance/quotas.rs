//! sig-api-machinery, ResourceQuota: what is used is counted, and given back when it goes.

use super::wire::{NAMESPACE, Wire};
use serde_json::{Value, json};

/// A namespace with a quota whose use is known.
struct Quota {
    wire: Wire,
}

impl Quota {
    async fn start(spec: Value) -> Self {
        let wire = Wire::start().await;
        let object =
            json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": spec});
        wire.post(&path("", "v1", "resourcequotas"), &object).await.ok();
        let quota = Self { wire };
        quota.wire.eventually(&quota.at(), |answer| answer.body["status"]["used"] != Value::Null).await;
        quota
    }

    fn at(&self) -> String {
        format!("{}/q", path("", "v1", "resourcequotas"))
    }

    /// Waits until so much is used of each.
    async fn uses(&self, used: &Value) {
        let counted = |answer: &super::wire::Answer| {
            used.as_object()
                .expect("names and amounts")
                .iter()
                .all(|(name, amount)| answer.body["status"]["used"][name] == *amount)
        };
        self.wire.eventually(&self.at(), counted).await;
    }

    /// An object counts while it is there, and no second one fits.
    async fn counts(self, collection: &str, object: Value, used: Value, unused: Value) {
        self.uses(&unused).await;
        self.wire.post(collection, &named(&object, "one")).await.ok();
        self.uses(&used).await;
        let refused = self.wire.post(collection, &named(&object, "two")).await.refused(403);
        assert!(refused.contains("exceeded quota: q, requested: "), "{refused}");
        let body = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"}).to_string();
        let headers = [("content-type", "application/json")];
        self.wire.send("DELETE", &format!("{collection}/one"), &headers, body.into()).await.ok();
        self.uses(&unused).await;
        self.wire.stop().await;
    }
}

fn path(group: &str, version: &str, plural: &str) -> String {
    match group {
        "" => format!("/api/{version}/namespaces/{NAMESPACE}/{plural}"),
        group => format!("/apis/{group}/{version}/namespaces/{NAMESPACE}/{plural}"),
    }
}

fn named(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = name.into();
    object
}

fn pod(more: Value) -> Value {
    let requests = json!({"cpu": "500m", "memory": "252Mi"});
    let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"schedulerName": "none", "containers": [
        {"name": "c", "image": "registry.k8s.io/pause:3.10.2", "resources": {"requests": requests}}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

fn replicas(kind: &str, version: &str, selector: Value) -> Value {
    json!({"kind": kind, "apiVersion": version, "spec": {"replicas": 0, "selector": selector, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// How many there are of a kind in a new namespace.
async fn present(plural: &str) -> usize {
    let wire = Wire::start().await;
    let list = wire.get(&path("", "v1", plural)).await.ok();
    wire.stop().await;
    list["items"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_create_a_resource_quota_and_ensure_its_status_is_promptly_calculated() {
    let quota = Quota::start(json!({"hard": {"pods": "5", "cpu": "1", "resourcequotas": "1"}})).await;
    quota.uses(&json!({"pods": "0", "cpu": "0", "resourcequotas": "1"})).await;
    quota.wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_create_a_resource_quota_and_capture_the_life_of_a_service() {
    let hard = json!({"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"});
    let service =
        json!({"kind": "Service", "apiVersion": "v1", "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    // There is `kubernetes` already.
    let (used, unused) = (
        json!({"services": "2", "services.nodeports": "1"}),
        json!({"services": "1", "services.nodeports": "0"}),
    );
    Quota::start(json!({"hard": hard}))
        .await
        .counts(&path("", "v1", "services"), service, used, unused)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_create_a_resource_quota_and_capture_the_life_of_a_secret_and_a_config_map() {
    for (kind, plural) in [("Secret", "secrets"), ("ConfigMap", "configmaps")] {
        let before = present(plural).await;
        let amount = |n: usize| json!({ plural: n.to_string() });
        let object = json!({"kind": kind, "apiVersion": "v1"});
        let quota = Quota::start(json!({"hard": amount(before + 1)})).await;
        quota.counts(&path("", "v1", plural), object, amount(before + 1), amount(before)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_create_a_resource_quota_and_capture_the_life_of_a_pod() {
    let quota = Quota::start(json!({"hard": {"pods": "1", "requests.cpu": "900m", "memory": "1Gi"}})).await;
    let (used, unused) = (
        json!({"pods": "1", "requests.cpu": "500m", "memory": "252Mi"}),
        json!({"pods": "0", "requests.cpu": "0", "memory": "0"}),
    );
    quota.counts(&path("", "v1", "pods"), pod(json!({})), used, unused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_create_a_resource_quota_and_capture_the_life_of_replica_sets_and_controllers()
{
    for (group, kind, plural, name, selector) in [
        ("apps", "ReplicaSet", "replicasets", "count/replicasets.apps", json!({"matchLabels": {"a": "b"}})),
        ("", "ReplicationController", "replicationcontrollers", "replicationcontrollers", json!({"a": "b"})),
    ] {
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let quota = Quota::start(json!({"hard": {name: "1"}})).await;
        let object = replicas(kind, &version, selector);
        quota.counts(&path(group, "v1", plural), object, json!({name: "1"}), json!({name: "0"})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_verify_resource_quota_with_terminating_and_best_effort_scopes() {
    for (scope, counted, ignored) in [
        ("Terminating", pod(json!({"activeDeadlineSeconds": 3600})), pod(json!({}))),
        ("NotTerminating", pod(json!({})), pod(json!({"activeDeadlineSeconds": 3600}))),
        ("BestEffort", pod(json!({"containers": [{"name": "c", "image": "i"}]})), pod(json!({}))),
        ("NotBestEffort", pod(json!({})), pod(json!({"containers": [{"name": "c", "image": "i"}]}))),
    ] {
        let quota = Quota::start(json!({"hard": {"pods": "1"}, "scopes": [scope]})).await;
        let pods = path("", "v1", "pods");
        for name in ["a", "b"] {
            quota.wire.post(&pods, &named(&ignored, name)).await.ok();
        }
        quota.counts(&pods, counted, json!({"pods": "1"}), json!({"pods": "0"})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_be_able_to_update_and_delete_a_resource_quota() {
    let quota = Quota::start(json!({"hard": {"cpu": "1", "memory": "500Mi"}})).await;
    let updated =
        quota.wire.update(&quota.at(), |q| q["spec"]["hard"] = json!({"cpu": "2", "memory": "1Gi"})).await;
    assert_eq!(updated["spec"]["hard"], json!({"cpu": "2", "memory": "1Gi"}));
    quota.wire.eventually(&quota.at(), |answer| answer.body["status"]["hard"]["cpu"] == "2").await;
    quota.wire.delete(&quota.at()).await.ok();
    quota.wire.get(&quota.at()).await.refused(404);
    quota.wire.stop().await;
}
