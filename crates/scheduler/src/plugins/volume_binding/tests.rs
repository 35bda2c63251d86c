//! Claims in every state, and what two nodes in two zones say to them.

use super::super::testing::{Cluster, pod};
use super::testing::{claim, volume};
use super::*;
use client::Key;
use serde_json::{Value, json};

const COMPLETE: &str = "pv.kubernetes.io/bind-completed";

/// Nodes n1 (zone a) and n2 (zone b), and classes that wait.
fn cluster(claims: &[Arc<PersistentVolumeClaim>], volumes: &[Arc<PersistentVolume>]) -> Cluster {
    let mut cluster = Cluster::zoned(&[("a", "n1"), ("b", "n2")]);
    let all = &mut cluster.snapshot.volumes;
    for claim in claims {
        all.claims.insert(Key::of(claim.as_ref()), claim.clone());
    }
    for volume in volumes {
        all.volumes.insert(volume.metadata.name.clone().expect("a name"), volume.clone());
    }
    let only_b = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["b"]}]}]);
    for (name, provisioner, mode, topologies) in [
        ("local", NO_PROVISIONER, "WaitForFirstConsumer", json!(null)),
        ("made", "example.com/maker", "WaitForFirstConsumer", json!(null)),
        ("in-b", "example.com/maker", "WaitForFirstConsumer", only_b),
        ("tracked", "tracker", "WaitForFirstConsumer", json!(null)),
        ("now", "example.com/maker", "Immediate", json!(null)),
    ] {
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner,
            "volumeBindingMode": mode, "allowedTopologies": topologies});
        let class = Arc::new(serde_json::from_value(class).expect("a class"));
        all.classes.insert(name.to_owned(), class);
    }
    let driver = json!({"metadata": {"name": "tracker"}, "spec": {"storageCapacity": true}});
    let driver = Arc::new(serde_json::from_value(driver).expect("a driver"));
    all.drivers.insert("tracker".to_owned(), driver);
    let capacity = json!({"metadata": {"name": "c", "namespace": "x"}, "storageClassName": "tracked",
        "capacity": "2Gi", "nodeTopology": {"matchLabels": {"zone": "a"}}});
    let capacity = Arc::new(serde_json::from_value(capacity).expect("a capacity"));
    all.capacities.insert(Key::new("x", "c"), capacity);
    cluster
}

fn on_zone(zone: &str) -> Value {
    json!({"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}})
}

fn mounting(claims: &[&str]) -> Arc<PodInfo> {
    let volumes: Vec<_> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    pod(json!({"volumes": volumes}))
}

fn of_class(name: &str, class: &str) -> Arc<PersistentVolumeClaim> {
    claim(name, json!({"storageClassName": class}), json!({}))
}

#[test]
fn claims_that_are_not_ready_are_told_by_name() {
    let mut lost = (*claim("lost", json!({"volumeName": "v"}), json!({}))).clone();
    lost.status = serde_json::from_value(json!({"phase": "Lost"})).expect("a status");
    let mut going = (*claim("going", json!({}), json!({}))).clone();
    going.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
    let cluster = cluster(&[Arc::new(lost), Arc::new(going), of_class("early", "now")], &[]);
    for (name, reason) in [
        ("none", "persistentvolumeclaim \"none\" not found"),
        ("lost", "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"v\""),
        ("going", "persistentvolumeclaim \"going\" is being deleted"),
        ("early", "pod has unbound immediate PersistentVolumeClaims"),
    ] {
        let told = cluster.filter(&VolumeBinding, &mounting(&[name]));
        assert!(told.iter().all(|(_, why)| why.as_deref() == Some(reason)), "{told:?}");
    }
    let ephemeral =
        pod(json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}));
    let told = cluster.filter(&VolumeBinding, &ephemeral);
    let reason = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    assert_eq!(told[0].1.as_deref(), Some(reason));
}

#[test]
fn nodes_are_judged_by_what_they_can_reach_or_be_made_for() {
    let bound = claim("bound", json!({"volumeName": "in-a"}), json!({COMPLETE: "yes"}));
    let orphan = claim("orphan", json!({"volumeName": "gone"}), json!({COMPLETE: "yes"}));
    let chosen = claim(
        "chosen",
        json!({"storageClassName": "made"}),
        json!({"volume.kubernetes.io/selected-node": "n2"}),
    );
    let large = claim(
        "large",
        json!({"storageClassName": "tracked", "resources": {"requests": {"storage": "3Gi"}}}),
        json!({}),
    );
    let claims = [
        bound,
        orphan,
        chosen,
        large,
        of_class("static", "local"),
        of_class("dynamic", "made"),
        of_class("zonal", "in-b"),
        of_class("small", "tracked"),
    ];
    let volumes = [
        volume("in-a", json!({"nodeAffinity": on_zone("a")})),
        volume("free", json!({"storageClassName": "local", "nodeAffinity": on_zone("b")})),
    ];
    let cluster = cluster(&claims, &volumes);
    let none_to_bind = "node(s) didn't find available persistent volumes to bind";
    let no_room = "node(s) did not have enough free storage";
    for (name, on_n1, on_n2) in [
        ("bound", None, Some("node(s) didn't match PersistentVolume's node affinity")),
        (
            "orphan",
            Some("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
            Some("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
        ),
        ("static", Some(none_to_bind), None),
        ("dynamic", None, None),
        ("chosen", Some(none_to_bind), None),
        ("zonal", Some(none_to_bind), None),
        ("small", None, Some(no_room)),
        ("large", Some(no_room), Some(no_room)),
    ] {
        let told = cluster.filter(&VolumeBinding, &mounting(&[name]));
        let told: Vec<_> = told.iter().map(|(_, why)| why.as_deref()).collect();
        assert_eq!(told, [on_n1, on_n2], "{name}");
    }
}

#[test]
fn the_smallest_free_volume_is_taken_once_and_the_rest_is_made() {
    let claims = [of_class("one", "made"), of_class("two", "made"), of_class("three", "made")];
    let sized = |name: &str, size: &str| {
        volume(name, json!({"storageClassName": "made", "capacity": {"storage": size}}))
    };
    let mut cluster = cluster(&claims, &[sized("big", "5Gi"), sized("fit", "1Gi"), sized("tiny", "1Mi")]);
    let pod = mounting(&["one", "two", "three"]);
    let planned = |cluster: &Cluster| {
        let node = cluster.snapshot.node("n1").expect("a node");
        VolumeBinding.prepare(&pod, &cluster.snapshot, node)
    };
    let told = |plan: &[Preparation]| -> Vec<String> {
        plan.iter()
            .map(|preparation| match preparation {
                Preparation::Bind { volume, .. } => volume.metadata.name.clone().unwrap_or_default(),
                Preparation::Provision { node, .. } => format!("made for {node}"),
                Preparation::Reserve { .. } => unreachable!("devices are no volumes"),
            })
            .collect()
    };
    let plan = planned(&cluster);
    assert_eq!(told(&plan), ["fit", "big", "made for n1"]);
    // While that is under way nobody else gets those volumes, nor a node for the third.
    cluster.snapshot.volumes.assume(&plan);
    assert_eq!(cluster.passing(&VolumeBinding, &pod), ["n1"]);
    let other = of_class("other", "made");
    assert_eq!(cluster.snapshot.volumes.free_for(&other).count(), 1);
    cluster.snapshot.volumes.forget(&plan);
    assert_eq!(cluster.snapshot.volumes.free_for(&other).count(), 3);
}
