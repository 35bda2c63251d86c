//! `minik dashboard`: says that there is none yet.

use super::CommandContext;
use crate::problem::Problem;
use anyhow::Result;
use std::process::ExitCode;

/// Open the dashboard (there is none yet)
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// What it would be asked for: `--url`, `--port`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _wishes: Vec<String>,
}

pub(super) fn run(cx: &CommandContext, _: &Arguments) -> Result<ExitCode> {
    Err(Problem::error(
        "minik has no dashboard yet",
        format!("see what runs with: minik -p {} kubectl -- get all -A", cx.profile.name),
    ))
}
