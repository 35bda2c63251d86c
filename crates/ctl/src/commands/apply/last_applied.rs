//! `apply view-last-applied`, `set-last-applied`, `edit-last-applied`: the object as applied, which the annotation keeps.
//!
//! **Upstream.** `kubectl/pkg/cmd/apply/apply_{view,set,edit}_last_applied.go` (behaviour).

use clap::ArgMatches;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::LAST_APPLIED;
use crate::cli::{self, DryRun, value, values};
use crate::commands::edit::sitting::{ANNOTATION_HEAD, Outcome, Save, Sitting};
use crate::commands::{Context, create, edit};
use crate::connection::{JSON, MERGE_PATCH};
use crate::manifests::{self, Sources};
use crate::output::yaml;
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::selection::{self, Change, Selected};

/// The subcommands.
pub(super) fn subcommands(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str, about: &'static str| {
        clap::Command::new(name).about(about).args_override_self(true)
    };
    command
        .subcommand(
            sub("view-last-applied", "View the latest last-applied-configuration annotations by type/name or file.")
                .arg(cli::arguments("(TYPE [NAME | -l label] | TYPE/NAME | -f FILENAME)"))
                .args(cli::files())
                .arg(selector())
                .arg(cli::flag("all", "Select all resources in the namespace of the specified resource types"))
                .arg(cli::output().default_value("yaml")),
        )
        .subcommand(
            sub("set-last-applied", "Set the latest last-applied-configuration annotations by setting it to match the contents of a file.")
                .arg(cli::arguments("-f FILENAME"))
                .args(cli::without(cli::files(), &["kustomize", "recursive"]))
                .args(cli::without(selection::change_flags(""), &["field-manager"]))
                .arg(cli::flag("create-annotation", "Will create 'last-applied-configuration' annotations if current objects doesn't have one")),
        )
        .subcommand(
            sub("edit-last-applied", "Edit the latest last-applied-configuration annotations of resources from the default editor.")
                .arg(cli::arguments("(RESOURCE/NAME | -f FILENAME)"))
                .args(cli::files())
                .args(cli::without(selection::change_flags("kubectl-client-side-apply"), &["dry-run"]))
                .arg(create::validate_flag())
                .arg(edit::line_endings_flag()),
        )
}

fn selector() -> clap::Arg {
    cli::text("selector", "Selector (label query) to filter on")
        .short('l')
        .default_value("")
        .hide_default_value(true)
}

/// Runs one of them.
pub(super) async fn run(context: &Context, word: &str, matches: &ArgMatches) -> Result<(), Error> {
    match word {
        "view-last-applied" => view(context, matches).await,
        "set-last-applied" => set(context, matches).await,
        _ => edit_annotation(context, matches).await,
    }
}

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str()
}

fn none_found(object: &Value) -> String {
    format!(
        "no last-applied-configuration annotation found on resource: {}",
        object["metadata"]["name"].as_str().unwrap_or("")
    )
}

async fn view(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let format = value(matches, "output");
    let from_files = !Sources::from_matches(matches)?.is_empty();
    let (found, errors) = selection::select_all(context, matches, values(matches, "arguments")).await?;
    Error::from_many(errors)?;
    for one in &found {
        let Some(text) = annotation(&one.object) else {
            // Of what is named by arguments kubectl shows what there is.
            if from_files {
                return Err(message(none_found(&one.object)));
            }
            continue;
        };
        let object = parse(text)?;
        let text = match format {
            "json" => {
                serde_json::to_string_pretty(&object).map_err(|error| message(error.to_string()))? + "\n"
            }
            "" | "yaml" => yaml::print(&object),
            _ => {
                return Err(message(format!(
                    "Unexpected -o output mode: {format}, the flag 'output' must be one of yaml|json\nSee 'kctl apply view-last-applied -h' for help and examples"
                )));
            }
        };
        context.terminal.out(&text)?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text)
        .map_err(|error| message(format!("the applied configuration is not JSON: {error}")))
}

async fn set(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    cli::no_arguments(matches, "Unexpected args", "apply set-last-applied")?;
    let sources = Sources::from_matches(matches)?;
    if sources.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    let change = Change::from_matches(matches)?;
    let (found, errors) = manifests::read(context, &sources).await?;
    Error::from_many(errors)?;
    let connection = context.connection().await?;
    let mut selected = Vec::new();
    for mut manifest in found {
        if let Some(namespace) = &manifest.namespace {
            manifest.object["metadata"]["namespace"] = namespace.as_str().into();
        }
        let text = Value::from(crate::output::json::compact(&manifest.object) + "\n");
        let target = Target::from(manifest);
        let object = connection.get(&target.path(), JSON).await?;
        if annotation(&object).is_none() && !matches.get_flag("create-annotation") {
            let text = none_found(&object);
            return Err(message(format!(
                "{text}, to create the annotation, run the command with --create-annotation"
            )));
        }
        selected.push((Selected { target, object }, text));
    }
    for (one, text) in selected {
        let same = one.object["metadata"]["annotations"][LAST_APPLIED] == text;
        let patch = json!({"metadata": {"annotations": {LAST_APPLIED: text}}});
        if same {
            let name = one.object["metadata"]["name"].as_str().unwrap_or("");
            context.terminal.out(&format!("set-last-applied {name}: no changes required.\n"))?;
            continue;
        }
        let mut object = match change.dry_run == DryRun::Client {
            true => one.object.clone(),
            false => change.patch(context, &one, MERGE_PATCH, &patch).await?,
        };
        change.print(context, &mut object, "configured")?;
    }
    Ok(())
}

async fn edit_annotation(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let validation = create::validation(value(matches, "validate"))?;
    let change = Change::from_matches(matches)?.with_validation(validation);
    let (targets, errors) = selection::named_or_all(context, matches).await?;
    Error::from_many(errors)?;
    let sitting = Sitting::from_matches(matches, ANNOTATION_HEAD)?;
    let connection = context.connection().await?;
    let mut found = Vec::new();
    for target in targets {
        match target.name {
            None => found.extend(selection::list(context, &target, "", "").await?),
            Some(_) => {
                let object = connection.get(&target.path(), JSON).await?;
                found.push(Selected { target, object });
            }
        }
    }
    let mut kept = Vec::new();
    for one in found {
        if let Some(text) = annotation(&one.object) {
            kept.push((parse(text)?, one.target));
        }
    }
    let Some((_, first)) = kept.first() else {
        return Err(message(
            "no last-applied-configuration annotation found on resources, to create the annotation, use command `kctl apply set-last-applied --create-annotation`",
        ));
    };
    let (what, name) = (first.resource.qualified(), first.name.clone().unwrap_or_default());
    let shown: Vec<Value> = kept.iter().map(|(object, _)| object.clone()).collect();
    sitting.edit(context, &shown, (&what, &name), &Annotations { context, change, kept: &kept }).await
}

/// How edited annotations are saved.
struct Annotations<'a> {
    context: &'a Context,
    change: Change,
    /// What was kept, and of which objects.
    kept: &'a [(Value, Target)],
}

impl Save for Annotations<'_> {
    fn save(&self, edited: Vec<Value>) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async {
            for object in edited {
                write_annotation(self.context, &self.change, self.kept, object).await?;
            }
            Ok(Outcome::default())
        })
    }
}

/// Keeps an edited object in the annotation of the one that it was applied to.
async fn write_annotation(
    context: &Context,
    change: &Change,
    kept: &[(Value, Target)],
    mut object: Value,
) -> Result<(), Error> {
    let identity = |object: &Value| [object["kind"].clone(), object["metadata"]["name"].clone()];
    let Some((before, target)) = kept.iter().find(|(before, _)| identity(before) == identity(&object)) else {
        return Err(message("At least one of apiVersion, kind and name was changed"));
    };
    if target.resource.namespaced {
        edit::same_namespace(context, &mut object)?;
    }
    if object == *before {
        return change.print(context, &mut object, "skipped");
    }
    let text = crate::output::json::compact(&object) + "\n";
    let patch = json!({"metadata": {"annotations": {LAST_APPLIED: text}}});
    context.connection().await?.patch(&change.query(&target.path()), MERGE_PATCH, &patch).await?;
    change.print(context, &mut object, "edited")
}
