//! The cases of `pod_status`: phases, conditions and container states.

use super::*;
use runtime::{ContainerMetadata, PodSandboxStatus, SandboxState};
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn pod(policy: &str, init: &[&str], main: &[&str]) -> Pod {
    let list = |names: &[&str]| names.iter().map(|n| json!({"name": n, "image": "i"})).collect::<Vec<_>>();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": {"restartPolicy": policy, "initContainers": list(init), "containers": list(main)},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}
    }))
    .expect("a pod")
}

fn ran(name: &str, attempt: u32, state: ContainerState, exit_code: i32) -> ContainerStatus {
    ContainerStatus {
        id: format!("{name}{attempt}").into(),
        pod_sandbox_id: "s".into(),
        metadata: ContainerMetadata { name: name.to_owned(), attempt },
        state,
        created_at: at(1),
        started_at: Some(at(2)),
        finished_at: (state == ContainerState::Exited).then(|| at(3)),
        exit_code,
        reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: String::new(),
        image: "i:latest".to_owned(),
        image_id: "sha256:1".into(),
        image_ref: "sha256:1".to_owned(),
        labels: Default::default(),
        annotations: Default::default(),
        mounts: Vec::new(),
        resources: Default::default(),
        log_path: String::new(),
    }
}

fn observed(containers: Vec<ContainerStatus>) -> Observed {
    let sandbox = PodSandboxStatus {
        id: "s".into(),
        metadata: Default::default(),
        state: SandboxState::Ready,
        created_at: at(0),
        ips: vec!["10.1.2.3".parse().expect("an address")],
        namespaces: Default::default(),
        labels: Default::default(),
        annotations: Default::default(),
    };
    let mut observed = Observed { sandboxes: vec![sandbox], ..Default::default() };
    for status in containers {
        observed.containers.entry(status.metadata.name.clone()).or_default().push(status);
    }
    observed
}

fn know() -> Knowledge {
    Knowledge { scheme: "docker".to_owned(), host_ips: vec!["192.0.2.1".to_owned()], ..Default::default() }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status.conditions.iter().flatten().find(|c| c.type_ == kind).expect("the condition is there")
}

use ContainerState::{Exited, Running};

#[test]
fn the_phase_says_what_the_containers_say_together() {
    let held = |mut know: Knowledge| {
        let waiting = Waiting { reason: "CrashLoopBackOff", message: String::new() };
        know.waiting.insert("a".to_owned(), waiting);
        know
    };
    let stopped = Knowledge { stopping: true, stopped: true, ..know() };
    for (policy, containers, know, expected) in [
        ("Always", vec![], know(), "Pending"),
        ("Always", vec![ran("a", 0, Running, 0)], know(), "Pending"),
        ("Always", vec![ran("a", 0, Running, 0), ran("b", 0, Running, 0)], know(), "Running"),
        ("Always", vec![ran("a", 0, Exited, 1), ran("b", 0, Running, 0)], held(know()), "Running"),
        ("Always", vec![ran("a", 0, Exited, 0), ran("b", 0, Exited, 0)], know(), "Running"),
        ("Never", vec![ran("a", 0, Exited, 0), ran("b", 0, Running, 0)], know(), "Running"),
        ("Never", vec![ran("a", 0, Exited, 0), ran("b", 0, Exited, 0)], know(), "Succeeded"),
        ("Never", vec![ran("a", 0, Exited, 3), ran("b", 0, Exited, 0)], know(), "Failed"),
        ("OnFailure", vec![ran("a", 0, Exited, 3), ran("b", 0, Exited, 0)], know(), "Running"),
        ("OnFailure", vec![ran("a", 0, Exited, 0), ran("b", 0, Exited, 0)], know(), "Succeeded"),
        ("Always", vec![ran("a", 0, Exited, 0), ran("b", 0, Exited, 0)], stopped.clone(), "Succeeded"),
        ("Always", vec![ran("a", 0, Exited, 137), ran("b", 0, Exited, 0)], stopped.clone(), "Failed"),
        ("Always", vec![], stopped, "Failed"),
    ] {
        let status = pod_status(&pod(policy, &[], &["a", "b"]), &observed(containers.clone()), &know, at(9));
        assert_eq!(status.phase.as_deref(), Some(expected), "{policy} {containers:?}");
    }
}

#[test]
fn a_ready_pod_has_its_address_and_true_conditions() {
    let status =
        pod_status(&pod("Always", &[], &["a"]), &observed(vec![ran("a", 0, Running, 0)]), &know(), at(9));
    assert_eq!(status.pod_ip.as_deref(), Some("10.1.2.3"));
    for kind in ["PodScheduled", "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"] {
        assert_eq!(condition(&status, kind).status, "True", "{kind}");
    }
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    assert_eq!(container.container_id.as_deref(), Some("docker://a0"));
    assert!(container.ready && container.started == Some(true));
}

#[test]
fn a_crashing_container_waits_and_remembers_its_last_end() {
    let mut know = know();
    let message = "back-off 10s restarting failed container=a pod=p_ns(u)".to_owned();
    know.waiting.insert("a".to_owned(), Waiting { reason: "CrashLoopBackOff", message });
    let attempts = vec![ran("a", 2, Exited, 3), ran("a", 1, Exited, 3)];
    let status = pod_status(&pod("Always", &[], &["a"]), &observed(attempts), &know, at(9));
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    let state = container.state.as_ref().and_then(|s| s.waiting.as_ref()).expect("waiting");
    assert_eq!(state.reason.as_deref(), Some("CrashLoopBackOff"));
    let last = container.last_state.as_ref().and_then(|s| s.terminated.as_ref()).expect("an end");
    assert_eq!((last.exit_code, container.restart_count), (3, 2));
    let ready = condition(&status, "Ready");
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a]"));
}

#[test]
fn init_containers_hold_the_rest_in_pod_initializing() {
    let pod = pod("Always", &["i"], &["a"]);
    let status = pod_status(&pod, &observed(vec![ran("i", 0, Running, 0)]), &know(), at(9));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(condition(&status, "Initialized").status, "False");
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref()).expect("waiting");
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
}

#[test]
fn transition_times_stay_while_the_status_stays() {
    let mut pod = pod("Always", &[], &["a"]);
    let all = observed(vec![ran("a", 0, Running, 0)]);
    pod.status = Some(pod_status(&pod, &all, &know(), at(9)));
    let later = pod_status(&pod, &all, &know(), at(60));
    assert_eq!(Some(&later), pod.status.as_ref());
}

#[test]
fn a_refused_pod_is_failed_with_the_reason() {
    let failed = Some(("PodFeatureUnsupported".to_owned(), "no".to_owned()));
    let know = Knowledge { failed, ..know() };
    let status = pod_status(&pod("Always", &[], &["a"]), &Observed::default(), &know, at(9));
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("PodFeatureUnsupported"));
    assert!(status.container_statuses.is_none());
}

#[test]
fn no_phase_is_terminal_while_something_runs() {
    let failed = Some(("DeadlineExceeded".to_owned(), "late".to_owned()));
    let know = Knowledge { failed, stopping: true, ..know() };
    let pod = pod("Always", &[], &["a"]);
    let running = pod_status(&pod, &observed(vec![ran("a", 0, Running, 0)]), &know, at(9));
    assert_eq!((running.phase.as_deref(), running.reason), (Some("Running"), None));
    let ended = pod_status(&pod, &observed(vec![ran("a", 0, Exited, 137)]), &know, at(9));
    assert_eq!(ended.phase.as_deref(), Some("Failed"));
    assert_eq!(ended.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn last_words_share_twelve_kibibytes() {
    let names = ["a", "b", "c", "d"];
    let mut know = know();
    for name in names {
        know.termination_messages.insert(format!("{name}0"), "é".repeat(2048));
    }
    let all = names.map(|name| ran(name, 0, Exited, 1)).to_vec();
    let status = pod_status(&pod("Never", &[], &names), &observed(all), &know, at(9));
    let ends =
        status.container_statuses.iter().flatten().filter_map(|s| s.state.as_ref()?.terminated.as_ref());
    let lengths: Vec<usize> = ends.map(|end| end.message.as_ref().map_or(0, String::len)).collect();
    assert_eq!(lengths, [3072; 4]);
}

#[test]
fn a_patch_names_own_conditions_and_replaces_addresses() {
    let status =
        pod_status(&pod("Always", &[], &["a"]), &observed(vec![ran("a", 0, Running, 0)]), &know(), at(9));
    let patch = patch("u", None, &status);
    let kinds: Vec<&str> = patch["status"]["conditions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    assert_eq!(kinds, conditions::OWN[..5]);
    assert_eq!(patch["status"]["podIPs"], json!([{"$patch": "replace"}, {"ip": "10.1.2.3"}]));
}

#[test]
fn a_patch_takes_back_what_was_said() {
    let mut pod = pod("Always", &[], &["a"]);
    let before = pod_status(&pod, &observed(vec![]), &know(), at(4));
    assert_eq!(condition(&before, "Ready").reason.as_deref(), Some("ContainersNotReady"));
    pod.status = Some(before.clone());
    let ready = pod_status(&pod, &observed(vec![ran("a", 0, Running, 0)]), &know(), at(9));
    let said = patch("u", Some(&before), &ready);
    let list = said["status"]["conditions"].as_array().expect("a list");
    let condition = list.iter().find(|c| c["type"] == "Ready").and_then(|c| c.as_object()).expect("there");
    assert_eq!((&condition["status"], condition.get("reason")), (&json!("True"), Some(&json!(null))));
    assert_eq!(condition.get("message"), Some(&json!(null)));
    let again = patch("u", Some(&ready), &ready);
    assert!(again["status"]["conditions"][2].get("reason").is_none(), "{again}");
}

#[test]
fn what_was_removed_to_start_anew_says_so_and_is_counted() {
    let mut pod = pod("Never", &["i"], &["a"]);
    let spec = pod.spec.as_mut().expect("a spec");
    spec.containers[0].restart_policy_rules = serde_json::from_value(
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]),
    )
    .ok();
    let told = |pod: &mut Pod, containers, restarting| {
        let status = pod_status(pod, &observed(containers), &Knowledge { restarting, ..know() }, at(4));
        pod.status = Some(status.clone());
        status
    };
    let all = |attempt, state, code| vec![ran("i", attempt, Exited, 0), ran("a", attempt, state, code)];
    let reason = |status: &PodStatus| condition(status, "AllContainersRestarting").reason.clone();
    told(&mut pod, all(0, Running, 0), false);
    let begun = told(&mut pod, all(0, Exited, 42), true);
    assert_eq!(reason(&begun).as_deref(), Some("RestartAllContainersStarted"));
    assert_eq!(begun.phase.as_deref(), Some("Running"));
    // Also if somebody else comes to write it down.
    let empty = told(&mut pod, vec![], false);
    assert_eq!(condition(&empty, "AllContainersRestarting").status, "False");
    assert_eq!(condition(&empty, "Initialized").status, "True");
    assert_eq!(empty.phase.as_deref(), Some("Running"));
    let main = |status: &PodStatus| status.container_statuses.as_ref().expect("statuses")[0].clone();
    let waits = main(&empty).state.and_then(|state| state.waiting).expect("it waits");
    assert_eq!((waits.reason.as_deref(), main(&empty).restart_count), (Some("RestartingAllContainers"), 1));
    let initialising = told(&mut pod, vec![ran("i", 1, Running, 0)], false);
    assert_eq!((initialising.phase.as_deref(), main(&initialising).restart_count), (Some("Running"), 1));
    let runs = main(&told(&mut pod, all(1, Running, 0), false));
    let last = runs.last_state.and_then(|state| state.terminated).expect("it ended");
    assert_eq!((last.reason.as_deref(), last.exit_code), (Some("RestartingAllContainers"), 137));
    assert_eq!(runs.restart_count, 1);
}
