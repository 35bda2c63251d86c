//! `cargo xtask bench scheduler`: decisions a second, without a cluster around, and how that depends on its size.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Arguments of `cargo xtask bench scheduler`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 5000, 15000])]
    nodes: Vec<usize>,
    /// With the development profile, in which only what is measured is optimised: much quicker to build.
    #[arg(long)]
    quick: bool,
}

/// One line of what is measured.
#[derive(Deserialize)]
struct Measured {
    workload: String,
    nodes: usize,
    pods: usize,
    seconds: f64,
}

/// The aim at 5,000 nodes, in pods a second.
fn aim(workload: &str) -> f64 {
    match workload {
        "SchedulingBasic" => 5000.0,
        "Preemption" => 2000.0,
        _ => 1000.0,
    }
}

/// Builds the measuring program, runs it, and returns its table.
pub(super) fn run(args: &Args) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "scheduler", "--example", "throughput"]);
    if args.quick {
        for package in ["api", "scheduler"] {
            command.arg("--config").arg(format!("profile.dev.package.{package}.opt-level=3"));
        }
    } else {
        command.arg("--release");
    }
    command.arg("--").args(args.nodes.iter().map(usize::to_string));
    let output = command.stderr(std::process::Stdio::inherit()).output().context("run cargo")?;
    ensure!(output.status.success(), "the measurement failed");
    let mut table =
        "| workload | nodes | pods | pods/s | µs a pod | aim, pods/s |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for line in String::from_utf8(output.stdout).context("read the measurements")?.lines() {
        let Measured { workload, nodes, pods, seconds } =
            serde_json::from_str(line).context("read a measurement")?;
        let rate = pods as f64 / seconds;
        let aim = if nodes == 5000 { format!("{:.0}", aim(&workload)) } else { String::new() };
        table += &format!("| {workload} | {nodes} | {pods} | {rate:.0} | {:.0} | {aim} |\n", 1e6 / rate);
    }
    Ok(table)
}
