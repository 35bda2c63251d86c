//! `minik update-check`: which version this is. minik asks nobody which one is the newest.
//!
//! **Upstream.** `minikube update-check` (its words), which asks a server.

use super::{CommandContext, Output};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Show this version; minik does not ask the network for newer ones
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print a result that programs can read
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    match arguments.output {
        Some(Output::Json) => {
            cx.terminal.line(&json!({"currentVersion": version, "latestVersion": null}).to_string());
        }
        None => {
            cx.terminal.line(&format!("CurrentVersion: {version}"));
            cx.terminal.line("LatestVersion: unknown (minik asks no server)");
        }
    }
    Ok(ExitCode::SUCCESS)
}
