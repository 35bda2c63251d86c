//! `patch`: a JSON, merge or strategic merge patch of objects.
//!
//! **Contract.** With `--local`, and in a client's dry run, the patch is applied here: to the file's object, or to the server's.
//! **Upstream.** `kubectl/pkg/cmd/patch` (behaviour).

use clap::ArgMatches;

use super::{Command, Context};
use crate::cli::{self, DryRun, value, values};
use crate::client_config::os_text;
use crate::local_patch;
use crate::report::{Error, message};
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "patch", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Update fields of a resource")
        .arg(cli::arguments("(-f FILENAME | TYPE NAME) [-p PATCH|--patch-file FILE]"))
        .args(cli::files())
        .args(selection::change_flags("kubectl-patch"))
        .arg(cli::text("patch", "The patch to be applied to the resource JSON file").short('p'))
        .arg(cli::text("patch-file", "A file containing a patch to be applied to the resource"))
        .arg(
            cli::text("type", "The type of patch being provided; one of [json merge strategic]")
                .default_value("strategic"),
        )
        .arg(cli::flag(
            "local",
            "If true, patch will operate on the content of the file, not the server-side resource.",
        ))
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
    let (kind, local) = (value(matches, "type"), matches.get_flag("local"));
    let Some(kind) = local_patch::Kind::named(kind) else {
        return Err(message(format!("--type must be one of [json merge strategic], not {kind:?}")));
    };
    let patch = crate::yaml_input::parse(&text)
        .map_err(|error| message(format!("unable to parse {text:?}: {error}")))?;
    let (change, arguments) = (Change::from_matches(matches)?, values(matches, "arguments"));
    if local && !arguments.is_empty() {
        return Err(message("cannot specify --local and server resources"));
    }
    if local && change.dry_run == DryRun::Server {
        return Err(message(selection::LOCAL_AND_SERVER));
    }
    let (found, mut errors) = match local {
        true => selection::local(context, matches).await?,
        false => selection::select(context, matches, arguments).await?,
    };
    if found.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to patch"));
    }
    let subresource = value(matches, "subresource");
    let end = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    for selected in &found {
        let patched = if local || change.dry_run == DryRun::Client {
            local_patch::apply(kind, &selected.object, &patch)
        } else {
            let path = change.query(&(selected.target.path() + &end));
            context.connection().await?.patch(&path, kind.media(), &patch).await
        };
        match patched {
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
