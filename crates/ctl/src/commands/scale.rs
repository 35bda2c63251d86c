//! `scale`: another number of replicas, through the scale subresource.
//!
//! **Upstream.** `kubectl/pkg/cmd/scale` (behaviour).

use std::time::Duration;

use clap::ArgMatches;
use futures::future::BoxFuture;
use serde_json::json;

use super::{Command, Context, wait};
use crate::cli::{self, DryRun, values};
use crate::connection::{JSON, MERGE_PATCH};
use crate::report::{Error, message};
use crate::selection::{self, Change, Selected};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "scale", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Set a new size for a deployment, replica set, or replication controller")
        .arg(cli::arguments("[--resource-version=version] [--current-replicas=count] --replicas=COUNT (-f FILENAME | TYPE NAME)"))
        .args(cli::without(selection::flags(), &["field-selector", "all-namespaces"]))
        .args(cli::without(selection::change_flags(""), &["field-manager"]))
        .arg(cli::number("replicas", "The new desired number of replicas. Required"))
        .arg(cli::number("current-replicas", "Precondition for current size. Requires that the current size of the resource match this value in order to scale").default_value("-1"))
        .arg(cli::text("resource-version", "Precondition for resource version"))
        .arg(cli::duration("timeout", "The length of time to wait before giving up on a scale operation, zero means don't wait. Any other values should contain a corresponding time unit (e.g. 1s, 2m, 3h).").default_value("0s"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let Some(replicas) = matches.get_one::<i64>("replicas").copied() else {
        return Err(message("required flag(s) \"replicas\" not set"));
    };
    if replicas < 0 {
        return Err(message(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0\nSee 'kctl scale -h' for help and examples",
        ));
    }
    let expected = matches.get_one::<i64>("current-replicas").copied().unwrap_or(-1);
    let version = cli::value(matches, "resource-version");
    let limit = cli::time(matches, "timeout");
    let waits = limit.is_none_or(|limit| !limit.is_zero());
    let change = Change::from_matches(matches)?;
    let (found, mut errors) = selection::select(context, matches, values(matches, "arguments")).await?;
    if found.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to scale"));
    }
    let connection = context.connection().await?;
    for selected in found {
        let path = selected.target.path() + "/scale";
        let mut patch = json!({"spec": {"replicas": replicas}});
        let scaled = async {
            if expected >= 0 {
                let now = connection.get(&path, JSON).await?["spec"]["replicas"].as_i64().unwrap_or(0);
                if now != expected {
                    return Err(message(format!("Expected replicas to be {expected}, was {now}")));
                }
            }
            if !version.is_empty() {
                patch["metadata"]["resourceVersion"] = version.into();
            }
            if change.dry_run != DryRun::Client {
                connection.patch(&change.query(&path), MERGE_PATCH, &patch).await?;
            }
            Ok(())
        };
        let scaled = match scaled.await {
            Ok(()) if waits && change.dry_run == DryRun::None => {
                settled(context, &selected, replicas, limit).await
            }
            scaled => scaled,
        };
        match scaled {
            Ok(()) => change.print(context, &mut selected.object.clone(), "scaled")?,
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}

/// Waits until as many replicas are there as are wanted; a limit that is negative is over already.
async fn settled(
    context: &Context,
    selected: &Selected,
    replicas: i64,
    limit: Option<Duration>,
) -> Result<(), Error> {
    let name = selected.target.name.as_deref().unwrap_or("");
    let late = || message(format!("timed out waiting for {name:?} to be synced"));
    let limit = limit.ok_or_else(late)?;
    let path = selected.target.path() + "/scale";
    let connection = context.connection().await?;
    let asked = async || -> Result<bool, Error> {
        let scale = connection.get(&path, JSON).await?;
        let (wanted, there) = (scale["spec"]["replicas"].as_i64(), scale["status"]["replicas"].as_i64());
        // Whoever wants another number by now has the say.
        Ok(wanted.unwrap_or(0) != replicas || there.unwrap_or(0) == replicas)
    };
    let synced = || -> BoxFuture<'_, Result<bool, Error>> { Box::pin(asked()) };
    tokio::time::timeout(limit, wait::until(context, &selected.target, synced)).await.map_err(|_| late())?
}
