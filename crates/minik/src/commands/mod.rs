//! THE LIST: every command of `minik`, one file each.
//!
//! Adding a command is a file with its arguments and `run`, and a row here.

mod addons;
mod cache;
mod completion;
mod config;
mod cp;
mod dashboard;
mod delete;
mod docker_env;
mod examples;
mod expect;
mod image;
mod ip;
mod kubectl;
mod logs;
mod mount;
mod network_helper;
mod node;
mod pause;
mod profiles;
mod run;
mod service;
mod ssh;
mod start;
mod status;
mod stop;
mod tunnel;
mod update_check;
mod update_context;
mod version;

use crate::preferences;
use crate::profile::{Profile, Settings};
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
    #[arg(short, long, global = true, value_name = "NAME", env = "MINIK_PROFILE", hide_env_values = true)]
    profile: Option<String>,
}

/// A form that programs can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// JSON.
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    #[command(after_long_help = start::EXAMPLES)]
    Start(start::Arguments),
    Stop(stop::Arguments),
    Delete(delete::Arguments),
    Status(status::Arguments),
    Logs(logs::Arguments),
    Pause(pause::PauseArguments),
    Unpause(pause::UnpauseArguments),
    Profile(profiles::Arguments),
    Node(node::Arguments),
    Service(service::Arguments),
    Tunnel(tunnel::Arguments),
    Ip(ip::Arguments),
    Image(image::Arguments),
    Cache(cache::Arguments),
    Kubectl(kubectl::Arguments),
    Ssh(ssh::Arguments),
    Cp(cp::Arguments),
    Mount(mount::Arguments),
    DockerEnv(docker_env::Arguments),
    Addons(addons::Arguments),
    Dashboard(dashboard::Arguments),
    Run(run::Arguments),
    Expect(expect::Arguments),
    Config(config::Arguments),
    UpdateContext(update_context::Arguments),
    UpdateCheck(update_check::Arguments),
    Completion(completion::CompletionArguments),
    Man(completion::ManArguments),
    Version(version::Arguments),
    #[command(hide = true)]
    NetworkHelper(network_helper::Arguments),
}

impl Command {
    fn run(self, cx: &CommandContext) -> Result<ExitCode> {
        match self {
            Self::Start(arguments) => start::run(cx, &arguments),
            Self::Stop(arguments) => stop::run(cx, &arguments),
            Self::Delete(arguments) => delete::run(cx, &arguments),
            Self::Status(arguments) => status::run(cx, &arguments),
            Self::Logs(arguments) => logs::run(cx, &arguments),
            Self::Pause(arguments) => pause::pause(cx, &arguments),
            Self::Unpause(arguments) => pause::unpause(cx, &arguments),
            Self::Profile(arguments) => profiles::run(cx, &arguments),
            Self::Node(arguments) => node::run(cx, &arguments),
            Self::Service(arguments) => service::run(cx, &arguments),
            Self::Tunnel(arguments) => tunnel::run(cx, &arguments),
            Self::Ip(arguments) => ip::run(cx, &arguments),
            Self::Image(arguments) => image::run(cx, &arguments),
            Self::Cache(arguments) => cache::run(cx, &arguments),
            Self::Kubectl(arguments) => kubectl::run(cx, &arguments),
            Self::Ssh(arguments) => ssh::run(cx, &arguments),
            Self::Cp(arguments) => cp::run(cx, &arguments),
            Self::Mount(arguments) => mount::run(cx, &arguments),
            Self::DockerEnv(arguments) => docker_env::run(cx, &arguments),
            Self::Addons(arguments) => addons::run(cx, &arguments),
            Self::Dashboard(arguments) => dashboard::run(cx, &arguments),
            Self::Run(arguments) => run::run(cx, &arguments),
            Self::Expect(arguments) => expect::run(cx, &arguments),
            Self::Config(arguments) => config::run(cx, &arguments),
            Self::UpdateContext(arguments) => update_context::run(cx, &arguments),
            Self::UpdateCheck(arguments) => update_check::run(cx, &arguments),
            Self::Completion(arguments) => completion::completion(cx, &arguments),
            Self::Man(arguments) => completion::man(cx, &arguments),
            Self::Version(arguments) => version::run(cx, &arguments),
            Self::NetworkHelper(arguments) => network_helper::run(cx, &arguments),
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

/// The whole command line.
fn grammar() -> clap::Command {
    examples::shown(Cli::command())
}

/// The kubeconfig's entry of the profile.
pub(crate) fn entry(cx: &CommandContext, settings: &Settings) -> Result<client::kubeconfig::Entry> {
    start::entry(&cx.profile.path("pki"), &cx.profile.name, settings)
}

/// Prints rows in columns, the first one as their titles.
fn table(cx: &CommandContext, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cx.terminal.line(cells.join("   ").trim_end());
    }
}

/// How another program ended, as our own end; 128 and the signal's number, where one has ended it.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = grammar().get_matches();
    let cli = match Cli::from_arg_matches(&cli) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let terminal = Terminal::default();
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
    let name = global.profile.clone().unwrap_or_else(|| preferences::profile(&home));
    Ok(CommandContext {
        terminal: Terminal::default(),
        profile: Profile::new(&home, &name)?,
        home,
        kubeconfig,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands, with all that their flags say.
    const COMMANDS: [&str; 8] =
        ["", "start", "stop", "run", "node add", "image build", "addons enable", "config set"];

    #[test]
    fn help_tells_of_every_flag() {
        let mut all = String::new();
        for line in COMMANDS {
            let words = ["minik"].into_iter().chain(line.split_whitespace()).chain(["--help"]);
            let help = grammar().term_width(100).try_get_matches_from(words);
            all += &format!("$ minik {line} --help\n{}\n", help.expect_err("help"));
        }
        insta::assert_snapshot!(all);
    }
}
