//! `label`: sets and removes labels.
//!
//! **Contract.** A value that is there already is replaced only with `--overwrite`.
//! **Upstream.** `kubectl/pkg/cmd/label` (behaviour).

use clap::ArgMatches;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::MERGE_PATCH;
use crate::output::json::sorted;
use crate::pairs::{self, Outcome, Pairs};
use crate::report::{Error, message};
use crate::selection::{self, Change, Selected};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "label", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Update the labels on a resource")
        .arg(cli::arguments("(-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N"))
        .args(selection::flags())
        .args(selection::change_flags("kubectl-label"))
        .arg(cli::flag("list", "If true, display the labels for a given resource"))
        .arg(cli::flag("overwrite", "If true, allow labels to be overwritten"))
        .arg(cli::text("resource-version", "If non-empty, the label update will only succeed if this is the current resource-version for the object"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let (resources, pairs) = pairs::split(values(matches, "arguments"), "a label")?;
    let list = matches.get_flag("list");
    if pairs.is_empty() && !list {
        return Err(message("at least one label update is required"));
    }
    let change = Change::from_matches(matches)?;
    let (found, mut errors) = selection::select(context, matches, resources).await?;
    let several = found.len() > 1;
    for selected in &found {
        if list {
            show(context, &selected.object, several)?;
        }
        if pairs.is_empty() {
            continue;
        }
        if let Err(error) = apply(context, matches, &change, selected, &pairs).await {
            errors.push(error);
        }
    }
    Error::from_many(errors)
}

fn show(context: &Context, object: &Value, several: bool) -> Result<(), Error> {
    let mut text = String::new();
    if several {
        let api_version = object["apiVersion"].as_str().unwrap_or("");
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let name = object["metadata"]["name"].as_str().unwrap_or("");
        text += &format!("Listing labels for {}.{group}/{name}:\n", object["kind"].as_str().unwrap_or(""));
    }
    let indent = if several { " " } else { "" };
    for (key, value) in object["metadata"]["labels"].as_object().map(sorted).unwrap_or_default() {
        text += &format!("{indent}{key}={}\n", value.as_str().unwrap_or(""));
    }
    context.terminal.out(&text)
}

async fn apply(
    context: &Context,
    matches: &ArgMatches,
    change: &Change,
    selected: &Selected,
    pairs: &Pairs,
) -> Result<(), Error> {
    let old = &selected.object["metadata"]["labels"];
    if !matches.get_flag("overwrite")
        && let Some(conflict) = pairs.conflicts(old).first()
    {
        return Err(message(format!("{conflict}, and --overwrite is false")));
    }
    for key in pairs.remove.iter().filter(|key| old[key.as_str()].is_null() && change.is_human()) {
        context.terminal.out(&format!("label {key:?} not found.\n"))?;
    }
    let (labels, outcome) = pairs.patch(old);
    let mut patch = json!({});
    if outcome != Outcome::Unchanged {
        patch = json!({"metadata": {"labels": labels}});
    }
    let version = value(matches, "resource-version");
    if !version.is_empty() {
        patch["metadata"]["resourceVersion"] = version.into();
    }
    let mut object = change.patch(context, selected, MERGE_PATCH, &patch).await?;
    let done = match outcome {
        Outcome::Unchanged => "not labeled",
        Outcome::Set => "labeled",
        Outcome::Removed => "unlabeled",
    };
    change.print(context, &mut object, done)
}
