//! StatefulSets and DaemonSets in whole clusters on simulated nodes.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::eventually;
use tests::workloads::{
    DEADLINE, Kind, Moment, cluster, create, image, names, selected, template, watch_pods,
};

fn stateful_set(replicas: i32, more: Value) -> Value {
    let mut spec = json!({
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": template("db", "db:1"),
    });
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "db"}, "spec": spec})
}

fn api<K: Kind>(cluster: &Cluster) -> Api<K> {
    Api::default_namespaced(cluster.client())
}

async fn ready(cluster: &Cluster, replicas: i32) {
    let sets = api::<StatefulSet>(cluster);
    eventually(DEADLINE, async || {
        let set = sets.get("db").await.expect("a set");
        let status = set.status.unwrap_or_default();
        status.observed_generation == set.metadata.generation
            && status.replicas == replicas
            && status.ready_replicas.unwrap_or(0) == replicas
            && status.current_revision == status.update_revision
    })
    .await;
}

/// The image of each pod, by name.
async fn images(cluster: &Cluster) -> Vec<String> {
    let pods = selected::<Pod>(cluster, "db").await;
    pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn stateful_set_scaling_should_happen_in_predictable_order_and_halt_if_any_stateful_pod_is_unhealthy() {
    let cluster = cluster(2).await;
    let watch = watch_pods(&cluster, "app=db");
    create::<StatefulSet>(&cluster, stateful_set(3, json!({}))).await;
    ready(&cluster, 3).await;
    for pods in watch.moments() {
        // Whoever is not ready is the last.
        let unready: Vec<_> = pods.iter().filter(|pod| !::api::pod::is_ready(pod)).collect();
        assert!(unready.len() <= 1);
        if let Some(pod) = unready.first() {
            assert_eq!(pod.name_any(), format!("db-{}", pods.len() - 1));
        }
    }
    let sets = api::<StatefulSet>(&cluster);
    let scale = |replicas: i32| Patch::Merge(json!({"spec": {"replicas": replicas}}));
    sets.patch_scale("db", &PatchParams::default(), &scale(1)).await.expect("scaled");
    eventually(DEADLINE, async || names(&selected::<Pod>(&cluster, "db").await) == ["db-0"]).await;
    let last = watch.count();
    // The next one can never start: nobody comes after it.
    sets.patch("db", &PatchParams::default(), &image("missing:1")).await.expect("patched");
    sets.patch_scale("db", &PatchParams::default(), &scale(3)).await.expect("scaled");
    eventually(DEADLINE, async || watch.count() > last + 3).await;
    assert!(!names(&selected::<Pod>(&cluster, "db").await).contains(&"db-2".to_owned()));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stateful_set_burst_scaling_should_run_to_completion_even_with_unhealthy_pods() {
    let cluster = cluster(2).await;
    let sets = api::<StatefulSet>(&cluster);
    let watch = watch_pods(&cluster, "app=db");
    create::<StatefulSet>(&cluster, stateful_set(5, json!({"podManagementPolicy": "Parallel"}))).await;
    ready(&cluster, 5).await;
    let unready = |pods: &Moment| pods.iter().filter(|pod| !::api::pod::is_ready(pod)).count();
    assert!(watch.moments().iter().any(|pods| unready(pods) > 1), "several at a time");
    // The last one can never start again; more come, and all go, in spite of it.
    let scale = |replicas: i32| Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let exist = async |count: usize| {
        eventually(DEADLINE, async || selected::<Pod>(&cluster, "db").await.len() == count).await;
    };
    sets.patch("db", &PatchParams::default(), &image("missing:1")).await.expect("patched");
    eventually(DEADLINE, async || images(&cluster).await.contains(&"missing:1".to_owned())).await;
    sets.patch_scale("db", &PatchParams::default(), &scale(8)).await.expect("scaled");
    exist(8).await;
    assert!(unready(&watch.last()) > 0);
    sets.patch_scale("db", &PatchParams::default(), &scale(0)).await.expect("scaled");
    exist(0).await;
    cluster.stop().await;
}

fn partition(partition: i32) -> Patch<Value> {
    Patch::Merge(json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}}}))
}

#[tokio::test(start_paused = true)]
async fn stateful_set_should_perform_canary_updates_and_phased_rolling_updates_of_template_modifications() {
    let cluster = cluster(2).await;
    let sets = api::<StatefulSet>(&cluster);
    create::<StatefulSet>(&cluster, stateful_set(3, json!({}))).await;
    ready(&cluster, 3).await;
    sets.patch("db", &PatchParams::default(), &partition(2)).await.expect("patched");
    sets.patch("db", &PatchParams::default(), &image("db:2")).await.expect("patched");
    eventually(DEADLINE, async || images(&cluster).await == ["db:1", "db:1", "db:2"]).await;
    // Who is lost comes back as it was, on its side of the partition.
    let pods = api::<Pod>(&cluster);
    for name in ["db-0", "db-2"] {
        let uid = pods.get(name).await.expect("a pod").uid();
        pods.delete(name, &DeleteParams::default()).await.expect("deleted");
        let again = async || pods.get_opt(name).await.expect("an answer");
        eventually(DEADLINE, async || {
            again().await.is_some_and(|pod| pod.uid() != uid && ::api::pod::is_ready(&pod))
        })
        .await;
    }
    assert_eq!(images(&cluster).await, ["db:1", "db:1", "db:2"]);
    for (next, wanted) in [(1, ["db:1", "db:2", "db:2"]), (0, ["db:2", "db:2", "db:2"])] {
        sets.patch("db", &PatchParams::default(), &partition(next)).await.expect("patched");
        eventually(DEADLINE, async || images(&cluster).await == wanted).await;
    }
    ready(&cluster, 3).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stateful_set_should_perform_rolling_updates_and_roll_backs_of_template_modifications() {
    let cluster = cluster(2).await;
    let sets = api::<StatefulSet>(&cluster);
    create::<StatefulSet>(&cluster, stateful_set(3, json!({}))).await;
    ready(&cluster, 3).await;
    let watch = watch_pods(&cluster, "app=db");
    for version in ["db:2", "db:1"] {
        sets.patch("db", &PatchParams::default(), &image(version)).await.expect("patched");
        ready(&cluster, 3).await;
        eventually(DEADLINE, async || images(&cluster).await == [version; 3]).await;
    }
    watch.caught_up(&cluster, "app=db").await;
    // One goes at a time, the last first.
    let mut gone: Vec<String> = Vec::new();
    for moment in watch.moments() {
        let going: Vec<_> = moment.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()).collect();
        assert!(going.len() <= 1);
        gone.extend(going.first().map(|pod| pod.name_any()));
    }
    gone.dedup();
    assert_eq!(gone, ["db-2", "db-1", "db-0", "db-2", "db-1", "db-0"]);
    let revisions =
        api::<ControllerRevision>(&cluster).list(&ListParams::default()).await.expect("a list").items;
    let numbers: BTreeSet<_> = revisions.iter().map(|revision| revision.revision).collect();
    assert_eq!(numbers, BTreeSet::from([2, 3]), "going back gives the first the highest number");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stateful_set_makes_a_lost_pod_again_with_its_name_and_claim() {
    let cluster = cluster(1).await;
    let claims = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]});
    create::<StatefulSet>(&cluster, stateful_set(1, claims)).await;
    let pods = api::<Pod>(&cluster);
    let uid = async || pods.get_opt("db-0").await.expect("an answer").and_then(|pod| pod.metadata.uid);
    eventually(DEADLINE, async || uid().await.is_some()).await;
    let first = uid().await;
    let claims = api::<PersistentVolumeClaim>(&cluster);
    let claim = claims.get("data-db-0").await.expect("a claim").metadata.uid;
    pods.delete("db-0", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    eventually(DEADLINE, async || uid().await.is_some_and(|uid| Some(uid) != first)).await;
    assert_eq!(claims.get("data-db-0").await.expect("a claim").metadata.uid, claim);
    let labels = pods.get("db-0").await.expect("a pod").metadata.labels.unwrap_or_default();
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "db-0");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "0");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stateful_set_should_recreate_evicted_stateful_set() {
    let cluster = cluster(1).await;
    let nodes: Api<Node> = Api::all(cluster.client());
    let node = nodes.list(&ListParams::default()).await.expect("nodes").items[0].name_any();
    let with_port = |mut template: Value| {
        template["spec"]["nodeName"] = json!(node);
        template["spec"]["containers"][0]["ports"] = json!([{"containerPort": 21017, "hostPort": 21017}]);
        template
    };
    let mut blocker = with_port(template("blocker", "app"));
    blocker["metadata"]["name"] = json!("blocker");
    create::<Pod>(&cluster, blocker).await;
    let pods = api::<Pod>(&cluster);
    eventually(DEADLINE, async || ::api::pod::is_ready(&pods.get("blocker").await.expect("a pod"))).await;
    let watch = watch_pods(&cluster, "app=db");
    create::<StatefulSet>(&cluster, stateful_set(1, json!({"template": with_port(template("db", "db:1"))})))
        .await;
    // Refused, deleted, made again.
    eventually(DEADLINE, async || {
        let all = watch.moments();
        let uids: BTreeSet<_> = all.iter().flatten().filter_map(|pod| pod.metadata.uid.clone()).collect();
        uids.len() >= 2 && all.iter().flatten().any(|pod| ::api::pod::phase(pod) == "Failed")
    })
    .await;
    pods.delete("blocker", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    ready(&cluster, 1).await;
    cluster.stop().await;
}

fn daemon_set(more: Value) -> Value {
    let mut spec =
        json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "agent:1")});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "agent"}, "spec": spec})
}

async fn on_nodes(cluster: &Cluster) -> BTreeSet<String> {
    let pods = selected::<Pod>(cluster, "agent").await;
    pods.iter()
        .filter(|pod| ::api::pod::is_ready(pod))
        .map(|pod| ::api::pod::node_name(pod).to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn daemon_set_should_run_and_stop_simple_daemon() {
    let cluster = cluster(3).await;
    create::<DaemonSet>(&cluster, daemon_set(json!({}))).await;
    eventually(DEADLINE, async || on_nodes(&cluster).await.len() == 3).await;
    let first = names(&selected::<Pod>(&cluster, "agent").await).remove(0);
    api::<Pod>(&cluster).delete(&first, &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || {
        let pods = names(&selected::<Pod>(&cluster, "agent").await);
        pods.len() == 3 && !pods.contains(&first) && on_nodes(&cluster).await.len() == 3
    })
    .await;
    api::<DaemonSet>(&cluster).delete("agent", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "agent").await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn daemon_set_should_retry_creating_failed_daemon_pods() {
    let cluster = cluster(3).await;
    create::<DaemonSet>(&cluster, daemon_set(json!({}))).await;
    eventually(DEADLINE, async || on_nodes(&cluster).await.len() == 3).await;
    let pods = api::<Pod>(&cluster);
    let first = selected::<Pod>(&cluster, "agent").await.remove(0);
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    pods.patch_status(&first.name_any(), &PatchParams::default(), &failed).await.expect("patched");
    eventually(DEADLINE, async || {
        let pods = selected::<Pod>(&cluster, "agent").await;
        pods.len() == 3 && pods.iter().all(|pod| pod.metadata.uid != first.metadata.uid)
    })
    .await;
    eventually(DEADLINE, async || on_nodes(&cluster).await.len() == 3).await;
    let sets = api::<DaemonSet>(&cluster);
    eventually(DEADLINE, async || {
        let status = sets.get("agent").await.expect("a set").status.expect("a status");
        (status.desired_number_scheduled, status.current_number_scheduled, status.number_ready) == (3, 3, 3)
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn daemon_set_should_run_and_stop_complex_daemon() {
    let cluster = cluster(2).await;
    let nodes: Api<Node> = Api::all(cluster.client());
    let mut agent = daemon_set(json!({}));
    agent["spec"]["template"]["spec"]["nodeSelector"] = json!({"color": "blue"});
    create::<DaemonSet>(&cluster, agent).await;
    let name = nodes.list(&ListParams::default()).await.expect("nodes").items[0].name_any();
    let paint = |color: Value| Patch::Merge(json!({"metadata": {"labels": {"color": color}}}));
    nodes.patch(&name, &PatchParams::default(), &paint(json!("blue"))).await.expect("labelled");
    eventually(DEADLINE, async || on_nodes(&cluster).await == BTreeSet::from([name.clone()])).await;
    nodes.patch(&name, &PatchParams::default(), &paint(json!("green"))).await.expect("labelled");
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "agent").await.is_empty()).await;
    cluster.stop().await;
}

async fn agents(cluster: &Cluster) -> Vec<String> {
    let pods = selected::<Pod>(cluster, "agent").await;
    pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn daemon_set_should_update_pod_when_spec_was_updated_and_update_strategy_is_rolling_update() {
    let cluster = cluster(3).await;
    create::<DaemonSet>(&cluster, daemon_set(json!({}))).await;
    eventually(DEADLINE, async || on_nodes(&cluster).await.len() == 3).await;
    let watch = watch_pods(&cluster, "app=agent");
    watch.caught_up(&cluster, "app=agent").await;
    let from = watch.count();
    api::<DaemonSet>(&cluster)
        .patch("agent", &PatchParams::default(), &image("agent:2"))
        .await
        .expect("patched");
    eventually(DEADLINE, async || {
        agents(&cluster).await == ["agent:2"; 3] && on_nodes(&cluster).await.len() == 3
    })
    .await;
    let ready = |pods: &Moment| pods.iter().filter(|pod| ::api::pod::is_ready(pod)).count();
    assert!(watch.since(from).iter().all(|pods| ready(pods) >= 2), "node by node");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn daemon_set_should_rollback_without_unnecessary_restarts() {
    let cluster = cluster(3).await;
    let sets = api::<DaemonSet>(&cluster);
    create::<DaemonSet>(&cluster, daemon_set(json!({}))).await;
    eventually(DEADLINE, async || on_nodes(&cluster).await.len() == 3).await;
    // One that cannot start stops the update; back again, the others have not been touched.
    let before: BTreeSet<_> = names(&selected::<Pod>(&cluster, "agent").await).into_iter().collect();
    sets.patch("agent", &PatchParams::default(), &image("missing:1")).await.expect("patched");
    eventually(DEADLINE, async || agents(&cluster).await.contains(&"missing:1".to_owned())).await;
    sets.patch("agent", &PatchParams::default(), &image("agent:1")).await.expect("patched");
    eventually(DEADLINE, async || {
        agents(&cluster).await == ["agent:1"; 3] && on_nodes(&cluster).await.len() == 3
    })
    .await;
    let after: BTreeSet<_> = names(&selected::<Pod>(&cluster, "agent").await).into_iter().collect();
    assert_eq!(before.intersection(&after).count(), 2);
    cluster.stop().await;
}
