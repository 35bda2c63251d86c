//! Containers that end, crash, or cannot be started.

use crate::{Bed, condition, main, pod, with};
use runtime::Error;
use runtime::fake::{Operation, Script};
use serde_json::json;
use std::time::Duration;

/// Seconds between the starts of containers.
fn pauses(bed: &Bed) -> Vec<i64> {
    let starts: Vec<_> = bed.calls(Operation::StartContainer).iter().map(|call| call.time).collect();
    let between = starts.windows(2).map(|two| two[1].duration_since(two[0]));
    between.map(|pause| (pause.as_secs_f64()).round() as i64).collect()
}

fn crashing(seconds: u64) -> Script {
    Script::exit_after(Duration::from_secs(seconds), 1)
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_waits_longer_each_time() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", crashing(1));
    bed.create(pod("p")).await;
    let waiting = bed.waits("p", "CrashLoopBackOff").await;
    let uid = waiting["metadata"]["uid"].as_str().expect("a uid");
    let status = main(&waiting);
    let message = format!("back-off 10s restarting failed container=main pod=p_default({uid})");
    assert_eq!(status["state"]["waiting"]["message"], message);
    assert_eq!(status["lastState"]["terminated"]["reason"], "Error");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(waiting["status"]["phase"], "Running");
    assert_eq!(condition(&waiting, "Ready")["message"], "containers with unready status: [main]");

    bed.restarts("p", 4).await;
    let text = format!("Back-off restarting failed container main in pod p_default({uid})");
    assert_eq!(bed.event("p", "BackOff", &text).await, 3);
    assert_eq!(bed.event("p", "Started", "").await, 5);
    bed.restarts("p", 8).await;
    assert_eq!(pauses(&bed), [1, 11, 21, 41, 81, 161, 301, 301]);
    let kept = bed.containers().await.len();
    assert!(kept <= 2, "{kept} attempts are kept");
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_running_are_forgiven() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", crashing(1));
    bed.create(pod("p")).await;
    bed.waits("p", "CrashLoopBackOff").await;
    bed.runtime.set_script("main", crashing(700));
    bed.restarts("p", 2).await;
    bed.runtime.set_script("main", crashing(1));
    bed.restarts("p", 4).await;
    assert_eq!(pauses(&bed), [1, 11, 700, 11]);
}

#[tokio::test(start_paused = true)]
async fn the_restart_policy_decides() {
    let bed = Bed::new().await;
    for (name, policy, code) in [
        ("a", "OnFailure", 0),
        ("b", "Never", 0),
        ("c", "Never", 3),
        ("d", "OnFailure", 3),
        ("e", "Always", 0),
    ] {
        let command = json!(["sh", "-c", format!("sleep 5; exit {code}")]);
        let containers = json!([{"name": "main", "image": "busybox", "command": command}]);
        bed.create(with(name, json!({"restartPolicy": policy, "containers": containers}))).await;
    }
    for name in ["a", "b"] {
        let done = bed.phase(name, "Succeeded").await;
        assert_eq!(main(&done)["state"]["terminated"]["reason"], "Completed");
        assert_eq!(condition(&done, "Ready")["reason"], "PodCompleted");
        assert_eq!(condition(&done, "Initialized")["status"], "True");
    }
    let failed = bed.phase("c", "Failed").await;
    assert_eq!(main(&failed)["state"]["terminated"]["exitCode"], 3);
    assert_eq!(condition(&failed, "ContainersReady")["reason"], "PodFailed");
    for name in ["d", "e"] {
        bed.waits(name, "CrashLoopBackOff").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_says_why_and_is_tried_again() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::cannot_start("exec: \"x\": executable file not found in $PATH"));
    bed.create(pod("p")).await;
    let waiting = bed.waits("p", "RunContainerError").await;
    let message = main(&waiting)["state"]["waiting"]["message"].as_str().expect("a message");
    assert!(message.ends_with("exec: \"x\": executable file not found in $PATH"), "{message}");
    let ended = &main(&waiting)["lastState"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("ContainerCannotRun"), &json!(127)));
    bed.event("p", "Failed", "Error: failed to start container").await;
    bed.waits("p", "CrashLoopBackOff").await;

    bed.runtime.set_script("main", Script::forever());
    let running = bed.phase("p", "Running").await;
    assert_eq!(main(&running)["lastState"]["terminated"]["reason"], "ContainerCannotRun");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_and_never_restarts_has_failed() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::cannot_start("no"));
    bed.create(with("p", json!({"restartPolicy": "Never"}))).await;
    let failed = bed.phase("p", "Failed").await;
    assert_eq!(main(&failed)["state"]["terminated"]["reason"], "ContainerCannotRun");
    assert_eq!(bed.calls(Operation::StartContainer).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_is_shown_and_tried_again() {
    let bed = Bed::new().await;
    let error = Error::Invalid { message: "invalid mount config".to_owned() };
    bed.runtime.inject(Operation::CreateContainer, error, 1);
    bed.create(pod("p")).await;
    let waiting = bed.waits("p", "CreateContainerError").await;
    assert_eq!(main(&waiting)["state"]["waiting"]["message"], "invalid mount config");
    assert_eq!(waiting["status"]["phase"], "Pending");
    bed.event("p", "Failed", "Error: invalid mount config").await;
    let running = bed.phase("p", "Running").await;
    assert_eq!(main(&running)["restartCount"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_container_created_but_not_started_is_finished() {
    let bed = Bed::new().await;
    let error = Error::Unavailable { message: "connection reset".to_owned() };
    bed.runtime.inject(Operation::StartContainer, error, 1);
    bed.create(pod("p")).await;
    let running = bed.phase("p", "Running").await;
    assert_eq!(main(&running)["restartCount"], 0);
    assert_eq!(bed.calls(Operation::CreateContainer).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_memory_kill_is_told_from_a_crash() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    bed.runtime.oom_kill_container(&bed.container("p", "main").await);
    let again = bed.restarts("p", 1).await;
    let ended = &main(&again)["lastState"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)));
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_in_order_and_until_they_succeed() {
    let bed = Bed::new().await;
    bed.runtime.set_script("first", Script::exit_after(Duration::from_secs(2), 0));
    bed.runtime.set_script("second", crashing(1));
    let init = |name: &str| json!({"name": name, "image": "busybox"});
    bed.create(with("p", json!({"initContainers": [init("first"), init("second")]}))).await;
    let waiting = bed
        .until("p", |pod| {
            pod["status"]["initContainerStatuses"][1]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    assert_eq!(waiting["status"]["phase"], "Pending");
    assert_eq!(main(&waiting)["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(condition(&waiting, "Initialized")["message"], "containers with incomplete status: [second]");
    assert_eq!(waiting["status"]["initContainerStatuses"][0]["ready"], true);

    bed.runtime.set_script("second", Script::exit_after(Duration::from_secs(1), 0));
    let running = bed.phase("p", "Running").await;
    assert_eq!(condition(&running, "Initialized")["status"], "True");
    let created = bed.calls(Operation::CreateContainer);
    let mut names: Vec<&str> = created.iter().map(|call| call.subject.as_str()).collect();
    names.dedup();
    assert_eq!(names, ["p/first", "p/second", "p/main"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let bed = Bed::new().await;
    bed.runtime.set_script("init", crashing(1));
    let init = json!([{"name": "init", "image": "busybox"}]);
    bed.create(with("p", json!({"restartPolicy": "Never", "initContainers": init}))).await;
    let failed = bed.phase("p", "Failed").await;
    assert_eq!(condition(&failed, "Initialized")["status"], "False");
    assert_eq!(bed.calls(Operation::CreateContainer).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_image_restarts_its_container_only() {
    let bed = Bed::new().await;
    let container = |name: &str| json!({"name": name, "image": "busybox", "command": ["sleep", "infinity"]});
    bed.create(with("p", json!({"containers": [container("a"), container("b")]}))).await;
    bed.phase("p", "Running").await;
    let other = bed.container("p", "b").await;
    bed.patch("p", json!({"spec": {"containers": [{"name": "a", "image": "nginx"}]}})).await;
    let changed = bed.restarts("p", 1).await;
    assert_eq!(main(&changed)["image"], "nginx");
    assert_eq!(
        (&changed["metadata"]["generation"], &changed["status"]["observedGeneration"]),
        (&json!(2), &json!(2))
    );
    bed.event("p", "Killing", "Container a definition changed, will be restarted").await;
    assert_eq!(bed.container("p", "b").await, other);
    assert_eq!(changed["status"]["containerStatuses"][1]["restartCount"], 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_keeps_nobody_busy() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", crashing(1));
    let error = Error::Other { operation: "remove container", message: "device busy".to_owned() };
    bed.runtime.inject(Operation::RemoveContainer, error, 5);
    bed.create(pod("p")).await;
    bed.restarts("p", 5).await;
    assert!(bed.calls(Operation::RemoveContainer).len() >= 6);
    assert!(bed.containers().await.len() <= 3);
}
