//! `edit`: objects as YAML in the user's editor, and a patch of what was changed.
//!
//! **Contract.** All objects stand in one file. What the server refuses is shown again, with why, until it is changed or left.
//! **Not here.** The editor: `edit/sitting.rs`.
//! **Upstream.** `kubectl/pkg/cmd/edit` (behaviour).

pub(super) mod sitting;

use api::schema::Schema;
use clap::ArgMatches;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use self::sitting::{OBJECT_HEAD, Outcome, Save, Sitting};
use super::{Command, Context, apply, create};
use crate::cli::{self, value};
use crate::connection::{JSON, MERGE_PATCH, STRATEGIC_PATCH};
use crate::output::{go_syntax, json, without_managed_fields};
use crate::report::{Error, message};
use crate::selection::{self, Change, Selected};
use crate::three_way;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "edit", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Edit a resource on the server")
        .arg(cli::arguments("(RESOURCE/NAME | -f FILENAME)"))
        .args(cli::files())
        .args(cli::without(selection::change_flags("kubectl-edit"), &["dry-run"]))
        .arg(create::validate_flag())
        .arg(create::save_config_flag())
        .arg(line_endings_flag())
        .arg(cli::flag("output-patch", "Output the patch if the resource is edited."))
        .arg(cli::text(
            "subresource",
            "If specified, edit will operate on the subresource of the requested object.",
        ))
}

/// `--windows-line-endings`
pub(super) fn line_endings_flag() -> clap::Arg {
    cli::flag("windows-line-endings", "Defaults to the line ending native to your platform.")
}

/// How changed objects are saved.
struct Patches<'a> {
    context: &'a Context,
    found: &'a [Selected],
    change: Change,
    /// What follows an object's path.
    end: String,
    keeps_config: bool,
    shows_patch: bool,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let validation = create::validation(value(matches, "validate"))?;
    let change = Change::from_matches(matches)?.with_validation(validation);
    let subresource = value(matches, "subresource");
    let end = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let (targets, errors) = selection::named_or_all(context, matches).await?;
    let sitting = Sitting::from_matches(matches, OBJECT_HEAD)?;
    let mut found = Vec::new();
    let connection = context.connection().await?;
    let mut errors = errors;
    for target in targets {
        if target.name.is_none() {
            found.extend(selection::list(context, &target, "", "").await?);
            continue;
        }
        match connection.get(&(target.path() + &end), JSON).await {
            Ok(object) => found.push(Selected { target, object }),
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)?;
    let Some(first) = found.first() else { return Err(message("edit cancelled, no objects found")) };
    let (what, name) = (first.target.resource.qualified(), first.target.name.clone().unwrap_or_default());
    let mut shown: Vec<Value> = found.iter().map(|one| one.object.clone()).collect();
    shown.iter_mut().for_each(without_managed_fields);
    let save = Patches {
        context,
        found: &found,
        change,
        end,
        keeps_config: matches.get_flag("save-config"),
        shows_patch: matches.get_flag("output-patch"),
    };
    sitting.edit(context, &shown, (&what, &name), &save).await
}

impl Save for Patches<'_> {
    fn save(&self, edited: Vec<Value>) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(self.all(edited))
    }
}

impl Patches<'_> {
    async fn all(&self, edited: Vec<Value>) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        for object in edited {
            let uid = |object: &Value| object["metadata"]["uid"].clone();
            let original = self.found.iter().find(|one| uid(&one.object) == uid(&object));
            let Some(original) = original else {
                return Err(message(format!(
                    "no original object found for &unstructured.Unstructured{{Object:{}}}",
                    go_syntax(&object)
                )));
            };
            self.one(original, object, &mut outcome).await?;
        }
        Ok(outcome)
    }

    /// Sends what differs; what the server says against it goes into the outcome.
    async fn one(&self, original: &Selected, mut edited: Value, outcome: &mut Outcome) -> Result<(), Error> {
        let resource = &original.target.resource;
        if resource.namespaced {
            same_namespace(self.context, &mut edited)?;
        }
        if self.keeps_config {
            apply::remember(&mut edited);
        }
        let mut before = original.object.clone();
        without_managed_fields(&mut before);
        if edited == before {
            return self.change.print(self.context, &mut edited, "skipped");
        }
        let identity = |object: &Value| {
            (object["apiVersion"].clone(), object["kind"].clone(), object["metadata"]["name"].clone())
        };
        if identity(&edited) != identity(&before) {
            return Err(message("At least one of apiVersion, kind and name was changed"));
        }
        let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
        // What was shown is what was there: whatever is missing now was taken away.
        let patch = three_way::patch(&before, &edited, &before, ty);
        if patch == json!({}) {
            return self.change.print(self.context, &mut edited, "skipped");
        }
        if self.shows_patch {
            self.context.terminal.out(&format!("Patch: {}\n", json::compact(&patch)))?;
        }
        let media = if ty.is_some() { STRATEGIC_PATCH } else { MERGE_PATCH };
        let path = self.change.query(&(original.target.path() + &self.end));
        match self.context.connection().await?.patch(&path, media, &patch).await {
            Ok(mut object) => self.change.print(self.context, &mut object, "edited"),
            Err(error) => {
                let name = original.target.name.as_deref().unwrap_or("");
                outcome.refused(self.context, &resource.qualified(), name, &error);
                Ok(())
            }
        }
    }
}

/// Puts an edited object into the command's namespace, and refuses another one.
pub(super) fn same_namespace(context: &Context, edited: &mut Value) -> Result<(), Error> {
    match edited["metadata"]["namespace"].as_str().unwrap_or("") {
        "" => edited["metadata"]["namespace"] = context.namespace().into(),
        given if given != context.namespace() => {
            return Err(message(format!(
                "the namespace from the provided object {given:?} does not match the namespace {:?}. You must pass '--namespace={given}' to perform this operation.",
                context.namespace()
            )));
        }
        _ => {}
    }
    Ok(())
}
