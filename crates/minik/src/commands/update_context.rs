//! `minik update-context`: the kubeconfig's entry as it should be.

use super::{CommandContext, start};
use crate::access;
use anyhow::Result;
use std::process::ExitCode;

/// Mend the profile's entry in the kubeconfig, and make it current
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}

pub(super) fn run(cx: &CommandContext, _: &Arguments) -> Result<ExitCode> {
    let settings = access::settings(cx)?;
    start::install_kubeconfig(cx, &settings)?;
    cx.terminal.line(&format!(
        "The context {:?} leads to https://127.0.0.1:{}.",
        cx.profile.name, settings.api_port
    ));
    Ok(ExitCode::SUCCESS)
}
