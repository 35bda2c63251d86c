//! `minik pause` and `minik unpause`: a cluster that takes no processor time, and goes on where it was.
//!
//! **Contract**: containers are frozen by the engine, the server's process by a signal; pausing what is paused is no error.

use super::CommandContext;
use crate::profile::{Profile, RuntimeKind, Settings};
use crate::{access, daemon, preflight};
use anyhow::{Context as _, Result};
use runtime_docker::{DockerConfig, DockerRuntime};
use rustix::process::Signal;
use std::process::ExitCode;

/// Freeze a cluster: it takes no processor time until it is unpaused
#[derive(clap::Args, Debug)]
pub(super) struct PauseArguments {}

/// Let a paused cluster go on
#[derive(clap::Args, Debug)]
pub(super) struct UnpauseArguments {}

pub(super) fn pause(cx: &CommandContext, _: &PauseArguments) -> Result<ExitCode> {
    let (settings, pid) = access::running(cx)?;
    // The server first, or it would tell of containers that do not answer.
    daemon::send(pid, Signal::STOP)?;
    let frozen = match containers(&cx.profile, &settings)? {
        Some(docker) => access::block_on(async { Ok(docker.pause_containers().await?) }),
        None => Ok(0),
    };
    let frozen = frozen.inspect_err(|_| {
        let _ = daemon::send(pid, Signal::CONT);
    })?;
    cx.terminal.line(&format!("Profile {:?} is paused, with {frozen} containers.", cx.profile.name));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn unpause(cx: &CommandContext, _: &UnpauseArguments) -> Result<ExitCode> {
    let (settings, pid) = access::running(cx)?;
    let thawed = wake(&cx.profile, &settings, pid)?;
    cx.terminal.line(&format!("Profile {:?} goes on, with {thawed} containers.", cx.profile.name));
    Ok(ExitCode::SUCCESS)
}

/// Lets a server and its containers go on.
pub(super) fn wake(profile: &Profile, settings: &Settings, pid: u32) -> Result<usize> {
    let thawed = match containers(profile, settings)? {
        Some(docker) => access::block_on(async { Ok(docker.unpause_containers().await?) })?,
        None => 0,
    };
    daemon::send(pid, Signal::CONT)?;
    Ok(thawed)
}

/// The profile's containers, if it has real ones.
fn containers(profile: &Profile, settings: &Settings) -> Result<Option<DockerRuntime>> {
    if settings.runtime != RuntimeKind::Docker {
        return Ok(None);
    }
    let config = DockerConfig { host: preflight::docker_host(), ..DockerConfig::new(&profile.name) };
    access::block_on(async {
        Ok(Some(DockerRuntime::connect(config).await.context("reach the profile's containers")?))
    })
}
