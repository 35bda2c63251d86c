//! A profile's API server, asked by a command.

use crate::commands::CommandContext;
use crate::problem::Problem;
use crate::profile::Settings;
use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// The settings of the profile, if it was ever started.
pub(crate) fn settings(cx: &CommandContext) -> Result<Settings> {
    cx.profile.settings()?.ok_or_else(|| {
        Problem::error(
            format!("profile {:?} does not exist", cx.profile.name),
            format!("start it: minik start -p {}", cx.profile.name),
        )
    })
}

/// The settings and the process id of a profile that runs.
pub(crate) fn running(cx: &CommandContext) -> Result<(Settings, u32)> {
    let settings = settings(cx)?;
    match cx.profile.running()? {
        Some(pid) => Ok((settings, pid)),
        None => Err(Problem::error(
            format!("profile {:?} is not running", cx.profile.name),
            format!("start it: minik start -p {}", cx.profile.name),
        )),
    }
}

/// A client with the administrator's rights.
pub(crate) async fn client(cx: &CommandContext, settings: &Settings) -> Result<kube::Client> {
    let entry = crate::commands::entry(cx, settings)?;
    let config = client::kubeconfig::merge(serde_json::Value::Null, &entry).map_err(anyhow::Error::msg)?;
    let config: Kubeconfig = serde_json::from_value(config).context("make a client configuration")?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Runs what a command waits for.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(work)
}
