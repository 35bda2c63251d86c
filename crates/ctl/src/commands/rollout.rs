//! `rollout`: status, history, undo, pause, resume and restart of what rolls pods out.
//!
//! **Upstream.** `kubectl/pkg/cmd/rollout`, `kubectl/pkg/polymorphichelpers` (behaviour).

mod history;
mod status;
mod undo;

use clap::ArgMatches;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, values};
use crate::connection::STRATEGIC_PATCH;
use crate::manifests::Sources;
use crate::output::name;
use crate::report::{Error, message};
use crate::selection::{self, Change, Selected};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "rollout", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str, about: &'static str, flags: Vec<clap::Arg>| {
        let command = clap::Command::new(name).about(about).args_override_self(true);
        let command = command.arg(cli::arguments("(TYPE NAME | TYPE/NAME)")).args(cli::files());
        let command = command
            .arg(cli::text("selector", "Selector (label query) to filter on").short('l').default_value(""));
        command.args(flags)
    };
    let changing = || cli::without(selection::change_flags("kubectl-rollout"), &["dry-run"]);
    command
        .about("Manage the rollout of a resource")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            sub("history", "View rollout history", selection::print_flags())
                .arg(cli::number("revision", "See the details, including podTemplate of the revision specified").default_value("0")),
        )
        .subcommand(sub("pause", "Mark the provided resource as paused", changing()))
        .subcommand(sub("restart", "Restart a resource", changing()))
        .subcommand(sub("resume", "Resume a paused resource", changing()))
        .subcommand(
            sub("status", "Show the status of the rollout", Vec::new())
                .arg(cli::flag_on("watch", "Watch the status of the rollout until it's done.").short('w'))
                .arg(cli::number("revision", "Pin to a specific revision for showing its status. Defaults to 0 (last revision).").default_value("0"))
                .arg(cli::text("timeout", "The length of time to wait before ending watch, zero means never. Any other values should contain a corresponding time unit (e.g. 1s, 2m, 3h).").default_value("0s")),
        )
        .subcommand(
            sub("undo", "Undo a previous rollout", cli::without(selection::change_flags(""), &["field-manager"]))
                .arg(cli::number("to-revision", "The revision to rollback to. Default to 0 (last revision).").default_value("0")),
        )
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let Some((word, matches)) = matches.subcommand() else { return Ok(()) };
    let arguments = values(matches, "arguments");
    if arguments.is_empty() && !Sources::given(matches) {
        return Err(message("required resource not specified"));
    }
    if word == "status" {
        return status::run(context, matches).await;
    }
    let change = Change::from_matches(matches)?;
    let (found, errors) = objects(context, matches, arguments).await?;
    match word {
        "history" => history::run(context, matches, &change, found, errors).await,
        "undo" => undo::run(context, matches, &change, found, errors).await,
        word => turn(context, &change, word, found, errors).await,
    }
}

/// The objects that a command names; a type alone means all of its objects.
async fn objects(
    context: &Context,
    matches: &ArgMatches,
    arguments: Vec<String>,
) -> Result<(Vec<Selected>, Vec<Error>), Error> {
    selection::select_all(context, matches, arguments).await
}

/// What a command makes of an object, or why it does not.
fn wanted(word: &str, object: &Value, now: jiff::Timestamp) -> Result<Option<Value>, String> {
    let kind = object["kind"].as_str().unwrap_or("");
    let paused = object["spec"]["paused"] == true;
    match (word, kind) {
        ("pause", "Deployment") => Ok((!paused).then(|| json!({"spec": {"paused": true}}))),
        ("resume", "Deployment") => Ok(paused.then(|| json!({"spec": {"paused": null}}))),
        ("restart", "Deployment") if paused => {
            Err("can't restart paused deployment (run rollout resume first)".to_owned())
        }
        ("restart", "Deployment" | "DaemonSet" | "StatefulSet") => {
            // Whole seconds, as Go's RFC3339 shows them.
            let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
            let same = object["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
                == now.as_str();
            Ok((!same).then(|| json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})))
        }
        ("pause", _) => Err("pausing is not supported".to_owned()),
        ("resume", _) => Err("resuming is not supported".to_owned()),
        _ => Err("restarting is not supported".to_owned()),
    }
}

/// `pause`, `resume` and `restart`.
async fn turn(
    context: &Context,
    change: &Change,
    word: &str,
    found: Vec<Selected>,
    mut errors: Vec<Error>,
) -> Result<(), Error> {
    if found.is_empty() && errors.is_empty() {
        context.terminal.err(&format!("No resources found in {} namespace.\n", context.namespace()));
        return Ok(());
    }
    for selected in &found {
        let resource = &selected.target.resource;
        let named = selected.target.name.as_deref().unwrap_or("");
        let patch = match wanted(word, &selected.object, context.terminal.now()) {
            Ok(patch) => patch,
            Err(why) => {
                let kind = name::with_group(&resource.name, &resource.group);
                errors.push(message(format!("error: {kind} {named:?} {why}")));
                continue;
            }
        };
        let Some(patch) = patch else {
            let kind = name::with_group(&resource.name, &resource.group);
            errors.push(message(match word {
                "pause" => format!("error: {kind} {named:?} is already paused"),
                "resume" => format!("error: {kind} {named:?} is not paused"),
                _ => format!(
                    "failed to create patch for {named}: if restart has already been triggered within the past second, please wait before attempting to trigger another"
                ),
            }));
            continue;
        };
        let done = match word {
            "pause" => "paused",
            "resume" => "resumed",
            _ => "restarted",
        };
        match change.patch(context, selected, STRATEGIC_PATCH, &patch).await {
            Ok(mut object) => change.print(context, &mut object, done)?,
            Err(error) => errors.push(message(format!("failed to patch: {error}"))),
        }
    }
    Error::from_many(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_differ_in_what_can_be_done() {
        let now = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let running = json!({"kind": "Deployment", "spec": {}});
        let paused = json!({"kind": "Deployment", "spec": {"paused": true}});
        let set = json!({"kind": "StatefulSet"});
        let pod = json!({"kind": "Pod"});
        assert_eq!(wanted("pause", &running, now).unwrap(), Some(json!({"spec": {"paused": true}})));
        assert_eq!(wanted("pause", &paused, now).unwrap(), None);
        assert_eq!(wanted("resume", &running, now).unwrap(), None);
        let restart = wanted("restart", &set, now).unwrap().unwrap();
        let annotations = &restart["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations["kubectl.kubernetes.io/restartedAt"], "2026-01-01T00:00:00Z");
        assert!(wanted("restart", &paused, now).is_err());
        assert!(wanted("pause", &set, now).is_err() && wanted("restart", &pod, now).is_err());
    }
}
