//! `minik ssh`: a shell where the node is. The nodes are processes of this machine, in its namespaces: so is the shell.

use super::CommandContext;
use crate::access;
use anyhow::{Context as _, Result};
use std::process::{Command, ExitCode};

/// Run a shell, or a command, on the node
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The nodes of a cluster are processes of this machine: the shell is one of this machine, in the folder of the\nprofile, whose pods have their files in kubelet/pods.\n\nExamples:\n  minik ssh\n  minik ssh -- ls kubelet/pods"
)]
pub(super) struct Arguments {
    /// The node [default: the first]
    #[arg(short, long, value_name = "NAME")]
    node: Option<String>,
    /// A command, instead of a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (settings, _) = access::running(cx)?;
    if let Some(node) = &arguments.node {
        super::node::find(cx, &settings, node)?;
    }
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let mut command = Command::new(&shell);
    if !arguments.command.is_empty() {
        command.args(["-c", &arguments.command.join(" ")]);
    }
    command
        .current_dir(cx.profile.dir())
        .env("KUBECONFIG", &cx.kubeconfig)
        .env("MINIK_PROFILE", &cx.profile.name);
    let status = command.status().with_context(|| format!("run {shell}"))?;
    Ok(super::exit_code(status))
}
