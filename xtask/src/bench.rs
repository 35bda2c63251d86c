//! `cargo xtask bench`: what a cluster costs, measured with the release binaries.
//!
//! **Contract**: every run is cold: a new profile in a folder of its own, on a port of its own; whatever was started is
//! gone at the end, also after an error or Ctrl-C. Times are wall-clock from the start of the command that a user types.
//! Images are present beforehand: what a registry costs is not measured.
//! **Not here**: the aims' origin (README.md, figures).

mod api;
mod cluster;
mod controllers;
mod docker;
mod extension;
mod kctl;
mod load;
mod network;
mod node;
mod pods;
mod process;
mod report;
mod sample;
mod scheduler;
mod webhook;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cluster::Cluster;
use report::Row;
use sample::Sample;
use tokio::time::Instant;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Start-up, memory, idle CPU, pod start and recovery; needs Docker and the image busybox.
    Start(StartArgs),
    /// GET, LIST, CREATE, WATCH and memory of the API server; needs Docker.
    Api(api::Args),
    /// Decisions of the scheduler a second, by the size of the cluster; needs nothing.
    Scheduler(scheduler::Args),
    /// How fast controllers act, and what they use when idle; needs nothing.
    Controllers(controllers::Args),
    /// Pods' starts and ends, many at once, idle ones, and simulated nodes; needs Docker and the image busybox.
    Node(node::Args),
    /// `get pods` as a user waits for it, kctl's and a stock kubectl's; needs nothing.
    Kctl(kctl::Args),
    /// Services, names and ingress; needs Docker, nftables, wrk and the image nginx.
    Network(network::Args),
    /// Kinds, webhooks and policies that users add; needs Docker.
    Extension(extension::Args),
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    /// Number of cold starts, and of crashes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seconds over which an idle cluster is observed in each run.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,
    /// Number of pod starts, and of the same by `docker run`.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pods: u32,
    /// Number of objects in the store that is killed.
    #[arg(long, default_value_t = 1000)]
    objects: u32,
    /// The container's image; it must be in the engine.
    #[arg(long, default_value = "busybox:latest")]
    image: String,
    /// Folder of a built `minik`; built with the release profile if absent.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
}

/// Measures and prints a table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let quick = match &args.what {
        What::Extension(args) => args.quick,
        What::Network(args) => args.quick,
        What::Controllers(args) => args.quick,
        _ => false,
    };
    if cfg!(debug_assertions) && !quick {
        // A slow client would measure itself.
        return cargo(
            ["run", "--release", "--quiet", "--package", "xtask", "--"],
            std::env::args_os().skip(1),
        );
    }
    let binaries = match &args.what {
        What::Scheduler(args) => {
            let table = scheduler::run(args)?;
            println!("{}\n{table}", report::machine());
            return Ok(());
        }
        What::Start(args) => {
            docker::check(&args.image)?;
            &args.binaries
        }
        What::Api(args) => &args.binaries,
        What::Extension(args) => &args.binaries,
        What::Controllers(args) => &args.binaries,
        What::Node(args) => {
            docker::check(&args.image)?;
            &args.binaries
        }
        What::Kctl(args) => &args.binaries,
        What::Network(args) => {
            docker::check(&args.image)?;
            &args.binaries
        }
    };
    let minik = match binaries {
        Some(folder) => folder.join("minik"),
        None => build()?,
    };
    ensure!(minik.exists(), "{} does not exist", minik.display());
    let measured = async {
        match &args.what {
            What::Start(args) => start(args, &minik).await,
            What::Api(args) => api::run(args, &minik).await,
            What::Controllers(args) => controllers::run(args, &minik).await,
            What::Scheduler(_) => bail!("it needs no cluster"),
            What::Node(args) => node::run(args, &minik).await,
            What::Kctl(args) => kctl::run(args, &minik),
            What::Network(args) => network::run(args, &minik).await,
            What::Extension(args) => extension::run(args, &minik).await,
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        // The signal first, so that it is listened for before anything starts. Dropping the measurement deletes its
        // clusters.
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            rows = measured => rows,
        }
    })?;
    println!("{}", report::machine());
    println!("{}", report::table(&rows));
    Ok(())
}

fn build() -> Result<PathBuf> {
    let metadata =
        cargo_metadata::MetadataCommand::new().no_deps().exec().context("ask cargo for its folder")?;
    cargo(["build", "--release", "--package", "minik", "--package", "ctl"], std::iter::empty())?;
    Ok(metadata.target_directory.join("release/minik").into())
}

fn cargo<const N: usize>(args: [&str; N], rest: impl Iterator<Item = OsString>) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).args(rest).status().context("run cargo")?;
    ensure!(status.success(), "cargo {} failed", args.join(" "));
    Ok(())
}

async fn start(args: &StartArgs, minik: &std::path::Path) -> Result<Vec<Row>> {
    let mut api = Sample::default();
    let mut node = Sample::default();
    let mut first = Sample::default();
    let (mut rss, mut pss, mut cpu) = (Sample::default(), Sample::default(), Sample::default());
    for run in 0..args.runs {
        eprintln!("run {} of {}: start, first pod, {} idle seconds", run + 1, args.runs, args.idle);
        let cluster = Cluster::new(minik, &format!("start{run}"))?;
        let before = Instant::now();
        let steps = cluster.start()?;
        api.push_time(steps.api_ready);
        node.push_time(steps.node_ready);
        let pods = cluster.pods().await?;
        let pod = pods::create_running(&pods, "first", &args.image).await?;
        first.push_time(before.elapsed());
        pods::delete(&pods, &pod).await?;
        let idle = process::observe(cluster.pid()?, Duration::from_secs(args.idle)).await?;
        rss.push(idle.rss_mib);
        pss.push(idle.pss_mib);
        cpu.push(idle.cpu_percent);
        cluster.delete()?;
    }

    eprintln!("{} pods, each next to docker run", args.pods);
    let (pod, docker_run) = pod_starts(args, minik).await?;
    eprintln!("{} crashes with {} objects", args.runs, args.objects);
    let recovery = recovery(args, minik).await?;

    let ratio = pod.median() / docker_run.median();
    Ok(vec![
        Row::at_most("start → API ready, s", 0.2, &api),
        Row::at_most("start → node Ready, s", 0.4, &node),
        Row::at_most("start → first pod Running, s", 0.9, &first),
        Row::at_most("resident memory (RSS), idle, MiB", 35.0, &rss),
        Row::known("resident memory (PSS), idle, MiB", &pss),
        Row::at_most("CPU, idle, % of one core", 0.3, &cpu),
        Row::known("docker run of the same two containers, s", &docker_run),
        Row::known("pod start, s", &pod),
        Row::ratio("pod start p50 / docker run p50", 1.3, ratio),
        Row::at_most(&format!("kill -9 → start → API ready, {} objects, s", args.objects), 0.5, &recovery),
    ])
}

/// Pods and pairs of `docker run` in turn, so that both see the same machine.
async fn pod_starts(args: &StartArgs, minik: &std::path::Path) -> Result<(Sample, Sample)> {
    let cluster = Cluster::new(minik, "pods")?;
    cluster.start()?;
    let pods = cluster.pods().await?;
    let (mut pod_times, mut docker_times) = (Sample::default(), Sample::default());
    let mut pause = None;
    for index in 0..args.pods {
        let before = Instant::now();
        let pod = pods::create_running(&pods, &format!("pod{index}"), &args.image).await?;
        pod_times.push_time(before.elapsed());
        let pause = match &mut pause {
            Some(pause) => pause,
            none => none.insert(docker::pause_image(&cluster.name)?),
        };
        pods::delete(&pods, &pod).await?;
        docker_times.push_time(docker::run_pair(&cluster.name, pause, &args.image)?);
    }
    cluster.delete()?;
    Ok((pod_times, docker_times))
}

async fn recovery(args: &StartArgs, minik: &std::path::Path) -> Result<Sample> {
    let cluster = Cluster::new(minik, "crash")?;
    cluster.start()?;
    pods::fill(&cluster.client().await?, args.objects).await?;
    let mut times = Sample::default();
    for _ in 0..args.runs {
        cluster.kill()?;
        times.push_time(cluster.start()?.api_ready);
        let found = pods::count(&cluster.client().await?).await?;
        ensure!(found >= args.objects as usize, "{found} of {} objects survived", args.objects);
    }
    cluster.delete()?;
    Ok(times)
}
