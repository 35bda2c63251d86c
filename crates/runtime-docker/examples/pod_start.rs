//! Measures a pod's start, call by call, next to `docker run` of the same two containers.
//!
//! `cargo run -p runtime-docker --example pod_start [IMAGE] [ROUNDS]`; the image defaults to `busybox:latest`. Rounds of
//! the two alternate, so that the machine's mood is shared. Prints medians in milliseconds.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use runtime::testing::pod;
use runtime::*;
use runtime_docker::{DockerConfig, DockerRuntime};
use tokio::time::Instant;

const CALLS: [&str; 7] = [
    "run_pod_sandbox",
    "pod_sandbox_status",
    "create_container",
    "start_container",
    "container_status",
    "pod",
    "docker run",
];

#[tokio::main]
async fn main() -> Result<()> {
    let image = std::env::args().nth(1).unwrap_or_else(|| "busybox:latest".to_owned());
    let rounds: usize = std::env::args().nth(2).map_or(Ok(20), |n| n.parse())?;
    let before = Instant::now();
    let docker = DockerRuntime::connect(DockerConfig::new(format!("measure-{}", std::process::id()))).await?;
    println!("{:>20} {:8.2}", "connect", milliseconds(before.elapsed()));
    let before = Instant::now();
    docker.prepare().await?;
    println!("{:>20} {:8.2}", "prepare", milliseconds(before.elapsed()));
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let outcome = measure(&docker, &image, rounds, &mut times).await;
    docker.remove_profile().await?;
    outcome?;
    for call in CALLS {
        let Some(times) = times.get_mut(call) else { continue };
        times.sort();
        let (median, last) = (times[times.len() / 2], times[times.len() * 95 / 100]);
        println!("{call:>20} {:8.2}   p95 {:8.2}", milliseconds(median), milliseconds(last));
    }
    Ok(())
}

async fn measure(
    docker: &DockerRuntime,
    image: &str,
    rounds: usize,
    times: &mut BTreeMap<&'static str, Vec<Duration>>,
) -> Result<()> {
    for round in 0..rounds {
        let mut config = pod(&format!("measure-{round}"));
        config.metadata.uid = format!("{}-{round}", docker.config().profile);
        let container = ContainerConfig {
            metadata: ContainerMetadata { name: "main".into(), attempt: 0 },
            image: image.to_owned(),
            command: vec!["sleep".into(), "600".into()],
            ..ContainerConfig::default()
        };
        let start = Instant::now();
        let mut last = start;
        let mut lap = |call| {
            times.entry(call).or_default().push(last.elapsed());
            last = Instant::now();
        };
        let sandbox = docker.run_pod_sandbox(&config).await?;
        lap("run_pod_sandbox");
        docker.pod_sandbox_status(&sandbox).await?;
        lap("pod_sandbox_status");
        let id = docker.create_container(&sandbox, &container, &config).await?;
        lap("create_container");
        docker.start_container(&id).await?;
        lap("start_container");
        docker.container_status(&id).await?;
        lap("container_status");
        times.entry("pod").or_default().push(start.elapsed());
        docker.remove_pod_sandbox(&sandbox).await?;
        times.entry("docker run").or_default().push(docker_run(docker, image, round)?);
    }
    Ok(())
}

/// `docker run` of a pause container and of the container in its network.
fn docker_run(docker: &DockerRuntime, image: &str, round: usize) -> Result<Duration> {
    let pause = format!("{}-pause-{round}", docker.config().profile);
    let main = format!("{}-main-{round}", docker.config().profile);
    let network = format!("--network=container:{pause}");
    let before = Instant::now();
    run(&["run", "-d", "--name", &pause, docker.pause_image()])?;
    run(&["run", "-d", "--name", &main, &network, image, "sleep", "600"])?;
    let took = before.elapsed();
    run(&["rm", "-f", &pause, &main])?;
    Ok(took)
}

fn run(arguments: &[&str]) -> Result<()> {
    let output = Command::new("docker").args(arguments).output().context("docker cannot be run")?;
    ensure!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
