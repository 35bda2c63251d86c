//! THE LIST: every command of `minik`, one file each.
//!
//! Adding a command is a file with its arguments and `run`, and a row here.

mod delete;
mod image;
mod ip;
mod logs;
mod start;
mod status;
mod stop;
mod version;

use crate::profile::{self, Profile};
use crate::terminal::Terminal;
use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A whole Kubernetes cluster in one binary.
#[derive(Parser, Debug)]
#[command(name = "minik", version = env!("CARGO_PKG_VERSION"), propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The cluster to act on; each is independent of the others
    #[arg(short, long, global = true, default_value = profile::DEFAULT, value_name = "NAME")]
    profile: String,
}

#[derive(Subcommand, Debug)]
enum Command {
    Start(start::Arguments),
    Stop(stop::Arguments),
    Delete(delete::Arguments),
    Status(status::Arguments),
    Logs(logs::Arguments),
    Ip(ip::Arguments),
    Image(image::Arguments),
    Version(version::Arguments),
}

impl Command {
    fn run(self, cx: &CommandContext) -> Result<ExitCode> {
        match self {
            Self::Start(arguments) => start::run(cx, &arguments),
            Self::Stop(arguments) => stop::run(cx, &arguments),
            Self::Delete(arguments) => delete::run(cx, &arguments),
            Self::Status(arguments) => status::run(cx, &arguments),
            Self::Logs(arguments) => logs::run(cx, &arguments),
            Self::Ip(arguments) => ip::run(cx, &arguments),
            Self::Image(arguments) => image::run(cx, &arguments),
            Self::Version(arguments) => version::run(cx, &arguments),
        }
    }
}

/// What every command is handed.
pub(crate) struct CommandContext {
    pub(crate) terminal: Terminal,
    /// `$MINIK_HOME`, or `~/.minik`.
    pub(crate) home: PathBuf,
    /// The file that kubectl would write to.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) profile: Profile,
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&cli) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let terminal = Terminal;
    match context(&cli.global).and_then(|cx| cli.command.run(&cx)) {
        Ok(code) => code,
        Err(error) => {
            terminal.error(&error);
            ExitCode::FAILURE
        }
    }
}

fn context(global: &Global) -> Result<CommandContext> {
    let user = std::env::home_dir();
    let home = match std::env::var_os("MINIK_HOME").filter(|home| !home.is_empty()) {
        // The server runs in another folder than the command that started it.
        Some(home) => std::path::absolute(home).context("find MINIK_HOME")?,
        None => user.clone().context("find your home folder; set MINIK_HOME")?.join(".minik"),
    };
    let default = user.unwrap_or_default().join(".kube").join("config");
    let kubeconfig = client::kubeconfig::target(std::env::var("KUBECONFIG").ok().as_deref(), &default);
    Ok(CommandContext {
        terminal: Terminal,
        profile: Profile::new(&home, &global.profile)?,
        home,
        kubeconfig,
    })
}
