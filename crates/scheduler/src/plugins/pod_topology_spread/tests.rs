//! Spreading over zones, some of whose nodes have matching pods.

use super::super::testing::{Cluster, full, labelled};
use super::*;
use client::Key;
use serde_json::{Value, json};

/// Zone a has three matching pods, zone b one; z is a node without a zone.
fn cluster() -> Cluster {
    let mut cluster = Cluster::zoned(&[("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")]);
    let bare = json!({"metadata": {"name": "z", "labels": {"kubernetes.io/hostname": "z"}}});
    cluster.snapshot.set_node(Arc::new(serde_json::from_value(bare).expect("a node")));
    cluster.snapshot.refresh();
    let web = |name: &str| labelled(name, json!({"app": "web", "hash": "1"}), json!({}));
    cluster.with("a1", web("p1")).with("a1", web("p2")).with("a2", web("p3")).with("b1", web("p4"))
}

fn constraint(key: &str, max_skew: i32, action: &str) -> Value {
    json!({"topologyKey": key, "maxSkew": max_skew, "whenUnsatisfiable": action,
        "labelSelector": {"matchLabels": {"app": "web"}}})
}

fn pod(app: &str, constraints: &[Value], mut spec: Value) -> Arc<PodInfo> {
    spec["topologySpreadConstraints"] = json!(constraints);
    labelled("new", json!({"app": app, "hash": "2"}), spec)
}

fn hard(max_skew: i32, extra: Value) -> Value {
    let mut hard = constraint("zone", max_skew, "DoNotSchedule");
    hard.as_object_mut().expect("a constraint").extend(extra.as_object().expect("fields").clone());
    hard
}

#[test]
fn no_domain_gets_too_far_ahead() {
    let host = "kubernetes.io/hostname";
    let plugin = PodTopologySpread::default();
    let by_host = constraint(host, 1, "DoNotSchedule");
    for (name, app, constraints, passing) in [
        ("skew 1", "web", vec![hard(1, json!({}))], vec!["b1", "b2"]),
        ("skew 3", "web", vec![hard(3, json!({}))], vec!["a1", "a2", "b1", "b2"]),
        // It does not count itself: 3 - 1 stays within 2.
        ("others' selector", "x", vec![hard(2, json!({}))], vec!["a1", "a2", "b1", "b2"]),
        // b2 and z are empty.
        ("by host", "web", vec![by_host.clone()], vec!["b2", "z"]),
        ("both", "web", vec![hard(1, json!({})), by_host], vec!["b2"]),
        // Two domains are fewer than three: the least is 0.
        ("few domains", "web", vec![hard(2, json!({"minDomains": 3}))], vec!["b1", "b2"]),
        // No pod has the new hash, but all domains are equal then.
        ("by hash", "web", vec![hard(1, json!({"matchLabelKeys": ["hash"]}))], vec!["a1", "a2", "b1", "b2"]),
    ] {
        assert_eq!(cluster().passing(&plugin, &pod(app, &constraints, json!({}))), passing, "{name}");
    }
}

#[test]
fn reasons_are_upstreams() {
    let all = cluster().filter(&PodTopologySpread::default(), &pod("web", &[hard(1, json!({}))], json!({})));
    let reason = |name: &str| all.iter().find(|(n, _)| n == name).and_then(|(_, why)| why.clone());
    assert_eq!(reason("a1").as_deref(), Some("node(s) didn't match pod topology spread constraints"));
    assert_eq!(
        reason("z").as_deref(),
        Some("node(s) didn't match pod topology spread constraints (missing required label)")
    );
}

#[test]
fn policies_say_which_nodes_count() {
    // Only nodes of zone a are asked for, so zone b is no domain, and 3 is the least as well as the most.
    let only_a = json!({"nodeSelector": {"zone": "a"}});
    let plugin = PodTopologySpread::default();
    let passing = |extra: Value, spec: Value, cluster: &Cluster| {
        cluster.passing(&plugin, &pod("web", &[hard(1, extra)], spec))
    };
    assert_eq!(passing(json!({}), only_a.clone(), &cluster()), ["a1", "a2", "b1", "b2"]);
    assert_eq!(passing(json!({"nodeAffinityPolicy": "Ignore"}), only_a, &cluster()), ["b1", "b2"]);
    let mut tainted = cluster();
    for name in ["b1", "b2"] {
        let mut node = (**tainted.snapshot.node(name).expect("it").node.as_ref().expect("a node")).clone();
        node.spec = serde_json::from_value(json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}))
            .expect("a spec");
        tainted.snapshot.set_node(Arc::new(node));
    }
    assert_eq!(passing(json!({}), json!({}), &tainted), ["b1", "b2"]);
    let honored = passing(json!({"nodeTaintsPolicy": "Honor"}), json!({}), &tainted);
    assert_eq!(honored, ["a1", "a2", "b1", "b2"]);
}

#[test]
fn pods_that_go_do_not_count() {
    let going = full(json!({"metadata": {"name": "going", "labels": {"app": "web"},
        "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}));
    let cluster = Cluster::zoned(&[("a", "a1"), ("b", "b1")]).with("a1", going);
    let plugin = PodTopologySpread::default();
    assert_eq!(cluster.passing(&plugin, &pod("web", &[hard(1, json!({}))], json!({}))), ["a1", "b1"]);
}

#[test]
fn emptier_domains_score_higher() {
    let plugin = PodTopologySpread::default();
    let soft = constraint("zone", 1, "ScheduleAnyway");
    let scores = cluster().scores(&plugin, &pod("web", &[soft], json!({}))).expect("scores");
    let of = |name: &str| scores.iter().find(|(n, _)| n == name).map(|(_, score)| *score);
    // 3 × ln 4 = 4, 1 × ln 4 = 1; a node without the label counts for nothing.
    assert_eq!(
        [of("a1"), of("a2"), of("b1"), of("b2"), of("z")],
        [Some(25), Some(25), Some(100), Some(100), Some(0)]
    );
}

#[test]
fn a_pod_with_company_is_spread_by_default() {
    let plugin = PodTopologySpread::default();
    let lonely = labelled("new", json!({"app": "web"}), json!({}));
    assert_eq!(cluster().scores(&plugin, &lonely), None);
    let mut cluster = cluster();
    let labels = [("app".to_owned(), "web".to_owned())].into();
    cluster.snapshot.set_service(&Key::new("ns", "web"), Some(&labels));
    let scores = cluster.scores(&plugin, &lonely).expect("scores");
    let of = |name: &str| scores.iter().find(|(n, _)| n == name).map(|(_, score)| *score).expect("a score");
    assert!(of("b2") > of("b1") && of("b1") > of("a2") && of("a2") > of("a1"), "{scores:?}");
}

#[test]
fn counts_follow_pods_that_come_and_go_in_imagination() {
    let cluster = cluster();
    let plugin = PodTopologySpread::default();
    let new = pod("web", &[hard(1, json!({}))], json!({}));
    let Ok(PreFilter::Run(mut state)) = plugin.pre_filter(&new, &cluster.snapshot) else {
        panic!("it has a say")
    };
    let a1 = cluster.snapshot.node("a1").expect("a node");
    let gone = a1.pods().to_vec();
    let takes = |state: &State| {
        let view = View { pod: &new, cluster: &cluster.snapshot, state: &**state };
        plugin.filter(&view, a1).is_ok()
    };
    for other in &gone {
        plugin.pod_changed(&mut *state, &new, &cluster.snapshot, other, a1, Change::Removed);
    }
    assert!(takes(&state));
    plugin.pod_changed(&mut *state, &new, &cluster.snapshot, &gone[0], a1, Change::Added);
    assert!(!takes(&state));
}
