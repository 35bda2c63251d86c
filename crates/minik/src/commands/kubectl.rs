//! `minik kubectl -- …`: kctl, or the kubectl that is installed, with this profile's context.

use super::CommandContext;
use crate::problem::Problem;
use anyhow::Result;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Run kctl (or kubectl) with the profile's context
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// What to run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let program = program().ok_or_else(|| {
        Problem::error(
            "neither kctl nor kubectl is installed",
            "put kctl beside minik, or into a folder of PATH",
        )
    })?;
    // Takes this process's place; returns only where that fails.
    let error = Command::new(&program)
        .env("KUBECONFIG", &cx.kubeconfig)
        .arg(format!("--context={}", cx.profile.name))
        .args(&arguments.arguments)
        .exec();
    Err(anyhow::Error::new(error).context(format!("run {}", program.display())))
}

/// kctl beside this program, else one of the two in `PATH`.
fn program() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("kctl"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let installed =
        ["kctl", "kubectl"].into_iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
    beside.into_iter().chain(installed).find(|path| path.is_file())
}
