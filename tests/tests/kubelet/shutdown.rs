//! A node that ends with its pods, after them.

use crate::{LONG, condition, main, memory, with};
use component_base::Context;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use kubelet::ShutdownGrace;
use minik::Cluster;
use runtime::fake::{FakeRuntime, Operation};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use testkit::eventually_some;

async fn start(
    context: &Context,
    runtime: &FakeRuntime,
    storage: &Arc<dyn Storage>,
    grace: ShutdownGrace,
) -> Cluster {
    let builder = Cluster::builder().context(context.clone()).storage(storage.clone());
    let builder = builder.node_runtime(Arc::new(runtime.clone())).shutdown_grace(grace);
    let cluster = builder.start().await.expect("it starts");
    cluster.nodes_ready(1, LONG).await.expect("its node is Ready");
    cluster
}

async fn get(cluster: &Cluster, name: &str) -> Value {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    serde_json::to_value(pods.get(name).await.expect("it is there")).expect("JSON")
}

/// A cluster with an ordinary pod and a critical one is stopped with its workload and started again: the second cluster.
async fn stopped_and_started(runtime: &FakeRuntime, context: &Context, grace: ShutdownGrace) -> Cluster {
    let storage = memory(context);
    let cluster = start(context, runtime, &storage, grace).await;
    for (name, class) in [("web", ""), ("dns", "system-node-critical")] {
        tests::create_pod(&cluster.client(), with(name, json!({"priorityClassName": class}))).await;
        tests::pod_reaches(&cluster.client(), name, "Running").await;
    }
    cluster.stop_with_workload().await.expect("it stops");
    start(context, runtime, &storage, grace).await
}

#[tokio::test(start_paused = true)]
async fn pods_end_before_their_node_in_the_order_of_their_priority() {
    let context = Context::simulated(7);
    let runtime = FakeRuntime::new(context.clock.now());
    let grace = ShutdownGrace::new(Duration::from_secs(40), Duration::from_secs(10)).expect("a grace");
    let cluster = stopped_and_started(&runtime, &context, grace).await;
    for name in ["web", "dns"] {
        let pod = get(&cluster, name).await;
        let status = &pod["status"];
        assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("Terminated")));
        let message = "Pod was terminated in response to imminent node shutdown.";
        assert_eq!(status["message"], message);
        let disrupted = condition(&pod, "DisruptionTarget");
        assert_eq!(
            (&disrupted["reason"], &disrupted["message"]),
            (&json!("TerminationByKubelet"), &json!(message))
        );
    }
    let stops = runtime.calls_of(Operation::StopContainer);
    let mut order = Vec::new();
    for call in stops {
        let id = call.subject.as_str().into();
        let status = runtime::RuntimeService::container_status(&runtime, &id).await.expect("it is kept");
        order.push((status.labels[runtime::labels::POD_NAME].clone(), call.timeout.map(|t| t.as_secs())));
    }
    // Pods have half a minute by default.
    assert_eq!(order, [("web".to_owned(), Some(30)), ("dns".to_owned(), Some(10))]);
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let about = ListParams::default().fields("involvedObject.kind=Node,reason=Shutdown");
    eventually_some(LONG, || async {
        let list = events.list(&about).await.expect("a list");
        list.items.into_iter().find_map(|event| event.message)
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_grace_pods_outlive_their_node() {
    let context = Context::simulated(7);
    let runtime = FakeRuntime::new(context.clock.now());
    let cluster = stopped_and_started(&runtime, &context, ShutdownGrace::default()).await;
    assert!(runtime.calls_of(Operation::StopContainer).is_empty());
    for name in ["web", "dns"] {
        let pod = get(&cluster, name).await;
        assert_eq!((&pod["status"]["phase"], &main(&pod)["restartCount"]), (&json!("Running"), &json!(0)));
    }
    cluster.stop().await;
}
