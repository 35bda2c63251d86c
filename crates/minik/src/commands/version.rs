//! `minik version`: which minik this is, and which Kubernetes it speaks.

use super::{CommandContext, Output};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Show the version
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print a result that programs can read
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Print the version alone
    #[arg(long)]
    short: bool,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (minik, kubernetes) = (env!("CARGO_PKG_VERSION"), crate::cluster::KUBERNETES_VERSION);
    match arguments.output {
        Some(Output::Json) => {
            let versions = json!({"minikVersion": format!("v{minik}"), "kubernetesVersion": kubernetes});
            cx.terminal.line(&versions.to_string());
        }
        None if arguments.short => cx.terminal.line(&format!("v{minik}")),
        None => {
            cx.terminal.line(&format!("minik version: v{minik}"));
            cx.terminal.line(&format!("kubernetes version: {kubernetes}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
