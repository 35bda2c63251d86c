//! `minik ip`: the address at which the node's ports are reached.

use super::CommandContext;
use crate::access;
use crate::cluster::ip_family::machine_address;
use anyhow::Result;
use std::process::ExitCode;

/// Show the address of the cluster's node
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Of this node; all have this machine's [default: the first]
    #[arg(short, long, value_name = "NAME")]
    node: Option<String>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let settings = access::settings(cx)?;
    if let Some(node) = &arguments.node {
        super::node::find(cx, &settings, node)?;
    }
    cx.terminal.line(&machine_address(settings.ip_family.first()).to_string());
    Ok(ExitCode::SUCCESS)
}
