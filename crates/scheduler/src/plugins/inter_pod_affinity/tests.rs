//! Affinity between pods in zones of three nodes.

use super::super::testing::{Cluster, full, labelled};
use super::*;
use serde_json::{Value, json};

fn affinity(kind: &str, terms: Value) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
}

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn zones() -> Cluster {
    Cluster::zoned(&[("a", "a1"), ("a", "a2"), ("b", "b1")])
}

fn web(spec: Value) -> Arc<PodInfo> {
    labelled("new", json!({"app": "web"}), spec)
}

fn plain(name: &str, app: &str) -> Arc<PodInfo> {
    labelled(name, json!({"app": app}), json!({}))
}

const NEAR: &str = "podAffinity";
const FAR: &str = "podAntiAffinity";

#[test]
fn required_terms_decide_by_domain() {
    let plugin = InterPodAffinity::default();
    let host = "kubernetes.io/hostname";
    for (name, terms, passing) in [
        ("near by zone", affinity(NEAR, json!([term("db", "zone")])), vec!["a1", "a2"]),
        ("near by host", affinity(NEAR, json!([term("db", host)])), vec!["a1"]),
        ("all terms by the same pods", affinity(NEAR, json!([term("db", "zone"), term("x", host)])), vec![]),
        ("nobody there, and not itself", affinity(NEAR, json!([term("x", "zone")])), vec![]),
        ("nobody there but itself", affinity(NEAR, json!([term("web", "zone")])), vec!["a1", "a2", "b1"]),
        ("itself, but nodes lack the label", affinity(NEAR, json!([term("web", "rack")])), vec![]),
        ("far by zone", affinity(FAR, json!([term("db", "zone")])), vec!["b1"]),
        ("far by host", affinity(FAR, json!([term("db", host)])), vec!["a2", "b1"]),
        ("far where there is no domain", affinity(FAR, json!([term("db", "rack")])), vec!["a1", "a2", "b1"]),
    ] {
        let cluster = zones().with("a1", plain("db", "db"));
        assert_eq!(cluster.passing(&plugin, &web(terms)), passing, "{name}");
    }
}

#[test]
fn reasons_are_upstreams() {
    let reason = |cluster: &Cluster, pod: &Arc<PodInfo>| {
        let all = cluster.filter(&InterPodAffinity::default(), pod);
        all.into_iter().find_map(|(name, why)| why.filter(|_| name == "a1"))
    };
    let with_db = zones().with("a1", plain("db", "db"));
    let far = affinity(FAR, json!([term("db", "zone")]));
    assert_eq!(reason(&with_db, &web(far)).as_deref(), Some("node(s) didn't match pod anti-affinity rules"));
    let near = affinity(NEAR, json!([term("x", "zone")]));
    assert_eq!(reason(&with_db, &web(near)).as_deref(), Some("node(s) didn't match pod affinity rules"));
    let shy = labelled("shy", json!({"app": "shy"}), affinity(FAR, json!([term("web", "zone")])));
    assert_eq!(
        reason(&zones().with("a1", shy), &web(json!({}))).as_deref(),
        Some("node(s) didn't satisfy existing pods anti-affinity rules")
    );
}

#[test]
fn existing_pods_keep_others_away() {
    let shy = labelled("shy", json!({"app": "shy"}), affinity(FAR, json!([term("web", "zone")])));
    let cluster = zones().with("a2", shy);
    let plugin = InterPodAffinity::default();
    assert_eq!(cluster.passing(&plugin, &web(json!({}))), ["b1"]);
    assert_eq!(cluster.passing(&plugin, &plain("other", "other")), ["a1", "a2", "b1"]);
}

#[test]
fn namespaces_are_the_pods_own_unless_named_or_selected() {
    let elsewhere =
        full(json!({"metadata": {"name": "db", "namespace": "other", "labels": {"app": "db"}}, "spec": {}}));
    let mut cluster = zones().with("a1", elsewhere);
    cluster.snapshot.namespaces.insert("other".into(), [("team".to_owned(), "x".to_owned())].into());
    let with = |extra: Value| {
        let mut term = term("db", "zone");
        term.as_object_mut().expect("a term").extend(extra.as_object().expect("fields").clone());
        web(affinity(FAR, json!([term])))
    };
    for (extra, away) in [
        (json!({}), false),
        (json!({"namespaces": ["other"]}), true),
        (json!({"namespaceSelector": {}}), true),
        (json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}), true),
        (json!({"namespaceSelector": {"matchLabels": {"team": "y"}}}), false),
        (json!({"namespaces": ["other"], "namespaceSelector": {"matchLabels": {"team": "y"}}}), true),
    ] {
        let passing = cluster.passing(&InterPodAffinity::default(), &with(extra.clone()));
        assert_eq!(passing == ["b1"], away, "{extra}");
    }
}

#[test]
fn label_keys_narrow_to_the_same_or_to_another_value() {
    let old = labelled("old", json!({"app": "web", "hash": "1"}), json!({}));
    let cluster = zones().with("a1", old);
    let with = |field: &str, hash: &str| {
        let mut term = term("web", "zone");
        term[field] = json!(["hash"]);
        labelled("new", json!({"app": "web", "hash": hash}), affinity(FAR, json!([term])))
    };
    for (field, hash, away) in [
        ("matchLabelKeys", "1", true),
        ("matchLabelKeys", "2", false),
        ("mismatchLabelKeys", "1", false),
        ("mismatchLabelKeys", "2", true),
    ] {
        let passing = cluster.passing(&InterPodAffinity::default(), &with(field, hash));
        assert_eq!(passing == ["b1"], away, "{field} {hash}");
    }
}

#[test]
fn preferences_count_in_both_directions() {
    let prefer = |kind: &str, weight: i32, app: &str| {
        json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": weight, "podAffinityTerm": term(app, "zone")}]}}})
    };
    let existing = |spec: Value| labelled("db", json!({"app": "db"}), spec);
    let plugin = InterPodAffinity::default();
    for (name, existing, spec, best) in [
        ("likes them", existing(json!({})), prefer(NEAR, 5, "db"), Some("a")),
        ("dislikes them", existing(json!({})), prefer(FAR, 5, "db"), Some("b")),
        ("they like it", existing(prefer(NEAR, 5, "web")), json!({}), Some("a")),
        ("they dislike it", existing(prefer(FAR, 5, "web")), json!({}), Some("b")),
        ("they need it", existing(affinity(NEAR, json!([term("web", "zone")]))), json!({}), Some("a")),
        ("nobody cares", existing(json!({})), json!({}), None),
    ] {
        let cluster = zones().with("a1", existing);
        let scores = cluster.scores(&plugin, &web(spec));
        let expected = best.map(|zone| {
            let score = |name: &str| (name.to_owned(), if name.starts_with(zone) { 100 } else { 0 });
            vec![score("a1"), score("a2"), score("b1")]
        });
        assert_eq!(scores, expected, "{name}");
    }
}

#[test]
fn counts_follow_pods_that_come_and_go_in_imagination() {
    let cluster = zones().with("a1", plain("db", "db"));
    let plugin = InterPodAffinity::default();
    let pod = web(affinity(FAR, json!([term("db", "zone")])));
    let Ok(PreFilter::Run(mut state)) = plugin.pre_filter(&pod, &cluster.snapshot) else {
        panic!("it has a say")
    };
    let a1 = cluster.snapshot.node("a1").expect("a node");
    for (change, taken) in [(Change::Removed, true), (Change::Added, false)] {
        plugin.pod_changed(&mut *state, &pod, &cluster.snapshot, &plain("db", "db"), a1, change);
        let view = View { pod: &pod, cluster: &cluster.snapshot, state: &*state };
        assert_eq!(plugin.filter(&view, a1).is_ok(), taken);
    }
}

#[test]
fn wakes_for_pods_that_matter() {
    let plugin = InterPodAffinity::default();
    let near = web(affinity(NEAR, json!([term("db", "zone")])));
    let far = web(affinity(FAR, json!([term("db", "zone")])));
    let added = ClusterEvent::AssignedPodAdded(plain("db", "db"));
    let deleted = ClusterEvent::AssignedPodDeleted(plain("db", "db"));
    let other = ClusterEvent::AssignedPodAdded(plain("x", "x"));
    let all = [&added, &deleted, &other];
    assert_eq!(all.map(|event| plugin.may_help(&near, event)), [true, false, false]);
    assert_eq!(all.map(|event| plugin.may_help(&far, event)), [false, true, false]);
}
