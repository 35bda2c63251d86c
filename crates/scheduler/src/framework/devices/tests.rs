//! What is known of devices, change by change.

use super::*;
use serde_json::{Value, json};

pub(crate) fn slice(name: &str, spec: Value) -> Arc<ResourceSlice> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a slice"))
}

fn node(name: &str, zone: &str) -> Node {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"zone": zone}}})).expect("a node")
}

fn claim(uid: &str, devices: &[&str], extra: Value) -> Arc<ResourceClaim> {
    let result = |device: &&str| {
        let mut result = json!({"request": "r", "driver": "x.io", "pool": "p", "device": device});
        result.as_object_mut().expect("a result").extend(extra.as_object().expect("fields").clone());
        result
    };
    let results: Vec<Value> = devices.iter().map(result).collect();
    let status =
        if devices.is_empty() { json!({}) } else { json!({"allocation": {"devices": {"results": results}}}) };
    let claim =
        json!({"metadata": {"name": uid, "namespace": "ns", "uid": uid}, "spec": {}, "status": status});
    Arc::new(serde_json::from_value(claim).expect("a claim"))
}

fn id(device: &str) -> DeviceId {
    DeviceId::new("x.io", "p", device)
}

fn spec(pool: Value, place: Value, devices: &[&str]) -> Value {
    let devices: Vec<Value> = devices.iter().map(|name| json!({"name": name})).collect();
    let mut spec = json!({"driver": "x.io", "pool": pool, "devices": devices});
    spec.as_object_mut().expect("a spec").extend(place.as_object().expect("fields").clone());
    spec
}

#[test]
fn pools_are_of_one_generation_and_reach_their_nodes() {
    let pool = |generation: i64, count: i64| json!({"name": "p", "generation": generation, "resourceSliceCount": count});
    let (n1, n2) = (node("n1", "a"), node("n2", "b"));
    let local = |name: &str| json!({"nodeName": name});
    let zone = json!({"nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "zone", "operator": "In", "values": ["b"]}]}]}});
    for (name, slices, wanted) in [
        ("of one node", vec![spec(pool(1, 1), local("n1"), &["a", "b"])], [(true, 2), (true, 0)]),
        ("of all nodes", vec![spec(pool(1, 1), json!({"allNodes": true}), &["a"])], [(true, 1), (true, 1)]),
        ("by labels", vec![spec(pool(1, 1), zone, &["a"])], [(true, 0), (true, 1)]),
        ("one slice is missing", vec![spec(pool(1, 2), local("n1"), &["a"])], [(false, 1), (false, 0)]),
        (
            "slices of other nodes count for completeness",
            vec![spec(pool(1, 2), local("n1"), &["a"]), spec(pool(1, 2), local("n2"), &["b"])],
            [(true, 1), (true, 1)],
        ),
        (
            "the newest generation counts",
            vec![spec(pool(1, 1), local("n1"), &["a", "b"]), spec(pool(2, 1), local("n1"), &["c"])],
            [(true, 1), (true, 0)],
        ),
        (
            "an older generation of another node is none",
            vec![spec(pool(1, 1), local("n1"), &["a", "b"]), spec(pool(2, 1), local("n2"), &["c"])],
            [(true, 0), (true, 1)],
        ),
        (
            "names are unique",
            vec![spec(pool(1, 2), local("n1"), &["a"]), spec(pool(1, 2), local("n1"), &["a"])],
            [(false, 2), (false, 0)],
        ),
    ] {
        let mut devices = Devices::default();
        for (i, spec) in slices.into_iter().enumerate() {
            devices.set_slice(&i.to_string(), Some(slice(&i.to_string(), spec)));
        }
        let seen = [&n1, &n2].map(|node| {
            let pools = devices.pools(node);
            let offers = pools.iter().map(|pool| pool.offers(node).1.len()).sum::<usize>();
            (devices.pools.values().all(Pool::is_usable), offers)
        });
        assert_eq!(seen, wanted, "{name}");
        for i in 0..2 {
            devices.set_slice(&i.to_string(), None);
        }
        assert!(
            devices.pools.is_empty()
                && devices.by_pool.is_empty()
                && devices.by_node.is_empty()
                && devices.shared.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn devices_can_be_of_nodes_one_by_one() {
    let mut devices = Devices::default();
    let spec = json!({"driver": "x.io", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        "perDeviceNodeSelection": true,
        "devices": [{"name": "a", "nodeName": "n1"}, {"name": "b", "allNodes": true}]});
    devices.set_slice("s", Some(slice("s", spec)));
    for (node, wanted) in [(node("n1", "a"), vec!["a", "b"]), (node("n2", "a"), vec!["b"])] {
        let (_, offers) = devices.pools(&node)[0].offers(&node);
        let names: Vec<&str> = offers.iter().map(|offer| &*offer.id().device).collect();
        assert_eq!(names, wanted);
    }
}

#[test]
fn what_claims_have_is_in_use_until_they_lose_it() {
    let mut devices = Devices::default();
    devices.set_claim(claim("c", &["a"], json!({})));
    assert!(devices.in_use().is_taken(&id("a")));
    assert!(devices.set_claim(claim("c", &[], json!({}))).is_some());
    assert!(!devices.in_use().is_taken(&id("a")));
    devices.set_claim(claim("c", &["a"], json!({"adminAccess": true})));
    assert!(!devices.in_use().is_taken(&id("a")));
    let share =
        |uid: &str| claim(uid, &["a"], json!({"shareID": uid, "consumedCapacity": {"memory": "2Gi"}}));
    devices.set_claim(share("c"));
    devices.set_claim(share("d"));
    assert!(devices.in_use().is_shared(&id("a")) && !devices.in_use().is_taken(&id("a")));
    assert_eq!(devices.in_use().consumed(&id("a"), "memory").to_string(), "4Gi");
    devices.remove_claim(&share("c"));
    assert_eq!(devices.in_use().consumed(&id("a"), "memory").to_string(), "2Gi");
    // Another one of this name.
    let other = json!({"metadata": {"name": "d", "namespace": "ns", "uid": "e"}, "spec": {}});
    devices.set_claim(Arc::new(serde_json::from_value(other).expect("a claim")));
    assert!(!devices.in_use().is_shared(&id("a")));
}

#[test]
fn what_is_under_way_counts_until_the_api_shows_it_or_it_failed() {
    let allocated = claim("c", &["a"], json!({}));
    let new = claim("c", &[], json!({}));
    let allocation = allocation(&allocated).cloned().map(Arc::new);
    let preparations = [Preparation::Reserve { claim: new.clone(), allocation }];
    let mut devices = Devices::default();
    devices.set_claim(new.clone());
    devices.assume(&preparations);
    // Something else about the claim has changed.
    devices.set_claim(new.clone());
    assert!(devices.is_in_flight(&new) && devices.in_use().is_taken(&id("a")));
    assert!(devices.give_up(&preparations, &BTreeSet::new()));
    assert!(!devices.is_in_flight(&new) && !devices.in_use().is_taken(&id("a")));

    devices.assume(&preparations);
    assert!(!devices.give_up(&preparations, &["c".to_owned()].into()), "it was written");
    devices.set_claim(allocated);
    assert!(!devices.is_in_flight(&new) && devices.in_use().is_taken(&id("a")));
    assert!(!devices.give_up(&preparations, &BTreeSet::new()), "the API's word counts");
    assert!(devices.in_use().is_taken(&id("a")));
}
