//! A node that ends with its pods, after them.

use crate::{LONG, condition, main, with};
use client::{Informer, Informers};
use component_base::Context;
use k8s_openapi::api::core::v1::{Event, Pod};
use kubelet::ShutdownGrace;
use minik::Cluster;
use runtime::fake::{FakeRuntime, Operation};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::eventually_some;

/// What was seen of a cluster that is gone.
struct Seen {
    pods: Informer<Pod>,
    events: Informer<Event>,
}

impl Seen {
    /// The last that was seen of a pod.
    fn pod(&self, name: &str) -> Option<Value> {
        let pods = self.pods.list();
        let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))?;
        serde_json::to_value(&**pod).ok()
    }
}

/// A cluster with an ordinary pod and a critical one is stopped with its workload.
async fn stopped(runtime: &FakeRuntime, context: &Context, grace: ShutdownGrace) -> Seen {
    let builder = Cluster::builder().context(context.child()).node_runtime(Arc::new(runtime.clone()));
    let cluster = builder.shutdown_grace(grace).start().await.expect("it starts");
    cluster.nodes_ready(1, LONG).await.expect("its node is Ready");
    let informers = Informers::new(cluster.client(), context);
    let seen = Seen { pods: informers.of(), events: informers.of() };
    for (name, class) in [("web", ""), ("dns", "system-node-critical")] {
        let spec = json!({"priorityClassName": class, "terminationGracePeriodSeconds": 60});
        tests::create_pod(&cluster.client(), with(name, spec)).await;
        tests::pod_reaches(&cluster.client(), name, "Running").await;
    }
    seen.pods.synced().await;
    seen.events.synced().await;
    cluster.stop_with_workload().await.expect("it stops");
    seen
}

#[tokio::test(start_paused = true)]
async fn pods_end_before_their_node_in_the_order_of_their_priority() {
    let context = Context::simulated(7);
    let runtime = FakeRuntime::new(context.clock.now());
    let grace = ShutdownGrace::new(Duration::from_secs(40), Duration::from_secs(10)).expect("a grace");
    let seen = stopped(&runtime, &context, grace).await;
    for name in ["web", "dns"] {
        let failed = || async { seen.pod(name).filter(|pod| pod["status"]["phase"] == "Failed") };
        let pod = eventually_some(LONG, failed).await;
        let status = &pod["status"];
        let message = "Pod was terminated in response to imminent node shutdown.";
        assert_eq!((&status["reason"], &status["message"]), (&json!("Terminated"), &json!(message)));
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
    // A minute is more than either may have.
    assert_eq!(order, [("web".to_owned(), Some(30)), ("dns".to_owned(), Some(10))]);
    let told = || async {
        let events = seen.events.list();
        events.iter().any(|event| event.reason.as_deref() == Some("Shutdown")).then_some(())
    };
    eventually_some(LONG, told).await;
    context.shutdown.trigger();
}

#[tokio::test(start_paused = true)]
async fn without_a_grace_pods_outlive_their_node() {
    let context = Context::simulated(7);
    let runtime = FakeRuntime::new(context.clock.now());
    let seen = stopped(&runtime, &context, ShutdownGrace::default()).await;
    assert!(runtime.calls_of(Operation::StopContainer).is_empty());
    for name in ["web", "dns"] {
        let pod = seen.pod(name).expect("it is there");
        assert_eq!((&pod["status"]["phase"], &main(&pod)["restartCount"]), (&json!("Running"), &json!(0)));
    }
    context.shutdown.trigger();
}
