//! `alpha`: commands that kubectl tries out; this version has none.

use clap::ArgMatches;

use super::{Command, Context};
use crate::report::Error;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "alpha", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command.about("Commands for features in alpha").hide(true)
}

async fn run(context: &Context, _: &ArgMatches) -> Result<(), Error> {
    context.terminal.err("No alpha commands are available in this version of kubectl\n");
    Ok(())
}
