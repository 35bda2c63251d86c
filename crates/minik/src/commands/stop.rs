//! `minik stop`: ends a cluster and its workload; its state stays.

use super::CommandContext;
use crate::daemon;
use crate::problem::Problem;
use crate::profile::Profile;
use anyhow::Result;
use rustix::process::Signal;
use std::process::ExitCode;
use std::time::Duration;

/// Containers get ten seconds; the rest is for many of them on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Stop a cluster and its workload; its state is kept
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}

pub(super) fn run(cx: &CommandContext, _: &Arguments) -> Result<ExitCode> {
    let text = if stop(&cx.profile)? { "is stopped." } else { "is not running." };
    cx.terminal.line(&format!("Profile {:?} {text}", cx.profile.name));
    Ok(ExitCode::SUCCESS)
}

/// Ends the profile's server; `false` if none ran.
pub(super) fn stop(profile: &Profile) -> Result<bool> {
    let Some(pid) = profile.running()? else { return Ok(false) };
    if !daemon::end(pid, Signal::TERM, LIMIT)? {
        return Err(Problem::error(
            format!("the server (process {pid}) has not ended after {LIMIT:?}"),
            format!("see what it is doing (minik logs -p {}), or end it: kill -9 {pid}", profile.name),
        ));
    }
    Ok(true)
}
