//! What a command costs whoever types it: `get pods` of kctl on a warm cluster, and of a stock kubectl in turn.
//!
//! **Contract**: both run on one cluster with some pods, in turn, with a folder each for what they keep between commands; the
//! first run of each fills it and is not counted. Wall-clock from before the process is made until it has ended.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::report::Row;
use super::sample::Sample;

/// Arguments of `cargo xtask bench kctl`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of runs of each program.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Pods that there are.
    #[arg(long, default_value_t = 10)]
    pods: u32,
    /// A stock kubectl to run in turn; none if absent.
    #[arg(long, value_name = "PATH", env = "MINIK_KUBECTL")]
    kubectl: Option<PathBuf>,
    /// Folder of a built `minik` and `kctl`; built with the release profile if absent.
    #[arg(long, value_name = "FOLDER")]
    pub(super) binaries: Option<PathBuf>,
}

pub(super) fn run(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let kctl = minik.with_file_name("kctl");
    ensure!(kctl.exists(), "{} does not exist: cargo build --release --package ctl", kctl.display());
    let cluster = Cluster::new(minik, "kctl")?;
    cluster.start_with(&["--runtime", "simulated"])?;
    let programs: Vec<&Path> = std::iter::once(&*kctl).chain(args.kubectl.as_deref()).collect();
    for index in 0..args.pods {
        once(&cluster, &kctl, &["run", &format!("pod-{index}"), "--image=x"])?;
    }
    // The first run of each fills its caches.
    for program in &programs {
        once(&cluster, program, &["get", "pods"])?;
    }
    let mut times = vec![Sample::default(); programs.len()];
    for _ in 0..args.runs {
        for (program, times) in programs.iter().zip(&mut times) {
            let before = Instant::now();
            once(&cluster, program, &["get", "pods"])?;
            times.push(before.elapsed().as_secs_f64() * 1000.0);
        }
    }
    cluster.delete()?;
    let mut rows = Vec::new();
    for (program, times) in programs.iter().zip(&times) {
        rows.push(match *program == kctl {
            true => Row::at_most("kctl get pods, ms", 15.0, times),
            false => Row::known(&format!("{} get pods, ms", version(program)?), times),
        });
    }
    Ok(rows)
}

fn once(cluster: &Cluster, program: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = cluster.client_command(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let status = command.status().with_context(|| format!("run {}", program.display()))?;
    ensure!(status.success(), "{} {} failed", program.display(), arguments.join(" "));
    Ok(())
}

/// `kubectl v1.32.0`
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).args(["version", "--client"]).output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version =
        said.split_whitespace().find(|word| word.starts_with("v1.")).unwrap_or("of unknown version");
    Ok(format!("kubectl {version}"))
}
