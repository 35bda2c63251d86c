//! `minik cache`: images that are kept beside the engine, and given to it again where it has lost them.
//!
//! **Contract**: all profiles of this machine use one engine, so an image that is loaded is there for all of them.
//! **Upstream.** `minikube cache` (its commands and flags).

use super::{CommandContext, Output, image};
use crate::access;
use crate::cache::{Cache, Cached};
use crate::problem::Problem;
use crate::template;
use anyhow::{Context as _, Result};
use runtime::ImageService as _;
use runtime_docker::DockerRuntime;
use serde_json::json;
use std::process::ExitCode;

/// Keep images for engines that lose them: every start loads those that are missing
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Keep images; those that the engine has not are pulled
    Add {
        #[command(flatten)]
        named: image::Images,
        /// For all profiles; they share one engine, so this is what happens in any case
        #[arg(long)]
        all: bool,
    },
    /// Keep images no more; the engine has them still
    Delete(image::Images),
    /// List the images that are kept
    List {
        /// Print a result that programs can read
        #[arg(short, long, value_enum, conflicts_with = "format")]
        output: Option<Output>,
        /// A line for each, with {{.CacheImage}} for its name
        #[arg(long, value_name = "TEMPLATE")]
        format: Option<String>,
    },
    /// Load all images that are kept into the engine
    Reload,
    /// Pull all images that are kept again, and keep what has come
    Sync,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let cache = Cache::new(&cx.home);
    match &arguments.command {
        Command::List { output, format } => list(cx, &cache, *output, format.as_deref())?,
        Command::Delete(named) => {
            for cached in entries(&cache, &named.images)? {
                if !cached.exists() {
                    return Err(Problem::error(
                        format!("{} is not in the cache", cached.name),
                        "see what is: minik cache list",
                    ));
                }
                cached.remove()?;
                cx.terminal.line(&format!("Deleted from the cache: {}", cached.name));
            }
        }
        Command::Add { named, .. } => {
            let wanted = entries(&cache, &named.images)?;
            with_engine(cx, async |engine| {
                for cached in &wanted {
                    if engine.image_status(&cached.name).await?.is_none() {
                        image::pull(cx, engine, &cached.name).await?;
                    }
                    keep(cx, engine, cached).await?;
                }
                Ok(())
            })?;
        }
        Command::Reload => {
            let all = cache.list()?;
            with_engine(cx, async |engine| {
                for cached in &all {
                    cached.load(engine).await?;
                    cx.terminal.line(&format!("Loaded image: {}", cached.name));
                }
                Ok(())
            })?;
        }
        Command::Sync => {
            let all = cache.list()?;
            with_engine(cx, async |engine| {
                for cached in &all {
                    image::pull(cx, engine, &cached.name).await?;
                    keep(cx, engine, cached).await?;
                }
                Ok(())
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn keep(cx: &CommandContext, engine: &DockerRuntime, cached: &Cached) -> Result<()> {
    cached.save(engine).await?;
    cx.terminal.line(&format!("Cached image: {}", cached.name));
    Ok(())
}

fn entries(cache: &Cache, images: &[String]) -> Result<Vec<Cached>> {
    images.iter().map(|image| cache.entry(image)).collect()
}

fn list(cx: &CommandContext, cache: &Cache, output: Option<Output>, format: Option<&str>) -> Result<()> {
    let names: Vec<String> = cache.list()?.into_iter().map(|cached| cached.name).collect();
    if let Some(Output::Json) = output {
        cx.terminal.line(&json!(names).to_string());
        return Ok(());
    }
    for name in &names {
        match format {
            Some(format) => cx.terminal.line(&template::fill(format, &[("CacheImage", name)])?),
            None => cx.terminal.line(name),
        }
    }
    Ok(())
}

/// Does something with the engine that the profile's nodes use, or would use.
fn with_engine(cx: &CommandContext, work: impl AsyncFnOnce(&DockerRuntime) -> Result<()>) -> Result<()> {
    let settings = cx.profile.settings()?.unwrap_or_default();
    access::block_on(async {
        let engine = image::engine(cx, &settings).await.context("reach the engine")?;
        work(&engine).await
    })
}
