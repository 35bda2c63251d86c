//! The node's object, and an engine that comes and goes.

use crate::{Bed, LONG, condition, conditions, main, pod, with};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use runtime::Error;
use runtime::fake::{Operation, Script};
use serde_json::{Value, json};
use testkit::{eventually, eventually_some};

fn nodes(bed: &Bed) -> Api<Node> {
    Api::all(bed.cluster.client())
}

async fn node(bed: &Bed) -> Value {
    let node = nodes(bed).get("minik").await.expect("the node is there");
    serde_json::to_value(node).expect("JSON")
}

async fn ready(bed: &Bed, status: &str) -> Value {
    eventually_some(LONG, async || {
        let node = node(bed).await;
        let ready = condition(&node, "Ready").clone();
        (ready["status"] == status).then_some(ready)
    })
    .await
}

async fn patch_status(bed: &Bed, patch: Value) {
    let patch = Patch::Strategic(patch);
    nodes(bed).patch_status("minik", &PatchParams::default(), &patch).await.expect("the API takes it");
}

#[tokio::test(start_paused = true)]
async fn a_node_says_what_it_is() {
    let bed = Bed::new().await;
    let node = node(&bed).await;
    for (key, value) in [("hostname", "minik"), ("os", "linux")] {
        assert_eq!(node["metadata"]["labels"][format!("kubernetes.io/{key}")], value);
    }
    let status = &node["status"];
    assert_eq!(status["capacity"]["pods"], "110");
    assert_eq!(status["capacity"], status["allocatable"]);
    assert!(status["nodeInfo"]["containerRuntimeVersion"].as_str().is_some_and(|v| v.starts_with("fake://")));
    assert_eq!(
        conditions(&node),
        ["DiskPressure=False", "MemoryPressure=False", "PIDPressure=False", "Ready=True"]
    );
    let ready = condition(&node, "Ready");
    assert_eq!(
        (&ready["reason"], &ready["message"]),
        (&json!("KubeletReady"), &json!("kubelet is posting ready status"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_every_ten_seconds_and_the_status_every_five_minutes() {
    let bed = Bed::new().await;
    let leases: Api<Lease> = Api::namespaced(bed.cluster.client(), "kube-node-lease");
    let lease = eventually_some(LONG, async || leases.get_opt("minik").await.expect("an answer")).await;
    assert_eq!(lease.spec.as_ref().and_then(|s| s.lease_duration_seconds), Some(40));
    let renewed = async || {
        let lease = leases.get("minik").await.expect("an answer");
        lease.spec.and_then(|s| s.renew_time).expect("a time").0
    };
    bed.pass(30).await;
    let before = renewed().await;
    bed.pass(100).await;
    let between = renewed().await.duration_since(before).as_secs();
    assert!((90..=110).contains(&between), "{between}");

    let heartbeat = async || condition(&node(&bed).await, "Ready")["lastHeartbeatTime"].clone();
    let first = heartbeat().await;
    eventually(LONG, async || heartbeat().await != first).await;
    let (second, then) = (heartbeat().await, bed.now());
    eventually(LONG, async || heartbeat().await != second).await;
    assert!((295..=305).contains(&bed.since(then)), "{}", bed.since(then));
}

#[tokio::test(start_paused = true)]
async fn what_others_say_of_a_node_stays() {
    let bed = Bed::new().await;
    let foreign =
        json!({"type": "KernelDeadlock", "status": "False", "reason": "KernelHasNoDeadlock", "message": ""});
    patch_status(
        &bed,
        json!({"status": {
            "capacity": {"scheduling.k8s.io/foo": "5"},
            "conditions": [foreign],
        }}),
    )
    .await;
    eventually(LONG, async || node(&bed).await["status"]["allocatable"]["scheduling.k8s.io/foo"] == "5")
        .await;
    bed.pass(700).await;
    let later = node(&bed).await;
    assert_eq!(later["status"]["capacity"]["scheduling.k8s.io/foo"], "5");
    assert_eq!(condition(&later, "KernelDeadlock")["status"], "False");
    patch_status(&bed, json!({"status": {"capacity": {"scheduling.k8s.io/foo": null}}})).await;
    eventually(LONG, async || node(&bed).await["status"]["allocatable"]["scheduling.k8s.io/foo"].is_null())
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_wrongly_of_its_readiness_is_set_right() {
    let bed = Bed::new().await;
    let unknown = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
    patch_status(&bed, json!({"status": {"conditions": [unknown]}})).await;
    let then = bed.now();
    ready(&bed, "True").await;
    assert!(bed.since(then) <= 11, "{}", bed.since(then));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_makes_the_node_unready_and_touches_no_pod() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    let id = bed.container("p", "main").await;
    let down = [
        Operation::Status,
        Operation::Events,
        Operation::ListPodSandboxes,
        Operation::ListContainers,
        Operation::PodSandboxStatus,
        Operation::ContainerStatus,
    ];
    for operation in down {
        let error = Error::Unavailable { message: "connection refused".to_owned() };
        bed.runtime.inject(operation, error, usize::MAX);
    }
    bed.runtime.break_events();
    let unready = ready(&bed, "False").await;
    assert_eq!(unready["reason"], "KubeletNotReady");
    assert_eq!(unready["message"], "container runtime is down: connection refused");
    bed.create(pod("q")).await;
    bed.pass(120).await;
    for operation in down {
        bed.runtime.clear_faults(operation);
    }
    ready(&bed, "True").await;
    let untouched = bed.until("p", |pod| condition(pod, "Ready")["status"] == "True").await;
    assert_eq!(main(&untouched)["restartCount"], 0);
    assert_eq!(bed.container("p", "main").await, id);
    bed.phase("q", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_a_network_says_so() {
    let bed = Bed::new().await;
    bed.runtime.set_not_ready(Some(runtime::RuntimeCondition {
        kind: runtime::RuntimeCondition::NETWORK_READY.to_owned(),
        status: false,
        reason: "NetworkPluginNotReady".to_owned(),
        message: "no bridge".to_owned(),
    }));
    let unready = ready(&bed, "False").await;
    assert_eq!(unready["message"], "container runtime not ready: NetworkPluginNotReady: no bridge");
}

#[tokio::test(start_paused = true)]
async fn events_that_break_off_are_taken_up_again() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.create(pod("q")).await;
    bed.phase("p", "Running").await;
    bed.phase("q", "Running").await;
    bed.runtime.inject(Operation::Events, Error::Unavailable { message: "restarting".to_owned() }, 3);
    bed.runtime.break_events();
    // While nobody listens, one ends.
    bed.runtime.exit_container(&bed.container("p", "main").await, 1);
    bed.restarts("p", 1).await;
    bed.pass(60).await;
    let other = bed.get("q").await.expect("a pod");
    assert_eq!(main(&other)["restartCount"], 0);
    bed.runtime.exit_container(&bed.container("q", "main").await, 1);
    bed.restarts("q", 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_others_say_of_a_pod_stays() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    let patch = json!({"status": {"conditions": [
        {"type": "example.com/Seen", "status": "True"},
        {"type": "Ready", "status": "False"},
    ]}});
    let patch = Patch::Strategic(patch);
    bed.pods().patch_status("p", &PatchParams::default(), &patch).await.expect("the API takes it");
    // What the kubelet decides is set right.
    bed.until("p", |pod| condition(pod, "Ready")["status"] == "True").await;
    bed.runtime.exit_container(&bed.container("p", "main").await, 1);
    let again = bed.restarts("p", 1).await;
    assert_eq!(condition(&again, "example.com/Seen")["status"], "True");
    assert_eq!(condition(&again, "PodScheduled")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn a_critical_pod_takes_the_place_of_lesser_ones() {
    let bed = Bed::new().await;
    let node = node(&bed).await;
    let (name, cpus) = (&node["metadata"]["name"], &node["status"]["allocatable"]["cpu"]);
    let cpus: i64 = cpus.as_str().and_then(|text| text.parse().ok()).expect("whole processors");
    let asks = |pod: &str, millis: i64, class: &str| {
        let mut pod = with(
            pod,
            json!({"nodeName": name, "priorityClassName": class, "terminationGracePeriodSeconds": 5}),
        );
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": format!("{millis}m")}});
        pod
    };
    bed.runtime.set_script("main", Script::forever());
    bed.create(asks("large", cpus * 1000 - 300, "")).await;
    bed.create(asks("small", 200, "")).await;
    for pod in ["large", "small"] {
        bed.phase(pod, "Running").await;
    }
    bed.create(asks("critical", 300, "system-node-critical")).await;
    let preempted = bed.phase("small", "Failed").await;
    assert_eq!(preempted["status"]["reason"], "Preempting");
    assert_eq!(preempted["status"]["message"], "Preempted in order to admit critical pod");
    let disrupted = condition(&preempted, "DisruptionTarget");
    assert_eq!(disrupted["reason"], "TerminationByKubelet");
    assert_eq!(disrupted["message"], "Pod was preempted by Kubelet to accommodate a critical pod.");
    bed.event("small", "Preempting", "Preempted in order to admit critical pod").await;
    bed.phase("critical", "Running").await;
    let path = format!("/api/v1/nodes/{}/proxy/metrics", name.as_str().expect("a name"));
    let metrics = tests::raw::text(&bed.cluster.client(), &path).await;
    let told = "kubelet_preemptions{preemption_signal=\"cpu\"} 1";
    assert!(metrics.lines().any(|line| line == told), "{metrics}");
    assert_eq!(bed.get("large").await.expect("there")["status"]["phase"], "Running");

    // More than all who may go would free.
    bed.create(asks("too-much", cpus * 1000, "system-node-critical")).await;
    let refused = bed.phase("too-much", "Failed").await;
    assert_eq!(refused["status"]["reason"], "UnexpectedAdmissionError");
    let message = "Pod was rejected: Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 300), ]";
    assert_eq!(refused["status"]["message"], message);
    assert_eq!(bed.get("large").await.expect("there")["status"]["phase"], "Running");
}
