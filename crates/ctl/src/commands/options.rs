//! `options`: the flags that every command takes.

use clap::ArgMatches;

use super::{Command, Context};
use crate::cli;
use crate::report::Error;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "options", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command.about("Print the list of flags inherited by all commands")
}

async fn run(context: &Context, _: &ArgMatches) -> Result<(), Error> {
    let mut flags = cli::global_flags();
    flags.sort_by_key(|flag| flag.get_id().to_string());
    let mut text = "The following options can be passed to any command:\n".to_owned();
    for flag in flags {
        let name = flag.get_id().as_str();
        let short = flag.get_short().map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let given = flag.get_default_values().first().and_then(|value| value.to_str()).unwrap_or("");
        let home = || context.terminal.home().map(|home| home.join(".kube/cache").display().to_string());
        let default = match name {
            "v" => "0".to_owned(),
            "vmodule" => String::new(),
            "request-timeout" => "'0'".to_owned(),
            "as-group" | "as-user-extra" => "[]".to_owned(),
            "cache-dir" => format!("'{}'", home().unwrap_or_default()),
            "log-flush-frequency" => given.to_owned(),
            _ if flag.is_require_equals_set() => given.to_owned(),
            _ => format!("'{given}'"),
        };
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        text += &format!("\n{short}--{name}={default}:\n\t{help}\n");
    }
    context.terminal.out(&text)
}
