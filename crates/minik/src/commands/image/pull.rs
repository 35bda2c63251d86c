//! `minik image pull`: from a registry into the engine.

use crate::commands::CommandContext;
use anyhow::{Context as _, Result};
use runtime::ImageService;
use runtime_docker::DockerRuntime;
use std::path::PathBuf;

/// Pull images from their registries
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Images by name
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, arguments: &Arguments) -> Result<()> {
    let logins = docker_config().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    for image in &arguments.images {
        let auth = kubelet::registry_credentials(image, &logins).into_iter().next();
        engine.pull_image(image, auth.as_ref()).await.with_context(|| format!("pull {image}"))?;
        cx.terminal.line(&format!("Pulled image: {image}"));
    }
    Ok(())
}

/// Where `docker login` keeps what it was told.
fn docker_config() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir()?.join(".docker"),
    };
    Some(folder.join("config.json"))
}
