//! `man`: manual pages, a file a command.
//!
//! **Not here.** kubectl has no such command; `minik man` does the same for `minik`.

use std::path::PathBuf;

use clap::{Arg, ArgMatches};

use super::{Command, Context, grammar};
use crate::client_config::os_text;
use crate::report::{Error, message};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "man", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Write manual pages into a folder")
        .arg(Arg::new("folder").required(true).value_parser(clap::value_parser!(PathBuf)))
        .after_help("Examples:\n  kctl man /usr/local/share/man/man1")
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let folder = matches.get_one::<PathBuf>("folder").cloned().unwrap_or_default();
    let failed =
        |error: std::io::Error| message(format!("write to {}: {}", folder.display(), os_text(&error)));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    clap_mangen::generate_to(grammar(), &folder).map_err(failed)?;
    context.terminal.out(&format!("The manual pages are in {}.\n", folder.display()))
}
