//! `minik completion` and `minik man`: a script for the user's shell, and manual pages.

use super::CommandContext;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
pub(super) struct CompletionArguments {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Write manual pages into a folder
#[derive(clap::Args, Debug)]
pub(super) struct ManArguments {
    /// The folder
    folder: PathBuf,
}

pub(super) fn completion(cx: &CommandContext, arguments: &CompletionArguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::grammar(), "minik", &mut script);
    cx.terminal.raw(&script).context("print the script")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(cx: &CommandContext, arguments: &ManArguments) -> Result<ExitCode> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    clap_mangen::generate_to(super::grammar(), folder)
        .with_context(|| format!("write to {}", folder.display()))?;
    cx.terminal.line(&format!("The manual pages are in {}.", folder.display()));
    Ok(ExitCode::SUCCESS)
}
