//! What holds of workloads at every moment, whatever users do and whatever calls fail.
//!
//! **Contract**: seeded, on paused time; between two rests of a workload come a few random actions. What is seen is every
//! change that a watch tells of, in order. `MINIK_TEST_SEED` asks for other seeds.

use component_base::Rng;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use testkit::eventually;
use tests::faults::{self, Writes};
use tests::workloads::{
    DEADLINE, Kind, Moments, cluster, controller, create, image, names, running, selected, template, watch,
    watch_pods, workload,
};

/// Between two actions there is no more time than this.
const PATIENCE: Duration = Duration::from_secs(3);

/// A seed, of those that are asked for.
fn seed(number: u64) -> u64 {
    let first = std::env::var("MINIK_TEST_SEED").ok().and_then(|first| first.parse().ok());
    first.unwrap_or(0) + number
}

/// Lets a few more changes of the pods happen, unless there are none to come.
async fn some_changes(watch: &Moments, cluster: &Cluster, rng: &Rng) {
    let (wanted, clock) = (watch.count() + below(rng, 6), cluster.context().clock.clone());
    let start = clock.instant();
    eventually(DEADLINE, async || watch.count() >= wanted || start.elapsed() > PATIENCE).await;
}

fn below(rng: &Rng, limit: usize) -> usize {
    usize::try_from(rng.below(limit as u64)).expect("a small number")
}

async fn change<K: Kind>(api: &Api<K>, name: &str, change: &Patch<Value>) {
    api.patch(name, &PatchParams::default(), change).await.expect("patched");
}

fn stays(pod: &&Arc<Pod>) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

#[tokio::test(start_paused = true)]
async fn a_rollout_never_has_too_few_or_too_many_pods() {
    for seed in [seed(1), seed(2), seed(3)] {
        let (cluster, rng) = (cluster(3).await, Rng::seeded(seed));
        let (surge, unavailable) = (1 + below(&rng, 3), below(&rng, 3));
        let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        create::<Deployment>(&cluster, workload("web", json!({"replicas": 5, "strategy": strategy}))).await;
        eventually(DEADLINE, async || running(&cluster, "web", "app:1").await == (5, 5)).await;
        let watch = watch_pods(&cluster, "app=web");
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        let mut last = 1;
        for _ in 0..4 {
            // The next one may come before the last is done.
            last = 1 + below(&rng, 4);
            change(&deployments, "web", &image(&format!("app:{last}"))).await;
            if below(&rng, 2) == 0 {
                some_changes(&watch, &cluster, &rng).await;
            }
        }
        let wanted = format!("app:{last}");
        eventually(DEADLINE, async || running(&cluster, "web", &wanted).await == (5, 5)).await;
        let (most, least) = (5 + surge, 5 - unavailable);
        // The first five are announced one by one.
        let moments = watch.moments();
        let full = moments.iter().position(|pods| pods.len() == 5).expect("all five");
        for pods in &moments[full..] {
            let ready = pods.iter().filter(|pod| ::api::pod::is_ready(pod)).count();
            assert!(pods.iter().filter(stays).count() <= most, "seed {seed}: more than {most}");
            assert!(ready >= least, "seed {seed}: {ready} of at least {least}");
        }
        cluster.stop().await;
    }
}

/// Waits until everything that was wanted of a Deployment has happened.
async fn settled(cluster: &Cluster, name: &str) {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    eventually(DEADLINE, async || {
        let deployment = deployments.get(name).await.expect("a deployment");
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let status = deployment.status.unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        status.observed_generation == deployment.metadata.generation
            && counts.iter().all(|count| count.unwrap_or(0) == wanted.unwrap_or(0))
            && i32::try_from(selected::<Pod>(cluster, name).await.len()).ok() == wanted
    })
    .await;
}

/// A Deployment `web` with what was seen of its sets and pods.
struct Observed {
    cluster: Cluster,
    sets: Moments<ReplicaSet>,
    pods: Moments,
    surge: usize,
    unavailable: usize,
}

impl Observed {
    /// At rest.
    async fn start(seed: u64, rng: &Rng, replicas: usize) -> Self {
        let cluster = faults::cluster(seed, Writes::Refused).await;
        let (surge, unavailable) = (1 + below(rng, 2), below(rng, 3));
        let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let web = workload("web", json!({"replicas": replicas, "strategy": strategy}));
        create::<Deployment>(&cluster, web).await;
        let (sets, pods) = (watch::<ReplicaSet>(&cluster, "app=web"), watch_pods(&cluster, "app=web"));
        let observed = Self { cluster, sets, pods, surge, unavailable };
        observed.rest().await;
        observed
    }

    /// Waits until all is done and seen; the number of moments of sets and of pods until now, the last one not counted.
    async fn rest(&self) -> (usize, usize) {
        settled(&self.cluster, "web").await;
        self.sets.caught_up(&self.cluster, "app=web").await;
        self.pods.caught_up(&self.cluster, "app=web").await;
        (self.sets.count() - 1, self.pods.count() - 1)
    }

    /// Checks all since a rest, in which so many were wanted at most, and of which so many must be available.
    fn check(&self, (sets, pods): (usize, usize), most: usize, least: usize, story: &str) {
        let size = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let (mut largest, surge) = (BTreeMap::new(), self.surge);
        for moment in self.sets.since(sets) {
            let total: i32 = moment.iter().map(|set| size(set)).sum();
            assert!(
                total <= i32::try_from(most + surge).expect("small"),
                "{story}: {total} of {most}+{surge}"
            );
            for set in moment {
                let known = largest.entry(set.name_any()).or_insert(0);
                *known = size(&set).max(*known);
            }
        }
        let needed = least.saturating_sub(self.unavailable);
        for moment in self.pods.since(pods) {
            // A set has at no time more pods than it was ever meant to have.
            let mut of_sets = BTreeMap::<String, i32>::new();
            for pod in moment.iter().filter(stays) {
                let set = controller(pod.as_ref()).expect("the set that made it").name;
                *of_sets.entry(set).or_default() += 1;
            }
            for (set, pods) in of_sets {
                assert!(pods <= largest[&set], "{story}: {set} has {pods} pods of {}", largest[&set]);
            }
            let available = moment.iter().filter(stays).filter(|pod| ::api::pod::is_ready(pod)).count();
            assert!(available >= needed, "{story}: {available} of at least {needed} are available");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_done_to_a_deployment_there_are_enough_pods_and_not_too_many() {
    for seed in [seed(1), seed(2)] {
        let rng = Rng::seeded(seed);
        let mut replicas = 4 + below(&rng, 4);
        let observed = Observed::start(seed, &rng, replicas).await;
        let cluster = &observed.cluster;
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let mut since = observed.rest().await;
        for _ in 0..4 {
            // From one rest to the next: so many were wanted at most, and at least.
            let (mut most, mut least, mut story) = (replicas, replicas, format!("seed {seed}"));
            // A change of the size in the midst of a rollout is spread over its sets, ready or not: it comes alone.
            let alone = below(&rng, 4) == 0;
            for _ in 0..if alone { 1 } else { 1 + below(&rng, 4) } {
                let what = match below(&rng, 4) {
                    _ if alone => {
                        replicas = 3 + below(&rng, 6);
                        (most, least) = (most.max(replicas), least.min(replicas));
                        story += &format!(", scale {replicas}");
                        Patch::Strategic(json!({"spec": {"replicas": replicas}}))
                    }
                    0 | 1 => {
                        let version = format!("app:{}", 1 + below(&rng, 5));
                        story += &format!(", {version}");
                        image(&version)
                    }
                    2 => {
                        story += ", pause";
                        Patch::Strategic(json!({"spec": {"paused": true}}))
                    }
                    _ => {
                        let victims = names(&selected::<Pod>(cluster, "web").await);
                        let Some(victim) = victims.get(below(&rng, victims.len().max(1))) else { continue };
                        // Who is killed is not the controller's fault: one fewer is allowed until the next rest.
                        least = least.saturating_sub(1);
                        story += &format!(", kill {victim}");
                        // It may be gone by itself.
                        let _ = pods.delete(victim, &DeleteParams::default().grace_period(0)).await;
                        continue;
                    }
                };
                change(&deployments, "web", &what).await;
                some_changes(&observed.pods, cluster, &rng).await;
            }
            change(&deployments, "web", &Patch::Strategic(json!({"spec": {"paused": false}}))).await;
            let rest = observed.rest().await;
            observed.check(since, most, least, &story);
            since = rest;
        }
        observed.cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_done_to_a_stateful_set_an_identity_is_there_once() {
    for seed in [seed(11), seed(12)] {
        let (cluster, rng) = (faults::cluster(seed, Writes::LostOrRepeated).await, Rng::seeded(seed));
        let policy = ["OrderedReady", "Parallel"][below(&rng, 2)];
        let spec = json!({"replicas": 3, "serviceName": "db", "podManagementPolicy": policy});
        create::<StatefulSet>(&cluster, workload("db", spec)).await;
        let watch = watch_pods(&cluster, "app=db");
        let sets: Api<StatefulSet> = Api::default_namespaced(cluster.client());
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let (mut replicas, mut most, mut wanted) = (3, 3, "app:1".to_owned());
        for _ in 0..8 {
            match below(&rng, 3) {
                0 => {
                    wanted = format!("app:{}", 1 + below(&rng, 4));
                    change(&sets, "db", &image(&wanted)).await;
                }
                1 => {
                    replicas = 1 + below(&rng, 5);
                    most = most.max(replicas);
                    change(&sets, "db", &Patch::Strategic(json!({"spec": {"replicas": replicas}}))).await;
                }
                _ => {
                    let there = names(&selected::<Pod>(&cluster, "db").await);
                    if let Some(victim) = there.get(below(&rng, there.len().max(1))) {
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
                let index: usize = pod.labels()["apps.kubernetes.io/pod-index"].parse().expect("a number");
                assert!(index < most, "seed {seed}: {index} of {most}");
                assert!(indexes.insert(index), "seed {seed}: {index} is there twice");
                assert_eq!(pod.name_any(), format!("db-{index}"));
            }
        }
        cluster.stop().await;
    }
}

/// What is done to a Job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Actions {
    /// Its pods are deleted.
    Kills,
    /// It is made smaller, larger, and suspended, too: then the controller itself takes pods away, which count for nothing
    /// though they may have ended in the meantime.
    All,
}

#[tokio::test(start_paused = true)]
async fn whatever_is_done_to_a_job_its_counts_are_exact() {
    for (seed, actions) in [(seed(21), Actions::Kills), (seed(22), Actions::All)] {
        let (cluster, rng) = (faults::cluster(seed, Writes::Refused).await, Rng::seeded(seed));
        let mut job = json!({"metadata": {"name": "work"}, "spec": {
            "completions": 12, "parallelism": 3, "backoffLimit": 100, "podReplacementPolicy": "Failed",
            "template": template("work", "busybox")}});
        job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
        let container = &mut job["spec"]["template"]["spec"]["containers"][0];
        container["command"] = json!(["steps", "sleep=3000", "exit=0", "on-term=143"]);
        let watch = watch_pods(&cluster, "app=work");
        create::<Job>(&cluster, job).await;
        let jobs: Api<Job> = Api::default_namespaced(cluster.client());
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let status = async || jobs.get("work").await.expect("a job").status.unwrap_or_default();
        let (mut most, mut counted) = (3, 0);
        for _ in 0..10 {
            match if actions == Actions::All { below(&rng, 3) } else { 2 } {
                0 => {
                    let parallelism = 1 + below(&rng, 5);
                    most = most.max(parallelism);
                    let spec = json!({"spec": {"parallelism": parallelism}});
                    change(&jobs, "work", &Patch::Strategic(spec)).await;
                }
                1 => {
                    for suspend in [true, false] {
                        let spec = json!({"spec": {"suspend": suspend}});
                        change(&jobs, "work", &Patch::Strategic(spec)).await;
                        some_changes(&watch, &cluster, &rng).await;
                    }
                }
                _ => {
                    let all = selected::<Pod>(&cluster, "work").await;
                    let living: Vec<&Pod> =
                        all.iter().filter(|pod| ::api::pod::phase(pod) == "Running").collect();
                    if let Some(victim) = living.get(below(&rng, living.len().max(1))) {
                        // It may have ended by itself.
                        let _ = pods.delete(&victim.name_any(), &DeleteParams::default()).await;
                    }
                }
            }
            some_changes(&watch, &cluster, &rng).await;
            let now = usize::try_from(status().await.succeeded.unwrap_or(0)).expect("a count");
            assert!((counted..=12).contains(&now), "seed {seed}: {counted}, then {now}");
            counted = now;
        }
        eventually(DEADLINE, async || status().await.completion_time.is_some()).await;
        watch.caught_up(&cluster, "app=work").await;
        let all = watch.moments();
        let ended = |phase: &str| -> usize {
            let ended = all.iter().flatten().filter(|pod| ::api::pod::phase(pod) == phase);
            ended.filter_map(|pod| pod.uid()).collect::<BTreeSet<_>>().len()
        };
        let told = status().await;
        let failed = usize::try_from(told.failed.unwrap_or(0)).expect("a count");
        assert_eq!(told.succeeded, Some(12), "seed {seed}");
        match actions {
            // Each that succeeded counts once, and so does each that failed, also those that were deleted afterwards.
            Actions::Kills => assert_eq!((ended("Succeeded"), ended("Failed")), (12, failed), "seed {seed}"),
            Actions::All => assert!(ended("Succeeded") >= 12 && ended("Failed") >= failed, "seed {seed}"),
        }
        for moment in all {
            let active = moment.iter().filter(stays).filter(|pod| !::api::pod::is_terminal(pod));
            assert!(active.count() <= most, "seed {seed}: more than {most} at a time");
        }
        cluster.stop().await;
    }
}
