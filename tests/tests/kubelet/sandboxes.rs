//! Sandboxes that cannot be made, and sandboxes that are lost.

use crate::{Bed, condition, main, pod, with};
use runtime::fake::Operation;
use runtime::{Error, SandboxState};
use serde_json::{Value, json};

async fn kill_sandbox(bed: &Bed) {
    let sandboxes = bed.sandboxes().await;
    let ready = sandboxes.iter().find(|s| s.state == SandboxState::Ready).expect("one runs");
    assert!(bed.runtime.kill_sandbox(&ready.id));
}

#[tokio::test(start_paused = true)]
async fn a_failed_sandbox_is_told_and_tried_again() {
    let bed = Bed::new().await;
    let message = "Bind for 0.0.0.0:80 failed: port is already allocated".to_owned();
    bed.runtime.inject(Operation::RunPodSandbox, Error::PortInUse { message }, 2);
    bed.create(pod("p")).await;
    let text = "Failed to create pod sandbox: Bind for 0.0.0.0:80 failed: port is already allocated";
    bed.event("p", "FailedCreatePodSandBox", text).await;
    let waiting = bed.waits("p", "ContainerCreating").await;
    assert_eq!(waiting["status"]["phase"], "Pending");
    assert_eq!(condition(&waiting, "PodReadyToStartContainers")["status"], "False");
    assert!(!waiting["status"]["startTime"].is_null());
    let running = bed.phase("p", "Running").await;
    assert_eq!(main(&running)["restartCount"], 0);
    assert_eq!(bed.event("p", "FailedCreatePodSandBox", text).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_starts_all_containers_anew() {
    let bed = Bed::new().await;
    let container = |name: &str| json!({"name": name, "image": "busybox", "command": ["sleep", "infinity"]});
    bed.create(with("p", json!({"containers": [container("a"), container("b")]}))).await;
    bed.phase("p", "Running").await;
    kill_sandbox(&bed).await;
    let both = |count: i64| {
        move |pod: &Value| {
            (0..2).all(|i| {
                let status = &pod["status"]["containerStatuses"][i];
                status["restartCount"] == count && status["ready"] == true
            })
        }
    };
    let again = bed.until("p", both(1)).await;
    assert_eq!(main(&again)["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(again["status"]["podIPs"].as_array().map(Vec::len), Some(1), "the old address went");
    assert_eq!(again["status"]["podIP"], again["status"]["podIPs"][0]["ip"]);
    let text = "Pod sandbox changed, it will be killed and re-created.";
    bed.event("p", "SandboxChanged", text).await;

    for count in 2..5 {
        kill_sandbox(&bed).await;
        bed.until("p", both(count)).await;
    }
    assert!(bed.sandboxes().await.len() <= 2, "what was replaced is removed");
    assert!(bed.containers().await.len() <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_ends_a_pod_that_never_restarts() {
    let bed = Bed::new().await;
    bed.create(with("p", json!({"restartPolicy": "Never"}))).await;
    bed.phase("p", "Running").await;
    kill_sandbox(&bed).await;
    bed.phase("p", "Failed").await;
    assert_eq!(bed.calls(Operation::RunPodSandbox).len(), 1);
}
