//! The scheduler in whole clusters on simulated nodes: the official suite's behaviours by name, and what plugins need a
//! cluster for: preemption, volumes, waking pods at the right moment.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodCondition};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use testkit::{eventually, eventually_some};
use tests::workloads::{DEADLINE, create, selected, template, untainted};

/// The extended resource of the official suite.
const FOO: &str = "scheduling.k8s.io/foo";

/// A cluster of so many simulated nodes that take pods.
async fn cluster(nodes: u32) -> Cluster {
    let cluster = tests::workloads::cluster(nodes).await;
    untainted(&cluster).await;
    cluster
}

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::default_namespaced(cluster.client())
}

/// A pod of one container with this spec besides.
fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "busybox"}]}});
    pod["spec"].as_object_mut().expect("a spec").extend(spec.as_object().expect("fields").clone());
    pod
}

/// A container that takes so much of one resource.
fn takes(resource: &str, amount: &str) -> Value {
    let amounts = json!({resource: amount});
    json!([{"name": "c", "image": "busybox", "resources": {"requests": amounts, "limits": amounts}}])
}

async fn create_global<K>(cluster: &Cluster, object: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
    K: k8s_openapi::Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    let object: K = serde_json::from_value(object).expect("an object");
    Api::<K>::all(cluster.client()).create(&PostParams::default(), &object).await.expect("created");
}

async fn priority(cluster: &Cluster, name: &str, value: i32) {
    create_global::<PriorityClass>(cluster, json!({"metadata": {"name": name}, "value": value})).await;
}

/// The node that a pod is bound to, once it is.
async fn bound(cluster: &Cluster, name: &str) -> String {
    eventually_some(DEADLINE, async || {
        pods(cluster).get(name).await.expect("a pod").spec?.node_name.filter(|node| !node.is_empty())
    })
    .await
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Why a pod is not scheduled, once that is said.
async fn refused(cluster: &Cluster, name: &str) -> String {
    eventually_some(DEADLINE, async || {
        let pod = pods(cluster).get(name).await.expect("a pod");
        condition(&pod, "PodScheduled").filter(|c| c.status == "False").and_then(|c| c.message.clone())
    })
    .await
}

async fn patch_node(cluster: &Cluster, name: &str, change: Value) {
    let nodes = Api::<Node>::all(cluster.client());
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    nodes.patch(name, &params, &change).await.expect("patched");
}

async fn label(cluster: &Cluster, node: &str, key: &str, value: &str) {
    patch_node(cluster, node, json!({"metadata": {"labels": {key: value}}})).await;
}

/// Gives a node an amount of the suite's resource.
async fn give_foo(cluster: &Cluster, node: &str, amount: &str) {
    let nodes = Api::<Node>::all(cluster.client());
    let amounts = json!({FOO: amount});
    let change = json!({"status": {"capacity": amounts, "allocatable": amounts}});
    nodes.patch_status(node, &PatchParams::default(), &Patch::Merge(change)).await.expect("patched");
}

async fn node_names(cluster: &Cluster) -> Vec<String> {
    let nodes = Api::<Node>::all(cluster.client()).list(&ListParams::default()).await.expect("nodes");
    nodes.items.into_iter().filter_map(|node| node.metadata.name).collect()
}

async fn told(cluster: &Cluster, pod: &str, reason: &str) -> String {
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let about = ListParams::default().fields(&format!("involvedObject.name={pod},reason={reason}"));
    eventually_some(DEADLINE, async || {
        let found = events.list(&about).await.expect("events").items;
        found.first().and_then(|event| event.message.clone())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn validates_resource_limits_of_pods_that_are_allowed_to_run() {
    let cluster = cluster(2).await;
    for (name, spec) in [("filler-a", "20"), ("filler-b", "20")] {
        create::<Pod>(&cluster, pod(name, json!({"containers": takes("cpu", spec)}))).await;
    }
    let nodes = [bound(&cluster, "filler-a").await, bound(&cluster, "filler-b").await];
    assert_ne!(nodes[0], nodes[1]);
    create::<Pod>(&cluster, pod("additional", json!({"containers": takes("cpu", "20")}))).await;
    let why = "0/2 nodes are available: 2 Insufficient cpu. \
        preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    assert_eq!(refused(&cluster, "additional").await, why);
    assert_eq!(told(&cluster, "additional", "FailedScheduling").await, why);
    // It is tried again when there is room, and not five minutes later.
    let before = cluster.context().clock.now();
    pods(&cluster).delete("filler-a", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(bound(&cluster, "additional").await, nodes[0]);
    assert!(cluster.context().clock.now().duration_since(before).as_secs() < 60);
    // What no node ever has is not worth anybody's place.
    create::<Pod>(&cluster, pod("giant", json!({"containers": takes("cpu", "99")}))).await;
    let why = "0/2 nodes are available: 2 Insufficient cpu. \
        preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(refused(&cluster, "giant").await, why);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn validates_that_node_selector_is_respected() {
    let cluster = cluster(2).await;
    let wanted = json!({"nodeSelector": {"disk": "ssd"}});
    create::<Pod>(&cluster, pod("choosy", wanted)).await;
    assert_eq!(
        refused(&cluster, "choosy").await,
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. \
        preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    let node = node_names(&cluster).await[1].clone();
    label(&cluster, &node, "disk", "ssd").await;
    assert_eq!(bound(&cluster, "choosy").await, node);
    assert!(told(&cluster, "choosy", "Scheduled").await.ends_with(&format!("default/choosy to {node}")));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn validates_that_there_exists_conflict_between_pods_with_same_host_port_on_all_addresses() {
    let cluster = cluster(1).await;
    let with = |address: &str| {
        json!({"containers": [{"name": "c", "image": "busybox", "ports": [
            {"containerPort": 80, "hostPort": 54322, "hostIP": address, "protocol": "TCP"}]}]})
    };
    create::<Pod>(&cluster, pod("pod4", with("0.0.0.0"))).await;
    bound(&cluster, "pod4").await;
    create::<Pod>(&cluster, pod("pod5", with("127.0.0.1"))).await;
    let why = refused(&cluster, "pod5").await;
    assert!(why.contains("1 node(s) didn't have free ports for the requested pod ports."), "{why}");
    pods(&cluster).delete("pod4", &DeleteParams::default()).await.expect("deleted");
    bound(&cluster, "pod5").await;
    cluster.stop().await;
}

/// Two nodes with five of the suite's resource each, taken by a pod of low and one of medium priority.
async fn crowded() -> Cluster {
    let cluster = cluster(2).await;
    for (name, value) in [("low", 1), ("medium", 100), ("high", 1000)] {
        priority(&cluster, name, value).await;
    }
    for (node, class) in node_names(&cluster).await.iter().zip(["low", "medium"]) {
        give_foo(&cluster, node, "5").await;
        let spec = json!({"containers": takes(FOO, "3"), "priorityClassName": class,
            "nodeSelector": {"kubernetes.io/hostname": node}});
        create::<Pod>(&cluster, pod(class, spec)).await;
        assert_eq!(bound(&cluster, class).await, *node);
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn validates_basic_preemption_works() {
    let cluster = crowded().await;
    let node = bound(&cluster, "low").await;
    let spec = json!({"containers": takes(FOO, "4"), "priorityClassName": "high"});
    create::<Pod>(&cluster, pod("preemptor", spec)).await;
    assert_eq!(bound(&cluster, "preemptor").await, node);
    assert!(pods(&cluster).get_opt("low").await.expect("an answer").is_none());
    assert!(pods(&cluster).get_opt("medium").await.expect("an answer").is_some());
    let event = told(&cluster, "low", "Preempted").await;
    assert!(
        event.starts_with("Preempted by pod ") && event.ends_with(&format!(" on node {node}")),
        "{event}"
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn validates_lower_priority_pod_preemption_by_critical_pod() {
    let cluster = crowded().await;
    let node = bound(&cluster, "low").await;
    let mut critical = pod(
        "critical",
        json!({"containers": takes(FOO, "4"),
        "priorityClassName": "system-cluster-critical"}),
    );
    critical["metadata"]["namespace"] = json!("kube-system");
    let system: Api<Pod> = Api::namespaced(cluster.client(), "kube-system");
    let critical: Pod = serde_json::from_value(critical).expect("a pod");
    system.create(&PostParams::default(), &critical).await.expect("created");
    let bound = eventually_some(DEADLINE, async || {
        system.get("critical").await.expect("a pod").spec?.node_name.filter(|node| !node.is_empty())
    });
    assert_eq!(bound.await, node);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn validates_pod_disruption_condition_is_added_to_the_preempted_pod() {
    let cluster = cluster(1).await;
    priority(&cluster, "high", 1000).await;
    let node = node_names(&cluster).await[0].clone();
    give_foo(&cluster, &node, "1").await;
    let mut victim = pod("victim", json!({"containers": takes(FOO, "1")}));
    victim["metadata"]["finalizers"] = json!(["example.com/test"]);
    create::<Pod>(&cluster, victim).await;
    bound(&cluster, "victim").await;
    let spec = json!({"containers": takes(FOO, "1"), "priorityClassName": "high"});
    create::<Pod>(&cluster, pod("preemptor", spec)).await;
    let told = eventually_some(DEADLINE, async || {
        let victim = pods(&cluster).get("victim").await.expect("a pod");
        let going = victim.metadata.deletion_timestamp.is_some();
        condition(&victim, "DisruptionTarget").cloned().filter(|_| going)
    })
    .await;
    assert_eq!((told.status.as_str(), told.reason.as_deref()), ("True", Some("PreemptionByScheduler")));
    assert_eq!(
        told.message.as_deref(),
        Some("default-scheduler: preempting to accommodate a higher priority pod")
    );
    // While it goes, room is kept; once it has ended, its room is the preemptor's.
    let nominated = pods(&cluster).get("preemptor").await.expect("a pod").status.expect("a status");
    assert_eq!(nominated.nominated_node_name.as_deref(), Some(node.as_str()));
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods(&cluster).patch("victim", &PatchParams::default(), &release).await.expect("patched");
    assert_eq!(bound(&cluster, "preemptor").await, node);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn runs_replica_sets_to_verify_preemption_running_path() {
    let cluster = cluster(1).await;
    let node = node_names(&cluster).await[0].clone();
    give_foo(&cluster, &node, "1000").await;
    for (number, replicas) in [(1, 5), (2, 4), (3, 4), (4, 1)] {
        let name = format!("rs-pod{number}");
        priority(&cluster, &format!("p{number}"), number).await;
        let mut template = template(&name, "busybox");
        template["spec"]["priorityClassName"] = json!(format!("p{number}"));
        // 5 × 100 + 4 × 125 fill the node; the third set needs 4 × 125 of the first two, the fourth 1 × 200 more.
        let foo = ["", "100", "125", "125", "200"][number as usize];
        let amounts = json!({FOO: foo});
        template["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
        let set = json!({"metadata": {"name": name}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"app": name}}, "template": template}});
        create::<ReplicaSet>(&cluster, set).await;
        eventually(DEADLINE, async || on_nodes(&cluster, &name).await == replicas as usize).await;
    }
    // The lowest have gone first: 200 + 4 × 125 leave room for two of the second set, and none of the first.
    eventually(DEADLINE, async || {
        let counts = [on_nodes(&cluster, "rs-pod1").await, on_nodes(&cluster, "rs-pod2").await];
        counts == [0, 2]
    })
    .await;
    assert_eq!([on_nodes(&cluster, "rs-pod3").await, on_nodes(&cluster, "rs-pod4").await], [4, 1]);
    cluster.stop().await;
}

/// How many pods with this label are on nodes and stay there.
async fn on_nodes(cluster: &Cluster, app: &str) -> usize {
    let pods = selected::<Pod>(cluster, app).await;
    let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    pods.iter().filter(stays).filter(|pod| !api::pod::node_name(pod).is_empty()).count()
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_must_not_preempt_waits() {
    let cluster = crowded().await;
    let class = json!({"metadata": {"name": "polite"}, "value": 1000, "preemptionPolicy": "Never"});
    create_global::<PriorityClass>(&cluster, class).await;
    let spec = json!({"containers": takes(FOO, "4"), "priorityClassName": "polite"});
    create::<Pod>(&cluster, pod("polite", spec)).await;
    assert_eq!(
        refused(&cluster, "polite").await,
        "0/2 nodes are available: 2 Insufficient scheduling.k8s.io/foo. \
        preemption: not eligible due to preemptionPolicy=Never."
    );
    pods(&cluster).delete("medium", &DeleteParams::default()).await.expect("deleted");
    bound(&cluster, "polite").await;
    cluster.stop().await;
}

/// Where the replicas of a Deployment are, by node, once there are so many.
async fn spread(cluster: &Cluster, app: &str, replicas: usize) -> BTreeMap<String, usize> {
    eventually(DEADLINE, async || on_nodes(cluster, app).await == replicas).await;
    let mut counts = BTreeMap::new();
    for pod in selected::<Pod>(cluster, app).await {
        if !api::pod::node_name(&pod).is_empty() {
            *counts.entry(api::pod::node_name(&pod).to_owned()).or_default() += 1;
        }
    }
    counts
}

fn deployment(name: &str, replicas: i32, spec: Value) -> Value {
    let mut template = template(name, "busybox");
    template["spec"].as_object_mut().expect("a spec").extend(spec.as_object().expect("fields").clone());
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": name}}, "template": template}})
}

#[tokio::test(start_paused = true)]
async fn replicas_keep_apart_or_together_as_their_affinity_says() {
    let cluster = cluster(3).await;
    let term = |app: &str| json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"}]);
    let apart = json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": term("apart")}}});
    create::<Deployment>(&cluster, deployment("apart", 4, apart)).await;
    assert!(spread(&cluster, "apart", 3).await.values().all(|count| *count == 1));
    let waiting = eventually_some(DEADLINE, async || {
        let all = selected::<Pod>(&cluster, "apart").await;
        all.iter()
            .find_map(|pod| condition(pod, "PodScheduled").filter(|c| c.status == "False")?.message.clone())
    });
    let why = waiting.await;
    assert!(
        why.starts_with("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."),
        "{why}"
    );
    let together = json!({"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": term("together")}}});
    create::<Deployment>(&cluster, deployment("together", 4, together)).await;
    assert_eq!(spread(&cluster, "together", 4).await.len(), 1);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replicas_are_spread_over_zones_and_wait_for_a_zone_that_comes() {
    let cluster = cluster(3).await;
    let nodes = node_names(&cluster).await;
    for (node, zone) in nodes.iter().zip(["a", "b"]) {
        label(&cluster, node, "topology.kubernetes.io/zone", zone).await;
    }
    let constraint = json!({"topologySpreadConstraints": [{"maxSkew": 1, "minDomains": 3,
        "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]});
    create::<Deployment>(&cluster, deployment("web", 6, constraint)).await;
    // With two zones of three the least counts as none, so each takes one.
    let zones = spread(&cluster, "web", 2).await;
    assert!(!zones.contains_key(&nodes[2]) && zones.len() == 2, "{zones:?}");
    label(&cluster, &nodes[2], "topology.kubernetes.io/zone", "c").await;
    assert!(spread(&cluster, "web", 6).await.values().all(|count| *count == 2));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replicas_are_spread_over_hosts_without_being_asked() {
    let cluster = cluster(4).await;
    create::<Deployment>(&cluster, deployment("web", 8, json!({}))).await;
    assert_eq!(spread(&cluster, "web", 8).await.values().copied().collect::<Vec<_>>(), [2, 2, 2, 2]);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_waits_until_its_last_gate_is_gone() {
    let cluster = cluster(1).await;
    let gates = json!({"schedulingGates": [{"name": "example.com/a"}, {"name": "example.com/b"}]});
    create::<Pod>(&cluster, pod("gated", gates)).await;
    assert_eq!(refused(&cluster, "gated").await, "Scheduling is blocked due to non-empty scheduling gates");
    let open = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
    pods(&cluster).patch("gated", &PatchParams::default(), &open).await.expect("patched");
    bound(&cluster, "gated").await;
    cluster.stop().await;
}

async fn get<K>(cluster: &Cluster, name: &str) -> K
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    Api::<K>::default_namespaced(cluster.client()).get(name).await.expect("an object")
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_waits_for_its_pod_gets_a_volume_where_the_pod_can_run() {
    let cluster = cluster(2).await;
    let nodes = node_names(&cluster).await;
    let class = json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer"});
    create_global::<StorageClass>(&cluster, class).await;
    let claim = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "local",
            "resources": {"requests": {"storage": "1Gi"}}}})
    };
    create::<PersistentVolumeClaim>(&cluster, claim("data")).await;
    let mounts =
        |claim: &str| json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]});
    create::<Pod>(&cluster, pod("db", mounts("data"))).await;
    let why = refused(&cluster, "db").await;
    assert!(
        why.starts_with(
            "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
        ),
        "{why}"
    );
    let on = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [nodes[1]]}]}]}});
    let volume = json!({"metadata": {"name": "disk"}, "spec": {"capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"], "storageClassName": "local", "local": {"path": "/mnt"}, "nodeAffinity": on}});
    create_global::<PersistentVolume>(&cluster, volume).await;
    assert_eq!(bound(&cluster, "db").await, nodes[1]);
    let data: PersistentVolumeClaim = get(&cluster, "data").await;
    assert_eq!(data.spec.and_then(|spec| spec.volume_name).as_deref(), Some("disk"));
    create::<Pod>(&cluster, pod("early", mounts("missing"))).await;
    let why = refused(&cluster, "early").await;
    let expected = "0/2 nodes are available: persistentvolumeclaim \"missing\" not found. \
        preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(why, expected);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_is_told_the_node_and_the_pod_waits_for_it() {
    let cluster = cluster(1).await;
    let node = node_names(&cluster).await[0].clone();
    let class = json!({"metadata": {"name": "made"}, "provisioner": "example.com/maker",
        "volumeBindingMode": "WaitForFirstConsumer"});
    create_global::<StorageClass>(&cluster, class).await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "made", "resources": {"requests": {"storage": "1Gi"}}}});
    create::<PersistentVolumeClaim>(&cluster, claim).await;
    let mounts = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    create::<Pod>(&cluster, pod("db", mounts)).await;
    // The provisioner's part, played here.
    let asked = eventually_some(DEADLINE, async || {
        let claim: PersistentVolumeClaim = get(&cluster, "data").await;
        let node = claim.metadata.annotations?.get("volume.kubernetes.io/selected-node").cloned()?;
        Some((node, claim.metadata.uid))
    });
    let (selected_node, uid) = asked.await;
    assert_eq!(selected_node, node);
    assert_eq!(api::pod::node_name(&pods(&cluster).get("db").await.expect("a pod")), "");
    let volume = json!({"metadata": {"name": "made-1", "annotations": {"pv.kubernetes.io/provisioned-by": "example.com/maker"}},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "made",
            "csi": {"driver": "example.com/maker", "volumeHandle": "1"},
            "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": "default", "name": "data", "uid": uid}}});
    create_global::<PersistentVolume>(&cluster, volume).await;
    assert_eq!(bound(&cluster, "db").await, node);
    cluster.stop().await;
}

async fn decision(client: kube::Client, pod: &str) -> kube::Result<Value> {
    let path = format!("/debug/scheduler/decisions/default/{pod}");
    client.request(http::Request::get(path).body(Vec::new()).expect("a request")).await
}

#[tokio::test(start_paused = true)]
async fn the_last_decision_on_a_pod_can_be_asked_for_by_who_may() {
    let cluster = cluster(2).await;
    create::<Pod>(&cluster, pod("small", json!({"containers": takes("cpu", "1")}))).await;
    let node = bound(&cluster, "small").await;
    let small = decision(cluster.client(), "small").await.expect("a decision");
    assert_eq!(small["node"], node);
    let nodes = small["nodes"].as_array().expect("nodes");
    let scores = |node: &Value| node["scores"].as_array().map_or(0, Vec::len);
    assert!(nodes.len() == 2 && nodes.iter().all(|node| scores(node) >= 3), "{small}");
    create::<Pod>(&cluster, pod("giant", json!({"containers": takes("cpu", "99")}))).await;
    let why = refused(&cluster, "giant").await;
    let giant = decision(cluster.client(), "giant").await.expect("a decision");
    assert_eq!((giant["node"].clone(), giant["message"].as_str()), (Value::Null, Some(why.as_str())));
    let rejected = giant["nodes"].as_array().expect("nodes");
    assert!(rejected.iter().all(|node| node["reasons"] == json!(["Insufficient cpu"])), "{giant}");
    for (client, pod, code) in
        [(cluster.client_as("somebody", &[]), "small", 403), (cluster.client(), "unknown", 404)]
    {
        match decision(client, pod).await {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, code, "{pod}"),
            other => panic!("{other:?}"),
        }
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn several_schedulers_by_configuration_place_pods_by_their_own_rules() {
    let configuration = scheduler::Configuration::parse(
        "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  plugins:
    multiPoint: {disabled: [{name: PodTopologySpread}]}
    score: {disabled: [{name: NodeResourcesBalancedAllocation}]}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
",
    )
    .expect("a configuration");
    let context = component_base::Context::simulated(1);
    let builder = Cluster::builder().context(context).nodes(0).simulated_nodes(3).scheduler(configuration);
    let cluster = builder.start().await.expect("it starts");
    tests::workloads::ready(&cluster, 3).await;
    untainted(&cluster).await;
    let mut nodes = Vec::new();
    for (index, scheduler) in ["packing", "packing", "packing", "default-scheduler"].iter().enumerate() {
        let name = format!("p{index}");
        let spec = json!({"schedulerName": scheduler, "containers": takes("cpu", "4")});
        create::<Pod>(&cluster, pod(&name, spec)).await;
        nodes.push(bound(&cluster, &name).await);
    }
    assert_eq!((&nodes[1], &nodes[2]), (&nodes[0], &nodes[0]));
    assert_ne!(nodes[3], nodes[0]);
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let about = ListParams::default().fields("involvedObject.name=p0,reason=Scheduled");
    let event =
        eventually_some(DEADLINE, async || events.list(&about).await.expect("events").items.pop()).await;
    assert_eq!(event.source.and_then(|source| source.component).as_deref(), Some("packing"));
    // Nobody is called that.
    create::<Pod>(&cluster, pod("nobodys", json!({"schedulerName": "nobody"}))).await;
    create::<Pod>(&cluster, pod("last", json!({}))).await;
    bound(&cluster, "last").await;
    assert_eq!(api::pod::node_name(&pods(&cluster).get("nobodys").await.expect("a pod")), "");
    cluster.stop().await;
}
