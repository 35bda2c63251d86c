//! `minik image rm`: takes names from images, and the image with the last of them.

use super::expect;
use crate::commands::CommandContext;
use anyhow::Result;
use runtime::ImageService;
use runtime_docker::DockerRuntime;

/// Remove images
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Images by name
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, arguments: &Arguments) -> Result<()> {
    for image in &arguments.images {
        expect(engine, image).await?;
        engine.remove_image(image).await?;
        cx.terminal.line(&format!("Removed image: {image}"));
    }
    Ok(())
}
