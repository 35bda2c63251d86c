//! `minik network-helper`: what the engine runs with rights over the network for a cluster that has none.

use super::CommandContext;
use anyhow::{Context as _, Result};
use std::process::ExitCode;

/// Change rules of the kernel for a server at the other end of standard input and output
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}

pub(super) fn run(_: &CommandContext, _: &Arguments) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let served = runtime.block_on(crate::cluster::network_helper());
    // The thread that reads standard input would be waited for.
    runtime.shutdown_background();
    served.context("serve")?;
    Ok(ExitCode::SUCCESS)
}
