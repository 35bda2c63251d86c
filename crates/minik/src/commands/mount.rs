//! `minik mount SOURCE:TARGET`: a folder of this machine under another name, for volumes that name it so.
//!
//! **Contract**: holds until Ctrl-C or SIGTERM. A `hostPath` volume reaches every folder of this machine as it is; this is
//! for manifests that expect another path.

use super::CommandContext;
use crate::access;
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Mount a folder under another path, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(
    after_help = "hostPath volumes reach every folder of this machine as it is. This gives a folder a second path.\n\nExamples:\n  minik mount $PWD/data:/mnt/data"
)]
pub(super) struct Arguments {
    /// SOURCE:TARGET, both absolute
    folders: String,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    access::running(cx)?;
    let Some((source, target)) =
        arguments.folders.split_once(':').filter(|(_, target)| target.starts_with('/'))
    else {
        return Err(Problem::error(
            format!("{:?} does not name two folders", arguments.folders),
            "give both: minik mount /home/me/data:/mnt/data",
        ));
    };
    if !Path::new(source).is_dir() {
        return Err(Problem::error(format!("{source:?} is no folder"), "name a folder of this machine"));
    }
    let made = !Path::new(target).exists();
    std::fs::create_dir_all(target).with_context(|| format!("create {target}"))?;
    let held = access::block_on(hold(cx, source, target));
    if made {
        let _ = std::fs::remove_dir(target);
    }
    held?;
    Ok(ExitCode::SUCCESS)
}

/// Mounts a folder, and unmounts it when a signal comes; one that comes at once is not missed.
async fn hold(cx: &CommandContext, source: &str, target: &str) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    rustix::mount::mount_bind(source, target).map_err(|error| {
        Problem::error(
            format!("cannot mount {source} on {target}: {error}"),
            format!("only root may mount; a hostPath volume reaches {source} without it"),
        )
    })?;
    cx.terminal.line(&format!("{source} is mounted on {target} until Ctrl-C."));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH)
        .with_context(|| format!("unmount {target}"))
}
