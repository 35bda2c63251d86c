//! Who leaves which node for an important pod, and what is said where nobody does.

use super::*;
use crate::cycle::schedule;
use crate::memory::Memory;
use crate::plugins;
use crate::plugins::testing::{Cluster, full};
use client::Key;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"zone": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}})
}

/// A pod of this priority that wants this much CPU and has run for so many seconds.
fn pod(name: &str, priority: i32, cpu: &str, ran: i64, spec: Value) -> Arc<PodInfo> {
    let started = Timestamp::from_second(NOW - ran).expect("a time");
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"startTime": started},
    });
    pod["spec"].as_object_mut().expect("a spec").extend(spec.as_object().expect("fields").clone());
    full(pod)
}

fn low(name: &str, priority: i32, cpu: &str) -> Arc<PodInfo> {
    pod(name, priority, cpu, 60, json!({}))
}

fn important(cpu: &str, spec: Value) -> Arc<PodInfo> {
    pod("important", 100, cpu, 0, spec)
}

/// Node and victims, or what is said instead.
fn outcome(cluster: &Cluster, pod: &Arc<PodInfo>) -> Result<(String, Vec<String>), String> {
    let profile = plugins::default_profile();
    let (rng, mut memory) = (Rng::seeded(1), Memory::default());
    let (decision, cycle) = schedule(&profile, pod, &cluster.snapshot, &mut memory, &mut 0, &rng);
    assert_eq!(decision.chosen, None, "it fits without preemption");
    match preempt(cycle, pod, &decision.diagnosis, &PreemptionArgs::default(), &rng) {
        Preemption::Candidates(candidates) => {
            let candidate = best(candidates).expect("one of them");
            let node = cluster.snapshot.at(candidate.slot).name().to_owned();
            Ok((node, candidate.victims.iter().map(|pod| pod.name().to_owned()).collect()))
        }
        Preemption::Hopeless(why) => Err(why),
        Preemption::NotEligible(why) => Err(why.to_owned()),
    }
}

#[test]
fn as_little_as_possible_leaves_and_the_least_important_first() {
    let one = || Cluster::of(&[node("n")]);
    for (name, cluster, wants, victims) in [
        ("one is enough", one().with("n", low("a", 1, "2")).with("n", low("b", 2, "2")), "2", vec!["a"]),
        ("all must go", one().with("n", low("a", 1, "2")).with("n", low("b", 2, "2")), "4", vec!["b", "a"]),
        (
            "who runs longer stays",
            one().with("n", pod("old", 1, "2", 90, json!({}))).with("n", pod("new", 1, "2", 30, json!({}))),
            "2",
            vec!["new"],
        ),
        (
            "the important one is no victim",
            one().with("n", low("same", 100, "2")).with("n", low("a", 1, "2")),
            "2",
            vec!["a"],
        ),
    ] {
        let expected = victims.into_iter().map(str::to_owned).collect();
        let got = outcome(&cluster, &important(wants, json!({})));
        assert_eq!(got, Ok(("n".to_owned(), expected)), "{name}");
    }
}

#[test]
fn the_node_is_chosen_where_least_is_lost() {
    let two = || Cluster::of(&[node("m"), node("n")]);
    for (name, cluster, node) in [
        ("lower priority", two().with("m", low("a", 2, "4")).with("n", low("b", 1, "4")), "n"),
        (
            "fewer pods",
            two().with("m", low("a", 1, "2")).with("m", low("b", 1, "2")).with("n", low("c", 1, "4")),
            "n",
        ),
        (
            "a smaller sum of priorities",
            two()
                .with("m", low("a", 5, "2"))
                .with("m", low("b", 4, "2"))
                .with("n", low("c", 5, "2"))
                .with("n", low("d", 1, "2")),
            "n",
        ),
        (
            "later started",
            two().with("m", pod("a", 1, "4", 90, json!({}))).with("n", pod("b", 1, "4", 10, json!({}))),
            "n",
        ),
    ] {
        let got = outcome(&cluster, &important("4", json!({}))).expect("a node");
        assert_eq!(got.0, node, "{name}");
    }
}

#[test]
fn budgets_are_kept_if_possible_and_hurt_if_not() {
    let budget = |cluster: &mut Cluster, app: &str, left: i32| {
        let budget = json!({"metadata": {"name": app, "namespace": "ns"},
            "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": left}});
        let budget = Arc::new(serde_json::from_value(budget).expect("a budget"));
        cluster.snapshot.budgets.insert(Key::new("ns", app), budget);
    };
    // On one node the protected one stays although it matters less.
    let mut one = Cluster::of(&[node("n")]).with("n", low("a", 1, "2")).with("n", low("b", 2, "2"));
    budget(&mut one, "a", 0);
    let got = outcome(&one, &important("2", json!({})));
    assert_eq!(got, Ok(("n".to_owned(), vec!["b".to_owned()])));
    // Of two nodes the one without a budget.
    let mut two =
        Cluster::of(&[node("m"), node("n")]).with("m", low("a", 1, "4")).with("n", low("b", 9, "4"));
    budget(&mut two, "a", 0);
    assert_eq!(outcome(&two, &important("4", json!({}))).expect("a node").0, "n");
    // A budget that allows it is no obstacle.
    budget(&mut two, "a", 1);
    assert_eq!(outcome(&two, &important("4", json!({}))).expect("a node").0, "m");
    // Where nothing else helps it is hurt.
    budget(&mut two, "a", 0);
    budget(&mut two, "b", 0);
    assert_eq!(outcome(&two, &important("4", json!({}))).expect("a node").0, "m");
}

#[test]
fn says_why_it_does_not_help() {
    let full_of = |priority: i32| Cluster::of(&[node("m"), node("n")]).with("m", low("a", priority, "4"));
    let gone = |cluster: Cluster| {
        let mut tainted = cluster;
        let mut object = (**tainted.snapshot.node("n").expect("it").node.as_ref().expect("a node")).clone();
        object.spec = serde_json::from_value(json!({"unschedulable": true})).expect("a spec");
        tainted.snapshot.set_node(Arc::new(object));
        tainted
    };
    for (name, cluster, pod, why) in [
        (
            "no victims there, and another node is cordoned",
            gone(full_of(100)),
            important("4", json!({})),
            "0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
        ),
        (
            "no node is ever large enough",
            full_of(1),
            important("9", json!({})),
            "0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
        ),
        (
            "it must not",
            gone(full_of(1)),
            important("4", json!({"preemptionPolicy": "Never"})),
            "not eligible due to preemptionPolicy=Never.",
        ),
    ] {
        assert_eq!(outcome(&cluster, &pod), Err(why.to_owned()), "{name}");
    }
}

#[test]
fn it_waits_for_victims_that_are_still_leaving() {
    let leaving = full(json!({
        "metadata": {"name": "victim", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"priority": 1, "containers": [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": REASON}]},
    }));
    let cluster = Cluster::of(&[node("n")]).with("n", leaving);
    let mut nominated = (*important("4", json!({})).pod()).clone();
    nominated.status = serde_json::from_value(json!({"nominatedNodeName": "n"})).expect("a status");
    let nominated = Arc::new(PodInfo::new(Arc::new(nominated)));
    let why = "not eligible due to a terminating pod on the nominated node.";
    assert_eq!(outcome(&cluster, &nominated), Err(why.to_owned()));
}

#[test]
fn anti_affinity_and_spreading_are_judged_without_the_victims() {
    let far = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "zone"}]}}});
    let cluster = Cluster::of(&[node("n")]).with("n", low("a", 1, "1")).with("n", low("b", 1, "1"));
    assert_eq!(outcome(&cluster, &important("1", far)), Ok(("n".to_owned(), vec!["a".to_owned()])));
    // What is imagined on one node is forgotten before the next: both nodes must be judged alike.
    let spread = json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "important"}}}]});
    let same = |name: &str| {
        let mut same = (*low(name, 1, "4").pod()).clone();
        same.metadata.labels = Some([("app".to_owned(), "important".to_owned())].into());
        Arc::new(PodInfo::new(Arc::new(same)))
    };
    let cluster = Cluster::of(&[node("m"), node("n")]).with("m", same("x")).with("n", same("y"));
    let (_, victims) = outcome(&cluster, &important("4", spread)).expect("a node");
    assert_eq!(victims.len(), 1);
}
