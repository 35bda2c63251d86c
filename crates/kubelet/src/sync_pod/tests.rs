//! The cases of `sync_pod`: what the runtime has, what is to happen next.

use super::*;
use crate::health::{Failure, Probe};
use runtime::{ContainerMetadata, PodSandboxStatus, SandboxState};
use serde_json::json;

const NOW: i64 = 1000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn pod(policy: &str, init: &[&str], main: &[&str]) -> Pod {
    let list = |names: &[&str]| names.iter().map(|n| json!({"name": n, "image": "i"})).collect::<Vec<_>>();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": list(init), "containers": list(main)}
    }))
    .expect("a pod")
}

fn sandbox(attempt: u32, state: SandboxState) -> PodSandboxStatus {
    PodSandboxStatus {
        id: format!("s{attempt}").into(),
        metadata: runtime::PodSandboxMetadata { attempt, ..Default::default() },
        state,
        created_at: at(0),
        ips: Vec::new(),
        namespaces: Default::default(),
        labels: Default::default(),
        annotations: Default::default(),
    }
}

fn container(
    sandbox: &str,
    name: &str,
    attempt: u32,
    state: ContainerState,
    exit_code: i32,
) -> ContainerStatus {
    let spec = Container { name: name.to_owned(), image: Some("i".to_owned()), ..Default::default() };
    let hash = container_config::hash(&spec);
    ContainerStatus {
        id: format!("{name}{attempt}").into(),
        pod_sandbox_id: sandbox.into(),
        metadata: ContainerMetadata { name: name.to_owned(), attempt },
        state,
        created_at: at(0),
        started_at: Some(at(0)),
        finished_at: (state == ContainerState::Exited).then(|| at(NOW - 1)),
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: "i".to_owned(),
        image_id: "i".into(),
        image_ref: String::new(),
        labels: Default::default(),
        annotations: [(HASH_ANNOTATION.to_owned(), hash)].into(),
        mounts: Vec::new(),
        resources: Default::default(),
        log_path: String::new(),
    }
}

fn observed(sandboxes: Vec<PodSandboxStatus>, containers: Vec<ContainerStatus>) -> Observed {
    let mut observed = Observed { sandboxes, ..Default::default() };
    for status in containers {
        observed.containers.entry(status.metadata.name.clone()).or_default().push(status);
    }
    observed
}

fn plan(pod: &Pod, observed: &Observed) -> Plan {
    plan_with(pod, observed, &Backoff::kubelet(), &Health::default())
}

fn plan_with(pod: &Pod, observed: &Observed, backoff: &Backoff, health: &Health) -> Plan {
    let limits = Limits::default();
    let status = pod.status.as_ref();
    sync_pod(pod, observed, &Circumstances { backoff, health, limits: &limits, status, now: at(NOW) })
}

fn finished() -> Plan {
    Plan { finished: true, ..Plan::default() }
}

/// `name/attempt` of what is started.
fn started(plan: &Plan) -> Vec<String> {
    plan.start.iter().map(|s| format!("{}/{}", s.name, s.attempt)).collect()
}

use ContainerState::{Created, Exited, Running};
use SandboxState::{NotReady, Ready};

#[test]
fn a_new_pod_gets_a_sandbox_and_all_its_containers() {
    let plan = plan(&pod("Always", &[], &["a", "b"]), &Observed::default());
    assert_eq!(plan.create_sandbox, Some(0));
    assert_eq!(started(&plan), ["a/0", "b/0"]);
}

#[test]
fn a_running_pod_is_left_alone() {
    let all = observed(
        vec![sandbox(0, Ready)],
        vec![container("s0", "a", 0, Running, 0), container("s0", "b", 3, Running, 0)],
    );
    assert_eq!(plan(&pod("Always", &[], &["a", "b"]), &all), Plan::default());
}

#[test]
fn what_ended_restarts_by_policy() {
    for (policy, code, restarts) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ] {
        let all = observed(vec![sandbox(0, Ready)], vec![container("s0", "a", 0, Exited, code)]);
        let plan = plan(&pod(policy, &[], &["a"]), &all);
        assert_eq!(started(&plan), if restarts { vec!["a/1"] } else { vec![] }, "{policy} {code}");
    }
}

#[test]
fn a_second_crash_is_held_back_and_wakes_when_the_delay_ends() {
    let pod = pod("Always", &[], &["a"]);
    let all = observed(vec![sandbox(0, Ready)], vec![container("s0", "a", 1, Exited, 1)]);
    let mut backoff = Backoff::kubelet();
    let hash = container_config::hash(&pod.spec.as_ref().expect("a spec").containers[0]);
    backoff.next(&backoff_key("a", &hash), at(NOW - 2), at(NOW - 2));
    let plan = plan_with(&pod, &all, &backoff, &Health::default());
    assert_eq!(started(&plan), Vec::<String>::new());
    assert_eq!(plan.waiting[0].message, "back-off 10s restarting failed container=a pod=p_ns(u)");
    assert_eq!(plan.wake_at, Some(at(NOW + 9)));
}

#[test]
fn init_containers_run_one_after_the_other_before_the_rest() {
    let pod = pod("Always", &["i", "j"], &["a"]);
    let with = |containers| observed(vec![sandbox(0, Ready)], containers);
    for (containers, expected) in [
        (vec![], vec!["i/0"]),
        (vec![container("s0", "i", 0, Running, 0)], vec![]),
        (vec![container("s0", "i", 0, Exited, 0)], vec!["j/0"]),
        (vec![container("s0", "i", 0, Exited, 1)], vec!["i/1"]),
        (vec![container("s0", "i", 0, Exited, 0), container("s0", "j", 0, Exited, 0)], vec!["a/0"]),
    ] {
        assert_eq!(started(&plan(&pod, &with(containers))), expected);
    }
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let pod = pod("Never", &["i"], &["a"]);
    let all = observed(vec![sandbox(0, Ready)], vec![container("s0", "i", 0, Exited, 1)]);
    assert_eq!(plan(&pod, &all), finished());
    let without = observed(vec![sandbox(0, NotReady)], vec![container("s0", "i", 0, Exited, 1)]);
    assert_eq!(plan(&pod, &without).create_sandbox, None);
}

#[test]
fn a_lost_sandbox_is_made_anew_and_its_containers_with_it() {
    let pod = pod("Always", &[], &["a", "b"]);
    let all = observed(
        vec![sandbox(4, NotReady)],
        vec![container("s4", "a", 2, Exited, 137), container("s4", "b", 0, Running, 0)],
    );
    let plan = plan(&pod, &all);
    assert_eq!(plan.create_sandbox, Some(5));
    assert_eq!(plan.stop.len(), 1);
    assert_eq!(started(&plan), ["a/3", "b/1"]);
}

#[test]
fn a_completed_pod_needs_no_sandbox() {
    let all = observed(vec![sandbox(0, NotReady)], vec![container("s0", "a", 0, Exited, 0)]);
    assert_eq!(plan(&pod("OnFailure", &[], &["a"]), &all), finished());
}

#[test]
fn a_created_container_is_started_not_created_again() {
    let all = observed(vec![sandbox(0, Ready)], vec![container("s0", "a", 2, Created, 0)]);
    let plan = plan(&pod("Always", &[], &["a"]), &all);
    assert_eq!(started(&plan), ["a/2"]);
    assert_eq!(plan.start[0].created, Some("a2".into()));
}

#[test]
fn a_changed_image_restarts_its_container_only() {
    let mut pod = pod("Never", &[], &["a", "b"]);
    pod.spec.as_mut().expect("a spec").containers[0].image = Some("other".to_owned());
    let all = observed(
        vec![sandbox(0, Ready)],
        vec![container("s0", "a", 0, Running, 0), container("s0", "b", 0, Running, 0)],
    );
    let plan = plan(&pod, &all);
    assert_eq!(plan.stop[0].message, "Container a definition changed, will be restarted");
    assert_eq!(started(&plan), ["a/1"]);
}

#[test]
fn only_the_latest_attempt_and_the_one_before_are_kept() {
    let attempts = (0..4).rev().map(|n| container("s0", "a", n, Exited, 1)).collect();
    let plan = plan(&pod("Never", &[], &["a"]), &observed(vec![sandbox(0, Ready)], attempts));
    assert_eq!(plan.remove, vec!["a1".into(), "a0".into()]);
}

#[test]
fn a_replaced_sandbox_goes_when_its_last_container_does() {
    let sandboxes = vec![sandbox(2, Ready), sandbox(1, NotReady), sandbox(0, NotReady)];
    let containers = vec![container("s2", "a", 2, Running, 0), container("s1", "a", 1, Exited, 1)];
    let plan = plan(&pod("Always", &[], &["a"]), &observed(sandboxes, containers));
    assert_eq!(plan.remove_sandboxes, vec!["s0".into()]);
    assert!(plan.start.is_empty() && plan.create_sandbox.is_none());
}

#[test]
fn a_container_that_only_the_api_remembers_counts_on() {
    let mut pod = pod("Always", &[], &["a", "b"]);
    pod.status = serde_json::from_value(json!({"containerStatuses": [
        {"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 4, "containerID": "docker://x"},
        {"name": "b", "image": "i", "imageID": "", "ready": false, "restartCount": 0},
    ]}))
    .expect("a status");
    assert_eq!(started(&plan(&pod, &Observed::default())), ["a/5", "b/0"]);
}

/// A pod with a sidecar `s` before an init container `i` and a main container `a`.
fn with_sidecar(policy: &str) -> Pod {
    let mut pod = pod(policy, &["s", "i"], &["a"]);
    let spec = pod.spec.as_mut().expect("a spec");
    let init = spec.init_containers.as_mut().expect("init containers");
    init[0].restart_policy = Some("Always".to_owned());
    init[0].startup_probe = Some(Default::default());
    pod
}

#[test]
fn a_sidecar_holds_up_the_next_until_it_has_started_and_then_stays() {
    let pod = with_sidecar("Never");
    let run = |containers: Vec<ContainerStatus>, started: &[&str]| {
        let mut health = Health::default();
        started.iter().for_each(|id| health.start(&(*id).into()));
        let all = observed(vec![sandbox(0, Ready)], containers);
        plan_with(&pod, &all, &Backoff::kubelet(), &health)
    };
    let (s, i, a) = (container("s0", "s", 0, Running, 0), container("s0", "i", 0, Exited, 0), "a");
    assert_eq!(started(&run(vec![], &[])), ["s/0"]);
    assert_eq!(started(&run(vec![s.clone()], &[])), Vec::<String>::new());
    assert_eq!(started(&run(vec![s.clone()], &["s0"])), ["i/0"]);
    assert_eq!(started(&run(vec![s.clone(), i.clone()], &["s0"])), ["a/0"]);
    // It comes back whatever the pod's policy says, also while the main container runs.
    let ended = container("s0", "s", 0, Exited, 0);
    let again = run(vec![ended, i.clone(), container("s0", a, 0, Running, 0)], &[]);
    assert_eq!(started(&again), ["s/1"]);
    // It does not keep a pod alive.
    assert!(run(vec![s, i, container("s0", a, 0, Exited, 0)], &["s0"]).finished);
}

#[test]
fn what_a_probe_condemns_is_stopped_with_the_probes_grace_and_comes_back() {
    for (policy, message, comes_back) in [
        ("Always", "Container a failed liveness probe, will be restarted", true),
        ("OnFailure", "Container a failed liveness probe, will be restarted", true),
        ("Never", "Container a failed liveness probe", false),
    ] {
        let pod = pod(policy, &[], &["a"]);
        let mut health = Health::default();
        health.fail(&"a0".into(), Failure { probe: Probe::Liveness, grace: Some(7) });
        let all = observed(vec![sandbox(0, Ready)], vec![container("s0", "a", 0, Running, 0)]);
        let plan = plan_with(&pod, &all, &Backoff::kubelet(), &health);
        assert_eq!((plan.stop[0].message.as_str(), plan.stop[0].grace), (message, Some(7)), "{policy}");
        // Even if it ends well when it is told to.
        let all = observed(vec![sandbox(0, Ready)], vec![container("s0", "a", 0, Exited, 0)]);
        let plan = plan_with(&pod, &all, &Backoff::kubelet(), &health);
        assert_eq!((!plan.start.is_empty(), plan.finished), (comes_back, !comes_back), "{policy}");
    }
}

#[test]
fn an_ephemeral_container_runs_once_beside_the_others() {
    let mut pod = pod("Always", &["i"], &["a"]);
    pod.spec.as_mut().expect("a spec").ephemeral_containers =
        serde_json::from_value(json!([{"name": "e", "image": "i"}])).expect("a list");
    let run = |containers| started(&plan(&pod, &observed(vec![sandbox(0, Ready)], containers)));
    assert_eq!(run(vec![container("s0", "i", 0, Running, 0)]), ["e/0"]);
    let ended = container("s0", "e", 0, Exited, 1);
    assert_eq!(run(vec![container("s0", "i", 0, Running, 0), ended]), Vec::<String>::new());
}

/// A pod that never restarts, but whose container `t` starts all of it anew when it ends with 42.
fn with_trigger() -> Pod {
    let mut pod = pod("Never", &["i"], &["a", "t"]);
    let spec = pod.spec.as_mut().expect("a spec");
    spec.containers[1].restart_policy = Some("Never".to_owned());
    spec.containers[1].restart_policy_rules = serde_json::from_value(
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]),
    )
    .ok();
    pod
}

#[test]
fn the_end_of_one_container_may_start_all_anew() {
    let pod = with_trigger();
    let run = |code| {
        let (i, a) = (container("s0", "i", 0, Exited, 0), container("s0", "a", 0, Running, 0));
        let t = [container("s0", "t", 1, Exited, code), container("s0", "t", 0, Exited, 42)];
        observed(vec![sandbox(0, Ready)], vec![i, a].into_iter().chain(t).collect())
    };
    let reset = plan(&pod, &run(42)).reset.expect("a reset");
    assert_eq!(reset.name, "t");
    assert_eq!(reset.remove, ["a0", "i0", "t0", "t1"].map(ContainerId::from));
    let other = plan(&pod, &run(1));
    assert!(other.reset.is_none() && other.start.is_empty() && !other.finished);

    // What ends so again and again is held back; its companions go on meanwhile.
    let mut backoff = Backoff::kubelet();
    let hash = container_config::hash(&pod.spec.as_ref().expect("a spec").containers[1]);
    backoff.next(&backoff_key("t", &hash), at(NOW - 2), at(NOW - 2));
    let held = plan_with(&pod, &run(42), &backoff, &Health::default());
    assert!(held.reset.is_none() && held.stop.is_empty());
    assert_eq!((held.waiting[0].name.as_str(), held.wake_at), ("t", Some(at(NOW + 9))));
}

#[test]
fn what_starts_anew_begins_with_its_init_containers_and_is_counted() {
    let mut pod = with_trigger();
    let status =
        |name: &str| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 3});
    pod.status = serde_json::from_value(json!({"initContainerStatuses": [status("i")],
        "containerStatuses": [status("a"), status("t")]}))
    .expect("a status");
    let with = |containers| observed(vec![sandbox(0, Ready)], containers);
    assert_eq!(started(&plan(&pod, &with(vec![]))), ["i/3"]);
    assert_eq!(started(&plan(&pod, &with(vec![container("s0", "i", 3, Exited, 0)]))), ["a/3", "t/3"]);
}
