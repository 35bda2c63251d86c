//! `patch`: a JSON, merge or strategic merge patch of objects.
//!
//! **Contract.** A client dry run asks the server to try, as only it knows how lists of the kind merge.
//! **Upstream.** `kubectl/pkg/cmd/patch` (behaviour).

use clap::ArgMatches;

use super::{Command, Context};
use crate::cli::{self, DryRun, value, values};
use crate::client_config::os_text;
use crate::connection::{MERGE_PATCH, STRATEGIC_PATCH};
use crate::report::{Error, message};
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "patch", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Update fields of a resource")
        .arg(cli::arguments("(-f FILENAME | TYPE NAME) [-p PATCH|--patch-file FILE]"))
        .args(selection::flags())
        .args(selection::change_flags("kubectl-patch"))
        .arg(cli::text("patch", "The patch to be applied to the resource JSON file").short('p'))
        .arg(cli::text("patch-file", "A file containing a patch to be applied to the resource"))
        .arg(
            cli::text("type", "The type of patch being provided; one of [json merge strategic]")
                .default_value("strategic"),
        )
        .arg(cli::text(
            "subresource",
            "If specified, patch will operate on the subresource of the requested object",
        ))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let file = value(matches, "patch-file");
    let text = match (value(matches, "patch"), file) {
        ("", "") => {
            return Err(message("must specify --patch or --patch-file containing the contents of the patch"));
        }
        (text, "") => text.to_owned(),
        ("", _) => std::fs::read_to_string(file).map_err(|error| {
            message(format!("unable to read patch file: open {file}: {}", os_text(&error)))
        })?,
        _ => return Err(message("cannot specify --patch and --patch-file together")),
    };
    let media = match value(matches, "type") {
        "json" => "application/json-patch+json",
        "merge" => MERGE_PATCH,
        "strategic" => STRATEGIC_PATCH,
        other => {
            return Err(message(format!("--type must be one of [json merge strategic], not {other:?}")));
        }
    };
    let patch = crate::yaml_input::parse(&text)
        .map_err(|error| message(format!("unable to parse {text:?}: {error}")))?;
    let change = Change::from_matches(matches)?;
    let (found, mut errors) = selection::select(context, matches, values(matches, "arguments")).await?;
    let subresource = value(matches, "subresource");
    let end = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    for selected in &found {
        let mut path = change.query(&(selected.target.path() + &end));
        if change.dry_run == DryRun::Client {
            path += if path.contains('?') { "&dryRun=All" } else { "?dryRun=All" };
        }
        match context.connection().await?.patch(&path, media, &patch).await {
            Ok(mut object) => {
                let same = object == selected.object;
                let done = if same { "patched (no change)" } else { "patched" };
                change.print_bare(context, &mut object, done)?;
            }
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}
