//! `minik image pull`: from a registry into the engine.

use crate::commands::CommandContext;
use anyhow::{Context as _, Result};
use runtime::AuthConfig;
use runtime_docker::{DockerRuntime, Progress};
use std::path::PathBuf;

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, images: &[String]) -> Result<()> {
    for image in images {
        pull(cx, engine, image).await?;
        cx.terminal.line(&format!("Pulled image: {image}"));
    }
    Ok(())
}

/// Pulls with what `docker login` knows, and shows how far it is.
pub(in crate::commands) async fn pull(
    cx: &CommandContext,
    engine: &DockerRuntime,
    image: &str,
) -> Result<()> {
    let auth = login(image);
    let mut bar = cx.terminal.bar(&format!("Pulling {image}"));
    let mut on_progress = |progress: Progress| bar.set(progress.done, progress.total);
    let pulled = engine.pull(image, auth.as_ref(), &mut on_progress).await;
    pulled.with_context(|| format!("pull {image}"))?;
    Ok(())
}

/// What `docker login` knows of an image's registry.
pub(super) fn login(image: &str) -> Option<AuthConfig> {
    let logins = docker_config().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    kubelet::registry_credentials(image, &logins).into_iter().next()
}

/// Where `docker login` keeps what it was told.
fn docker_config() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir()?.join(".docker"),
    };
    Some(folder.join("config.json"))
}
