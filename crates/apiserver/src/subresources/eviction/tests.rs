//! Evictions through a whole server.

use crate::server::Server;
use crate::server::testing::{Answer, call, root, start};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

const MERGE: &[(&str, &str)] = &[("content-type", "application/merge-patch+json")];
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn running(server: &Arc<Server>, name: &str, ready: &str) {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"nodeName": "n", "serviceAccountName": "x", "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i"}]}});
    let account = json!({"metadata": {"name": "x"}});
    call(server, root(), Method::POST, "/api/v1/namespaces/default/serviceaccounts", &[], account).await;
    let made = call(server, root(), Method::POST, PODS, &[], pod).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    let path = format!("{PODS}/{name}/status");
    assert_eq!(call(server, root(), Method::PATCH, &path, MERGE, status).await.code, 200);
}

async fn budget(server: &Arc<Server>, name: &str, status: Value) {
    let budget = json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    let made = call(server, root(), Method::POST, BUDGETS, &[], budget).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let path = format!("{BUDGETS}/{name}/status");
    let patched = call(server, root(), Method::PATCH, &path, MERGE, json!({"status": status})).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
}

async fn evict(server: &Arc<Server>, name: &str, version: &str, options: Value) -> Answer {
    let eviction = json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
    call(server, root(), Method::POST, &format!("{PODS}/{name}/eviction"), &[], eviction).await
}

async fn get(server: &Arc<Server>, path: &str) -> Value {
    call(server, root(), Method::GET, path, &[], Value::Null).await.json()
}

#[tokio::test]
async fn an_eviction_spends_the_budget_and_then_is_refused() {
    let server = start().await;
    for name in ["a", "b", "c"] {
        running(&server, name, "True").await;
    }
    let status = json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3});
    budget(&server, "web", status).await;

    let dry = evict(&server, "a", "policy/v1", json!({"dryRun": ["All"]})).await;
    assert_eq!(dry.code, 201, "{}", dry.text);
    assert_eq!(get(&server, &format!("{BUDGETS}/web")).await["status"]["disruptionsAllowed"], 1);
    assert!(get(&server, &format!("{PODS}/a")).await["metadata"]["deletionTimestamp"].is_null());

    let wrong = evict(&server, "a", "policy/v1", json!({"preconditions": {"uid": "other"}})).await;
    assert_eq!(wrong.code, 409, "{}", wrong.text);
    let web = get(&server, &format!("{BUDGETS}/web")).await;
    assert_eq!(web["status"]["disruptionsAllowed"], 0, "as upstream: the budget is spent first");
    let reset = json!({"status": {"disruptionsAllowed": 1}});
    call(&server, root(), Method::PATCH, &format!("{BUDGETS}/web/status"), MERGE, reset).await;

    let done = evict(&server, "a", "policy/v1beta1", json!({})).await;
    assert_eq!(done.code, 201, "{}", done.text);
    let gone = get(&server, &format!("{PODS}/a")).await;
    assert!(gone["metadata"]["deletionTimestamp"].is_string(), "{gone}");
    let conditions = gone["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["reason"] == "EvictionByEvictionAPI"), "{gone}");
    let web = get(&server, &format!("{BUDGETS}/web")).await;
    assert_eq!(web["status"]["disruptionsAllowed"], 0);
    assert!(web["status"]["disruptedPods"]["a"].is_string(), "{web}");

    let refused = evict(&server, "b", "policy/v1", json!({})).await;
    let said = refused.json();
    assert_eq!((refused.code, &said["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(said["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        said["details"]["causes"][0],
        json!({"reason": "DisruptionBudget",
        "message": "The disruption budget web needs 2 healthy pods and has 3 currently"})
    );

    budget(&server, "second", json!({"observedGeneration": 1, "disruptionsAllowed": 1})).await;
    let several = evict(&server, "b", "policy/v1", json!({})).await;
    assert_eq!(several.code, 500, "{}", several.text);
}

#[tokio::test]
async fn pods_that_are_not_counted_go_at_once() {
    let server = start().await;
    running(&server, "a", "False").await;
    budget(&server, "web", json!({"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 2})).await;
    assert_eq!(evict(&server, "a", "policy/v1", json!({})).await.code, 201);
    let nameless = json!({"apiVersion": "policy/v1", "kind": "Eviction"});
    let path = format!("{PODS}/a/eviction");
    assert_eq!(call(&server, root(), Method::POST, &path, &[], nameless).await.code, 400);
    assert_eq!(evict(&server, "nobody", "policy/v1", json!({})).await.code, 404);
}
