//! `rollout undo`: an earlier template takes the place of the present one.

use clap::ArgMatches;
use serde_json::{Map, Value, json};

use super::super::{Context, apply};
use super::history::{self, Revision};
use crate::cli::DryRun;
use crate::connection::STRATEGIC_PATCH;
use crate::output::name;
use crate::report::{Error, message};
use crate::selection::{Change, Selected};

/// Annotations that belong to the deployment, not to the revision.
const OF_THE_DEPLOYMENT: [&str; 6] = [
    apply::LAST_APPLIED,
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

pub(super) async fn run(
    context: &Context,
    matches: &ArgMatches,
    change: &Change,
    found: Vec<Selected>,
    mut errors: Vec<Error>,
) -> Result<(), Error> {
    let revision = matches.get_one::<i64>("to-revision").copied().unwrap_or(0);
    for selected in &found {
        if selected.object["metadata"]["annotations"][apply::LAST_APPLIED].is_string() {
            context.terminal.err(&format!(
                "Warning: resource {} was previously managed with 'kctl apply'. Rolling back will not update the {} annotation, which may cause unexpected behavior on future 'kctl apply' operations. Consider using 'kctl apply' with your previous configuration file instead.\n",
                name::of(&selected.object),
                apply::LAST_APPLIED
            ));
        }
        match undo(context, change, selected, revision).await {
            Ok(done) => change.print(context, &mut selected.object.clone(), &done)?,
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}

async fn undo(context: &Context, change: &Change, selected: &Selected, to: i64) -> Result<String, Error> {
    let revisions = history::of(context, selected, "rollbacker").await?;
    let kind = selected.target.resource.kind.as_str();
    let name = selected.target.name.as_deref().unwrap_or("");
    let target = choose(&revisions, to, kind, name).map_err(message)?;
    if change.dry_run == DryRun::Client {
        return Ok(history::template_text(context, selected, &target.template));
    }
    let live = &selected.object;
    if live["spec"]["paused"] == true {
        return Err(message(
            "you cannot rollback a paused deployment; resume it first with 'kctl rollout resume' and try again",
        ));
    }
    if history::same_template(&target.template, &live["spec"]["template"]) {
        return Ok(format!("skipped rollback (current template already matches revision {to})"));
    }
    let path = change.query(&selected.target.path());
    let connection = context.connection().await?;
    let sent = if kind == "Deployment" {
        connection.patch(&path, "application/json-patch+json", &restore(live, target)).await
    } else {
        connection.patch(&path, STRATEGIC_PATCH, &target.record["data"]).await
    };
    sent.map_err(|error| message(format!("failed restoring revision {to}: {error}")))?;
    Ok("rolled back".to_owned())
}

/// The revision that is meant; 0 is the last but one.
fn choose<'a>(revisions: &'a [Revision], to: i64, kind: &str, name: &str) -> Result<&'a Revision, String> {
    if to != 0 {
        let found = revisions.iter().find(|revision| revision.number == to);
        return found.ok_or_else(|| format!("unable to find specified revision {to} in history"));
    }
    match revisions {
        [.., previous, _] => Ok(previous),
        _ if kind == "Deployment" => Err(format!("no rollout history found for deployment {name:?}")),
        _ => Err("no last revision to roll back to".to_owned()),
    }
}

/// Puts the template of the revision and its annotations back.
fn restore(live: &Value, target: &Revision) -> Value {
    let mut template = target.template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.shift_remove("pod-template-hash");
    }
    let mut annotations = Map::new();
    for (object, own) in [(live, true), (&target.record, false)] {
        for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
            if OF_THE_DEPLOYMENT.contains(&key.as_str()) == own {
                annotations.insert(key.clone(), value.clone());
            }
        }
    }
    json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": annotations},
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_but_one_is_meant_unless_another_is_named() {
        let revision = |number| Revision { number, record: Value::Null, template: Value::Null };
        let all = [revision(1), revision(3), revision(4)];
        assert_eq!(choose(&all, 0, "Deployment", "web").map(|r| r.number), Ok(3));
        assert_eq!(choose(&all, 1, "Deployment", "web").map(|r| r.number), Ok(1));
        let missing = choose(&all, 2, "Deployment", "web").map(|r| r.number);
        assert_eq!(missing, Err("unable to find specified revision 2 in history".to_owned()));
        assert!(choose(&all[..1], 0, "DaemonSet", "d").is_err());
    }

    #[test]
    fn annotations_of_the_revision_come_back() {
        let live =
            json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "4", "a": "new"}}});
        let record =
            json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "3", "a": "old"}}});
        let template = json!({"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}}});
        let patch = restore(&live, &Revision { number: 3, record, template });
        assert_eq!(patch[0]["value"]["metadata"]["labels"], json!({"app": "web"}));
        assert_eq!(patch[1]["value"], json!({"deployment.kubernetes.io/revision": "4", "a": "old"}));
    }
}
