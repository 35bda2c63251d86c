//! Workload controllers in whole clusters on simulated nodes: Deployments, ReplicaSets, ReplicationControllers.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod, ReplicationController, ResourceQuota};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::eventually;
use tests::workloads::{
    DEADLINE, Kind, cluster, controller, create, image, names, running, selected, template, workload,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, image),
    }})
}

/// Whether a Deployment is as it was asked for, in the words of `rollout status`.
fn rolled_out(deployment: &Deployment) -> bool {
    let (Some(spec), Some(status)) = (&deployment.spec, &deployment.status) else { return false };
    let wanted = spec.replicas.unwrap_or(1);
    let is = |count: Option<i32>| count.unwrap_or(0) == wanted;
    status.observed_generation == deployment.metadata.generation
        && is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
}

async fn rollout(cluster: &Cluster, name: &str) {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    eventually(DEADLINE, async || rolled_out(&deployments.get(name).await.expect("a deployment"))).await;
}

/// The replicas of each ReplicaSet, by image.
async fn sets(cluster: &Cluster, app: &str) -> BTreeMap<String, i32> {
    let sets = selected::<ReplicaSet>(cluster, app).await;
    let image = |set: &ReplicaSet| {
        set.spec.as_ref()?.template.as_ref()?.spec.as_ref()?.containers.first()?.image.clone()
    };
    sets.iter().filter_map(|set| Some((image(set)?, set.spec.as_ref()?.replicas?))).collect()
}

#[tokio::test(start_paused = true)]
async fn deployment_rolling_update_should_delete_old_pods_and_create_new_ones() {
    let cluster = cluster(2).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    create::<Deployment>(&cluster, deployment("web", 3, "nginx:1")).await;
    rollout(&cluster, "web").await;
    let before = names(&selected::<Pod>(&cluster, "web").await);
    deployments.patch("web", &PatchParams::default(), &image("nginx:2")).await.expect("patched");
    rollout(&cluster, "web").await;
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.len() == 3).await;
    let pods = selected::<Pod>(&cluster, "web").await;
    assert!(names(&pods).iter().all(|name| !before.contains(name)));
    assert_eq!(sets(&cluster, "web").await, BTreeMap::from([("nginx:1".into(), 0), ("nginx:2".into(), 3)]));
    let web = deployments.get("web").await.expect("a deployment");
    let annotation =
        &web.metadata.annotations.clone().unwrap_or_default()["deployment.kubernetes.io/revision"];
    assert_eq!(annotation, "2");
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let about = ListParams::default().fields("involvedObject.name=web,reason=ScalingReplicaSet");
    let told = events.list(&about).await.expect("events").items;
    let told: Vec<_> = told.iter().filter_map(|event| event.message.as_deref()).collect();
    assert!(
        told.iter()
            .any(|told| told.starts_with("Scaled up replica set web-") && told.ends_with("from 0 to 3"))
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deployment_recreate_should_delete_old_pods_and_create_new_ones() {
    let cluster = cluster(1).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let mut web = deployment("web", 3, "nginx:1");
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    create::<Deployment>(&cluster, web).await;
    rollout(&cluster, "web").await;
    let watch = tests::workloads::watch_pods(&cluster, "app=web");
    deployments.patch("web", &PatchParams::default(), &image("nginx:2")).await.expect("patched");
    rollout(&cluster, "web").await;
    for pods in watch.moments() {
        let images: std::collections::BTreeSet<_> =
            pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.clone()).collect();
        assert!(images.len() <= 1, "both are there at a time: {images:?}");
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deployment_should_delete_old_replica_sets() {
    let cluster = cluster(1).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let mut web = deployment("web", 1, "nginx:1");
    web["spec"]["revisionHistoryLimit"] = json!(0);
    create::<Deployment>(&cluster, web).await;
    rollout(&cluster, "web").await;
    deployments.patch("web", &PatchParams::default(), &image("nginx:2")).await.expect("patched");
    eventually(DEADLINE, async || sets(&cluster, "web").await == BTreeMap::from([("nginx:2".to_owned(), 1)]))
        .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deployment_should_support_rollover() {
    let cluster = cluster(2).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    create::<Deployment>(&cluster, deployment("web", 4, "nginx:1")).await;
    rollout(&cluster, "web").await;
    // Can never start, so its rollout stands still; the next one goes over it.
    deployments.patch("web", &PatchParams::default(), &image("missing:1")).await.expect("patched");
    eventually(DEADLINE, async || sets(&cluster, "web").await.get("missing:1").is_some_and(|size| *size > 0))
        .await;
    deployments.patch("web", &PatchParams::default(), &image("nginx:3")).await.expect("patched");
    rollout(&cluster, "web").await;
    let sizes = sets(&cluster, "web").await;
    assert_eq!((sizes["nginx:1"], sizes["missing:1"], sizes["nginx:3"]), (0, 0, 4));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deployment_should_support_proportional_scaling() {
    let cluster = cluster(2).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let mut web = deployment("web", 10, "nginx:1");
    web["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    create::<Deployment>(&cluster, web).await;
    rollout(&cluster, "web").await;
    deployments.patch("web", &PatchParams::default(), &image("missing:1")).await.expect("patched");
    let sizes = |old, new| BTreeMap::from([("nginx:1".to_owned(), old), ("missing:1".to_owned(), new)]);
    eventually(DEADLINE, async || sets(&cluster, "web").await == sizes(8, 5)).await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 30}}));
    deployments.patch_scale("web", &PatchParams::default(), &scale).await.expect("scaled");
    eventually(DEADLINE, async || sets(&cluster, "web").await == sizes(20, 13)).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_waits_and_one_that_stands_still_misses_its_deadline() {
    let cluster = cluster(1).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    create::<Deployment>(&cluster, deployment("web", 2, "nginx:1")).await;
    rollout(&cluster, "web").await;
    let pause =
        |paused: bool| Patch::Merge(json!({"spec": {"paused": paused, "progressDeadlineSeconds": 30}}));
    deployments.patch("web", &PatchParams::default(), &pause(true)).await.expect("paused");
    deployments.patch("web", &PatchParams::default(), &image("missing:1")).await.expect("patched");
    let reason = async || {
        let status = deployments.get("web").await.expect("a deployment").status?;
        let progressing =
            status.conditions?.into_iter().find(|condition| condition.type_ == "Progressing")?;
        progressing.reason
    };
    eventually(DEADLINE, async || reason().await.as_deref() == Some("DeploymentPaused")).await;
    assert!(!sets(&cluster, "web").await.contains_key("missing:1"));
    deployments.patch("web", &PatchParams::default(), &pause(false)).await.expect("resumed");
    let start = cluster.context().clock.now();
    eventually(DEADLINE, async || reason().await.as_deref() == Some("ProgressDeadlineExceeded")).await;
    let waited = cluster.context().clock.now().duration_since(start).as_secs();
    assert!((29..=35).contains(&waited), "{waited} s");
    cluster.stop().await;
}

/// A pod that is there already is adopted by what selects it, and released when that selects it no longer.
async fn adopts_and_releases<K: Kind>(selector: Value) {
    let cluster = cluster(1).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let mut stray = template("web", "nginx:1");
    stray["metadata"]["name"] = json!("stray");
    create::<Pod>(&cluster, stray).await;
    create::<K>(&cluster, workload("web", json!({"replicas": 1, "selector": selector}))).await;
    let owner = async || controller(&pods.get("stray").await.expect("a pod")).map(|owner| owner.name);
    eventually(DEADLINE, async || owner().await.as_deref() == Some("web")).await;
    assert_eq!(selected::<Pod>(&cluster, "web").await.len(), 1, "the stray one is enough");
    let relabel = Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}));
    pods.patch("stray", &PatchParams::default(), &relabel).await.expect("relabelled");
    eventually(DEADLINE, async || owner().await.is_none()).await;
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.len() == 1).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replica_set_should_adopt_matching_pods_on_creation_and_release_no_longer_matching_pods() {
    adopts_and_releases::<ReplicaSet>(json!({"matchLabels": {"app": "web"}})).await;
}

#[tokio::test(start_paused = true)]
async fn deployment_should_run_the_lifecycle_of_a_deployment() {
    let cluster = cluster(2).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let mut web = deployment("web", 2, "nginx:1");
    web["metadata"]["labels"] = json!({"test": "static"});
    create::<Deployment>(&cluster, web).await;
    rollout(&cluster, "web").await;
    let shrink = Patch::Merge(json!({"metadata": {"labels": {"test": "patched"}}, "spec": {"replicas": 1}}));
    deployments.patch("web", &PatchParams::default(), &shrink).await.expect("patched");
    rollout(&cluster, "web").await;
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.len() == 1).await;
    let listed = deployments.list(&ListParams::default().labels("test=patched")).await.expect("a list").items;
    assert_eq!(names(&listed), ["web"]);
    // Replaced as it was read, by whoever read it last.
    let replaced = testkit::eventually_some(DEADLINE, async || {
        let mut read = deployments.get("web").await.expect("a deployment");
        let spec = read.spec.as_mut().expect("a spec");
        spec.replicas = Some(2);
        spec.template.spec.as_mut().expect("pods").containers[0].image = Some("nginx:2".to_owned());
        deployments.replace("web", &PostParams::default(), &read).await.ok()
    })
    .await;
    assert!(replaced.metadata.generation > listed[0].metadata.generation);
    rollout(&cluster, "web").await;
    let foreign =
        json!({"status": {"conditions": [{"type": "Foreign", "status": "True", "reason": "Test"}]}});
    let foreign = Patch::Strategic(foreign);
    deployments.patch_status("web", &PatchParams::default(), &foreign).await.expect("patched");
    deployments.delete("web", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || deployments.get_opt("web").await.expect("an answer").is_none()).await;
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replica_set_replace_and_patch_should_work() {
    let cluster = cluster(1).await;
    let sets: Api<ReplicaSet> = Api::default_namespaced(cluster.client());
    create::<ReplicaSet>(&cluster, workload("web", json!({"replicas": 1}))).await;
    let all_ready = async |count: usize| {
        let pods = selected::<Pod>(&cluster, "web").await;
        pods.len() == count && pods.iter().all(::api::pod::is_ready)
    };
    eventually(DEADLINE, async || all_ready(1).await).await;
    testkit::eventually_some(DEADLINE, async || {
        let mut read = sets.get("web").await.expect("a set");
        read.spec.as_mut().expect("a spec").replicas = Some(3);
        sets.replace("web", &PostParams::default(), &read).await.ok()
    })
    .await;
    eventually(DEADLINE, async || all_ready(3).await).await;
    let more = Patch::Strategic(json!({"metadata": {"labels": {"test": "patched"}}, "spec": {"replicas": 4,
        "template": {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}}}));
    sets.patch("web", &PatchParams::default(), &more).await.expect("patched");
    eventually(DEADLINE, async || all_ready(4).await).await;
    // A set changes no pods that it has: only who comes later is of the new template.
    assert_eq!(running(&cluster, "web", "app:2").await, (1, 4));
    cluster.stop().await;
}

/// What runs on the node answers.
async fn answers(cluster: &Cluster, pod: &str) {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let mut forwarder = pods.portforward(pod, &[9376]).await.expect("forwarded");
    let mut stream = forwarder.take_stream(9376).expect("the first to ask");
    stream.write_all(pod.as_bytes()).await.expect("written");
    let mut answer = vec![0; pod.len()];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, pod.as_bytes());
}

/// Each replica of a kind serves.
async fn serves<K: Kind>(selector: Value) {
    let cluster = Cluster::builder().nodes(0).simulated_nodes(2).start().await.expect("it starts");
    tests::workloads::ready(&cluster, 2).await;
    let mut web = workload("web", json!({"replicas": 2, "selector": selector}));
    web["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["steps", "serve=9376", "forever"]);
    create::<K>(&cluster, web).await;
    eventually(tests::DEADLINE, async || running(&cluster, "web", "app:1").await == (2, 2)).await;
    for pod in names(&selected::<Pod>(&cluster, "web").await) {
        answers(&cluster, &pod).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_set_should_serve_a_basic_image_on_each_replica() {
    serves::<ReplicaSet>(json!({"matchLabels": {"app": "web"}})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replication_controller_should_serve_a_basic_image_on_each_replica() {
    serves::<ReplicationController>(json!({"app": "web"})).await;
}

#[tokio::test(start_paused = true)]
async fn replication_controller_should_adopt_matching_pods_on_creation_and_release_no_longer_matching_pods() {
    adopts_and_releases::<ReplicationController>(json!({"app": "web"})).await;
}

#[tokio::test(start_paused = true)]
async fn replication_controller_scales_and_replaces() {
    let cluster = cluster(1).await;
    let controllers: Api<ReplicationController> = Api::default_namespaced(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let web = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"app": "web"}, "template": template("web", "nginx:1"),
    }});
    create::<ReplicationController>(&cluster, web).await;
    let available = async || {
        let status = controllers.get("web").await.expect("a controller").status.unwrap_or_default();
        (status.replicas, status.available_replicas.unwrap_or(0))
    };
    eventually(DEADLINE, async || available().await == (2, 2)).await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    controllers.patch_scale("web", &PatchParams::default(), &scale).await.expect("scaled");
    eventually(DEADLINE, async || available().await == (4, 4)).await;
    let first = names(&selected::<Pod>(&cluster, "web").await)[0].clone();
    pods.delete(&first, &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || {
        let now = names(&selected::<Pod>(&cluster, "web").await);
        now.len() == 4 && !now.contains(&first)
    })
    .await;
    eventually(DEADLINE, async || available().await == (4, 4)).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replication_controller_should_surface_a_failure_condition_on_a_common_issue_like_exceeded_quota() {
    let cluster = cluster(1).await;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}});
    create::<ResourceQuota>(&cluster, quota).await;
    let quotas: Api<ResourceQuota> = Api::default_namespaced(cluster.client());
    eventually(DEADLINE, async || {
        quotas.get("few").await.expect("a quota").status.is_some_and(|status| status.hard.is_some())
    })
    .await;
    let web = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"app": "web"}, "template": template("web", "nginx:1"),
    }});
    create::<ReplicationController>(&cluster, web).await;
    let controllers: Api<ReplicationController> = Api::default_namespaced(cluster.client());
    let failure = async || {
        let status = controllers.get("web").await.expect("a controller").status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default().into_iter();
        conditions.filter(|c| c.type_ == "ReplicaFailure").map(|c| (c.status, c.reason)).next()
    };
    let failed = Some(("True".to_owned(), Some("FailedCreate".to_owned())));
    eventually(DEADLINE, async || failure().await == failed).await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 2}}));
    controllers.patch_scale("web", &PatchParams::default(), &scale).await.expect("scaled");
    eventually(DEADLINE, async || failure().await.is_none()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_replicas_are_all_bound() {
    let cluster = cluster(20).await;
    create::<Deployment>(&cluster, deployment("web", 1000, "nginx:1")).await;
    rollout(&cluster, "web").await;
    assert_eq!(selected::<Pod>(&cluster, "web").await.len(), 1000);
    cluster.stop().await;
}
