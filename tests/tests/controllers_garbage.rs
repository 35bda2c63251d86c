//! The garbage collector and the endpoints of Services, in whole clusters on simulated nodes.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod, ReplicationController, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use minik::Cluster;
use serde_json::{Value, json};
use testkit::eventually;
use tests::workloads::{
    DEADLINE, Kind, cluster, controller, create, names, running, selected, template, workload,
};

fn api<K: Kind>(cluster: &Cluster) -> Api<K> {
    Api::default_namespaced(cluster.client())
}

async fn web(cluster: &Cluster, replicas: usize) {
    let web = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "nginx:1"),
    }});
    create::<Deployment>(cluster, web).await;
    eventually(DEADLINE, async || {
        let pods = selected::<Pod>(cluster, "web").await;
        pods.len() == replicas && pods.iter().all(::api::pod::is_ready)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn garbage_collector_should_delete_replica_sets_created_by_deployment_when_not_orphaning() {
    let cluster = cluster(1).await;
    web(&cluster, 2).await;
    api::<Deployment>(&cluster).delete("web", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || selected::<ReplicaSet>(&cluster, "web").await.is_empty()).await;
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_collector_should_orphan_replica_sets_created_by_deployment_if_delete_options_say_so() {
    let cluster = cluster(1).await;
    web(&cluster, 2).await;
    let deployments = api::<Deployment>(&cluster);
    let before = names(&selected::<Pod>(&cluster, "web").await);
    deployments.delete("web", &DeleteParams::orphan()).await.expect("deleted");
    eventually(DEADLINE, async || deployments.get_opt("web").await.expect("an answer").is_none()).await;
    let sets = selected::<ReplicaSet>(&cluster, "web").await;
    assert_eq!((sets.len(), controller(&sets[0])), (1, None));
    web(&cluster, 2).await;
    eventually(DEADLINE, async || controller(&selected::<ReplicaSet>(&cluster, "web").await[0]).is_some())
        .await;
    assert_eq!(names(&selected::<Pod>(&cluster, "web").await), before);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_in_foreground_deletion_stays_until_its_pods_are_gone() {
    let cluster = cluster(1).await;
    web(&cluster, 2).await;
    let deployments = api::<Deployment>(&cluster);
    deployments.delete("web", &DeleteParams::foreground()).await.expect("deleted");
    let seen = std::cell::Cell::new(false);
    eventually(DEADLINE, async || {
        // Asked for in this order: whoever is seen without the other was without it before.
        let owner = deployments.get_opt("web").await.expect("an answer");
        let pods = selected::<Pod>(&cluster, "web").await;
        let going = pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
        seen.set(seen.get() || (owner.is_some() && going));
        assert!(owner.is_some() || pods.is_empty(), "gone before its pods");
        owner.is_none()
    })
    .await;
    assert!(seen.get(), "the pods go first");
    cluster.stop().await;
}

/// A ReplicationController with so many pods that run.
async fn replication_controller(cluster: &Cluster, replicas: usize) -> Api<ReplicationController> {
    let rc = workload("rc", json!({"replicas": replicas, "selector": {"app": "rc"}}));
    create::<ReplicationController>(cluster, rc).await;
    eventually(DEADLINE, async || running(cluster, "rc", "app:1").await == (replicas, replicas)).await;
    api(cluster)
}

#[tokio::test(start_paused = true)]
async fn garbage_collector_should_delete_pods_created_by_rc_when_not_orphaning() {
    let cluster = cluster(1).await;
    let controllers = replication_controller(&cluster, 3).await;
    controllers.delete("rc", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "rc").await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_collector_should_orphan_pods_created_by_rc_if_delete_options_say_so() {
    let cluster = cluster(1).await;
    let controllers = replication_controller(&cluster, 3).await;
    let before = names(&selected::<Pod>(&cluster, "rc").await);
    controllers.delete("rc", &DeleteParams::orphan()).await.expect("deleted");
    eventually(DEADLINE, async || controllers.get_opt("rc").await.expect("an answer").is_none()).await;
    let start = cluster.context().clock.instant();
    eventually(DEADLINE, async || start.elapsed().as_secs() > 30).await;
    let pods = selected::<Pod>(&cluster, "rc").await;
    assert_eq!(names(&pods), before);
    assert!(pods.iter().all(|pod| pod.owner_references().is_empty()));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_collector_should_keep_the_rc_around_until_all_its_pods_are_deleted_if_the_delete_options_say_so()
 {
    let cluster = cluster(1).await;
    let controllers = replication_controller(&cluster, 3).await;
    let pods = api::<Pod>(&cluster);
    let held = names(&selected::<Pod>(&cluster, "rc").await).remove(0);
    let hold = |finalizers: Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    pods.patch(&held, &PatchParams::default(), &hold(json!(["example.com/f"]))).await.expect("patched");
    controllers.delete("rc", &DeleteParams::foreground()).await.expect("deleted");
    eventually(DEADLINE, async || names(&selected::<Pod>(&cluster, "rc").await) == [held.as_str()]).await;
    let waiting = controllers.get("rc").await.expect("it waits");
    assert_eq!(waiting.finalizers(), ["foregroundDeletion"]);
    pods.patch(&held, &PatchParams::default(), &hold(Value::Null)).await.expect("patched");
    eventually(DEADLINE, async || controllers.get_opt("rc").await.expect("an answer").is_none()).await;
    assert!(selected::<Pod>(&cluster, "rc").await.is_empty());
    cluster.stop().await;
}

fn owner(map: &ConfigMap, block: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": map.name_any(), "uid": map.uid(), "blockOwnerDeletion": block})
}

#[tokio::test(start_paused = true)]
async fn garbage_collector_should_not_be_blocked_by_dependency_circle() {
    let cluster = cluster(1).await;
    let maps = api::<ConfigMap>(&cluster);
    let map = |name: &str, owners: Value| json!({"metadata": {"name": name, "ownerReferences": owners}});
    let one = create::<ConfigMap>(&cluster, map("one", json!([]))).await;
    let two = create::<ConfigMap>(&cluster, map("two", json!([owner(&one, true)]))).await;
    let close = Patch::Merge(json!({"metadata": {"ownerReferences": [owner(&two, true)]}}));
    maps.patch("one", &PatchParams::default(), &close).await.expect("patched");
    maps.delete("one", &DeleteParams::foreground()).await.expect("deleted");
    eventually(DEADLINE, async || {
        let left = maps.list(&ListParams::default()).await.expect("a list");
        !names(&left.items).iter().any(|name| ["one", "two"].contains(&name.as_str()))
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_collector_should_not_delete_dependents_that_have_both_valid_owner_and_owner_that_is_waiting()
{
    let cluster = cluster(1).await;
    let maps = api::<ConfigMap>(&cluster);
    let map = |name: &str, owners: Value| json!({"metadata": {"name": name, "ownerReferences": owners}});
    let (left, right) = (
        create::<ConfigMap>(&cluster, map("left", json!([]))).await,
        create::<ConfigMap>(&cluster, map("right", json!([]))).await,
    );
    create::<ConfigMap>(&cluster, map("both", json!([owner(&left, true), owner(&right, true)]))).await;
    maps.delete("left", &DeleteParams::foreground()).await.expect("deleted");
    eventually(DEADLINE, async || maps.get_opt("left").await.expect("an answer").is_none()).await;
    let both = maps.get("both").await.expect("it stays");
    assert_eq!(
        both.owner_references().iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(),
        ["right"]
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_names_an_owner_that_never_was_is_collected() {
    let cluster = cluster(1).await;
    let nobody = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "no-such-uid"}]);
    create::<ConfigMap>(&cluster, json!({"metadata": {"name": "orphan", "ownerReferences": nobody}})).await;
    let maps = api::<ConfigMap>(&cluster);
    eventually(DEADLINE, async || maps.get_opt("orphan").await.expect("an answer").is_none()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_has_the_endpoints_of_its_pods() {
    let cluster = cluster(2).await;
    let service = json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
        "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    create::<Service>(&cluster, service).await;
    let ready = async || {
        let slices = selected::<EndpointSlice>(&cluster, "web").await;
        let all = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        all.filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|c| c.ready == Some(true))).count()
    };
    eventually(DEADLINE, async || selected::<EndpointSlice>(&cluster, "web").await.len() == 1).await;
    assert_eq!(ready().await, 0, "an empty slice says that there is none");
    web(&cluster, 3).await;
    eventually(DEADLINE, async || ready().await == 3).await;
    let endpoints = api::<Endpoints>(&cluster);
    eventually(DEADLINE, async || {
        let subsets = endpoints.get("web").await.expect("endpoints").subsets.unwrap_or_default();
        subsets.iter().flat_map(|subset| subset.addresses.iter().flatten()).count() == 3
    })
    .await;
    // A slice that somebody deletes comes back.
    let slices = api::<EndpointSlice>(&cluster);
    let name = selected::<EndpointSlice>(&cluster, "web").await[0].name_any();
    slices.delete(&name, &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || ready().await == 3).await;
    api::<Service>(&cluster).delete("web", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || selected::<EndpointSlice>(&cluster, "web").await.is_empty()).await;
    eventually(DEADLINE, async || endpoints.get_opt("web").await.expect("an answer").is_none()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn custom_endpoints_are_mirrored() {
    let cluster = cluster(1).await;
    create::<Service>(&cluster, json!({"metadata": {"name": "ext"}, "spec": {"ports": [{"port": 80}]}}))
        .await;
    let endpoints = json!({"metadata": {"name": "ext", "labels": {"app": "ext"}}, "subsets": [
        {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]});
    create::<Endpoints>(&cluster, endpoints).await;
    let addresses = async || -> Vec<String> {
        let slices = selected::<EndpointSlice>(&cluster, "ext").await;
        let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default());
        endpoints.flat_map(|endpoint| endpoint.addresses).collect()
    };
    eventually(DEADLINE, async || addresses().await == ["10.1.2.3"]).await;
    let change =
        Patch::Merge(json!({"subsets": [{"addresses": [{"ip": "10.1.2.4"}], "ports": [{"port": 80}]}]}));
    let all = api::<Endpoints>(&cluster);
    all.patch("ext", &PatchParams::default(), &change).await.expect("patched");
    eventually(DEADLINE, async || addresses().await == ["10.1.2.4"]).await;
    all.delete("ext", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || addresses().await.is_empty()).await;
    cluster.stop().await;
}
