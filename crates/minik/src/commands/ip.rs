//! `minik ip`: the address at which the node's ports are reached.

use super::CommandContext;
use crate::problem::Problem;
use anyhow::Result;
use std::process::ExitCode;

/// Show the address of the cluster's node
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}

pub(super) fn run(cx: &CommandContext, _: &Arguments) -> Result<ExitCode> {
    if cx.profile.settings()?.is_none() {
        return Err(Problem::error(
            format!("profile {:?} does not exist", cx.profile.name),
            format!("start it: minik start -p {}", cx.profile.name),
        ));
    }
    cx.terminal.line(&kubelet::machine_address().to_string());
    Ok(ExitCode::SUCCESS)
}
