//! `minik ip`: the address at which the node's ports are reached.

use super::CommandContext;
use crate::access;
use anyhow::Result;
use std::process::ExitCode;

/// Show the address of the cluster's node
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}

pub(super) fn run(cx: &CommandContext, _: &Arguments) -> Result<ExitCode> {
    access::settings(cx)?;
    cx.terminal.line(&kubelet::machine_address().to_string());
    Ok(ExitCode::SUCCESS)
}
