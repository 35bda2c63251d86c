//! From what a user names to the pod that is meant, and to one of its containers.
//!
//! **Contract.** An owner means its best pod: assigned before unassigned, running, ready, with few restarts, old.
//! **Upstream.** `kubectl/pkg/polymorphichelpers` (`AttachablePodForObject`), `kubectl/pkg/cmd/util/podcmd` (behaviour).

use std::cmp::Reverse;
use std::time::Duration;

use clap::Arg;
use clap::ArgMatches;
use serde_json::{Value, json};

use crate::cli::{self, value};
use crate::commands::Context;
use crate::connection::{JSON, encode, with_query};
use crate::duration;
use crate::manifests::{self, Sources};
use crate::report::{Error, message};
use crate::resolve::{self, Target};

/// The annotation that names the container to take where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
const TIMEOUT: &str = "pod-running-timeout";

/// `--pod-running-timeout`
pub(crate) fn timeout_flag() -> Arg {
    cli::text(
        TIMEOUT,
        "The length of time (like 5s, 2m, or 3h, higher than zero) to wait until at least one pod is running",
    )
    .default_value("1m0s")
}

/// `-c`
pub(crate) fn container_flag() -> Arg {
    cli::text(
        "container",
        "Container name. If omitted, use the kubectl.kubernetes.io/default-container annotation for selecting the container to be attached or the first container in the pod will be chosen",
    )
    .short('c')
    .default_value("")
    .hide_default_value(true)
}

/// Reads `--pod-running-timeout` of a command.
pub(crate) fn timeout(matches: &ArgMatches, command: &str) -> Result<Duration, Error> {
    let text = value(matches, TIMEOUT);
    let limit = duration::parse(text.strip_prefix('-').unwrap_or(text)).ok_or_else(|| {
        message(format!(
            "invalid argument {text:?} for \"--{TIMEOUT}\" flag: time: invalid duration {text:?}\nSee 'kctl {command} --help' for usage."
        ))
    })?;
    if limit.is_zero() || text.starts_with('-') {
        return Err(message(format!(
            "--pod-running-timeout must be higher than zero\nSee 'kctl {command} -h' for help and examples"
        )));
    }
    Ok(limit)
}

/// The one object that an argument (`NAME` or `TYPE/NAME`) or the files name.
pub(crate) async fn object(
    context: &Context,
    matches: &ArgMatches,
    argument: Option<&str>,
) -> Result<Value, Error> {
    let files = Sources::from_matches(matches)?;
    let target = match argument {
        Some(argument) => target(context, argument).await?,
        None => {
            let (mut found, errors) = manifests::read(context, &files).await?;
            Error::from_many(errors)?;
            if found.len() > 1 {
                return Err(message("cannot exec into multiple objects at a time"));
            }
            found.pop().map(Target::from).ok_or_else(|| message("no objects passed"))?
        }
    };
    context.connection().await?.get(&target.path(), JSON).await
}

/// What `NAME` or `TYPE/NAME` names; a name alone is a pod's.
pub(crate) async fn target(context: &Context, argument: &str) -> Result<Target, Error> {
    let (word, name) = argument.split_once('/').unwrap_or(("pods", argument));
    if word.is_empty() || name.is_empty() || name.contains('/') {
        return Err(message("arguments in resource/name form must have a single resource and name"));
    }
    let resource = resolve::resource(context.discovery().await?, word)?;
    let namespace = resource.namespaced.then(|| context.namespace().to_owned());
    Ok(Target { resource: resource.clone(), namespace, name: Some(name.to_owned()), source: None })
}

/// The pod that an object is, or the best of those that it owns; waits for one.
pub(crate) async fn pod_of(context: &Context, object: Value, limit: Duration) -> Result<Value, Error> {
    if object["kind"] == "Pod" {
        return Ok(object);
    }
    let selector = selector(&object).map_err(|why| {
        let kind = object["kind"].as_str().unwrap_or("");
        message(format!("cannot attach to *v1.{kind}: {why}"))
    })?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("");
    let collection = format!("/api/v1/namespaces/{namespace}/pods");
    let labels = ("labelSelector", selector);
    let connection = context.connection().await?;
    let list = connection.get(&with_query(&collection, std::slice::from_ref(&labels)), JSON).await?;
    let mut pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.sort_by_key(rank);
    if let Some(best) = pods.into_iter().next() {
        return Ok(with_kind(best));
    }
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("").to_owned();
    let query = [labels, ("resourceVersion", version), ("watch", "true".to_owned())];
    let first = async {
        let mut events = connection.stream(&with_query(&collection, &query), JSON).await?;
        while let Some((kind, pod)) = events.event().await? {
            if matches!(&*kind, "ADDED" | "MODIFIED") {
                return Ok(pod);
            }
        }
        Err(message("timed out waiting for the condition"))
    };
    let timed_out = |_| message("timed out waiting for the condition");
    tokio::time::timeout(limit, first).await.map_err(timed_out)?
}

/// Looks at a pod, and at each of its changes, until there is an answer.
pub(crate) async fn watch<T>(
    context: &Context,
    namespace: &str,
    name: &str,
    mut look: impl FnMut(&Value) -> Option<T>,
) -> Result<T, Error> {
    let collection = format!("/api/v1/namespaces/{}/pods", encode(namespace));
    let field = ("fieldSelector", format!("metadata.name={name}"));
    let connection = context.connection().await?;
    let gone = || {
        let status =
            json!({"kind": "Status", "reason": "NotFound", "message": format!("pods {name:?} not found")});
        Error::Status { status: Box::new(status), context: None }
    };
    loop {
        let list = connection.get(&with_query(&collection, std::slice::from_ref(&field)), JSON).await?;
        let pod = list["items"][0].clone();
        if pod.is_null() {
            return Err(gone());
        }
        if let Some(answer) = look(&with_kind(pod)) {
            return Ok(answer);
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("").to_owned();
        let query = [field.clone(), ("resourceVersion", version), ("watch", "true".to_owned())];
        let mut events = connection.stream(&with_query(&collection, &query), JSON).await?;
        // A watch that ends is begun anew.
        while let Ok(Some((kind, pod))) = events.event().await {
            match &*kind {
                "DELETED" => return Err(gone()),
                "ADDED" | "MODIFIED" => {
                    if let Some(answer) = look(&pod) {
                        return Ok(answer);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Prints the log of a container so far.
pub(crate) async fn print_log(context: &Context, pod: &Value, container: &str) -> Result<(), Error> {
    let text = |field: &str| encode(pod["metadata"][field].as_str().unwrap_or(""));
    let path = format!("/api/v1/namespaces/{}/pods/{}/log", text("namespace"), text("name"));
    let path = with_query(&path, &[("container", container.to_owned())]);
    let mut log = context.connection().await?.stream(&path, "application/json, */*").await?;
    while let Some(piece) = log.chunk().await? {
        context.terminal.out_bytes(&piece)?;
    }
    Ok(())
}

/// Items of a list do not say what they are.
fn with_kind(mut pod: Value) -> Value {
    pod["kind"] = "Pod".into();
    pod["apiVersion"] = "v1".into();
    pod
}

/// The order of an owner's pods, the best first.
fn rank(pod: &Value) -> impl Ord + use<> {
    let phase = match pod["status"]["phase"].as_str() {
        Some("Running") => 0,
        Some("Unknown") => 1,
        Some("Pending") => 2,
        _ => 3,
    };
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|c| c["type"] == "Ready" && c["status"] == "True");
    let since = ready.and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or("").to_owned();
    let statuses = pod["status"]["containerStatuses"].as_array();
    let restarts = statuses.into_iter().flatten().filter_map(|s| s["restartCount"].as_i64()).max();
    let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or("").to_owned();
    let unassigned = pod["spec"]["nodeName"].as_str().unwrap_or("").is_empty();
    (unassigned, phase, Reverse(ready.is_some()), since, restarts.unwrap_or(0), created)
}

/// The label selector by which an owner finds its pods.
pub(crate) fn selector(owner: &Value) -> Result<String, String> {
    let kind = owner["kind"].as_str().unwrap_or("");
    let selector = &owner["spec"]["selector"];
    let pairs = |map: &Value| -> Vec<String> {
        let pairs = map.as_object().into_iter().flatten();
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect()
    };
    let mut parts = match kind {
        "Service" if pairs(selector).is_empty() => {
            let name = owner["metadata"]["name"].as_str().unwrap_or("");
            return Err(format!("invalid service '{name}': Service is defined without a selector"));
        }
        "Service" | "ReplicationController" => pairs(selector),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => pairs(&selector["matchLabels"]),
        _ => return Err(format!("selector for *v1.{kind} not implemented")),
    };
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = one["key"].as_str().unwrap_or("");
        let values: Vec<&str> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match one["operator"].as_str().unwrap_or("") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            _ => format!("{key} in ({})", values.join(",")),
        });
    }
    Ok(parts.join(","))
}

const LISTS: [(&str, &str); 3] =
    [("containers", ""), ("ephemeralContainers", " (ephem)"), ("initContainers", " (init)")];

fn items<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    pod["spec"][list].as_array().map_or(&[], Vec::as_slice)
}

/// The container with this name.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    LISTS.iter().flat_map(|(list, _)| items(pod, list)).find(|container| container["name"] == name)
}

/// All names, as messages list them.
fn all_names(pod: &Value) -> String {
    let marked = |(list, mark): &(&str, &'static str)| {
        let mark = *mark;
        items(pod, list).iter().map(move |c| format!("{}{mark}", c["name"].as_str().unwrap_or("")))
    };
    LISTS.iter().flat_map(marked).collect::<Vec<_>>().join(", ")
}

/// The container asked for, the annotated one, or the first, which is then told.
pub(crate) fn choose<'a>(
    context: &Context,
    pod: &'a Value,
    asked: &str,
    quiet: bool,
) -> Result<&'a Value, Error> {
    let (chosen, note) = choice(pod, asked).map_err(message)?;
    if !quiet {
        context.terminal.err(&note);
    }
    Ok(chosen)
}

fn choice<'a>(pod: &'a Value, asked: &str) -> Result<(&'a Value, String), String> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("");
    let Some(first) = items(pod, "containers").first() else {
        return Err(format!("pod {}/{} does not have any containers", text("namespace"), text("name")));
    };
    let annotated = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().unwrap_or("");
    let name = if asked.is_empty() { annotated } else { asked };
    if name.is_empty() {
        let all = all_names(pod);
        let note = match all.contains(", ") {
            true => format!("Defaulted container {} out of: {all}\n", first["name"]),
            false => String::new(),
        };
        return Ok((first, note));
    }
    match container(pod, name) {
        Some(found) => Ok((found, String::new())),
        None => {
            Err(format!("container {name} is not valid for pod {} out of: {}", text("name"), all_names(pod)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_is_named_annotated_or_the_first() {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let (found, note) = choice(&pod, "").unwrap();
        assert_eq!(
            (&found["name"], &*note),
            (&json!("a"), "Defaulted container \"a\" out of: a, b, i (init)\n")
        );
        assert_eq!(choice(&pod, "i").unwrap().0["name"], "i");
        assert_eq!(
            choice(&pod, "x").unwrap_err(),
            "container x is not valid for pod p out of: a, b, i (init)"
        );
        pod["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: "b"});
        let (found, note) = choice(&pod, "").unwrap();
        assert_eq!((&found["name"], &*note), (&json!("b"), ""));
        pod["spec"] = json!({});
        assert_eq!(choice(&pod, "").unwrap_err(), "pod n/p does not have any containers");
    }

    #[test]
    fn owners_have_selectors_and_best_pods() {
        let deployment = json!({"kind": "Deployment", "spec": {"selector": {"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}}});
        assert_eq!(selector(&deployment).unwrap(), "a=b,c in (d,e)");
        let service = json!({"kind": "Service", "metadata": {"name": "s"}, "spec": {}});
        assert_eq!(
            selector(&service).unwrap_err(),
            "invalid service 's': Service is defined without a selector"
        );
        assert_eq!(selector(&json!({"kind": "Node"})).unwrap_err(), "selector for *v1.Node not implemented");
        let pod = |node: &str, phase: &str, ready: &str| {
            json!({"spec": {"nodeName": node}, "status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": ready}]}})
        };
        let mut pods = [
            pod("", "Pending", "False"),
            pod("n", "Pending", "False"),
            pod("n", "Running", "False"),
            pod("n", "Running", "True"),
        ];
        let best = pods[3].clone();
        pods.sort_by_key(rank);
        assert_eq!(pods[0], best);
        assert_eq!(pods[3]["spec"]["nodeName"], "");
    }
}
