//! The one word for a pod's state, its updates, its deletion.

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn row(spec: Value, status: Value) -> Vec<String> {
    let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": status});
    let now = NOW.parse().unwrap();
    Pod::new().row(&pod, now)[1..4].iter().map(|c| c.as_str().unwrap().to_owned()).collect()
}

#[test]
fn names_the_state_as_upstream_does() {
    let one = json!({"containers": [{"name": "c"}]});
    let two = json!({"containers": [{"name": "c"}, {"name": "d"}]});
    let init = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    let sidecar =
        json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i", "restartPolicy": "Always"}]});
    let running = json!({"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let waiting =
        |reason: &str| json!({"name": "c", "restartCount": 0, "state": {"waiting": {"reason": reason}}});
    let ended = |reason: &str, code: i64| json!({"name": "c", "restartCount": 0, "state": {"terminated": {"reason": reason, "exitCode": code}}});
    for (spec, status, expected) in [
        (&one, json!({"phase": "Pending"}), ["0/1", "Pending", "0"]),
        (
            &one,
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            ["0/1", "SchedulingGated", "0"],
        ),
        (
            &one,
            json!({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}),
            ["0/1", "ContainerCreating", "0"],
        ),
        (
            &one,
            json!({"phase": "Pending", "containerStatuses": [waiting("ErrImagePull")]}),
            ["0/1", "ErrImagePull", "0"],
        ),
        (&one, json!({"phase": "Running", "containerStatuses": [running]}), ["1/1", "Running", "0"]),
        (
            &one,
            json!({"phase": "Succeeded", "containerStatuses": [ended("Completed", 0)]}),
            ["0/1", "Completed", "0"],
        ),
        (&one, json!({"phase": "Failed", "containerStatuses": [ended("Error", 3)]}), ["0/1", "Error", "0"]),
        (&one, json!({"phase": "Failed", "containerStatuses": [ended("", 3)]}), ["0/1", "ExitCode:3", "0"]),
        (&one, json!({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted", "0"]),
        (
            &one,
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}}]}),
            ["0/1", "CrashLoopBackOff", "3 (5m ago)"],
        ),
        (
            &two,
            json!({"phase": "Running", "containerStatuses": [ended("Completed", 0), running], "conditions": [{"type": "Ready", "status": "True"}]}),
            ["1/2", "Running", "0"],
        ),
        (
            &two,
            json!({"phase": "Running", "containerStatuses": [ended("Completed", 0), running]}),
            ["1/2", "NotReady", "0"],
        ),
        (
            &init,
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
            ["0/1", "Init:0/2", "0"],
        ),
        (
            &init,
            json!({"phase": "Pending", "initContainerStatuses": [ended("Completed", 0), {"name": "j", "state": {"terminated": {"exitCode": 2}}}]}),
            ["0/1", "Init:ExitCode:2", "0"],
        ),
        (
            &init,
            json!({"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")]}),
            ["0/1", "Init:CrashLoopBackOff", "0"],
        ),
        (
            &sidecar,
            json!({"phase": "Running", "initContainerStatuses": [{"name": "i", "started": true, "ready": true, "state": {"running": {}}}], "containerStatuses": [running]}),
            ["2/2", "Running", "0"],
        ),
    ] {
        assert_eq!(row(spec.clone(), status.clone()), expected, "{status}");
    }
}

#[test]
fn a_pod_about_to_go_is_terminating() {
    let mut pod = json!({"metadata": {"name": "p", "deletionTimestamp": NOW}, "spec": {"containers": [{}]}, "status": {"phase": "Running"}});
    let status = |pod: &Value| Pod::new().row(pod, NOW.parse().unwrap())[2].clone();
    assert_eq!(status(&pod), "Terminating");
    pod["status"]["reason"] = json!("NodeLost");
    assert_eq!(status(&pod), "Unknown");
    pod["status"] = json!({"phase": "Succeeded"});
    assert_eq!(status(&pod), "Succeeded");
}

#[test]
fn only_images_and_additions_may_change() {
    let strategy = Pod::new();
    let mut old = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1"}],
        "tolerations": [{"key": "a", "operator": "Exists"}], "nodeName": "n"}});
    strategy.default(&mut old);
    let errors = |change: &dyn Fn(&mut Value)| -> Vec<String> {
        let mut new = old.clone();
        change(&mut new["spec"]);
        strategy.validate_update(&new, &old).iter().map(ToString::to_string).collect()
    };
    assert!(errors(&|_| {}).is_empty());
    assert!(errors(&|s| s["containers"][0]["image"] = json!("a:2")).is_empty());
    assert!(errors(&|s| s["activeDeadlineSeconds"] = json!(5)).is_empty());
    assert!(
        errors(&|s| s["tolerations"].as_array_mut().unwrap().push(json!({"key": "b", "operator": "Exists"})))
            .is_empty()
    );
    assert_eq!(
        errors(&|s| s["tolerations"] = json!([])),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
    assert!(errors(&|s| s["nodeName"] = json!("m"))[0].starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    ));
    assert_eq!(
        errors(&|s| s["containers"].as_array_mut().unwrap().push(json!({"name": "d", "image": "i"})))
            .last()
            .unwrap(),
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
}

#[test]
fn deletion_waits_only_for_what_runs() {
    let deletion = |node: &str, phase: &str, asked| {
        let pod = json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}});
        Pod::new().deletion(&pod, asked)
    };
    assert_eq!(deletion("n", "Running", None), Deletion::Graceful(30));
    assert_eq!(deletion("n", "Running", Some(5)), Deletion::Graceful(5));
    assert_eq!(deletion("n", "Running", Some(0)), Deletion::Immediate);
    assert_eq!(deletion("", "Pending", None), Deletion::Immediate);
    assert_eq!(deletion("n", "Succeeded", None), Deletion::Immediate);
}

#[test]
fn a_status_write_keeps_the_class_and_completes_addresses() {
    let (rng, user) = (component_base::Rng::seeded(1), crate::auth::UserInfo::default());
    let context = WriteContext { now: Timestamp::UNIX_EPOCH, rng: &rng, user: &user };
    let old = json!({"status": {"qosClass": "Burstable"}});
    let mut new = json!({"status": {"phase": "Running", "podIP": "10.0.0.2"}});
    Pod::new().prepare_for_status_update(&context, &mut new, &old);
    assert_eq!(
        new["status"],
        json!({"phase": "Running", "podIP": "10.0.0.2", "qosClass": "Burstable", "podIPs": [{"ip": "10.0.0.2"}]})
    );
}
