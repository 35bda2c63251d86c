//! `minik image tag`: one more name for an image.

use super::expect;
use crate::commands::CommandContext;
use anyhow::Result;
use runtime_docker::DockerRuntime;

/// Give an image another name
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The image
    image: String,
    /// Its other name
    name: String,
}

pub(super) async fn run(_: &CommandContext, engine: &DockerRuntime, arguments: &Arguments) -> Result<()> {
    expect(engine, &arguments.image).await?;
    Ok(engine.tag_image(&arguments.image, &arguments.name).await?)
}
