//! Whole clusters in the test's process: memory storage, simulated nodes, requests in memory.

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use minik::Cluster;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use storage::{Memory, OpenOptions};
use testkit::{eventually, eventually_some};
use tests::{DEADLINE, create_pod, delete_pod, found, pod, pod_reaches};

async fn cluster() -> Cluster {
    cluster_within(DEADLINE).await
}

async fn cluster_within(limit: Duration) -> Cluster {
    let cluster = Cluster::builder().start().await.expect("it starts");
    cluster.nodes_ready(1, limit).await.expect("its node is Ready");
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_and_goes() {
    let cluster = cluster().await;
    let client = cluster.client();
    create_pod(&client, pod("hello", "busybox", &["sleep", "1000"])).await;
    let running = pod_reaches(&client, "hello", "Running").await;
    let status = running.status.expect("a status");
    assert!(status.pod_ip.is_some_and(|ip| ip.starts_with("10.244.")));
    delete_pod(&client, "hello", 0).await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    eventually(DEADLINE, async || pods.get_opt("hello").await.expect("an answer").is_none()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clusters_run_side_by_side() {
    let starts = (0..50).map(|_| async {
        // All begin at once, and each has a fiftieth of the machine.
        let cluster = cluster_within(10 * DEADLINE).await;
        // Fifty controllers on two cores may take longer to make an account than a pod waits for one.
        let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client());
        eventually(DEADLINE, async || found(&accounts, "default").await.is_some()).await;
        create_pod(&cluster.client(), pod("hello", "busybox", &["sleep", "1000"])).await;
        pod_reaches(&cluster.client(), "hello", "Running").await;
        cluster
    });
    let clusters = futures::future::join_all(starts).await;
    // Each has its own pod and nobody else's.
    for cluster in &clusters {
        let pods: Api<Pod> = Api::all(cluster.client());
        assert_eq!(pods.list(&ListParams::default()).await.expect("a list").items.len(), 1);
    }
    futures::future::join_all(clusters.into_iter().map(Cluster::stop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_its_content_along() {
    let cluster = cluster().await;
    let client = cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let team: Namespace = serde_json::from_value(json!({"metadata": {"name": "team"}})).expect("a namespace");
    namespaces.create(&PostParams::default(), &team).await.expect("created");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "team");
    eventually(DEADLINE, async || accounts.get_opt("default").await.expect("an answer").is_some()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "team");
    eventually(DEADLINE, async || maps.get_opt("kube-root-ca.crt").await.expect("an answer").is_some()).await;

    namespaces.delete("team", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || namespaces.get_opt("team").await.expect("an answer").is_none()).await;
    assert!(maps.list(&ListParams::default()).await.expect("a list").items.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_room_waits_and_comes_when_there_is_room() {
    let cluster = cluster().await;
    let client = cluster.client();
    let asking = |name: &str| {
        let mut pod = pod(name, "busybox", &["sleep", "1000"]);
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "20"}});
        pod
    };
    create_pod(&client, asking("first")).await;
    pod_reaches(&client, "first", "Running").await;
    create_pod(&client, asking("second")).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let message = eventually_some(DEADLINE, async || {
        let pod = pods.get("second").await.expect("an answer");
        api::pod::condition(&pod, "PodScheduled").and_then(|c| c.message.clone())
    })
    .await;
    assert_eq!(
        message,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found \
         for incoming pod."
    );
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let failed = ListParams::default().fields("involvedObject.name=second,reason=FailedScheduling");
    eventually(DEADLINE, async || !events.list(&failed).await.expect("a list").items.is_empty()).await;

    delete_pod(&client, "first", 0).await;
    pod_reaches(&client, "second", "Running").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_simulated_nodes_share_the_pods() {
    let cluster = Cluster::builder().nodes(0).simulated_nodes(20).start().await.expect("it starts");
    cluster.nodes_ready(20, DEADLINE).await.expect("all nodes are Ready");
    let client = cluster.client();
    for index in 0..40 {
        let mut pod = pod(&format!("p{index}"), "busybox", &["sleep", "1000"]);
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2", "memory": "1Gi"}});
        create_pod(&client, pod).await;
    }
    for index in 0..40 {
        pod_reaches(&client, &format!("p{index}"), "Running").await;
    }
    let pods: Api<Pod> = Api::default_namespaced(client);
    let list = pods.list(&ListParams::default()).await.expect("a list");
    let mut nodes: Vec<&str> = list.items.iter().map(api::pod::node_name).collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 20, "every node has some: {nodes:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_resumes_across_a_restart() {
    use futures::TryStreamExt;
    let clock = Arc::new(|| 0);
    let storage = Arc::new(Memory::new(OpenOptions::new(clock)));
    let start = async || {
        let storage = storage.clone() as Arc<dyn storage::Storage>;
        Cluster::builder().nodes(0).storage(storage).start().await.expect("it starts")
    };
    let map = |name: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name}})).expect("a config map")
    };
    let first = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(first.client());
    let seen = maps.create(&PostParams::default(), &map("a")).await.expect("created");
    maps.create(&PostParams::default(), &map("b")).await.expect("created");
    let revision = seen.metadata.resource_version.expect("a version");
    drop(first);

    let second = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(second.client());
    maps.create(&PostParams::default(), &map("c")).await.expect("created");
    let params = WatchParams::default().fields("metadata.name!=kube-root-ca.crt");
    let mut changes = Box::pin(maps.watch(&params, &revision).await.expect("a watch"));
    let mut names = Vec::new();
    while names.len() < 2 {
        let next = tokio::time::timeout(DEADLINE, changes.try_next()).await.expect("in time");
        if let Some(WatchEvent::Added(map)) = next.expect("no error") {
            names.push(map.metadata.name.expect("a name"));
        }
    }
    assert_eq!(names, ["b", "c"]);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_asked_of_everybody_but_masters() {
    let cluster = Cluster::builder().nodes(0).start().await.expect("it starts");
    let pods: Api<Pod> = Api::namespaced(cluster.client_as("jane", &[]), "default");
    let Err(kube::Error::Api(status)) = pods.list(&ListParams::default()).await else {
        panic!("jane may list pods");
    };
    assert_eq!(status.code, 403);
    assert_eq!(
        status.message,
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let nodes: Api<Node> = Api::all(cluster.client_as("system:kube-scheduler", &[]));
    assert!(nodes.list(&ListParams::default()).await.is_ok());
    assert!(nodes.delete("x", &DeleteParams::default()).await.is_err());
    cluster.stop().await;
}

/// What no node has heard of for long is told so, and its pods are moved: with time that costs nothing.
#[tokio::test(start_paused = true)]
async fn a_cluster_runs_on_paused_time() {
    let context = component_base::Context::simulated(7);
    let cluster = Cluster::builder().context(context.clone()).start().await.expect("it starts");
    cluster.nodes_ready(1, Duration::from_secs(600)).await.expect("its node is Ready");
    let before = context.clock.now();
    let mut short = pod("short", "busybox", &["sleep", "600"]);
    short["spec"]["restartPolicy"] = json!("Never");
    create_pod(&cluster.client(), short).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    eventually(Duration::from_secs(3600), async || {
        let pod = pods.get("short").await.expect("an answer");
        api::pod::phase(&pod) == "Succeeded"
    })
    .await;
    assert!(context.clock.now().duration_since(before).as_secs() >= 600);
    cluster.stop().await;
}
