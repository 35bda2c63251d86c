//! `kuberc`: the user's preferences, shown and changed.
//!
//! **Not here.** What they do to command lines: `preferences`.
//! **Upstream.** `kubectl/pkg/cmd/kuberc` (behaviour and words).

mod set;

use std::path::Path;

use clap::ArgMatches;
use serde_json::json;

use super::{Command, Context, config, print_object};
use crate::cli::{self, value};
use crate::output::{self, Format};
use crate::preferences::{self, Defaults, Preferences};
use crate::report::{Error, message};
use crate::selection;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "kuberc", build, run: |context, matches| Box::pin(run(context, matches)) };

/// The version that is written.
const VERSION: &str = "kubectl.config.k8s.io/v1beta1";

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Manage kuberc configuration files")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(set::command())
        .subcommand(
            clap::Command::new("view")
                .about("Display the current kuberc configuration")
                .args_override_self(true)
                .arg(cli::arguments(""))
                .args(cli::without(selection::print_flags(), &["output"]))
                .arg(cli::output().default_value("yaml")),
        )
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let (word, matches) = matches.subcommand().expect("the grammar requires a command");
    if preferences::disabled(&context.terminal) {
        return Err(message("unknown command \"kuberc\" for \"kctl\""));
    }
    let place = preferences::place(value(matches, "kuberc"), &context.terminal).map_err(message)?;
    let Some((path, explicit)) = place else {
        return Err(message("KUBERC is disabled via KUBERC=off environment variable"));
    };
    match word {
        "set" => set::run(context, matches, &path),
        _ => view(context, matches, &path, explicit),
    }
}

fn view(context: &Context, matches: &ArgMatches, path: &Path, explicit: bool) -> Result<(), Error> {
    let shown = path.display();
    let found = match preferences::read(path) {
        Ok(Some((found, _))) => found,
        Ok(None) => return Err(message(format!("no preferences found in {shown}"))),
        Err(error) if !error.missing => {
            return Err(message(format!("error reading kuberc file: {}", error.why)));
        }
        Err(_) if explicit => return Err(message(format!("kuberc file not found at {shown}"))),
        Err(_) => return offer(context, path),
    };
    let mut document = found.document();
    for field in ["defaults", "aliases"] {
        if document[field].is_null() {
            document[field] = json!([]);
        }
    }
    let text = match output::from_matches(matches)? {
        Format::Human { .. } | Format::CustomColumns(_) => {
            return Err(output::unknown_format(value(matches, "output"), output::TYPED_FORMATS));
        }
        format => match output::print_typed(&format, &document) {
            Some(text) => text,
            None => print_object(&format, &mut document, matches.get_flag("show-managed-fields"))?,
        },
    };
    context.terminal.out(&text)
}

/// Asks whether there are to be the preferences that kubectl recommends.
fn offer(context: &Context, path: &Path) -> Result<(), Error> {
    context.terminal.out(&format!(
        "kuberc file not found at {}\nWould you like to generate a default kuberc file with recommended options? (y/N): ",
        path.display()
    ))?;
    if !context.terminal.read_line()?.eq_ignore_ascii_case("y") {
        return Ok(());
    }
    let default = |command: &str, flag: &str| Defaults {
        command: command.to_owned(),
        options: vec![(flag.to_owned(), "true".to_owned())],
    };
    let defaults = vec![default("apply", "server-side"), default("delete", "interactive")];
    save(context, path, &Preferences { api_version: VERSION.to_owned(), defaults, ..Preferences::default() })
}

fn save(context: &Context, path: &Path, preferences: &Preferences) -> Result<(), Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    config::write(path, &preferences.document())?;
    context.terminal.out(&format!("Updated {}\n", path.display()))
}
