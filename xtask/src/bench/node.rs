//! What nodes cost: a pod's start and end, many at once, many that are idle, and a thousand nodes on paper.
//!
//! **Contract**: as `start`. Processes in the pods exit on SIGTERM; deletions have the usual grace.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::report::Row;
use super::sample::Sample;
use super::{docker, pods, process};

/// Ends at once when it is told to.
const COMMAND: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"];
/// Replicas of each of the Deployments on paper.
const SIMULATED_REPLICAS: u32 = 1000;
/// No wait takes longer.
const LONGEST: u32 = 290;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of pod starts and deletions, and of the same by `docker run`.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pods: u32,
    /// How often a Deployment is created and deleted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Replicas of that Deployment.
    #[arg(long, default_value_t = 30)]
    replicas: u32,
    /// Pods on the node that is watched while it is idle.
    #[arg(long, default_value_t = 100)]
    dense: u32,
    /// Seconds for which it is watched.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,
    /// Simulated nodes.
    #[arg(long, default_value_t = 1000)]
    nodes: u32,
    /// Pods on them, in thousands.
    #[arg(long, default_value_t = 10)]
    thousands: u32,
    /// Only one of the two halves.
    #[arg(long, value_enum)]
    only: Option<Half>,
    /// The containers' image; it must be in the engine.
    #[arg(long, default_value = "busybox:latest")]
    pub(super) image: String,
    /// Folder of a built `minik`; built with the release profile if absent.
    #[arg(long, value_name = "FOLDER")]
    pub(super) binaries: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Half {
    /// Pods in Docker.
    Docker,
    /// Pods on paper.
    Paper,
}

pub(super) async fn run(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if args.only != Some(Half::Paper) {
        rows.extend(docker_pods(args, minik).await?);
    }
    if args.only != Some(Half::Docker) {
        rows.extend(paper_pods(args, minik).await?);
    }
    Ok(rows)
}

fn of(value: f64) -> Sample {
    let mut sample = Sample::default();
    sample.push(value);
    sample
}

async fn docker_pods(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let (mut start, mut pair, mut end) = (Sample::default(), Sample::default(), Sample::default());
    let (mut up, mut down) = (Sample::default(), Sample::default());
    let cluster = Cluster::new(minik, "node")?;
    cluster.start()?;
    let client = cluster.client().await?;
    eprintln!("{} pods, each next to docker run", args.pods);
    let api = cluster.pods().await?;
    let mut pause = None;
    for index in 0..args.pods {
        let before = Instant::now();
        let pod = pods::create_running_as(&api, &format!("pod{index}"), &args.image, &COMMAND).await?;
        start.push_time(before.elapsed());
        let pause = match &mut pause {
            Some(pause) => pause,
            none => none.insert(docker::pause_image(&cluster.name)?),
        };
        let before = Instant::now();
        pods::delete_gracefully(&api, &pod).await?;
        end.push_time(before.elapsed());
        pair.push_time(docker::run_pair(&cluster.name, pause, &args.image)?);
    }
    for run in 0..args.runs {
        eprintln!("run {} of {}: {} replicas up and down", run + 1, args.runs, args.replicas);
        let name = format!("set{run}");
        up.push_time(create(&client, &[deployment(&name, args.replicas, &args.image)]).await?);
        down.push_time(delete(&client, &name).await?);
    }
    eprintln!("{} pods, idle for {} s", args.dense, args.idle);
    create(&client, &[deployment("dense", args.dense, &args.image)]).await?;
    let idle = process::observe(cluster.pid()?, Duration::from_secs(args.idle)).await?;
    cluster.delete()?;

    let p95 = |sample: &Sample| of(sample.percentile(95));
    let (pair_p95, start_p95) = (pair.percentile(95), start.percentile(95));
    let dense = args.dense;
    Ok(vec![
        Row::known("docker run of the same two containers, s", &pair),
        Row::known("pod start, s", &start),
        Row::ratio("pod start p50 / docker run p50", 1.2, start.median() / pair.median()),
        Row::ratio("pod start p95 / docker run p95", 1.2, start_p95 / pair_p95),
        Row::at_most("DELETE → gone, s", 0.3, &end),
        Row::known("DELETE → gone, p95, s", &p95(&end)),
        Row::at_most(&format!("{} replicas created → all Ready, s", args.replicas), 5.0, &up),
        Row::at_most(&format!("{} replicas deleted → all gone, s", args.replicas), 5.0, &down),
        Row::at_most(&format!("{dense} pods: CPU, idle, % of one core"), 2.0, &of(idle.cpu_percent)),
        Row::known(&format!("{dense} pods: resident memory (RSS), MiB"), &of(idle.rss_mib)),
    ])
}

async fn paper_pods(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let pods = args.thousands * SIMULATED_REPLICAS;
    eprintln!("{} simulated nodes, {pods} pods", args.nodes);
    let cluster = Cluster::new(minik, "paper")?;
    let nodes = args.nodes.to_string();
    let steps =
        cluster.start_with(&["--runtime", "simulated", "--nodes", "0", "--simulated-nodes", &nodes])?;
    let all: Vec<Deployment> = (0..args.thousands)
        .map(|index| deployment(&format!("paper{index}"), SIMULATED_REPLICAS, &args.image))
        .collect();
    let running = create(&cluster.client().await?, &all).await?;
    let memory = process::resident_mib(cluster.pid()?)?;
    let later = process::observe(cluster.pid()?, Duration::from_secs(args.idle)).await?;
    cluster.delete()?;

    Ok(vec![
        Row::known(&format!("start → {nodes} simulated nodes Ready, s"), &of(steps.node_ready.as_secs_f64())),
        Row::at_most(
            &format!("{pods} pods on them: created → all Ready, s"),
            20.0,
            &of(running.as_secs_f64()),
        ),
        Row::at_most("resident memory (RSS) then, MiB", 600.0, &of(memory)),
        Row::known("resident memory (RSS) a minute later, MiB", &of(later.rss_mib)),
        Row::known("CPU then, idle, % of one core", &of(later.cpu_percent)),
    ])
}

fn deployment(name: &str, replicas: u32, image: &str) -> Deployment {
    let container =
        json!({"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": COMMAND});
    let deployment: Value = json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    });
    serde_json::from_value(deployment).expect("a Deployment is made of these fields")
}

/// Creates Deployments; how long it takes until all their pods are Ready.
async fn create(client: &Client, all: &[Deployment]) -> Result<Duration> {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let before = Instant::now();
    for deployment in all {
        api.create(&PostParams::default(), deployment).await.context("create a Deployment")?;
    }
    for deployment in all {
        let (name, wanted) = (deployment.name_any(), deployment.spec.as_ref().and_then(|spec| spec.replicas));
        let only = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(LONGEST);
        // Version 0: its state now comes first.
        let mut events = api.watch(&only, "0").await.context("watch a Deployment")?.boxed();
        loop {
            match events.try_next().await.context("watch a Deployment")? {
                Some(WatchEvent::Added(seen) | WatchEvent::Modified(seen))
                    if seen.status.as_ref().and_then(|status| status.ready_replicas) == wanted =>
                {
                    break;
                }
                Some(WatchEvent::Error(status)) => bail!("watch a Deployment: {}", status.message),
                Some(_) => {}
                None => bail!("the pods of {name} were not Ready in time"),
            }
        }
    }
    Ok(before.elapsed())
}

/// Deletes a Deployment; how long it takes until its last pod is gone.
async fn delete(client: &Client, name: &str) -> Result<Duration> {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let selector = format!("app={name}");
    let list = pods.list(&ListParams::default().labels(&selector)).await.context("list pods")?;
    let version = list.metadata.resource_version.clone().unwrap_or_default();
    let params = WatchParams::default().labels(&selector).timeout(LONGEST);
    let mut events = pods.watch(&params, &version).await.context("watch pods")?.boxed();
    let before = Instant::now();
    api.delete(name, &DeleteParams::background()).await.context("delete a Deployment")?;
    let mut left = list.items.len();
    while left > 0 {
        match events.try_next().await.context("watch pods")? {
            Some(WatchEvent::Deleted(_)) => left -= 1,
            Some(WatchEvent::Added(_)) => left += 1,
            Some(WatchEvent::Error(status)) => bail!("watch pods: {}", status.message),
            Some(_) => {}
            None => bail!("{left} pods of {name} were not gone in time"),
        }
    }
    Ok(before.elapsed())
}
