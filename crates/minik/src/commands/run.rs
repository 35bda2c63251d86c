//! `minik run -- COMMAND`: a fresh cluster for one command, gone afterwards whatever happens.
//!
//! **Contract**: the command gets a kubeconfig of its own and its exit code is ours. A second process deletes the cluster
//! when this one ends, however it ends: it waits for the end of a pipe, which the kernel closes.

use super::{CommandContext, delete, exit_code, start};
use crate::daemon;
use crate::problem::Problem;
use crate::profile::Profile;
use crate::terminal::Terminal;
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::process::{Child, Command, ExitCode, Stdio};

/// Run a command with a fresh cluster, which is removed afterwards
#[derive(clap::Args, Debug)]
#[group(skip)]
#[command(
    after_help = "The command finds the cluster by KUBECONFIG, and its name in MINIK_PROFILE.\n\nExamples:\n  minik run -- make test\n  minik run --simulated-nodes 50 --runtime simulated -- kubectl get nodes"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    start: start::Arguments,
    /// Leave the cluster if the command fails, to look at it
    #[arg(long)]
    keep_on_failure: bool,
    /// The command with its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.start.dry_run {
        return Err(Problem::error(
            "--dry-run starts no cluster that a command could have",
            "see whether one could start: minik start --dry-run",
        ));
    }
    let rng = component_base::Context::system().rng;
    let name = format!("run-{}", rng.suffix(8));
    let profile = Profile::new(&cx.home, &name)?;
    profile.create()?;
    let own = CommandContext {
        // The command's output is what counts.
        terminal: Terminal::stderr(),
        home: cx.home.clone(),
        kubeconfig: profile.path("kubeconfig"),
        profile,
    };
    let mut guard = guard(&own)?;
    let ended = started(&own, arguments);
    if arguments.keep_on_failure && !matches!(&ended, Ok(status) if status.success()) {
        // Nobody is to delete it now.
        let _ = guard.kill();
        let _ = guard.wait();
        let path = own.kubeconfig.display();
        own.terminal.line(&format!(
            "The cluster is left running: KUBECONFIG={path}; delete it: minik delete -p {name}"
        ));
        return Ok(exit_code(ended?));
    }
    drop(guard.stdin.take());
    let deleted = guard.wait().context("wait for the cluster's deletion")?;
    let status = ended?;
    if !deleted.success() {
        anyhow::bail!("the cluster {name:?} could not be deleted");
    }
    Ok(exit_code(status))
}

fn started(cx: &CommandContext, arguments: &Arguments) -> Result<std::process::ExitStatus> {
    start::run(cx, &arguments.start)?;
    let (program, words) = arguments.command.split_first().context("a command")?;
    let mut command = Command::new(program);
    command.args(words).env("KUBECONFIG", &cx.kubeconfig).env("MINIK_PROFILE", &cx.profile.name);
    daemon::die_with_parent(&mut command);
    command.status().with_context(|| format!("run {}", program.display()))
}

/// The process that deletes the cluster when our end of its standard input is closed.
fn guard(cx: &CommandContext) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command
        .args(["delete", "--profile", &cx.profile.name, delete::WHEN_CLOSED])
        .env("MINIK_HOME", &cx.home)
        .env("KUBECONFIG", &cx.kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    daemon::in_new_session(&mut command);
    command.spawn().context("start the cluster's guard")
}
