//! `minik image rm`: takes names from images, and the image with the last of them.

use super::expect;
use crate::commands::CommandContext;
use anyhow::Result;
use runtime::ImageService;
use runtime_docker::DockerRuntime;

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, images: &[String]) -> Result<()> {
    for image in images {
        expect(engine, image).await?;
        engine.remove_image(image).await?;
        cx.terminal.line(&format!("Removed image: {image}"));
    }
    Ok(())
}
