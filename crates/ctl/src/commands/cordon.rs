//! `cordon` and `uncordon`: whether new pods may come to a node.
//!
//! **Upstream.** `kubectl/pkg/cmd/drain` (behaviour).

use clap::ArgMatches;
use serde_json::json;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::STRATEGIC_PATCH;
use crate::report::{Error, message};
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const CORDON: Command =
    Command { name: "cordon", build, run: |context, matches| Box::pin(run(context, matches, true)) };
/// The row of THE LIST.
pub(crate) const UNCORDON: Command =
    Command { name: "uncordon", build, run: |context, matches| Box::pin(run(context, matches, false)) };

fn build(command: clap::Command) -> clap::Command {
    let about = match command.get_name() {
        "cordon" => "Mark node as unschedulable",
        _ => "Mark node as schedulable",
    };
    command.about(about).arg(cli::arguments("NODE")).arg(cli::selector()).arg(cli::dry_run())
}

async fn run(context: &Context, matches: &ArgMatches, unschedulable: bool) -> Result<(), Error> {
    let verb = if unschedulable { "cordon" } else { "uncordon" };
    let nodes = values(matches, "arguments");
    if nodes.is_empty() && value(matches, "selector").is_empty() {
        return Err(message(format!(
            "USAGE: {verb} NODE [flags]\nSee 'kctl {verb} -h' for help and examples"
        )));
    }
    let change = Change::of_dry_run(matches)?;
    let arguments = std::iter::once("nodes".to_owned()).chain(nodes).collect();
    let (found, mut errors) = selection::select(context, matches, arguments).await?;
    for selected in &found {
        let now = selected.object["spec"]["unschedulable"].as_bool().unwrap_or(false);
        let mut object = selected.object.clone();
        if now == unschedulable {
            change.print_bare(context, &mut object, &format!("already {verb}ed"))?;
            continue;
        }
        let wanted = if unschedulable { json!(true) } else { json!(null) };
        let patch = json!({"spec": {"unschedulable": wanted}});
        match change.patch(context, selected, STRATEGIC_PATCH, &patch).await {
            Ok(mut object) => change.print(context, &mut object, &format!("{verb}ed"))?,
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}
