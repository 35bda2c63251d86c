//! `minik cp`: a file to a node's file system, or from it, which is this machine's.

use super::CommandContext;
use crate::access;
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Copy a file to a node, or from it
#[derive(clap::Args, Debug)]
#[command(
    after_help = "A node's files are this machine's.\n\nExamples:\n  minik cp values.txt /var/lib/data/values.txt\n  minik cp minik-m02:/etc/hosts hosts"
)]
pub(super) struct Arguments {
    /// A file, or NODE:FILE
    source: String,
    /// A file or a folder, or NODE:FILE with an absolute path
    target: String,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (settings, _) = access::running(cx)?;
    let place = |text: &str| -> Result<PathBuf> {
        match text.split_once(':') {
            Some((node, path)) if !node.contains('/') => {
                super::node::find(cx, &settings, node)?;
                if !path.starts_with('/') {
                    return Err(Problem::error(
                        format!("target <remote file path> must be an absolute path, not {path:?}"),
                        "name a file as in minik:/var/lib/file",
                    ));
                }
                Ok(PathBuf::from(path))
            }
            _ => Ok(PathBuf::from(text)),
        }
    };
    let (source, mut target) = (place(&arguments.source)?, place(&arguments.target)?);
    if target.is_dir() {
        target.push(source.file_name().with_context(|| format!("{} is no file", source.display()))?);
    }
    if let Some(folder) = target.parent().filter(|folder| *folder != Path::new("")) {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    std::fs::copy(&source, &target)
        .with_context(|| format!("copy {} to {}", source.display(), target.display()))?;
    Ok(ExitCode::SUCCESS)
}
