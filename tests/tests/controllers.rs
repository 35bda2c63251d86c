//! The controllers at work in a whole cluster: what a silent node, a lost node and a held namespace lead to.

use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Node, NodeCondition, Pod, Secret, ServiceAccount,
};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{eventually, eventually_some};

/// Longer than every grace and toleration of upstream; on a paused clock it costs nothing.
const DEADLINE: Duration = Duration::from_secs(1000);

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

fn merge(change: Value) -> Patch<Value> {
    Patch::Merge(change)
}

async fn cluster() -> Cluster {
    let context = component_base::Context::simulated(1);
    let cluster = Cluster::builder().context(context).start().await.expect("it starts");
    cluster.nodes_ready(1, DEADLINE).await.expect("its node is Ready");
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), "default");
    eventually(DEADLINE, async || accounts.get_opt("default").await.expect("an answer").is_some()).await;
    cluster
}

/// A node that says this once and is never heard of again.
async fn ghost(nodes: &Api<Node>, ready: &str) {
    if nodes.get_opt("ghost").await.expect("an answer").is_none() {
        let node = object(json!({"metadata": {"name": "ghost"}}));
        nodes.create(&PostParams::default(), &node).await.expect("created");
    }
    let change = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
    nodes.patch_status("ghost", &PatchParams::default(), &merge(change)).await.expect("patched");
}

async fn pod_on_ghost(pods: &Api<Pod>, name: &str, tolerated_seconds: u32) {
    let toleration = |key: &str| {
        json!({
            "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": tolerated_seconds,
        })
    };
    let pod = object(json!({"metadata": {"name": name}, "spec": {
        "nodeName": "ghost", "containers": [{"name": "c", "image": "busybox"}],
        "tolerations": [toleration("node.kubernetes.io/not-ready"), toleration("node.kubernetes.io/unreachable")],
    }}));
    pods.create(&PostParams::default(), &pod).await.expect("created");
}

async fn taints(nodes: &Api<Node>, name: &str) -> Vec<String> {
    let taints = nodes.get(name).await.expect("a node").spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
}

fn ready(node: Node) -> Option<NodeCondition> {
    node.status?.conditions?.into_iter().find(|condition| condition.type_ == "Ready")
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_becomes_unknown_and_its_pods_leave_when_their_tolerations_end() {
    let cluster = cluster().await;
    let (nodes, pods) =
        (Api::<Node>::all(cluster.client()), Api::<Pod>::default_namespaced(cluster.client()));
    ghost(&nodes, "True").await;
    eventually(DEADLINE, async || taints(&nodes, "ghost").await.is_empty()).await;
    pod_on_ghost(&pods, "short", 30).await;
    pod_on_ghost(&pods, "long", 600).await;
    let clock = cluster.context().clock.clone();
    let start = clock.now();
    let unknown = eventually_some(DEADLINE, async || {
        ready(nodes.get("ghost").await.expect("a node")).filter(|ready| ready.status == "Unknown")
    })
    .await;
    let silent = clock.now().duration_since(start).as_secs();
    assert!((50..=60).contains(&silent), "unknown after {silent} s");
    assert_eq!(unknown.reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(unknown.message.as_deref(), Some("Kubelet stopped posting node status."));
    let wanted = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
    eventually(DEADLINE, async || {
        let taints = taints(&nodes, "ghost").await;
        wanted.iter().all(|wanted| taints.iter().any(|taint| taint == wanted))
    })
    .await;
    let tainted = clock.now();
    let leaves =
        async |name: &str| pods.get(name).await.is_ok_and(|pod| pod.metadata.deletion_timestamp.is_some());
    eventually(DEADLINE, async || leaves("short").await).await;
    let left = clock.now().duration_since(tainted).as_secs();
    assert!((29..=32).contains(&left), "left after {left} s");
    assert!(!leaves("long").await);
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    eventually(DEADLINE, async || {
        let events = events.list(&ListParams::default()).await.expect("events").items;
        events.iter().any(|event| event.message.as_deref() == Some("Marking for deletion Pod default/short"))
    })
    .await;
    assert!(taints(&nodes, "minik").await.is_empty(), "the node that lives is left alone");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn taints_follow_readiness_at_once() {
    let cluster = cluster().await;
    let nodes = Api::<Node>::all(cluster.client());
    let soon = Duration::from_secs(1);
    ghost(&nodes, "False").await;
    let not_ready = "node.kubernetes.io/not-ready:NoSchedule".to_owned();
    eventually(soon, async || taints(&nodes, "ghost").await.contains(&not_ready)).await;
    ghost(&nodes, "True").await;
    eventually(soon, async || taints(&nodes, "ghost").await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_gone_are_collected() {
    let cluster = cluster().await;
    let (nodes, pods) =
        (Api::<Node>::all(cluster.client()), Api::<Pod>::default_namespaced(cluster.client()));
    ghost(&nodes, "True").await;
    pod_on_ghost(&pods, "orphan", 9999).await;
    nodes.delete("ghost", &DeleteParams::default()).await.expect("deleted");
    let start = cluster.context().clock.now();
    eventually(DEADLINE, async || pods.get_opt("orphan").await.expect("an answer").is_none()).await;
    let kept = cluster.context().clock.now().duration_since(start).as_secs();
    assert!((40..=80).contains(&kept), "kept for {kept} s");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_waits_for_finalizers_and_says_so() {
    let cluster = cluster().await;
    let namespaces = Api::<Namespace>::all(cluster.client());
    let maps = Api::<ConfigMap>::namespaced(cluster.client(), "team");
    let team = object(json!({"metadata": {"name": "team"}}));
    namespaces.create(&PostParams::default(), &team).await.expect("created");
    let held = object(json!({"metadata": {"name": "held", "finalizers": ["example.com/f"]}}));
    maps.create(&PostParams::default(), &held).await.expect("created");
    namespaces.delete("team", &DeleteParams::default()).await.expect("deleted");
    let conditions = eventually_some(DEADLINE, async || {
        namespaces.get("team").await.expect("a namespace").status.and_then(|status| status.conditions)
    })
    .await;
    let says = |kind: &str| {
        let condition = conditions.iter().find(|condition| condition.type_ == kind).expect("a condition");
        (condition.status.as_str(), condition.message.as_deref().unwrap_or_default())
    };
    assert_eq!(
        says("NamespaceContentRemaining"),
        ("True", "Some resources are remaining: configmaps. has 1 resource instances")
    );
    assert_eq!(
        says("NamespaceFinalizersRemaining"),
        (
            "True",
            "Some content in the namespace has finalizers remaining: example.com/f in 1 resource instances"
        )
    );
    let free = merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.expect("patched");
    eventually(DEADLINE, async || namespaces.get_opt("team").await.expect("an answer").is_none()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_ca_and_the_account_of_a_namespace_are_repaired() {
    let cluster = cluster().await;
    let maps = Api::<ConfigMap>::default_namespaced(cluster.client());
    let accounts = Api::<ServiceAccount>::default_namespaced(cluster.client());
    let ca =
        async || Some(maps.get_opt("kube-root-ca.crt").await.expect("an answer")?.data?.remove("ca.crt")?);
    let good = eventually_some(DEADLINE, async || ca().await).await;
    assert!(good.contains("BEGIN CERTIFICATE"));
    let edit = merge(json!({"data": {"ca.crt": "edited", "more": "x"}}));
    maps.patch("kube-root-ca.crt", &PatchParams::default(), &edit).await.expect("patched");
    eventually(DEADLINE, async || ca().await.as_ref() == Some(&good)).await;
    maps.delete("kube-root-ca.crt", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || ca().await.as_ref() == Some(&good)).await;
    accounts.delete("default", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || accounts.get_opt("default").await.expect("an answer").is_some()).await;
    cluster.stop().await;
}

/// A namespace `team` with a map and a pod that runs and is held.
async fn team(cluster: &Cluster) -> (Api<Namespace>, Api<Pod>, Api<ConfigMap>) {
    let namespaces = Api::<Namespace>::all(cluster.client());
    let (pods, maps) = (
        Api::<Pod>::namespaced(cluster.client(), "team"),
        Api::<ConfigMap>::namespaced(cluster.client(), "team"),
    );
    let team = object(json!({"metadata": {"name": "team"}}));
    namespaces.create(&PostParams::default(), &team).await.expect("created");
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client(), "team");
    eventually(DEADLINE, async || accounts.get_opt("default").await.expect("an answer").is_some()).await;
    let map = object(json!({"metadata": {"name": "map"}}));
    maps.create(&PostParams::default(), &map).await.expect("created");
    let pod = object(json!({"metadata": {"name": "pod", "finalizers": ["example.com/f"]}, "spec": {
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "busybox"}]}}));
    pods.create(&PostParams::default(), &pod).await.expect("created");
    eventually(DEADLINE, async || api::pod::is_ready(&pods.get("pod").await.expect("a pod"))).await;
    (namespaces, pods, maps)
}

#[tokio::test(start_paused = true)]
async fn namespaces_should_ensure_that_all_pods_are_removed_when_a_namespace_is_deleted() {
    let cluster = cluster().await;
    let (namespaces, pods, _) = team(&cluster).await;
    let free = merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("pod", &PatchParams::default(), &free).await.expect("patched");
    namespaces.delete("team", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || namespaces.get_opt("team").await.expect("an answer").is_none()).await;
    let again = object(json!({"metadata": {"name": "team"}}));
    namespaces.create(&PostParams::default(), &again).await.expect("created again");
    assert!(pods.list(&ListParams::default()).await.expect("a list").items.is_empty());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ordered_namespace_deletion_should_delete_pod_first() {
    let cluster = cluster().await;
    let (namespaces, pods, maps) = team(&cluster).await;
    namespaces.delete("team", &DeleteParams::default()).await.expect("deleted");
    let says = async |kind: &str| {
        let status = namespaces.get("team").await.expect("a namespace").status.unwrap_or_default();
        let condition = status.conditions.into_iter().flatten().find(|condition| condition.type_ == kind);
        condition.filter(|condition| condition.status == "True").and_then(|condition| condition.message)
    };
    // The pod is on its way and held; what it may still use is there.
    let told = eventually_some(DEADLINE, async || says("NamespaceContentRemaining").await).await;
    assert!(told.contains("pods. has 1 resource instances"), "{told}");
    assert!(pods.get("pod").await.expect("a pod").metadata.deletion_timestamp.is_some());
    assert!(maps.get("map").await.expect("a map").metadata.deletion_timestamp.is_none());
    let free = merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("pod", &PatchParams::default(), &free).await.expect("patched");
    eventually(DEADLINE, async || namespaces.get_opt("team").await.expect("an answer").is_none()).await;
    assert!(maps.list(&ListParams::default()).await.expect("a list").items.is_empty());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_made_for_an_account_goes_when_nobody_uses_it() {
    /// More than a year, and the day on which the tracking began.
    const UNUSED: Duration = Duration::from_hours(24 * 367);
    const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
    let context = component_base::Context::simulated(1);
    let cluster = Cluster::builder().context(context).nodes(0).start().await.expect("it starts");
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), "default");
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), "default");
    let account = object(json!({"metadata": {"name": "robot"}, "secrets": [{"name": "made"}]}));
    accounts.create(&PostParams::default(), &account).await.expect("created");
    let get = async |name: &str| secrets.get_opt(name).await.expect("an answer");
    for name in ["made", "asked-for"] {
        let secret = object(json!({
            "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token",
        }));
        secrets.create(&PostParams::default(), &secret).await.expect("created");
        let has_token = async || get(name).await.and_then(|secret| secret.data?.remove("token")).is_some();
        eventually(DEADLINE, has_token).await;
    }
    let invalid_since = async |name: &str| get(name).await?.metadata.labels?.remove(INVALID_SINCE);

    tokio::time::advance(UNUSED).await;
    eventually(DEADLINE, async || invalid_since("made").await.as_deref() == Some("2027-01-03")).await;
    assert_eq!(invalid_since("asked-for").await, None);
    tokio::time::advance(UNUSED).await;
    eventually(DEADLINE, async || get("made").await.is_none()).await;
    assert!(get("asked-for").await.is_some());
}
