//! `api-versions`: the group versions served, sorted.

use clap::ArgMatches;

use super::{Command, Context};
use crate::cli;
use crate::discovery::group_version;
use crate::report::Error;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "api-versions", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Print the supported API versions on the server, in the form of \"group/version\"")
        .arg(cli::arguments(""))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    cli::no_arguments(matches, "unexpected arguments", "api-versions")?;
    let discovery = context.discovery().await?;
    let mut versions: Vec<String> = discovery
        .groups
        .iter()
        .flat_map(|(group, versions)| versions.iter().map(|(version, _)| group_version(group, version)))
        .collect();
    versions.sort();
    context.terminal.out(&versions.iter().map(|version| format!("{version}\n")).collect::<String>())
}
