//! `annotate`: sets and removes annotations.
//!
//! **Contract.** A value that is there already is replaced only with `--overwrite`.
//! **Upstream.** `kubectl/pkg/cmd/annotate` (behaviour).

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
    Command { name: "annotate", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Update the annotations on a resource")
        .arg(cli::arguments("(-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N"))
        .args(selection::flags())
        .args(selection::change_flags("kubectl-annotate"))
        .arg(cli::flag("list", "If true, display the annotations for a given resource"))
        .arg(cli::flag("overwrite", "If true, allow annotations to be overwritten"))
        .arg(cli::text("resource-version", "If non-empty, the annotation update will only succeed if this is the current resource-version for the object"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let (resources, pairs) = pairs::split(values(matches, "arguments"), "an annotation")?;
    let list = matches.get_flag("list");
    if pairs.is_empty() && !list {
        return Err(message("at least one annotation update is required"));
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
        text +=
            &format!("Listing annotations for {}.{group}/{name}:\n", object["kind"].as_str().unwrap_or(""));
    }
    let indent = if several { " " } else { "" };
    for (key, value) in object["metadata"]["annotations"].as_object().map(sorted).unwrap_or_default() {
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
    let old = &selected.object["metadata"]["annotations"];
    let conflicts = pairs.conflicts(old);
    if !matches.get_flag("overwrite") && !conflicts.is_empty() {
        return Err(message(format!(
            "--overwrite is false but found the following declared annotation(s): {}",
            conflicts.join("; ")
        )));
    }
    let (annotations, outcome) = pairs.patch(old);
    let mut patch = json!({});
    if outcome != Outcome::Unchanged {
        patch = json!({"metadata": {"annotations": annotations}});
    }
    let version = value(matches, "resource-version");
    if !version.is_empty() {
        patch["metadata"]["resourceVersion"] = version.into();
    }
    let mut object = change.patch(context, selected, MERGE_PATCH, &patch).await?;
    change.print(context, &mut object, "annotated")
}
