//! `minik image save`: images of the engine into an archive.

use super::{expect, standard};
use crate::commands::CommandContext;
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use runtime_docker::DockerRuntime;
use std::io::IsTerminal;

/// Save images to an archive
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Images by name, then the file (- for standard output)
    #[arg(required = true, num_args = 2.., value_name = "IMAGE... FILE")]
    what: Vec<String>,
}

pub(super) async fn run(_: &CommandContext, engine: &DockerRuntime, arguments: &Arguments) -> Result<()> {
    let Some((file, images)) = arguments.what.split_last() else { return Ok(()) };
    for image in images {
        expect(engine, image).await?;
    }
    if file == "-" {
        if std::io::stdout().is_terminal() {
            return Err(Problem::error("an archive is nothing for a terminal", "name a file, or use a pipe"));
        }
        return Ok(engine.save_images(images, &mut standard(std::io::stdout())?).await?);
    }
    // Whoever reads the file finds all of it or none.
    let partial = format!("{file}.partial");
    let mut out = tokio::fs::File::create(&partial).await.with_context(|| format!("create {file}"))?;
    let saved = engine.save_images(images, &mut out).await;
    let moved = match saved {
        Ok(()) => tokio::fs::rename(&partial, file).await.with_context(|| format!("write {file}")),
        Err(error) => Err(error.into()),
    };
    if moved.is_err() {
        let _ = tokio::fs::remove_file(&partial).await;
    }
    moved
}
