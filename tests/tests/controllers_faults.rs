//! Controllers whose every call may fail: the end is the same.
//!
//! **Not here**: what holds at each moment on the way there (`controllers_properties.rs`).

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PatchParams};
use serde_json::json;
use std::collections::BTreeSet;
use testkit::eventually;
use tests::faults::{self, Writes};
use tests::workloads::{DEADLINE, create, image, names, running, selected, template, watch_pods, workload};

#[tokio::test(start_paused = true)]
async fn faults_do_not_change_the_end() {
    for seed in 1..=3 {
        let cluster = faults::cluster(seed, Writes::LostOrRepeated).await;
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
        // The one without pods goes by itself.
        eventually(DEADLINE, async || selected::<ReplicaSet>(&cluster, "web").await.is_empty()).await;
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stateful_sets_pods_are_never_twice_at_a_time() {
    let cluster = faults::cluster(7, Writes::LostOrRepeated).await;
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
        let seen: BTreeSet<String> = pods.iter().map(|pod| pod.name_any()).collect();
        assert_eq!(seen.len(), pods.len());
        assert!(seen.is_subset(&allowed), "{seen:?}");
    }
    cluster.stop().await;
}
