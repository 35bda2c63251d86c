//! `minik mount SOURCE:TARGET`: a folder of this machine under another name, for volumes that name it so.
//!
//! **Contract**: holds until Ctrl-C or SIGTERM. A `hostPath` volume reaches every folder of this machine as it is; this is
//! for manifests that expect another path.

use super::CommandContext;
use crate::access;
use crate::mounts::Held;
use crate::problem::Problem;
use crate::profile::Mount;
use anyhow::{Context as _, Result};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Mount a folder under another path, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(
    after_help = "hostPath volumes reach every folder of this machine as it is. This gives a folder a second path.\n\nExamples:\n  minik mount $PWD/data:/mnt/data"
)]
pub(super) struct Arguments {
    /// SOURCE:TARGET, with :ro for one that nobody may write to
    folders: String,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    access::running(cx)?;
    let mount = arguments
        .folders
        .parse::<Mount>()
        .map_err(|why| Problem::error(why, "give both: minik mount /home/me/data:/mnt/data"))?;
    if !mount.host_path.is_dir() {
        return Err(Problem::error(
            format!("{:?} is no folder", mount.host_path),
            "name a folder of this machine",
        ));
    }
    access::block_on(hold(cx, &mount))?;
    Ok(ExitCode::SUCCESS)
}

/// Mounts a folder, and unmounts it when a signal comes; one that comes at once is not missed.
async fn hold(cx: &CommandContext, mount: &Mount) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let _held = Held::mount(mount)?;
    let (source, target) = (mount.host_path.display(), mount.node_path.display());
    cx.terminal.line(&format!("{source} is mounted on {target} until Ctrl-C."));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
