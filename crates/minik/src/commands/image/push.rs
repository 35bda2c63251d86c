//! `minik image push`: from the engine to a registry.

use super::{expect, pull};
use crate::commands::CommandContext;
use anyhow::{Context as _, Result};
use runtime_docker::DockerRuntime;

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, images: &[String]) -> Result<()> {
    for image in images {
        expect(engine, image).await?;
        let pushed = engine.push_image(image, pull::login(image).as_ref()).await;
        pushed.with_context(|| format!("push {image}"))?;
        cx.terminal.line(&format!("Pushed image: {image}"));
    }
    Ok(())
}
