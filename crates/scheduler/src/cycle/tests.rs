//! Cycles of the default profile over small clusters: the choice, the messages, the sample.

use super::*;
use crate::plugins;
use crate::plugins::testing::{Cluster, named, pod};
use serde_json::{Value, json};

fn small(name: &str, cpu: &str, unschedulable: bool) -> Value {
    json!({
        "metadata": {"name": name}, "spec": {"unschedulable": unschedulable},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
    })
}

fn wants(requests: Value) -> Arc<PodInfo> {
    pod(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

fn run(pod: &Arc<PodInfo>, nodes: &[Value]) -> Result<String, String> {
    let cluster = Cluster::of(nodes);
    let profile = plugins::default_profile();
    let (decision, _) =
        schedule(&profile, pod, &cluster.snapshot, &mut Memory::default(), &mut 0, &Rng::seeded(1));
    let name = |slot| cluster.snapshot.at(slot).name().to_owned();
    decision.chosen.map(name).ok_or_else(|| decision.diagnosis.message())
}

#[test]
fn the_node_with_most_room_is_chosen() {
    let nodes = [small("a", "2", false), small("b", "8", false), small("c", "4", false)];
    assert_eq!(run(&wants(json!({"cpu": "1"})), &nodes), Ok("b".to_owned()));
}

#[test]
fn messages_count_nodes_by_reason() {
    let nodes = [small("a", "2", true), small("b", "1", false), small("c", "1", false)];
    let by_name = |names: Value| {
        pod(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": names}]}]}}}}))
    };
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    for (pod, nodes, message) in [
        (
            wants(json!({"cpu": "3"})),
            &nodes[..],
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.",
        ),
        (wants(json!({})), &[], "no nodes available to schedule pods"),
        // A rejection before any node was looked at is not counted.
        (pod(claim), &nodes, "0/3 nodes are available: persistentvolumeclaim \"data\" not found."),
        (
            by_name(json!(["a"])),
            &nodes,
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
        ),
    ] {
        assert_eq!(run(&pod, nodes), Err(message.to_owned()));
    }
}

#[test]
fn room_that_was_made_for_others_is_theirs_unless_they_matter_less() {
    let mut cluster = Cluster::of(&[small("n", "2", false)]);
    let of = |name: &str, priority: i32| {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": "2"}}});
        named(name, json!({"priority": priority, "containers": [container]}))
    };
    cluster.snapshot.nominate(of("first", 10), "n");
    let profile = plugins::default_profile();
    for (priority, takes) in [(9, false), (10, false), (11, true)] {
        let pod = of("second", priority);
        let (decision, _) =
            schedule(&profile, &pod, &cluster.snapshot, &mut Memory::default(), &mut 0, &Rng::seeded(1));
        assert_eq!(decision.chosen.is_some(), takes, "priority {priority}");
    }
}

#[test]
fn a_large_cluster_is_sampled() {
    for (all, percentage, enough) in [
        (50, 0, 50),
        (100, 0, 100),
        (1000, 0, 420),
        (5000, 0, 500),
        (6000, 0, 300),
        (1000, 70, 700),
        (50, 10, 50),
    ] {
        assert_eq!(feasible_nodes_to_find(all, percentage), enough);
    }
}

#[test]
fn the_default_profile_has_upstreams_plugins_and_weights() {
    let profile = plugins::default_profile();
    let weights: Vec<(&str, i64)> = profile.plugins.iter().map(|e| (e.plugin.name(), e.weight)).collect();
    let expected = [
        ("SchedulingGates", 0),
        ("NodeUnschedulable", 0),
        ("NodeName", 0),
        ("TaintToleration", 3),
        ("NodeAffinity", 2),
        ("NodePorts", 0),
        ("NodeResourcesFit", 1),
        ("VolumeRestrictions", 0),
        ("NodeVolumeLimits", 0),
        ("VolumeBinding", 0),
        ("VolumeZone", 0),
        ("PodTopologySpread", 2),
        ("InterPodAffinity", 2),
        ("DynamicResources", 0),
        ("NodeResourcesBalancedAllocation", 1),
        ("ImageLocality", 1),
    ];
    assert_eq!(weights, expected);
    assert!(profile.preemption.is_some());
}
