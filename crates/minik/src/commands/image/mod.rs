//! `minik image`: the images that a profile's pods can use, without a registry.
//!
//! **Contract**: the nodes of a profile run containers in one engine, so an image that is there is on every node.
//! **Upstream**: `minikube image`.

mod build;
mod context;
mod load;
mod ls;
mod pull;
mod push;
mod rm;
mod save;
mod tag;

pub(super) use pull::pull;

use super::CommandContext;
use crate::problem::Problem;
use crate::profile::{RuntimeKind, Settings};
use crate::{access, preflight, registries};
use anyhow::{Context as _, Result, bail};
use runtime::ImageService;
use runtime_docker::DockerRuntime;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Manage the images that pods of the cluster can use
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What several commands are given.
#[derive(clap::Args, Debug)]
pub(super) struct Images {
    /// Images by name
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<String>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Build(build::Arguments),
    Load(load::Arguments),
    #[command(alias = "list")]
    Ls(ls::Arguments),
    /// Pull images from their registries
    Pull(Images),
    /// Push images to their registries
    Push(Images),
    /// Remove images
    #[command(alias = "remove", alias = "unload")]
    Rm(Images),
    Save(save::Arguments),
    Tag(tag::Arguments),
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let Some(settings) = cx.profile.settings()? else {
        return Err(Problem::error(
            format!("profile {:?} does not exist", cx.profile.name),
            format!("start it: minik start -p {}", cx.profile.name),
        ));
    };
    if settings.runtime != RuntimeKind::Docker {
        bail!("profile {:?} has no images: its nodes only simulate containers", cx.profile.name);
    }
    access::block_on(async {
        let engine = engine(cx, &settings).await?;
        match &arguments.command {
            Command::Build(arguments) => build::run(cx, &engine, arguments).await,
            Command::Load(arguments) => load::run(cx, &engine, arguments).await,
            Command::Ls(arguments) => ls::run(cx, &engine, arguments).await,
            Command::Pull(named) => pull::run(cx, &engine, &named.images).await,
            Command::Push(named) => push::run(cx, &engine, &named.images).await,
            Command::Rm(named) => rm::run(cx, &engine, &named.images).await,
            Command::Save(arguments) => save::run(cx, &engine, arguments).await,
            Command::Tag(arguments) => tag::run(cx, &engine, arguments).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The engine of a profile's nodes.
pub(super) async fn engine(cx: &CommandContext, settings: &Settings) -> Result<DockerRuntime> {
    let config = registries::docker_config(&cx.profile.name, &settings.registries);
    preflight::docker(&config.host)?;
    Ok(DockerRuntime::connect(config).await?)
}

/// Fails unless the engine has the image.
async fn expect(engine: &DockerRuntime, image: &str) -> Result<()> {
    if engine.image_status(image).await?.is_none() {
        return Err(Problem::error(
            format!("No such image: {image}"),
            format!("see what there is: minik image ls; fetch it: minik image pull {image}"),
        ));
    }
    Ok(())
}

/// A stream of this process as a file of its own.
fn standard(stream: impl AsFd) -> Result<tokio::fs::File> {
    let owned = stream.as_fd().try_clone_to_owned().context("open a standard stream")?;
    Ok(tokio::fs::File::from_std(owned.into()))
}
