//! Controllers whose every write may fail, before or after it was done, or be done twice: the end is the same. And at
//! each moment there are enough pods and not too many.

use component_base::{Context, Rng};
use http::{Method, Request, Response};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::client::Body;
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use testkit::eventually;
use tests::workloads::{DEADLINE, cluster, create, names, ready, selected, template, watch_pods};

/// Of so many writes one fails, or is repeated.
const ONE_IN: u64 = 8;

/// A client whose writes now and then are refused, answered wrongly, or sent twice.
fn faulty(inner: kube::Client, rng: Rng) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, rng) = (inner.clone(), rng.clone());
        async move {
            let fault = if request.method() == Method::GET { ONE_IN } else { rng.below(ONE_IN * 3) };
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
            let send = || inner.send(Request::from_parts(head.clone(), Body::from(body.to_vec())));
            match fault {
                0 => return Ok(unavailable()),
                1 => {
                    send().await.map_err(std::io::Error::other)?;
                    return Ok(unavailable());
                }
                2 => {
                    send().await.map_err(std::io::Error::other)?;
                }
                _ => {}
            }
            send().await.map_err(std::io::Error::other)
        }
    });
    kube::Client::new(service, "default")
}

fn unavailable() -> Response<Body> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "as the test wants it", "reason": "ServiceUnavailable", "code": 503,
    });
    let response = Response::builder().status(503).header("content-type", "application/json");
    response.body(Body::from(status.to_string().into_bytes())).expect("a response")
}

async fn faulty_cluster(seed: u64) -> Cluster {
    let rng = Rng::seeded(seed);
    let builder = Cluster::builder().context(Context::simulated(seed)).nodes(0).simulated_nodes(3);
    let builder = builder.controllers_through(Arc::new(move |client| faulty(client, rng.clone())));
    let cluster = builder.start().await.expect("it starts");
    ready(&cluster, 3).await;
    cluster
}

fn workload(name: &str, more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template(name, "app:1")});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn image(image: &str) -> Patch<Value> {
    Patch::Strategic(
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}),
    )
}

/// How many pods of an app run this image, and how many there are.
async fn running(cluster: &Cluster, app: &str, image: &str) -> (usize, usize) {
    let pods = selected::<Pod>(cluster, app).await;
    let of = |pod: &&Pod| {
        let spec = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone());
        spec.as_deref() == Some(image) && ::api::pod::is_ready(pod)
    };
    (pods.iter().filter(of).count(), pods.len())
}

#[tokio::test(start_paused = true)]
async fn faults_do_not_change_the_end() {
    for seed in 1..=3 {
        let cluster = faulty_cluster(seed).await;
        let client = cluster.client();
        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
        create::<Deployment>(&cluster, workload("web", json!({"replicas": 6}))).await;
        create::<StatefulSet>(&cluster, workload("db", json!({"replicas": 3, "serviceName": "db"}))).await;
        create::<DaemonSet>(&cluster, workload("agent", json!({}))).await;
        let mut job = json!({"metadata": {"name": "work"}, "spec": {"completions": 6, "parallelism": 3, "template": template("work", "busybox")}});
        job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
        job["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sleep", "2"]);
        create::<Job>(&cluster, job).await;
        eventually(DEADLINE, async || running(&cluster, "web", "app:1").await == (6, 6)).await;
        eventually(DEADLINE, async || running(&cluster, "db", "app:1").await == (3, 3)).await;
        eventually(DEADLINE, async || running(&cluster, "agent", "app:1").await == (3, 3)).await;

        deployments.patch("web", &PatchParams::default(), &image("app:2")).await.expect("patched");
        sets.patch("db", &PatchParams::default(), &image("app:2")).await.expect("patched");
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let victim = names(&selected::<Pod>(&cluster, "agent").await)[0].clone();
        pods.delete(&victim, &DeleteParams::default()).await.expect("deleted");
        eventually(DEADLINE, async || running(&cluster, "web", "app:2").await == (6, 6)).await;
        eventually(DEADLINE, async || running(&cluster, "db", "app:2").await == (3, 3)).await;
        eventually(DEADLINE, async || running(&cluster, "agent", "app:1").await == (3, 3)).await;

        let jobs: Api<Job> = Api::default_namespaced(client.clone());
        eventually(DEADLINE, async || {
            let status = jobs.get("work").await.expect("a job").status.unwrap_or_default();
            status.completion_time.is_some()
        })
        .await;
        let status = jobs.get("work").await.expect("a job").status.unwrap_or_default();
        let ended = selected::<Pod>(&cluster, "work").await;
        let succeeded = ended.iter().filter(|pod| ::api::pod::phase(pod) == "Succeeded").count();
        assert_eq!(
            usize::try_from(status.succeeded.unwrap_or(0)).ok(),
            Some(succeeded),
            "seed {seed}: exact"
        );
        assert!(succeeded >= 6);

        for name in ["web", "db", "agent", "work"] {
            let background = DeleteParams::background();
            match name {
                "web" => drop(deployments.delete(name, &background).await.expect("deleted")),
                "db" => drop(sets.delete(name, &background).await.expect("deleted")),
                "agent" => {
                    let agents: Api<DaemonSet> = Api::default_namespaced(client.clone());
                    drop(agents.delete(name, &background).await.expect("deleted"));
                }
                _ => drop(jobs.delete(name, &background).await.expect("deleted")),
            }
            eventually(DEADLINE, async || selected::<Pod>(&cluster, name).await.is_empty()).await;
        }
        assert!(selected::<ReplicaSet>(&cluster, "web").await.is_empty());
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_never_has_too_few_or_too_many_pods() {
    for seed in 1..=3 {
        let cluster = cluster(3).await;
        let rng = Rng::seeded(seed);
        let (surge, unavailable) = (1 + rng.below(3), rng.below(3));
        let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        create::<Deployment>(&cluster, workload("web", json!({"replicas": 5, "strategy": strategy}))).await;
        eventually(DEADLINE, async || running(&cluster, "web", "app:1").await == (5, 5)).await;
        let watch = watch_pods(&cluster, "app=web");
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        let mut last = 1;
        for _ in 0..4 {
            // The next one may come before the last is done.
            last = 1 + rng.below(4);
            deployments
                .patch("web", &PatchParams::default(), &image(&format!("app:{last}")))
                .await
                .expect("patched");
            if rng.below(2) == 0 {
                let seen = watch.moments().len();
                eventually(DEADLINE, async || watch.moments().len() > seen + 2 || last == 1).await;
            }
        }
        let wanted = format!("app:{last}");
        eventually(DEADLINE, async || running(&cluster, "web", &wanted).await == (5, 5)).await;
        let (most, least) = (5 + surge, 5 - unavailable);
        // The first five are announced one by one.
        let moments = watch.moments();
        let full = moments.iter().position(|pods| pods.len() == 5).expect("all five");
        for pods in &moments[full..] {
            let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let ready = pods.iter().filter(|pod| ::api::pod::is_ready(pod)).count() as u64;
            assert!(staying.count() as u64 <= most, "seed {seed}: more than {most}");
            assert!(ready >= least, "seed {seed}: {ready} of at least {least}");
        }
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stateful_sets_pods_are_never_twice_at_a_time() {
    let cluster = faulty_cluster(7).await;
    let watch = watch_pods(&cluster, "app=db");
    let sets: Api<StatefulSet> = Api::default_namespaced(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let parallel = json!({"replicas": 4, "serviceName": "db", "podManagementPolicy": "Parallel"});
    create::<StatefulSet>(&cluster, workload("db", parallel)).await;
    eventually(DEADLINE, async || running(&cluster, "db", "app:1").await == (4, 4)).await;
    sets.patch("db", &PatchParams::default(), &image("app:2")).await.expect("patched");
    pods.delete("db-0", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || running(&cluster, "db", "app:2").await == (4, 4)).await;
    let allowed: BTreeSet<String> = (0..4).map(|ordinal| format!("db-{ordinal}")).collect();
    for pods in watch.moments() {
        let seen: BTreeSet<String> = names(&pods).into_iter().collect();
        assert_eq!(seen.len(), pods.len());
        assert!(seen.is_subset(&allowed), "{seen:?}");
    }
    cluster.stop().await;
}

/// Waits for a few more changes of the pods, unless there are none to come.
async fn some_changes(watch: &tests::workloads::Moments, cluster: &Cluster, rng: &Rng) {
    let (wanted, clock) = (watch.moments().len() + rng.below(6) as usize, cluster.context().clock.clone());
    let (start, patience) = (clock.instant(), std::time::Duration::from_secs(3));
    eventually(DEADLINE, async || watch.moments().len() >= wanted || start.elapsed() > patience).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_is_done_to_a_stateful_set_an_identity_is_there_once() {
    for seed in 11..=12 {
        let (cluster, rng) = (faulty_cluster(seed).await, Rng::seeded(seed));
        let below = |limit: u64| usize::try_from(rng.below(limit)).expect("a small number");
        let policy = ["OrderedReady", "Parallel"][below(2)];
        let spec = json!({"replicas": 3, "serviceName": "db", "podManagementPolicy": policy});
        create::<StatefulSet>(&cluster, workload("db", spec)).await;
        let watch = watch_pods(&cluster, "app=db");
        let sets: Api<StatefulSet> = Api::default_namespaced(cluster.client());
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let (mut replicas, mut most, mut wanted) = (3, 3, "app:1".to_owned());
        for _ in 0..8 {
            match below(3) {
                0 => {
                    wanted = format!("app:{}", 1 + below(4));
                    sets.patch("db", &PatchParams::default(), &image(&wanted)).await.expect("patched");
                }
                1 => {
                    replicas = 1 + below(5);
                    most = most.max(replicas);
                    let scale = Patch::Strategic(json!({"spec": {"replicas": replicas}}));
                    sets.patch("db", &PatchParams::default(), &scale).await.expect("patched");
                }
                _ => {
                    let there = names(&selected::<Pod>(&cluster, "db").await);
                    if let Some(victim) = there.get(below(there.len().max(1) as u64)) {
                        // It may be gone already.
                        let _ = pods.delete(victim, &DeleteParams::default()).await;
                    }
                }
            }
            some_changes(&watch, &cluster, &rng).await;
        }
        eventually(DEADLINE, async || running(&cluster, "db", &wanted).await == (replicas, replicas)).await;
        for moment in watch.moments() {
            let mut indexes = BTreeSet::new();
            for pod in &moment {
                let labels = pod.metadata.labels.clone().unwrap_or_default();
                let index: usize = labels["apps.kubernetes.io/pod-index"].parse().expect("a number");
                assert!(index < most, "seed {seed}: {index} of {most}");
                assert!(indexes.insert(index), "seed {seed}: {index} is there twice");
                assert_eq!(pod.metadata.name.as_deref(), Some(format!("db-{index}").as_str()));
            }
        }
        cluster.stop().await;
    }
}
