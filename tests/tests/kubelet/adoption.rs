//! A server that dies and comes back finds its containers again.

use crate::{Bed, main, memory, pod, with};
use runtime::Error;
use runtime::fake::{Operation, Script};
use serde_json::json;
use testkit::eventually;

const CHANGES: [Operation; 6] = [
    Operation::RunPodSandbox,
    Operation::StopPodSandbox,
    Operation::CreateContainer,
    Operation::StartContainer,
    Operation::StopContainer,
    Operation::RemoveContainer,
];

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.create(pod("crashed")).await;
    bed.phase("p", "Running").await;
    bed.phase("crashed", "Running").await;
    bed.runtime.exit_container(&bed.container("crashed", "main").await, 1);
    bed.restarts("crashed", 1).await;
    let before = [bed.get("p").await, bed.get("crashed").await];
    bed.pass(60).await;
    bed.runtime.clear_calls();
    let bed = bed.restart().await;
    bed.pass(60).await;
    // Not even written anew: the very same object.
    assert_eq!([bed.get("p").await, bed.get("crashed").await], before);
    for operation in CHANGES {
        assert!(bed.calls(operation).is_empty(), "{operation:?}");
    }
    bed.runtime.exit_container(&bed.container("p", "main").await, 1);
    bed.restarts("p", 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_ended_meanwhile_is_noticed() {
    let bed = Bed::new().await;
    bed.create(with("done", json!({"restartPolicy": "Never"}))).await;
    bed.create(pod("again")).await;
    bed.phase("done", "Running").await;
    bed.phase("again", "Running").await;
    bed.die().await;
    bed.runtime.exit_container(&bed.container("done", "main").await, 3);
    bed.runtime.exit_container(&bed.container("again", "main").await, 3);
    let bed = bed.restart().await;
    let failed = bed.phase("done", "Failed").await;
    assert_eq!(main(&failed)["state"]["terminated"]["exitCode"], 3);
    bed.restarts("again", 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_created_but_not_started_is_finished() {
    let bed = Bed::new().await;
    bed.runtime.inject(Operation::StartContainer, Error::Unavailable { message: "gone".to_owned() }, 1);
    bed.create(pod("p")).await;
    bed.waits("p", "RunContainerError").await;
    let bed = bed.restart().await;
    let running = bed.phase("p", "Running").await;
    assert_eq!(main(&running)["restartCount"], 0);
    assert_eq!(bed.calls(Operation::CreateContainer).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_goes_on() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    let bed = bed.restart_with(0).await;
    bed.delete("p", None).await;
    let bed = bed.restart().await;
    bed.gone("p").await;
    assert!(bed.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn what_no_pod_wants_is_ended_with_its_own_grace() {
    let mut bed = Bed::new().await;
    bed.runtime.set_script("main", Script::forever().ignoring_term());
    bed.create(with("p", json!({"terminationGracePeriodSeconds": 7}))).await;
    bed.phase("p", "Running").await;
    // Another store, which has never heard of the pod.
    bed.storage = memory(&bed.context);
    let then = bed.now();
    let bed = bed.restart().await;
    eventually(crate::LONG, async || bed.is_clean().await).await;
    assert!((7..=9).contains(&bed.since(then)), "{}", bed.since(then));
    let stops = bed.calls(Operation::StopContainer);
    assert_eq!(stops.len(), 1);
    assert_eq!(stops[0].timeout.map(|grace| grace.as_secs()), Some(7));
    bed.event("p", "Killing", "Stopping container main").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_lost_is_made_anew_and_counted_on() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    bed.runtime.exit_container(&bed.container("p", "main").await, 1);
    bed.restarts("p", 1).await;
    bed.die().await;
    for sandbox in bed.sandboxes().await {
        runtime::RuntimeService::remove_pod_sandbox(&bed.runtime, &sandbox.id).await.expect("removed");
    }
    let bed = bed.restart().await;
    bed.restarts("p", 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_late_is_waited_for() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    bed.die().await;
    for operation in [Operation::Version, Operation::Events, Operation::ListContainers] {
        bed.runtime.inject(operation, Error::Unavailable { message: "connection refused".to_owned() }, 5);
    }
    let bed = bed.restart().await;
    bed.runtime.exit_container(&bed.container("p", "main").await, 1);
    bed.restarts("p", 1).await;
}
