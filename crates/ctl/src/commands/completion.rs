//! `completion`: a script for the user's shell.

use clap::ArgMatches;
use clap_complete::{Shell, generate};

use super::{Command, Context, grammar};
use crate::cli;
use crate::report::Error;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "completion", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Output shell completion code for the specified shell (bash, zsh, fish, or powershell)")
        .arg(cli::shell())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let shell = match cli::value(matches, "shell") {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        "powershell" => Shell::PowerShell,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    let mut grammar = grammar();
    let name = grammar.get_name().to_owned();
    generate(shell, &mut grammar, name, &mut script);
    context.terminal.out_bytes(&script)
}
