//! `edit`: objects as YAML in the user's editor, and a patch of what was changed.
//!
//! **Contract.** One object at a time. What cannot be saved is kept in a file that the message names; the editor opens once.
//! **Upstream.** `kubectl/pkg/cmd/edit` (behaviour).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use api::schema::Schema;
use clap::ArgMatches;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, values};
use crate::client_config::os_text;
use crate::connection::{MERGE_PATCH, STRATEGIC_PATCH};
use crate::output::{name, without_managed_fields, yaml};
use crate::report::{Error, message};
use crate::selection::{self, Change, Selected};
use crate::{three_way, yaml_input};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "edit", build, run: |context, matches| Box::pin(run(context, matches)) };

const HEAD: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n";
const CANCELLED: &str = "Edit cancelled, no changes made.\n";

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Edit a resource on the server")
        .arg(cli::arguments("(RESOURCE/NAME | -f FILENAME)"))
        .args(selection::flags())
        .args(selection::change_flags("kubectl-edit"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let change = Change::from_matches(matches)?;
    let (found, mut errors) = selection::select(context, matches, values(matches, "arguments")).await?;
    for selected in &found {
        if let Err(error) = edit(context, &change, selected).await {
            errors.push(error);
        }
    }
    Error::from_many(errors)
}

/// Has a text edited: the new one without comments, and the file that holds it; `None` where nothing was changed.
pub(super) fn text(context: &Context, text: &str) -> Result<Option<(String, PathBuf)>, Error> {
    let before = format!("{HEAD}{text}");
    let file = write(context, &before)?;
    open_editor(context, &file)?;
    let after = std::fs::read_to_string(&file)?;
    let text: String =
        after.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    if after == before || text.trim().is_empty() {
        context.terminal.err(CANCELLED);
        remove(&file)?;
        return Ok(None);
    }
    Ok(Some((text, file)))
}

async fn edit(context: &Context, change: &Change, selected: &Selected) -> Result<(), Error> {
    let mut shown = selected.object.clone();
    without_managed_fields(&mut shown);
    let Some((text, file)) = text(context, &yaml::print(&shown))? else { return Ok(()) };
    let keep = |error: Error| {
        let text = error.report();
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        message(format!(
            "{text}\nA copy of your changes has been stored to \"{}\"\nerror: Edit cancelled, no valid changes were saved.",
            file.display()
        ))
    };
    let edited = yaml_input::parse(&text)
        .map_err(|error| keep(message(format!("The edited file had a syntax error: {error}"))))?;
    let identity = |object: &Value| {
        (object["apiVersion"].clone(), object["kind"].clone(), object["metadata"]["name"].clone())
    };
    if identity(&edited) != identity(&shown) {
        context.terminal.err(&format!("A copy of your changes has been stored to \"{}\"\n", file.display()));
        return Err(message("At least one of apiVersion, kind and name was changed"));
    }
    let resource = &selected.target.resource;
    let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
    // What was shown is what was there: whatever is missing now was taken away.
    let patch = three_way::patch(&shown, &edited, &shown, ty);
    if patch == json!({}) {
        context.terminal.err(CANCELLED);
        return remove(&file);
    }
    let media = if ty.is_some() { STRATEGIC_PATCH } else { MERGE_PATCH };
    let mut object: Value = change.patch(context, selected, media, &patch).await.map_err(|error| {
        let what = name::of(&selected.object);
        keep(error.with_context(format!("{what} could not be patched")))
    })?;
    change.print(context, &mut object, "edited")?;
    remove(&file)
}

/// A file of a name that no other command uses.
fn write(context: &Context, text: &str) -> Result<PathBuf, Error> {
    let folder = context.terminal.variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    for number in 0..u32::MAX {
        let path = folder.join(format!("kctl-edit-{}-{number}.yaml", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(message(format!("open {}: {}", path.display(), os_text(&error)))),
        }
    }
    Err(message("no free name for a temporary file"))
}

fn remove(file: &Path) -> Result<(), Error> {
    Ok(std::fs::remove_file(file)?)
}

/// Runs `$KUBE_EDITOR`, `$EDITOR` or vi on the file, in the user's terminal.
fn open_editor(context: &Context, file: &Path) -> Result<(), Error> {
    let variable = |name: &str| context.terminal.variable(name).filter(|text| !text.is_empty());
    let editor = variable("KUBE_EDITOR").or(variable("EDITOR")).unwrap_or("vi");
    let shell = variable("SHELL").unwrap_or("/bin/bash");
    let status = std::process::Command::new(shell)
        .arg("-c")
        .arg(format!("{editor} \"$0\""))
        .arg(file)
        .status()
        .map_err(|error| message(format!("unable to launch the editor {editor:?}: {}", os_text(&error))))?;
    if status.success() {
        return Ok(());
    }
    remove(file)?;
    Err(message(format!("there was a problem with the editor {editor:?}")))
}
