//! `minik stop`: ends a cluster and its workload; its state stays.

use super::CommandContext;
use crate::problem::Problem;
use crate::profile::{Profile, write_private};
use crate::{access, daemon, extra_config, mounts};
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Containers get ten seconds; the rest is for many of them on a slow machine. What pods were promised comes on top.
const LIMIT: Duration = Duration::from_secs(60);

/// Stop a cluster and its workload; its state is kept
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Stop after this time, in the background
    #[arg(long, value_name = "DURATION", value_parser = super::start::duration)]
    schedule: Option<Duration>,
    /// Stop all profiles
    #[arg(long, conflicts_with_all = ["profile", "schedule", "cancel_scheduled"])]
    all: bool,
    /// Cancel a stop that is scheduled
    #[arg(long, conflicts_with = "schedule")]
    cancel_scheduled: bool,
    /// Stop after this time: what --schedule runs in the background
    #[arg(long, hide = true, value_parser = super::start::duration)]
    after: Option<Duration>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.cancel_scheduled {
        let text = if cancel(&cx.profile)? { "is cancelled" } else { "was not scheduled" };
        cx.terminal.line(&format!("The stop of profile {:?} {text}.", cx.profile.name));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(after) = arguments.schedule {
        schedule(&cx.profile, after)?;
        cx.terminal.line(&format!("Profile {:?} stops in {after:?}.", cx.profile.name));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(after) = arguments.after {
        access::block_on(async {
            tokio::time::sleep(after).await;
            Ok(())
        })?;
        let _ = std::fs::remove_file(cx.profile.path(SCHEDULED));
    }
    let profiles = if arguments.all { Profile::all(&cx.home)? } else { vec![cx.profile.clone()] };
    for profile in &profiles {
        if arguments.after.is_none() {
            cancel(profile)?;
        }
        let text = if stop(profile)? { "is stopped." } else { "is not running." };
        cx.terminal.line(&format!("Profile {:?} {text}", profile.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the process that waits to stop a profile is named.
const SCHEDULED: &str = "scheduled-stop.pid";

/// Has another process stop the profile later.
fn schedule(profile: &Profile, after: Duration) -> Result<()> {
    if profile.running()?.is_none() {
        return Err(Problem::error(
            format!("profile {:?} is not running", profile.name),
            format!("start it: minik start -p {}", profile.name),
        ));
    }
    cancel(profile)?;
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    let after = format!("{}ms", after.as_millis());
    command.args(["stop", "--profile", &profile.name, "--after", &after]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    daemon::in_new_session(&mut command);
    let child = command.spawn().context("start what waits")?;
    write_private(&profile.path(SCHEDULED), child.id().to_string().as_bytes())
}

/// Ends the process that waits to stop the profile; `false` if there is none.
pub(super) fn cancel(profile: &Profile) -> Result<bool> {
    let path = profile.path(SCHEDULED);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(false) };
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    let Ok(pid) = text.trim().parse::<u32>() else { return Ok(false) };
    // The number may be another process's by now.
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_ours = words.split(|byte| *byte == 0).any(|word| word == b"--after");
    if is_ours {
        daemon::send(pid, Signal::TERM)?;
    }
    Ok(is_ours)
}

/// Ends the profile's server; `false` if none ran.
pub(super) fn stop(profile: &Profile) -> Result<bool> {
    let Some(pid) = profile.running()? else {
        // A server that was killed could not do it.
        mounts::sweep(profile)?;
        return Ok(false);
    };
    if daemon::is_suspended(pid)
        && let Some(settings) = profile.settings().ok().flatten()
    {
        super::pause::wake(profile, &settings, pid)?;
    }
    let settings = profile.settings().ok().flatten();
    let extra = settings.and_then(|settings| extra_config::read(&settings.extra_config).ok());
    let limit = LIMIT + extra.unwrap_or_default().shutdown_grace.total();
    if !daemon::end(pid, Signal::TERM, limit)? {
        return Err(Problem::error(
            format!("the server (process {pid}) has not ended after {limit:?}"),
            format!("see what it is doing (minik logs -p {}), or end it: kill -9 {pid}", profile.name),
        ));
    }
    // It may have been killed meanwhile.
    mounts::sweep(profile)?;
    Ok(true)
}
