//! Tables of cases of the node lifecycle plan.

use super::*;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use testkit::build::{self, at};

const GRACE: Grace = Grace { monitor: SignedDuration::from_secs(50), startup: SignedDuration::from_secs(60) };

fn lease(renewed: i64) -> Lease {
    let spec = LeaseSpec { renew_time: Some(MicroTime(at(renewed))), ..LeaseSpec::default() };
    Lease { spec: Some(spec), ..Lease::default() }
}

#[test]
fn a_renewed_lease_or_a_new_heartbeat_is_a_sign_of_life() {
    let node = build::node("n").condition("Ready", "True").get();
    let first = observe(None, &node, Some(&lease(0)), at(100));
    assert_eq!(first.probe, at(100), "a node that is met for the first time gets its full grace");
    let same = observe(Some(&first), &node, Some(&lease(0)), at(105));
    assert_eq!(same.probe, at(100));
    let renewed = observe(Some(&same), &node, Some(&lease(10)), at(110));
    assert_eq!(renewed.probe, at(110));
    let missing = observe(Some(&renewed), &node, None, at(115));
    assert_eq!(missing.probe, at(110), "a lease that is gone is no sign");
    let mut beating = node.clone();
    beating.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_heartbeat_time = Some(Time(at(1)));
    assert_eq!(observe(Some(&missing), &beating, None, at(120)).probe, at(120));
}

#[test]
fn a_silent_nodes_conditions_become_unknown() {
    let node = build::node("n").condition("Ready", "True").condition("MemoryPressure", "False").get();
    let health = observe(None, &node, Some(&lease(0)), at(0));
    assert_eq!(silent(&node, &health, GRACE, at(50), at(50)), None);
    let conditions = silent(&node, &health, GRACE, at(51), at(51)).unwrap();
    let told: Vec<_> = conditions
        .iter()
        .map(|condition| {
            format!("{} {} {}", condition.type_, condition.status, condition.message.as_deref().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            "Ready Unknown Kubelet stopped posting node status.",
            "MemoryPressure Unknown Kubelet stopped posting node status.",
            "DiskPressure Unknown Kubelet never posted node status.",
            "PIDPressure Unknown Kubelet never posted node status.",
        ]
    );
    assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
    let told =
        build::node("n").with(|node| node.status.as_mut().unwrap().conditions = Some(conditions)).get();
    assert_eq!(silent(&told, &health, GRACE, at(99), at(99)), None, "it is said once");
}

#[test]
fn a_node_that_never_said_anything_has_the_startup_grace() {
    let node = build::node("n").created(at(0)).get();
    let health = observe(None, &node, None, at(30));
    assert_eq!(silent(&node, &health, GRACE, at(60), at(60)), None);
    assert!(silent(&node, &health, GRACE, at(61), at(61)).is_some());
}

#[test]
fn taints_follow_the_conditions() {
    use Eviction::{Allowed, Held};
    let node = || build::node("n");
    let ready = |status| node().condition("Ready", status);
    for (name, node, eviction, wanted) in [
        ("ready", ready("True"), Allowed, None),
        (
            "became ready",
            ready("True")
                .taint(taint::NOT_READY, "NoSchedule", None)
                .taint(taint::UNREACHABLE, "NoExecute", None)
                .taint("mine", "NoExecute", None),
            Held,
            Some(vec!["mine:NoExecute"]),
        ),
        (
            "not ready, eviction allowed",
            ready("False"),
            Allowed,
            Some(vec!["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]),
        ),
        (
            "not ready, eviction held",
            ready("False"),
            Held,
            Some(vec!["node.kubernetes.io/not-ready:NoSchedule"]),
        ),
        (
            "fell silent after it was not ready",
            ready("Unknown").taint(taint::NOT_READY, "NoExecute", Some(at(0))),
            Held,
            Some(vec![
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute",
            ]),
        ),
        (
            "driven out already",
            ready("Unknown").taint(taint::UNREACHABLE, "NoSchedule", Some(at(0))).taint(
                taint::UNREACHABLE,
                "NoExecute",
                Some(at(0)),
            ),
            Held,
            None,
        ),
        (
            "under pressure and cordoned",
            ready("True").condition("DiskPressure", "True").unschedulable(),
            Held,
            Some(vec![
                "node.kubernetes.io/unschedulable:NoSchedule",
                "node.kubernetes.io/disk-pressure:NoSchedule",
            ]),
        ),
        ("uncordoned", ready("True").taint(taint::UNSCHEDULABLE, "NoSchedule", None), Held, Some(vec![])),
        ("registered, nothing told", node().taint(taint::NOT_READY, "NoSchedule", None), Allowed, None),
    ] {
        let taints = taints(&node.get(), eviction, at(9));
        let printed = taints.as_ref().map(|taints| {
            taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect::<Vec<_>>()
        });
        assert_eq!(
            printed,
            wanted.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>()),
            "{name}"
        );
    }
}

#[test]
fn a_node_awaits_eviction_until_it_is_tainted_for_it() {
    let silent = build::node("n").condition("Ready", "Unknown");
    assert!(awaits_eviction(&silent.clone().get()));
    assert!(!awaits_eviction(&silent.taint(taint::UNREACHABLE, "NoExecute", None).get()));
    assert!(!awaits_eviction(&build::node("n").condition("Ready", "True").get()));
    assert!(!awaits_eviction(&build::node("n").get()));
}
