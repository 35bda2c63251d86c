//! `minik image save`: images of the engine into an archive.

use super::{expect, standard};
use crate::cache::write_archive;
use crate::commands::CommandContext;
use crate::problem::Problem;
use anyhow::Result;
use runtime_docker::DockerRuntime;
use std::io::IsTerminal;
use std::path::Path;

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
    write_archive(engine, images, Path::new(file), ".partial").await
}
