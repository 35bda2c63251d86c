//! What nodes say to pods with claims, and what the claims get.

use super::super::testing::{Cluster, full};
use super::*;
use serde_json::{Value, json};

/// Nodes `n1` and `n2`, each with a pool of its own on the driver `x.io`, and the class `gpu` of its devices.
fn cluster(pools: &[(&str, Value)]) -> Cluster {
    let mut cluster =
        Cluster::of(&[json!({"metadata": {"name": "n1"}}), json!({"metadata": {"name": "n2"}})]);
    for (node, devices) in pools {
        slice(&mut cluster, node, json!({"nodeName": node, "devices": devices}));
    }
    class(&mut cluster, "gpu", json!({"selectors": [{"cel": {"expression": "device.driver == 'x.io'"}}]}));
    cluster
}

/// A pool of one slice.
fn slice(cluster: &mut Cluster, pool: &str, fields: Value) {
    let mut spec =
        json!({"driver": "x.io", "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let slice = json!({"metadata": {"name": pool}, "spec": spec});
    cluster.snapshot.devices.set_slice(pool, Some(Arc::new(serde_json::from_value(slice).unwrap())));
}

fn class(cluster: &mut Cluster, name: &str, spec: Value) {
    let class = json!({"metadata": {"name": name}, "spec": spec});
    let class = Arc::new(serde_json::from_value(class).unwrap());
    cluster.snapshot.devices.classes.insert(name.to_owned(), class);
}

fn claim_with(cluster: &mut Cluster, name: &str, devices: Value, status: Value) {
    let claim = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"devices": devices},
        "status": status});
    cluster.snapshot.devices.set_claim(Arc::new(serde_json::from_value(claim).unwrap()));
}

fn claim(cluster: &mut Cluster, name: &str, devices: Value) {
    claim_with(cluster, name, devices, json!({}));
}

/// One that has this device of `n1`.
fn taken(cluster: &mut Cluster, name: &str, device: &str, extra: Value) {
    let mut result = json!({"request": "r", "driver": "x.io", "pool": "n1", "device": device});
    result.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    claim_with(cluster, name, json!({}), json!({"allocation": {"devices": {"results": [result]}}}));
}

fn pod(claims: &[&str]) -> Arc<PodInfo> {
    let claims: Vec<Value> =
        claims.iter().map(|name| json!({"name": name, "resourceClaimName": name})).collect();
    full(json!({"metadata": {"name": "p"}, "spec": {"resourceClaims": claims}}))
}

/// What a pod with these claims is told by the nodes: a reason, or the devices, claim by claim.
fn told(cluster: &Cluster, claims: &[&str]) -> Vec<String> {
    let pod = pod(claims);
    let reasons = cluster.filter(&DynamicResources, &pod);
    let told = reasons.into_iter().map(|(node, reason)| {
        reason.unwrap_or_else(|| {
            let node = cluster.snapshot.node(&node).unwrap();
            let prepared = DynamicResources.prepare(&pod, &cluster.snapshot, node);
            let devices = prepared.iter().map(|preparation| match preparation {
                Preparation::Reserve { allocation: Some(allocation), .. } => {
                    let results =
                        allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
                    let results: Vec<String> =
                        results.map(|result| format!("{}={}", result.request, result.device)).collect();
                    results.join(" ")
                }
                _ => "reserved".to_owned(),
            });
            devices.collect::<Vec<_>>().join("; ")
        })
    });
    told.collect()
}

fn exactly(fields: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu"});
    exactly.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"requests": [{"name": "r", "exactly": exactly}]})
}

fn cel(expression: &str) -> Value {
    json!([{"cel": {"expression": expression}}])
}

const NO: &str = "cannot allocate all claims";

#[test]
fn requests_are_satisfied_by_free_devices_that_they_select() {
    let pools = [
        (
            "n1",
            json!([
                {"name": "a", "attributes": {"model": {"string": "big"}, "numa": {"int": 0},
                    "version": {"version": "1.10.0"}}, "capacity": {"memory": {"value": "16Gi"}}},
                {"name": "b", "attributes": {"model": {"string": "small"}, "numa": {"int": 1}},
                    "capacity": {"memory": {"value": "8Gi"}}},
                {"name": "c", "attributes": {"model": {"string": "small"}, "numa": {"int": 0}},
                    "capacity": {"memory": {"value": "8Gi"}}, "taints": [{"key": "k", "effect": "NoSchedule"}]},
            ]),
        ),
        ("n2", json!([{"name": "d", "attributes": {"model": {"string": "small"}}}])),
    ];
    let tolerates = json!([{"key": "k", "operator": "Exists"}]);
    let table = [
        ("one", exactly(json!({})), ["r=a", "r=d"]),
        ("two", exactly(json!({"count": 2})), ["r=a r=b", NO]),
        ("not a tainted one", exactly(json!({"count": 3})), [NO, NO]),
        ("a tainted one", exactly(json!({"count": 3, "tolerations": tolerates})), ["r=a r=b r=c", NO]),
        ("all, where one is tainted", exactly(json!({"allocationMode": "All"})), [NO, "r=d"]),
        ("all", exactly(json!({"allocationMode": "All", "tolerations": tolerates})), ["r=a r=b r=c", "r=d"]),
        ("by driver", exactly(json!({"selectors": cel("device.driver == 'y.io'")})), [NO, NO]),
        (
            "by attribute",
            exactly(json!({"selectors": cel("device.attributes['x.io'].model == 'small'")})),
            ["r=b", "r=d"],
        ),
        (
            "by an attribute that some lack",
            exactly(json!({"selectors": cel("device.attributes['x.io'].?numa.orValue(-1) == 1")})),
            ["r=b", NO],
        ),
        (
            "by version",
            exactly(json!({"selectors": cel(
                "'version' in device.attributes['x.io'] && device.attributes['x.io'].version.isGreaterThan(semver('1.9.0'))")})),
            ["r=a", NO],
        ),
        (
            "by capacity",
            exactly(json!({"selectors": cel(
                "'memory' in device.capacity['x.io'] && device.capacity['x.io'].memory.compareTo(quantity('10Gi')) > 0")})),
            ["r=a", NO],
        ),
        (
            "by another domain",
            exactly(json!({"selectors": cel("has(device.attributes['y.io'].model)")})),
            [NO, NO],
        ),
        ("by sharing", exactly(json!({"selectors": cel("device.allowMultipleAllocations")})), [NO, NO]),
        (
            "an attribute that is not there fails",
            exactly(json!({"selectors": cel("device.attributes['x.io'].numa == 5")})),
            [NO, "claim ns/c: selector #0 on device x.io/n2/d: CEL runtime error: no such key: numa"],
        ),
        (
            "more capacity than most have",
            exactly(json!({"capacity": {"requests": {"memory": "9Gi"}}})),
            ["r=a", NO],
        ),
        ("too many", exactly(json!({"count": 40})), [NO, NO]),
    ];
    for (name, devices, wanted) in table {
        let mut cluster = cluster(&pools);
        claim(&mut cluster, "c", devices);
        assert_eq!(told(&cluster, &["c"]), wanted, "{name}");
    }
}

#[test]
fn what_others_have_is_not_free() {
    let mut cluster = cluster(&[("n1", json!([{"name": "a"}, {"name": "b"}]))]);
    taken(&mut cluster, "other", "a", json!({}));
    claim(&mut cluster, "c", exactly(json!({})));
    claim(&mut cluster, "d", exactly(json!({})));
    claim(&mut cluster, "admin", exactly(json!({"allocationMode": "All", "adminAccess": true})));
    assert_eq!(told(&cluster, &["c"]), ["r=b", NO]);
    assert_eq!(told(&cluster, &["c", "d"]), [NO, NO]);
    assert_eq!(told(&cluster, &["c", "admin"]), ["r=b; r=a r=b", NO]);
    let node = cluster.snapshot.node("n1").unwrap();
    let prepared = DynamicResources.prepare(&pod(&["c"]), &cluster.snapshot, node);
    cluster.snapshot.devices.assume(&prepared);
    assert_eq!(told(&cluster, &["d"]), [NO, NO]);
    assert_eq!(told(&cluster, &["c"]), ["resource claim ns/c is in the process of being allocated"; 2]);
}

#[test]
fn later_requests_make_earlier_ones_choose_otherwise() {
    let big = json!([{"name": "big", "attributes": {"size": {"int": 2}}}, {"name": "small", "attributes": {"size": {"int": 1}}}]);
    let mut cluster = cluster(&[("n1", big)]);
    let request = |name: &str, expression: &str| json!({"name": name, "exactly": {"deviceClassName": "gpu", "selectors": cel(expression)}});
    let any = request("any", "true");
    let large = request("large", "device.attributes['x.io'].size == 2");
    claim(&mut cluster, "both", json!({"requests": [any, large]}));
    claim(&mut cluster, "any", json!({"requests": [any]}));
    claim(&mut cluster, "large", json!({"requests": [large]}));
    assert_eq!(told(&cluster, &["both"])[0], "any=small large=big");
    assert_eq!(told(&cluster, &["any", "large"])[0], "any=small; large=big");
    assert_eq!(told(&cluster, &["both", "any"])[0], NO);
}

#[test]
fn lists_of_requests_are_tried_in_their_order() {
    let list = |subs: Value| json!({"requests": [{"name": "r", "firstAvailable": subs}]});
    let sub = |name: &str, count: i64| json!({"name": name, "deviceClassName": "gpu", "count": count});
    let mut cluster = cluster(&[
        ("n1", json!([{"name": "a"}, {"name": "b"}, {"name": "c"}])),
        ("n2", json!([{"name": "d"}])),
    ]);
    claim(&mut cluster, "c", list(json!([sub("two", 2), sub("one", 1)])));
    claim(&mut cluster, "d", list(json!([sub("two", 2), sub("one", 1)])));
    claim(&mut cluster, "e", list(json!([sub("many", 40), sub("one", 1)])));
    assert_eq!(told(&cluster, &["c"]), ["r/two=a r/two=b", "r/one=d"]);
    assert_eq!(told(&cluster, &["c", "d"])[0], "r/two=a r/two=b; r/one=c");
    assert_eq!(told(&cluster, &["e"]), ["r/one=a", "r/one=d"]);
    assert_eq!(told(&cluster, &["c", "d", "e"])[0], "r/one=a; r/one=b; r/one=c");
}

#[test]
fn constraints_bind_the_devices_of_a_claim() {
    let on = |name: &str, numa: i64| json!({"name": name, "attributes": {"numa": {"int": numa}}});
    let pools = [("n1", json!([on("a", 0), on("b", 1), on("c", 1), on("d", 2)]))];
    let two = |constraint: Value| {
        let request = |name: &str| json!({"name": name, "exactly": {"deviceClassName": "gpu"}});
        json!({"requests": [request("r"), request("s")], "constraints": [constraint]})
    };
    for (name, devices, wanted) in [
        ("the same", two(json!({"matchAttribute": "x.io/numa"})), "r=b s=c"),
        ("different", two(json!({"distinctAttribute": "x.io/numa"})), "r=a s=b"),
        ("of one request only", two(json!({"matchAttribute": "x.io/numa", "requests": ["r"]})), "r=a s=b"),
        ("no such attribute", two(json!({"matchAttribute": "x.io/pcie"})), NO),
        (
            "all of them cannot be the same",
            json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "All"}}],
                "constraints": [{"matchAttribute": "x.io/numa"}]}),
            "claim ns/c, request r: cannot add device x.io/n1/b because a claim constraint would not be satisfied",
        ),
    ] {
        let mut cluster = cluster(&pools);
        claim(&mut cluster, "c", devices);
        assert_eq!(told(&cluster, &["c"])[0], wanted, "{name}");
    }
}

#[test]
fn partitions_share_counters() {
    let part = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "gpu", "counters": {"memory": {"value": memory}}}]});
    let mut cluster = cluster(&[]);
    let of = |count: i64, fields: Value| {
        let mut spec = json!({"driver": "x.io", "nodeName": "n1",
            "pool": {"name": "n1", "generation": 1, "resourceSliceCount": count}});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap())
    };
    let counters = json!({"sharedCounters": [{"name": "gpu", "counters": {"memory": {"value": "40Gi"}}}]});
    let devices = json!({"devices": [part("whole", "40Gi"), part("half", "20Gi"), part("quarter", "10Gi"), part("other", "20Gi")]});
    cluster.snapshot.devices.set_slice("counters", Some(of(2, counters)));
    cluster.snapshot.devices.set_slice("devices", Some(of(2, devices)));
    for name in ["c", "d"] {
        claim(&mut cluster, name, exactly(json!({"count": 2})));
    }
    claim(&mut cluster, "one", exactly(json!({})));
    assert_eq!(told(&cluster, &["one"])[0], "r=whole");
    assert_eq!(told(&cluster, &["c"])[0], "r=half r=quarter");
    assert_eq!(told(&cluster, &["c", "d"])[0], NO);
    taken(&mut cluster, "other", "half", json!({}));
    assert_eq!(told(&cluster, &["one"])[0], "r=quarter");
    assert_eq!(told(&cluster, &["c"])[0], NO);
    taken(&mut cluster, "more", "other", json!({}));
    assert_eq!(told(&cluster, &["one"])[0], NO);
}

#[test]
fn some_devices_are_shared_as_long_as_there_is_capacity() {
    let device = json!([{"name": "a", "allowMultipleAllocations": true, "capacity": {"memory": {"value": "8Gi",
        "requestPolicy": {"default": "1Gi", "validRange": {"min": "1Gi"}}}}}]);
    let mut cluster = cluster(&[("n1", device)]);
    let of = |memory: &str| exactly(json!({"capacity": {"requests": {"memory": memory}}}));
    for (name, memory) in [("c", "3Gi"), ("d", "5Gi"), ("e", "6Gi")] {
        claim(&mut cluster, name, of(memory));
    }
    claim(&mut cluster, "default", exactly(json!({})));
    assert_eq!(told(&cluster, &["c", "d"])[0], "r=a; r=a");
    assert_eq!(told(&cluster, &["c", "e"])[0], NO);
    let share = json!({"shareID": "s", "consumedCapacity": {"memory": "3Gi"}});
    taken(&mut cluster, "other", "a", share);
    assert_eq!(told(&cluster, &["c"])[0], "r=a");
    assert_eq!(told(&cluster, &["e"])[0], NO);
    let node = cluster.snapshot.node("n1").unwrap();
    let prepared = DynamicResources.prepare(&pod(&["default"]), &cluster.snapshot, node);
    let Preparation::Reserve { allocation: Some(allocation), .. } = &prepared[0] else {
        panic!("an allocation")
    };
    let result = serde_json::to_value(allocation.as_ref()).unwrap()["devices"]["results"][0].clone();
    assert_eq!(
        result,
        json!({"request": "r", "driver": "x.io", "pool": "n1", "device": "a", "shareID": "",
            "consumedCapacity": {"memory": "1Gi"}})
    );
}

#[test]
fn allocations_say_where_they_hold_and_how_devices_are_configured() {
    let mut cluster = cluster(&[("n1", json!([{"name": "a"}]))]);
    let zone =
        json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}]});
    slice(&mut cluster, "net", json!({"nodeSelector": zone, "devices": [{"name": "nic"}]}));
    let opaque = |text: &str| json!({"driver": "x.io", "parameters": {"is": text}});
    class(&mut cluster, "gpu", json!({"selectors": cel("true"), "config": [{"opaque": opaque("class")}]}));
    let request = |name: &str, device: &str| {
        let all = ["a", "nic"].iter().filter(|known| **known == device);
        assert_eq!(all.count(), 1);
        let expression = if device == "nic" {
            "device.capacity.size() == 0 && device.attributes.size() == 0"
        } else {
            "true"
        };
        json!({"name": name, "exactly": {"deviceClassName": "gpu", "selectors": cel(expression),
            "tolerations": [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}})
    };
    claim(
        &mut cluster,
        "c",
        json!({"requests": [request("r", "a"), request("s", "nic")],
        "config": [{"requests": ["s"], "opaque": opaque("claim")}, {"requests": ["none"], "opaque": opaque("x")}]}),
    );
    let node = cluster.snapshot.node("n1").unwrap();
    let prepared = DynamicResources.prepare(&pod(&["c"]), &cluster.snapshot, node);
    let Preparation::Reserve { allocation: Some(allocation), .. } = &prepared[0] else {
        panic!("an allocation")
    };
    let toleration = json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
    assert_eq!(
        serde_json::to_value(allocation.as_ref()).unwrap(),
        json!({
            "devices": {
                "config": [
                    {"source": "FromClass", "opaque": opaque("class")},
                    {"source": "FromClaim", "requests": ["s"], "opaque": opaque("claim")},
                ],
                "results": [
                    {"request": "r", "driver": "x.io", "pool": "n1", "device": "a", "tolerations": toleration},
                    {"request": "s", "driver": "x.io", "pool": "net", "device": "nic", "tolerations": toleration},
                ],
            },
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]},
        })
    );
    // What is not local is of all nodes that it can be used from.
    claim(&mut cluster, "d", json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}));
    let node = cluster.snapshot.node("n2").unwrap();
    let prepared = DynamicResources.prepare(&pod(&["d"]), &cluster.snapshot, node);
    let Preparation::Reserve { allocation: Some(allocation), .. } = &prepared[0] else {
        panic!("an allocation")
    };
    assert_eq!(serde_json::to_value(allocation.node_selector.as_ref()).unwrap(), zone);
}

#[test]
fn what_is_wrong_with_claims_is_told_before_any_node() {
    let mut cluster = cluster(&[("n1", json!([{"name": "a"}]))]);
    let of_class = |class: &str| json!({"requests": [{"name": "r", "exactly": {"deviceClassName": class}}]});
    claim(&mut cluster, "classless", of_class("none"));
    claim(&mut cluster, "broken", exactly(json!({"selectors": cel("device.attributes[")})));
    let reserved: Vec<Value> =
        (0..256).map(|i| json!({"resource": "pods", "name": "o", "uid": i.to_string()})).collect();
    claim_with(&mut cluster, "full", json!({}), json!({"allocation": {}, "reservedFor": reserved}));
    for (name, wanted) in [
        ("none", "could not find ResourceClaim \"ns/none\""),
        ("classless", "request r: device class none does not exist"),
        ("full", "resourceclaim in use"),
    ] {
        assert_eq!(told(&cluster, &[name]), [wanted, wanted], "{name}");
    }
    let broken = told(&cluster, &["broken"]);
    assert!(
        broken[0].starts_with("claim ns/broken: selector #0: CEL compile error: compilation failed: "),
        "{broken:?}"
    );
    // A pool that is being written is not used; who asks for all waits for it.
    slice(
        &mut cluster,
        "n1",
        json!({"nodeName": "n1", "devices": [{"name": "a"}],
        "pool": {"name": "n1", "generation": 2, "resourceSliceCount": 2}}),
    );
    claim(&mut cluster, "one", exactly(json!({})));
    claim(&mut cluster, "all", exactly(json!({"allocationMode": "All"})));
    assert_eq!(told(&cluster, &["one"])[0], NO);
    assert_eq!(
        told(&cluster, &["all"])[0],
        "claim ns/all, request r: asks for all devices, but resource pool x.io/n1 is currently being updated"
    );
}

#[test]
fn pods_wait_for_claims_that_are_made_for_them() {
    let mut cluster = cluster(&[]);
    let pod = |statuses: Value| {
        full(json!({"metadata": {"name": "p"},
            "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]},
            "status": {"resourceClaimStatuses": statuses}}))
    };
    let ready = |cluster: &Cluster, pod: &PodInfo| {
        DynamicResources.is_ready(pod, &cluster.snapshot).map_err(|why| why.reasons.join(", "))
    };
    let made = pod(json!([{"name": "gpu", "resourceClaimName": "p-gpu-x"}]));
    let told = ready(&cluster, &pod(json!([])));
    assert_eq!(told, Err("pod \"ns/p\": ResourceClaim not created yet".to_owned()));
    let told = ready(&cluster, &made);
    assert_eq!(told, Err("could not find ResourceClaim \"ns/p-gpu-x\"".to_owned()));
    claim(&mut cluster, "p-gpu-x", json!({}));
    let told = ready(&cluster, &made);
    assert_eq!(
        told,
        Err("ResourceClaim ns/p-gpu-x was not created for Pod ns/p (Pod is not owner)".to_owned())
    );
    let owned = json!({"metadata": {"name": "p-gpu-x", "namespace": "ns", "uid": "u", "ownerReferences": [
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]}, "spec": {}});
    let owned: Arc<ResourceClaim> = Arc::new(serde_json::from_value(owned).unwrap());
    cluster.snapshot.devices.set_claim(owned.clone());
    assert_eq!(ready(&cluster, &made), Ok(()));
    assert_eq!(ready(&cluster, &pod(json!([{"name": "gpu"}]))), Ok(()), "there is no need for one");
    let mut leaving = owned.as_ref().clone();
    leaving.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    cluster.snapshot.devices.set_claim(Arc::new(leaving));
    let told = ready(&cluster, &made);
    assert_eq!(told, Err("resourceclaim \"p-gpu-x\" is being deleted".to_owned()));
}

#[test]
fn allocated_claims_say_where_their_pods_go() {
    let mut cluster = cluster(&[("n1", json!([{"name": "a"}]))]);
    let on = |node: &str, reserved: Value| {
        json!({"reservedFor": reserved, "allocation": {"devices": {}, "nodeSelector": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}})
    };
    let elsewhere = "resourceclaim not available on the node";
    claim_with(&mut cluster, "c", json!({}), on("n2", json!([])));
    assert_eq!(told(&cluster, &["c"]), [elsewhere, "reserved"]);
    claim_with(
        &mut cluster,
        "c",
        json!({}),
        on("n2", json!([{"resource": "pods", "name": "p", "uid": "p"}])),
    );
    assert_eq!(told(&cluster, &["c"]), [elsewhere, ""]);
    let given = DynamicResources.give_back(&pod(&["c"]), &cluster.snapshot);
    assert_eq!(given.and_then(|claim| claim.metadata.name.clone()).as_deref(), Some("c"));
    claim_with(
        &mut cluster,
        "c",
        json!({}),
        on("n2", json!([{"resource": "pods", "name": "q", "uid": "q"}])),
    );
    assert!(DynamicResources.give_back(&pod(&["c"]), &cluster.snapshot).is_none(), "another pod uses it");
}

#[test]
fn claims_that_are_freed_and_its_own_help_a_pod() {
    let claim = |name: &str, status: Value| -> Arc<ResourceClaim> {
        let claim =
            json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {}, "status": status});
        Arc::new(serde_json::from_value(claim).unwrap())
    };
    let allocated = json!({"allocation": {"devices": {}}});
    let pod = pod(&["own"]);
    for (name, old, new, wanted) in [
        ("its own is new", None, claim("own", json!({})), true),
        ("another is new", None, claim("other", json!({})), false),
        (
            "another lost its devices",
            Some(claim("other", allocated.clone())),
            claim("other", json!({})),
            true,
        ),
        ("another got devices", Some(claim("other", json!({}))), claim("other", allocated.clone()), false),
        ("its own got devices", Some(claim("own", json!({}))), claim("own", allocated), true),
        ("nothing of its own changed", Some(claim("own", json!({}))), claim("own", json!({})), false),
    ] {
        let event = ClusterEvent::ResourceClaimChanged { old, new };
        assert_eq!(DynamicResources.may_help(&pod, &event), wanted, "{name}");
    }
    assert!(DynamicResources.may_help(&pod, &ClusterEvent::DevicesChanged));
    assert!(!DynamicResources.may_help(&pod, &ClusterEvent::StorageChanged));
}

#[test]
fn a_search_without_end_is_given_up() {
    let devices: Vec<Value> =
        (0..40).map(|i| json!({"name": format!("d{i}"), "attributes": {"id": {"int": i}}})).collect();
    let mut cluster = cluster(&[("n1", json!(devices))]);
    let request =
        |name: &str, count: i64| json!({"name": name, "exactly": {"deviceClassName": "gpu", "count": count}});
    claim(
        &mut cluster,
        "c",
        json!({"requests": [request("r", 12), request("s", 2)],
        "constraints": [{"matchAttribute": "x.io/id", "requests": ["s"]}]}),
    );
    assert_eq!(told(&cluster, &["c"]), ["timed out trying to allocate devices", NO]);
}
