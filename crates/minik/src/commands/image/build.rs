//! `minik image build`: from a folder with a Dockerfile to an image that pods can use.

use super::context;
use crate::commands::CommandContext;
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use runtime_docker::{BuildOptions, DockerRuntime};
use std::io::Seek;
use std::path::PathBuf;

/// Build an image from a folder
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The image's name
    #[arg(short, long, value_name = "IMAGE")]
    tag: String,
    /// The Dockerfile, a path within the folder
    #[arg(short, long, default_value = "Dockerfile", value_name = "PATH")]
    file: String,
    /// Values of the Dockerfile's ARGs
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// The stage to build
    #[arg(long, default_value = "", hide_default_value = true)]
    target: String,
    /// Do again what was done before
    #[arg(long)]
    no_cache: bool,
    /// Pull newer base images
    #[arg(long)]
    pull: bool,
    /// The folder
    folder: PathBuf,
}

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, arguments: &Arguments) -> Result<()> {
    if !arguments.folder.join(&arguments.file).is_file() {
        return Err(Problem::error(
            format!("{} has no file {:?}", arguments.folder.display(), arguments.file),
            "name the Dockerfile with --file",
        ));
    }
    let value = |argument: &String| {
        let (name, value) = argument
            .split_once('=')
            .with_context(|| format!("--build-arg {argument:?} is not of the form NAME=VALUE"))?;
        anyhow::Ok((name.to_owned(), value.to_owned()))
    };
    let options = BuildOptions {
        tag: arguments.tag.clone(),
        dockerfile: arguments.file.clone(),
        arguments: arguments.arguments.iter().map(value).collect::<Result<_>>()?,
        target: arguments.target.clone(),
        no_cache: arguments.no_cache,
        pull: arguments.pull,
    };
    let mut archive = context::archive(&arguments.folder, &arguments.file)?;
    archive.rewind().context("read the build context")?;
    let said = |text: &str| {
        // What cannot be shown does not end the build.
        let _ = cx.terminal.raw(text.as_bytes());
    };
    engine.build_image(tokio::fs::File::from_std(archive), &options, said).await?;
    Ok(())
}
