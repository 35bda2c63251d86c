//! `rollout status`: how far a rollout is, and waiting until it is done.

use clap::ArgMatches;
use serde_json::Value;

use super::super::Context;
use crate::cli::{value, values};
use crate::connection::{JSON, with_query};
use crate::duration;
use crate::output::name;
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::selection::Selected;

/// A line, and whether it is the last one.
type Progress = (String, bool);

pub(super) async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let revision = matches.get_one::<i64>("revision").copied().unwrap_or(0);
    if revision < 0 {
        return Err(message(format!("revision must be a positive integer: {revision}")));
    }
    let text = value(matches, "timeout");
    let limit = duration::parse(text).ok_or_else(|| {
        Error::Usage(format!(
            "invalid argument {text:?} for \"--timeout\" flag: time: invalid duration {text:?}\nSee 'kctl rollout status --help' for usage."
        ))
    })?;
    let (found, errors) = super::objects(context, matches, values(matches, "arguments")).await?;
    Error::from_many(errors)?;
    if found.is_empty() {
        context.terminal.err(&format!("No resources found in {} namespace.\n", context.namespace()));
    }
    for selected in &found {
        let done = follow(context, selected, revision, matches.get_flag("watch"));
        if limit.is_zero() {
            done.await?;
        } else {
            let late = || message("timed out waiting for the condition");
            tokio::time::timeout(limit, done).await.map_err(|_| late())??;
        }
    }
    Ok(())
}

/// Prints each change of the object until the rollout is done.
async fn follow(context: &Context, selected: &Selected, revision: i64, watch: bool) -> Result<(), Error> {
    let resource = &selected.target.resource;
    if !matches!(
        (resource.group.as_str(), resource.kind.as_str()),
        ("apps", "Deployment" | "DaemonSet" | "StatefulSet")
    ) {
        let kind = name::with_group(&resource.kind, &resource.group);
        return Err(message(format!("no status viewer has been implemented for {kind}")));
    }
    let connection = context.connection().await?;
    let collection = Target { name: None, ..selected.target.clone() }.path();
    let named = format!("metadata.name={}", selected.target.name.as_deref().unwrap_or(""));
    // Says whether to go on.
    let show = |object: &Value| -> Result<bool, Error> {
        let (line, done) = progress(object, revision).map_err(message)?;
        context.terminal.out(&line)?;
        Ok(!done && watch)
    };
    loop {
        let list =
            connection.get(&with_query(&collection, &[("fieldSelector", named.clone())]), JSON).await?;
        let Some(object) = list["items"].get(0) else { return Err(message("object has been deleted")) };
        let mut object = object.clone();
        object["kind"] = resource.kind.as_str().into();
        if !show(&object)? {
            return Ok(());
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("").to_owned();
        let query =
            [("fieldSelector", named.clone()), ("resourceVersion", version), ("watch", "true".to_owned())];
        let mut stream = connection.stream(&with_query(&collection, &query), JSON).await?;
        // A watch that expires starts again from the list.
        while let Ok(Some((kind, object))) = stream.event().await {
            match kind.as_str() {
                "DELETED" => return Err(message("object has been deleted")),
                "BOOKMARK" => {}
                _ if !show(&object)? => return Ok(()),
                _ => {}
            }
        }
    }
}

/// How far a rollout is.
fn progress(object: &Value, revision: i64) -> Result<Progress, String> {
    let (name, spec, status) =
        (object["metadata"]["name"].as_str().unwrap_or(""), &object["spec"], &object["status"]);
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    let observed = count(&status["observedGeneration"]);
    let seen = count(&object["metadata"]["generation"]) <= observed;
    let waiting = |text: String| Ok((text + "\n", false));
    let done = |text: String| Ok((text + "\n", true));
    match object["kind"].as_str().unwrap_or("") {
        "Deployment" => {
            if revision > 0 {
                let running = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
                let running: i64 = running.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
                if running != revision {
                    return Err(format!(
                        "desired revision ({revision}) is different from the running revision ({running})"
                    ));
                }
            }
            if !seen {
                return waiting("Waiting for deployment spec update to be observed...".to_owned());
            }
            let conditions = status["conditions"].as_array();
            let late = conditions
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded");
            if late {
                return Err(format!("deployment {name:?} exceeded its progress deadline"));
            }
            let (updated, all, available, wanted) = (
                count(&status["updatedReplicas"]),
                count(&status["replicas"]),
                count(&status["availableReplicas"]),
                count(&spec["replicas"]),
            );
            let lead = format!("Waiting for deployment {name:?} rollout to finish: ");
            if updated < wanted {
                return waiting(format!("{lead}{updated} out of {wanted} new replicas have been updated..."));
            }
            if all > updated {
                return waiting(format!("{lead}{} old replicas are pending termination...", all - updated));
            }
            if available < updated {
                return waiting(format!("{lead}{available} of {updated} updated replicas are available..."));
            }
            done(format!("deployment {name:?} successfully rolled out"))
        }
        "DaemonSet" => {
            if spec["updateStrategy"]["type"] != "RollingUpdate" {
                return Err("rollout status is only available for RollingUpdate strategy type".to_owned());
            }
            if !seen {
                return waiting("Waiting for daemon set spec update to be observed...".to_owned());
            }
            let (updated, wanted, available) = (
                count(&status["updatedNumberScheduled"]),
                count(&status["desiredNumberScheduled"]),
                count(&status["numberAvailable"]),
            );
            let lead = format!("Waiting for daemon set {name:?} rollout to finish: ");
            if updated < wanted {
                return waiting(format!("{lead}{updated} out of {wanted} new pods have been updated..."));
            }
            if available < wanted {
                return waiting(format!("{lead}{available} of {wanted} updated pods are available..."));
            }
            done(format!("daemon set {name:?} successfully rolled out"))
        }
        _ => {
            let strategy = &spec["updateStrategy"];
            if strategy["type"] != "RollingUpdate" {
                return Err("rollout status is only available for RollingUpdate strategy type".to_owned());
            }
            if observed == 0 || !seen {
                return waiting("Waiting for statefulset spec update to be observed...".to_owned());
            }
            let (wanted, ready, updated) = (
                count(&spec["replicas"]),
                count(&status["readyReplicas"]),
                count(&status["updatedReplicas"]),
            );
            if ready < wanted {
                return waiting(format!("Waiting for {} pods to be ready...", wanted - ready));
            }
            if let Some(partition) = strategy["rollingUpdate"]["partition"].as_i64() {
                if updated < wanted - partition {
                    let new = wanted - partition;
                    return waiting(format!(
                        "Waiting for partitioned roll out to finish: {updated} out of {new} new pods have been updated..."
                    ));
                }
                return done(format!(
                    "partitioned roll out complete: {updated} new pods have been updated..."
                ));
            }
            let text = |field: &str| status[field].as_str().unwrap_or("");
            if status["updateRevision"] != status["currentRevision"] {
                return waiting(format!(
                    "waiting for statefulset rolling update to complete {updated} pods at revision {}...",
                    text("updateRevision")
                ));
            }
            done(format!(
                "statefulset rolling update complete {} pods at revision {}...",
                count(&status["currentReplicas"]),
                text("currentRevision")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployment_rolls_out_step_by_step() {
        let at = |generation: i64, updated: i64, all: i64, available: i64| {
            let object = json!({"kind": "Deployment", "metadata": {"name": "web", "generation": generation}, "spec": {"replicas": 3},
                "status": {"observedGeneration": 1, "updatedReplicas": updated, "replicas": all, "availableReplicas": available}});
            progress(&object, 0).unwrap()
        };
        let lead = "Waiting for deployment \"web\" rollout to finish: ";
        for (state, line, done) in [
            (at(2, 0, 0, 0), "Waiting for deployment spec update to be observed...".to_owned(), false),
            (at(1, 1, 3, 3), format!("{lead}1 out of 3 new replicas have been updated..."), false),
            (at(1, 3, 4, 3), format!("{lead}1 old replicas are pending termination..."), false),
            (at(1, 3, 3, 2), format!("{lead}2 of 3 updated replicas are available..."), false),
            (at(1, 3, 3, 3), "deployment \"web\" successfully rolled out".to_owned(), true),
        ] {
            assert_eq!(state, (line + "\n", done));
        }
        let other = json!({"kind": "Deployment", "metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}});
        assert_eq!(
            progress(&other, 1).unwrap_err(),
            "desired revision (1) is different from the running revision (2)"
        );
    }

    #[test]
    fn stateful_sets_have_partitions() {
        let set = |partition: Option<i64>, updated: i64| {
            let mut object = json!({"kind": "StatefulSet", "metadata": {"name": "db", "generation": 1},
                "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {}}},
                "status": {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": updated, "currentReplicas": 3,
                    "updateRevision": "db-2", "currentRevision": "db-2"}});
            if let Some(partition) = partition {
                object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition.into();
            }
            progress(&object, 0).unwrap()
        };
        assert_eq!(
            set(Some(1), 1).0,
            "Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated...\n"
        );
        assert_eq!(
            set(Some(1), 2),
            ("partitioned roll out complete: 2 new pods have been updated...\n".to_owned(), true)
        );
        assert_eq!(set(None, 3).0, "statefulset rolling update complete 3 pods at revision db-2...\n");
    }
}
