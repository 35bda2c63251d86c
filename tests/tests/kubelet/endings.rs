//! How pods end: asked to, by themselves, by force, out of time.

use crate::{Bed, condition, main, pod, with};
use kube::api::{Patch, PatchParams};
use runtime::Error;
use runtime::fake::{Call, Operation, Script};
use serde_json::json;
use std::time::Duration;
use testkit::eventually;

/// Grace periods, in seconds, that containers were stopped with.
fn graces(bed: &Bed) -> Vec<u64> {
    bed.calls(Operation::StopContainer).iter().map(|call| call.timeout.expect("a grace").as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_object_goes_after_its_containers() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::forever().ignoring_term());
    bed.create(with("p", json!({"terminationGracePeriodSeconds": 20}))).await;
    bed.phase("p", "Running").await;
    let then = bed.now();
    bed.delete("p", None).await;
    bed.event("p", "Killing", "Stopping container main").await;
    let ending = bed.until("p", |pod| pod["status"]["observedGeneration"] == 2).await;
    assert_eq!(ending["status"]["phase"], "Running");
    assert_eq!(main(&ending)["ready"], true);
    bed.gone("p").await;
    assert_eq!(bed.since(then), 20);
    assert_eq!(graces(&bed), [20]);
    assert!(bed.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_is_a_terminal_phase() {
    let bed = Bed::new().await;
    for (name, code, phase) in [("good", 0, "Succeeded"), ("bad", 143, "Failed")] {
        bed.runtime
            .set_script("main", Script { on_term: runtime::script::OnTerm::Exit(code), ..Script::forever() });
        let mut held = pod(name);
        held["metadata"]["finalizers"] = json!(["example.com/hold"]);
        bed.create(held).await;
        bed.phase(name, "Running").await;
        bed.delete(name, None).await;
        let ended = bed.phase(name, phase).await;
        assert_eq!(main(&ended)["state"]["terminated"]["exitCode"], code);
        assert_eq!(condition(&ended, "Ready")["status"], "False");
        assert_eq!(ended["status"]["observedGeneration"], 2);
    }
    eventually(crate::LONG, async || bed.is_clean().await).await;
    // It stays, for its finalizer; and nothing is done about that once the last word is said.
    bed.pass(60).await;
    bed.runtime.clear_calls();
    bed.pass(600).await;
    let calls = bed.runtime.calls();
    let of_the_node = |call: &Call| matches!(call.operation, Operation::Status | Operation::ListImages);
    assert!(calls.iter().all(of_the_node), "{calls:?}");
    for name in ["good", "bad"] {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        bed.pods().patch(name, &PatchParams::default(), &patch).await.expect("released");
        bed.gone(name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_delete_may_shorten_the_grace() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::forever().ignoring_term());
    bed.create(with("p", json!({"terminationGracePeriodSeconds": 600}))).await;
    bed.phase("p", "Running").await;
    let then = bed.now();
    bed.delete("p", None).await;
    bed.pass(10).await;
    bed.delete("p", Some(5)).await;
    bed.gone("p").await;
    assert_eq!(bed.since(then), 15);
    assert_eq!(graces(&bed), [600, 5]);
}

#[tokio::test(start_paused = true)]
async fn force_takes_the_object_first_and_the_containers_at_once() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::forever().ignoring_term());
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    bed.delete("p", Some(0)).await;
    assert!(bed.get("p").await.is_none());
    assert!(!bed.is_clean().await);
    let then = bed.now();
    eventually(crate::LONG, async || bed.is_clean().await).await;
    assert_eq!(bed.since(then), 2);
    assert_eq!(graces(&bed), [2]);
}

#[tokio::test(start_paused = true)]
async fn force_also_shortens_a_grace() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::forever().ignoring_term());
    bed.create(with("p", json!({"terminationGracePeriodSeconds": 600}))).await;
    bed.phase("p", "Running").await;
    bed.delete("p", None).await;
    bed.event("p", "Killing", "").await;
    bed.delete("p", Some(0)).await;
    eventually(Duration::from_secs(60), async || bed.is_clean().await).await;
    assert_eq!(graces(&bed), [600, 2]);
    // A new pod of the same name is another pod.
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_gives_way_to_the_pods_end() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::exit_after(Duration::from_secs(1), 1));
    bed.create(pod("p")).await;
    bed.waits("p", "CrashLoopBackOff").await;
    let then = bed.now();
    bed.delete("p", None).await;
    bed.gone("p").await;
    assert!(bed.since(then) <= 1);
    assert!(bed.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn what_ended_by_itself_keeps_its_containers_until_it_is_deleted() {
    let bed = Bed::new().await;
    bed.runtime.set_script("main", Script::exit_after(Duration::from_secs(5), 0));
    bed.create(with("p", json!({"restartPolicy": "Never"}))).await;
    let running = bed.phase("p", "Running").await;
    bed.phase("p", "Succeeded").await;
    let ended = bed.until("p", |pod| condition(pod, "PodReadyToStartContainers")["status"] == "False").await;
    assert_eq!(ended["status"]["podIP"], running["status"]["podIP"]);
    bed.pass(3600).await;
    assert_eq!(bed.containers().await.len(), 1);
    let sandboxes = bed.sandboxes().await;
    assert_eq!(sandboxes[0].state, runtime::SandboxState::NotReady, "its network is free again");
    bed.delete("p", None).await;
    bed.gone("p").await;
    assert!(bed.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_pod() {
    let bed = Bed::new().await;
    bed.create(with("p", json!({"activeDeadlineSeconds": 30}))).await;
    bed.phase("p", "Running").await;
    let then = bed.now();
    let failed = bed.phase("p", "Failed").await;
    assert!((29..=31).contains(&bed.since(then)), "{}", bed.since(then));
    assert_eq!(failed["status"]["reason"], "DeadlineExceeded");
    let message = "Pod was active on the node longer than the specified deadline";
    assert_eq!(failed["status"]["message"], message);
    bed.event("p", "DeadlineExceeded", message).await;
    assert!(!main(&failed)["state"]["terminated"].is_null());
    assert_eq!(bed.containers().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_no_node_had_is_nobodys_business() {
    let bed = Bed::new().await;
    bed.create(with("p", json!({"nodeSelector": {"no": "where"}}))).await;
    bed.until("p", |pod| !pod["status"]["conditions"].is_null()).await;
    bed.delete("p", None).await;
    bed.gone("p").await;
    assert!(bed.calls(Operation::RunPodSandbox).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_will_not_stop_containers_is_asked_again() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    let error = Error::Other { operation: "stop container", message: "busy".to_owned() };
    bed.runtime.inject(Operation::StopContainer, error.clone(), 3);
    bed.runtime.inject(Operation::RemovePodSandbox, error, 3);
    bed.delete("p", None).await;
    bed.gone("p").await;
    assert!(bed.is_clean().await);
    assert_eq!(bed.calls(Operation::StopContainer).len(), 4);
    assert_eq!(bed.calls(Operation::RemovePodSandbox).len(), 4);
}
