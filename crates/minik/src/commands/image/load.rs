//! `minik image load`: archives, as `docker save` writes them, into the engine.

use super::{expect, standard};
use crate::commands::CommandContext;
use anyhow::{Context as _, Result};
use runtime_docker::DockerRuntime;
use std::path::Path;

/// Load images from an archive (a file, or - for standard input), or make sure that the local Docker's are usable
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Archives, or names of images of the local Docker
    #[arg(required = true, value_name = "FILE|IMAGE|-")]
    what: Vec<String>,
}

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, arguments: &Arguments) -> Result<()> {
    for what in &arguments.what {
        let said = if what == "-" {
            engine
                .load_images(standard(std::io::stdin())?)
                .await
                .context("load images from standard input")?
        } else if Path::new(what).is_file() {
            let file = tokio::fs::File::open(what).await.with_context(|| format!("open {what}"))?;
            let size = file.metadata().await.map_or(0, |metadata| metadata.len());
            let file = cx.terminal.bar(&format!("Loading {what}")).around(file, size);
            engine.load_images(file).await.with_context(|| format!("load images from {what}"))?
        } else {
            // The nodes use the local Docker's images as they are.
            expect(engine, what).await?;
            vec![format!("Image is there: {what}")]
        };
        said.iter().for_each(|line| cx.terminal.line(line));
    }
    Ok(())
}
