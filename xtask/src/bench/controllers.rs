//! `cargo xtask bench controllers`: how fast controllers and scheduler act, and what they use when there is nothing to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::collections::HashSet;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::report::Row;
use super::sample::Sample;
use super::{pods, process};

/// No wait takes longer, in seconds.
const LONGEST: u32 = 290;
/// Simulated nodes; each takes 110 pods.
const NODES: u32 = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often each of the larger figures is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Replicas of the Deployment.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2000))]
    replicas: u32,
    /// How many of its pods are deleted, one after the other.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    deletions: u32,
    /// Objects in the namespace that is deleted.
    #[arg(long, default_value_t = 5000)]
    objects: u32,
    /// Objects in the cluster that is watched while it is idle.
    #[arg(long, default_value_t = 10000)]
    idle_objects: u32,
    /// Seconds for which it is watched.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,
    /// With the measuring program as it is, also if that is slow: much quicker to build.
    #[arg(long)]
    pub(super) quick: bool,
    /// Folder of a built `minik`; built with the release profile if absent.
    #[arg(long, value_name = "FOLDER")]
    pub(super) binaries: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let cluster = Cluster::new(minik, "controllers")?;
    let nodes = NODES.to_string();
    cluster.start_with(&["--runtime", "simulated", "--nodes", "0", "--simulated-nodes", &nodes])?;
    let client = cluster.client().await?;
    let (mut bound, mut replaced, mut emptied) = (Sample::default(), Sample::default(), Sample::default());
    for run in 0..args.runs {
        eprintln!("run {} of {}: {} replicas", run + 1, args.runs, args.replicas);
        let name = format!("web{run}");
        bound.push_time(all_bound(&client, &name, args.replicas).await?);
        if run + 1 < args.runs {
            remove(&client, &name).await?;
        } else {
            eprintln!("{} pods deleted one after the other", args.deletions);
            replacements(&client, &name, args.deletions, &mut replaced).await?;
        }
    }
    for run in 0..args.runs {
        eprintln!("run {} of {}: a namespace with {} objects", run + 1, args.runs, args.objects);
        emptied.push_time(namespace(&client, &format!("full{run}"), args.objects).await?);
    }
    let more = args.idle_objects.saturating_sub(args.replicas);
    eprintln!("{} objects, idle for {} s", more + args.replicas, args.idle);
    pods::fill(&client, more).await?;
    let full = process::observe(cluster.pid()?, Duration::from_secs(args.idle)).await?;
    cluster.delete()?;
    eprintln!("the same without them");
    let cluster = Cluster::new(minik, "empty")?;
    cluster.start_with(&["--runtime", "simulated", "--nodes", "0", "--simulated-nodes", &nodes])?;
    let empty = process::observe(cluster.pid()?, Duration::from_secs(args.idle)).await?;
    cluster.delete()?;

    let of = |value: f64| {
        let mut sample = Sample::default();
        sample.push(value);
        sample
    };
    let (replicas, objects, idle) = (args.replicas, args.objects, args.idle_objects);
    Ok(vec![
        Row::at_most(&format!("Deployment of {replicas} created → all bound, s"), 2.0, &bound),
        Row::known("pod deleted → replacement exists, s", &replaced),
        Row::at_most("pod deleted → replacement exists, p99, s", 0.05, &of(replaced.percentile(99))),
        Row::at_most(&format!("namespace of {objects} objects deleted → gone, s"), 5.0, &emptied),
        Row::known(
            &format!("CPU of all components, {idle} objects, idle, % of one core"),
            &of(full.cpu_percent),
        ),
        Row::known("the same without objects", &of(empty.cpu_percent)),
        Row::at_most(
            &format!("what {idle} objects cost when idle, % of one core"),
            1.0,
            &of(full.cpu_percent - empty.cpu_percent),
        ),
    ])
}

fn deployment(name: &str, replicas: u32) -> Result<Deployment> {
    let container = json!({"name": "main", "image": "app", "imagePullPolicy": "IfNotPresent"});
    let deployment = json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    });
    serde_json::from_value(deployment).context("a Deployment")
}

/// Creates a Deployment; how long it takes until its last pod has a node.
async fn all_bound(client: &Client, name: &str, replicas: u32) -> Result<Duration> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let params = WatchParams::default().labels(&format!("app={name}")).timeout(LONGEST);
    let mut events = pods.watch(&params, "0").await.context("watch pods")?.boxed();
    let before = Instant::now();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment(name, replicas)?).await.context("create")?;
    let mut bound = HashSet::new();
    while bound.len() < replicas as usize {
        match events.try_next().await.context("watch pods")? {
            Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
                    bound.insert(pod.name_any());
                }
            }
            Some(WatchEvent::Error(status)) => bail!("watch pods: {}", status.message),
            Some(_) => {}
            None => bail!("{} of {replicas} pods were bound in time", bound.len()),
        }
    }
    Ok(before.elapsed())
}

/// Deletes a Deployment and returns when its last pod is gone.
async fn remove(client: &Client, name: &str) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let selector = format!("app={name}");
    let list = pods.list(&ListParams::default().labels(&selector)).await.context("list pods")?;
    let version = list.metadata.resource_version.clone().unwrap_or_default();
    let params = WatchParams::default().labels(&selector).timeout(LONGEST);
    let mut events = pods.watch(&params, &version).await.context("watch pods")?.boxed();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.delete(name, &DeleteParams::background()).await.context("delete a Deployment")?;
    let mut left: HashSet<String> = list.iter().map(ResourceExt::name_any).collect();
    while !left.is_empty() {
        match events.try_next().await.context("watch pods")? {
            Some(WatchEvent::Deleted(pod)) => drop(left.remove(&pod.name_any())),
            Some(WatchEvent::Added(pod)) => drop(left.insert(pod.name_any())),
            Some(WatchEvent::Error(status)) => bail!("watch pods: {}", status.message),
            Some(_) => {}
            None => bail!("{} pods of {name} were not gone in time", left.len()),
        }
    }
    Ok(())
}

/// Deletes one pod after the other; how long it takes each time until there is a new one.
async fn replacements(client: &Client, name: &str, deletions: u32, times: &mut Sample) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let selector = format!("app={name}");
    let list = pods.list(&ListParams::default().labels(&selector)).await.context("list pods")?;
    let version = list.metadata.resource_version.clone().unwrap_or_default();
    let params = WatchParams::default().labels(&selector).timeout(LONGEST);
    let mut events = pods.watch(&params, &version).await.context("watch pods")?.boxed();
    let victims: Vec<String> = list.iter().map(ResourceExt::name_any).take(deletions as usize).collect();
    for victim in victims {
        let before = Instant::now();
        pods.delete(&victim, &DeleteParams::default()).await.context("delete a pod")?;
        loop {
            match events.try_next().await.context("watch pods")? {
                Some(WatchEvent::Added(_)) => break,
                Some(WatchEvent::Error(status)) => bail!("watch pods: {}", status.message),
                Some(_) => {}
                None => bail!("pod {victim} was not replaced in time"),
            }
        }
        times.push_time(before.elapsed());
    }
    Ok(())
}

/// Fills a namespace and deletes it; how long it takes until it is gone.
async fn namespace(client: &Client, name: &str, objects: u32) -> Result<Duration> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let created =
        namespaces.create(&PostParams::default(), &namespace).await.context("create a namespace")?;
    pods::fill_in(&Api::<ConfigMap>::namespaced(client.clone(), name), objects).await?;
    let only = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(LONGEST);
    let version = created.resource_version().context("a version")?;
    let mut events = namespaces.watch(&only, &version).await.context("watch a namespace")?.boxed();
    let before = Instant::now();
    namespaces.delete(name, &DeleteParams::default()).await.context("delete a namespace")?;
    while let Some(event) = events.try_next().await.context("watch a namespace")? {
        match event {
            WatchEvent::Deleted(_) => return Ok(before.elapsed()),
            WatchEvent::Error(status) => bail!("watch a namespace: {}", status.message),
            _ => {}
        }
    }
    bail!("namespace {name} was not gone in time")
}
