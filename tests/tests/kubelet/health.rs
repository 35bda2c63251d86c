//! Probes, hooks, sidecars and places on the node, decided over hours that take no time.

use crate::{Bed, condition, main, pod, with};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use runtime::fake::Operation;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::eventually_some;

/// A pod whose container has these fields besides.
fn container_with(name: &str, fields: Value) -> Value {
    let mut pod = pod(name);
    for (key, value) in fields.as_object().expect("an object") {
        pod["spec"]["containers"][0][key] = value.clone();
    }
    pod
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready")["status"] == "True"
}

#[tokio::test(start_paused = true)]
async fn a_failing_liveness_probe_restarts_after_its_threshold_and_then_backs_off() {
    let bed = Bed::new().await;
    let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 5, "failureThreshold": 3, "initialDelaySeconds": 20});
    bed.create(container_with("p", json!({"livenessProbe": probe}))).await;
    bed.phase("p", "Running").await;
    let began = bed.now();
    bed.restarts("p", 1).await;
    assert_eq!(bed.since(began) / 10, 3, "20 s and twice 5 s: {} s", bed.since(began));
    assert_eq!(bed.event("p", "Unhealthy", "Liveness probe failed: ").await, 3);
    bed.event("p", "Killing", "Container main failed liveness probe, will be restarted").await;
    bed.waits("p", "CrashLoopBackOff").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_ready_before_the_probe_and_the_gates_say_so() {
    let bed = Bed::new().await;
    let mut gated = container_with(
        "p",
        json!({"readinessProbe": {"exec": {"command": ["true"]}, "successThreshold": 2}}),
    );
    gated["spec"]["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    bed.create(gated).await;
    let running = bed.phase("p", "Running").await;
    assert_eq!(
        (main(&running)["ready"].clone(), main(&running)["started"].clone()),
        (json!(false), json!(true))
    );
    let began = bed.now();
    let waiting = bed.until("p", |pod| main(pod)["ready"] == true).await;
    assert_eq!(bed.since(began), 10);
    let ready = condition(&waiting, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ReadinessGatesNotReady")));
    bed.patch_status("p", json!({"conditions": [{"type": "example.com/gate", "status": "True"}]})).await;
    bed.until("p", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_startup_probe_that_never_succeeds_condemns_and_holds_the_others_back() {
    let bed = Bed::new().await;
    let fields = json!({
        "startupProbe": {"exec": {"command": ["false"]}, "periodSeconds": 10, "failureThreshold": 3},
        "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}});
    bed.create(container_with("p", fields)).await;
    let running = bed.phase("p", "Running").await;
    assert_eq!(main(&running)["started"], false);
    bed.restarts("p", 1).await;
    bed.event("p", "Killing", "Container main failed startup probe, will be restarted").await;
}

#[tokio::test(start_paused = true)]
async fn a_pre_stop_hook_is_part_of_the_grace() {
    let bed = Bed::new().await;
    for (name, sleep, grace, took) in [("short", 5, 30, 5), ("long", 60, 10, 10)] {
        let mut hooked =
            container_with(name, json!({"lifecycle": {"preStop": {"sleep": {"seconds": sleep}}}}));
        hooked["spec"]["terminationGracePeriodSeconds"] = 60.into();
        bed.create(hooked).await;
        bed.phase(name, "Running").await;
        let began = bed.now();
        bed.delete(name, Some(grace)).await;
        bed.gone(name).await;
        assert_eq!(bed.since(began), took, "{name}");
    }
    let graces: Vec<_> =
        bed.calls(Operation::StopContainer).into_iter().filter_map(|call| call.timeout).collect();
    assert_eq!(graces, [Duration::from_secs(25), Duration::from_secs(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_container_may_have_a_restart_policy_of_its_own() {
    let bed = Bed::new().await;
    let own = json!({
        "command": ["sh", "-c", "sleep 1; exit 42"], "restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
    let mut ruled = container_with("p", own);
    ruled["spec"]["restartPolicy"] = "Never".into();
    bed.create(ruled).await;
    bed.restarts("p", 2).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_container_may_start_all_of_its_pod_anew() {
    let bed = Bed::new().await;
    let mut ruled = container_with(
        "p",
        json!({"command": ["sh", "-c", "sleep 1; exit 42"], "restartPolicy": "Never", "restartPolicyRules": [
            {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]}),
    );
    let beside = json!({"name": "beside", "image": "busybox"});
    ruled["spec"]["containers"].as_array_mut().expect("a list").push(beside);
    ruled["spec"]["initContainers"] =
        json!([{"name": "first", "image": "busybox", "command": ["sh", "-c", "exit 0"]}]);
    ruled["spec"]["restartPolicy"] = "Never".into();
    bed.create(ruled).await;
    let running = |pod: &Value, count: i64| {
        let main = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let mut all = main.chain(pod["status"]["initContainerStatuses"].as_array().into_iter().flatten());
        all.all(|status| status["restartCount"] == count)
            && pod["status"]["containerStatuses"][1]["state"]["running"].is_object()
    };
    let before = bed.until("p", move |pod| running(pod, 0)).await;
    let after = bed.until("p", move |pod| running(pod, 1)).await;
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    for status in after["status"]["containerStatuses"].as_array().expect("a list") {
        let last = &status["lastState"]["terminated"];
        assert_eq!(
            (last["reason"].as_str(), last["exitCode"].as_i64()),
            (Some("RestartingAllContainers"), Some(137))
        );
    }
    assert_eq!(bed.sandboxes().await.len(), 1);
    // The next time it is held back, as any crash is.
    bed.waits("p", "CrashLoopBackOff").await;
    bed.until("p", move |pod| running(pod, 2)).await;
    bed.delete("p", None).await;
    bed.gone("p").await;
    assert!(bed.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_full_refuses_what_was_bound_to_it_by_hand() {
    let bed = Bed::new().await;
    let nodes: Api<Node> = Api::all(bed.cluster.client());
    let node = nodes.list(&Default::default()).await.expect("a list").items.remove(0).metadata.name;
    let ported = |name: &str| {
        let ports = json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]);
        let mut pod = container_with(name, json!({ "ports": ports }));
        pod["spec"]["nodeName"] = node.clone().into();
        pod
    };
    bed.create(ported("first")).await;
    bed.phase("first", "Running").await;
    bed.create(ported("second")).await;
    let refused = bed.phase("second", "Failed").await;
    assert_eq!(refused["status"]["reason"], "NodePorts");
    bed.create(with("elsewhere", json!({"nodeName": node, "nodeSelector": {"disk": "none"}}))).await;
    let refused = bed.phase("elsewhere", "Failed").await;
    assert_eq!(refused["status"]["reason"], "NodeAffinity");
    // What the node says of itself is asked anew before anybody is refused for it.
    let labels = kube::api::Patch::Merge(json!({"metadata": {"labels": {"disk": "none"}}}));
    let name = node.clone().expect("a name");
    nodes.patch(&name, &Default::default(), &labels).await.expect("the API takes it");
    bed.create(with("here", json!({"nodeName": node, "nodeSelector": {"disk": "none"}}))).await;
    bed.phase("here", "Running").await;
    let foreign = json!({"nodeName": node, "os": {"name": "windows"}});
    bed.create(with("windows", foreign)).await;
    let refused = bed.phase("windows", "Failed").await;
    assert_eq!(refused["status"]["reason"], "PodOSNotSupported");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_deleted_is_registered_again() {
    let bed = Bed::new().await;
    let nodes: Api<Node> = Api::all(bed.cluster.client());
    let before = nodes.list(&Default::default()).await.expect("a list").items.remove(0);
    let name = before.metadata.name.clone().expect("a name");
    nodes.delete(&name, &DeleteParams::default()).await.expect("it is deleted");
    let again = eventually_some(Duration::from_secs(60), || {
        let (nodes, name) = (nodes.clone(), name.clone());
        async move { nodes.get_opt(&name).await.expect("an answer") }
    })
    .await;
    assert_ne!(again.metadata.uid, before.metadata.uid);
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
}
