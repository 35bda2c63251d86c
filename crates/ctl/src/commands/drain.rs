//! `drain`: a node without pods, by evictions.
//!
//! **Contract.** The nodes are cordoned first. Pods of a node go at the same time; an eviction that a budget forbids is
//! tried again until it succeeds or the time is up.
//! **Upstream.** `kubectl/pkg/cmd/drain`, `kubectl/pkg/drain` (behaviour).

mod filters;

use std::time::Duration;

use clap::ArgMatches;
use filters::{Allowed, Fate};
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, DryRun, value, values};
use crate::connection::{JSON, STRATEGIC_PATCH, encode, with_query};
use crate::duration;
use crate::report::{Error, message};
use crate::resolve::{self, Target};
use crate::selection::{self, Selected};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "drain", build, run: |context, matches| Box::pin(run(context, matches)) };

/// Time between two tries to evict a pod. **Upstream.** `EvictErrorRetryDelay`.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// Time between two looks whether a pod is gone. **Upstream.** `waitForDelete`'s interval.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Drain node in preparation for maintenance")
        .arg(cli::arguments("NODE"))
        .arg(cli::number("chunk-size", "Return large lists in chunks rather than all at once. Pass 0 to disable").default_value("500"))
        .arg(cli::flag("delete-emptydir-data", "Continue even if there are pods using emptyDir (local data that will be deleted when the node is drained)."))
        .arg(cli::flag("disable-eviction", "Force drain to use delete, even if eviction is supported. This will bypass checking PodDisruptionBudgets, use with caution."))
        .arg(cli::dry_run())
        .arg(cli::flag("force", "Continue even if there are pods that do not declare a controller."))
        .arg(cli::number("grace-period", "Period of time in seconds given to each pod to terminate gracefully. If negative, the default value specified in the pod will be used.").default_value("-1"))
        .arg(cli::flag("ignore-daemonsets", "Ignore DaemonSet-managed pods."))
        .arg(cli::text("pod-selector", "Label selector to filter pods on the node").default_value("").hide_default_value(true))
        .arg(cli::text("selector", "Selector (label query) to filter on").short('l').default_value("").hide_default_value(true))
        .arg(cli::number("skip-wait-for-delete-timeout", "If pod DeletionTimestamp older than N seconds, skip waiting for the pod.  Seconds must be greater than 0 to skip.").default_value("0"))
        .arg(cli::text("timeout", "The length of time to wait before giving up, zero means infinite").default_value("0s"))
}

/// What the flags say.
struct Drain<'a> {
    context: &'a Context,
    allowed: Allowed,
    dry_run: DryRun,
    evict: bool,
    grace_period: i64,
    pod_selector: &'a str,
    chunk_size: i64,
    timeout: Option<Duration>,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let names = values(matches, "arguments");
    let selector = value(matches, "selector");
    if names.is_empty() && matches.value_source("selector") != Some(clap::parser::ValueSource::CommandLine) {
        return Err(message("USAGE: drain NODE [flags]\nSee 'kctl drain -h' for help and examples"));
    }
    if !names.is_empty() && !selector.is_empty() {
        return Err(message(
            "error: cannot specify both a node name and a --selector option\nSee 'kctl drain -h' for help and examples",
        ));
    }
    let number = |name: &str| matches.get_one::<i64>(name).copied().unwrap_or(0);
    let text = value(matches, "timeout");
    let timeout = duration::parse(text).ok_or_else(|| {
        message(format!(
            "invalid argument {text:?} for \"--timeout\" flag: time: invalid duration {text:?}\nSee 'kctl drain --help' for usage."
        ))
    })?;
    let drain = Drain {
        context,
        allowed: Allowed {
            force: matches.get_flag("force"),
            ignore_daemon_sets: matches.get_flag("ignore-daemonsets"),
            delete_empty_dirs: matches.get_flag("delete-emptydir-data"),
            skip_after: number("skip-wait-for-delete-timeout"),
        },
        dry_run: DryRun::from_matches(matches)?,
        evict: !matches.get_flag("disable-eviction"),
        grace_period: number("grace-period"),
        pod_selector: value(matches, "pod-selector"),
        chunk_size: number("chunk-size"),
        timeout: (!timeout.is_zero()).then_some(timeout),
    };
    let nodes = drain.nodes(names, selector).await?;
    for node in &nodes {
        drain.cordon(node).await?;
    }
    let (mut errors, mut pending) = (Vec::new(), Vec::new());
    for node in &nodes {
        let name = node.object["metadata"]["name"].as_str().unwrap_or("");
        match drain.empty(name).await {
            Ok(()) => drain.tell(&format!("node/{name} drained"))?,
            Err(error) => {
                context.terminal.err(&format!(
                    "error: unable to drain node {name:?} due to error: {}, continuing command...\n",
                    aggregate(&error)
                ));
                pending.push(name);
                errors.push(error);
            }
        }
    }
    if !pending.is_empty() {
        context.terminal.err("There are pending nodes to be drained:\n");
        for name in pending {
            context.terminal.err(&format!(" {name}\n"));
        }
    }
    // kubectl tells even a single one as one of several.
    if errors.is_empty() { Ok(()) } else { Err(Error::Many(errors)) }
}

/// Several errors as kubectl writes them in one line.
fn aggregate(error: &Error) -> String {
    match error {
        Error::Many(errors) => {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            format!("[{}]", all.join(", "))
        }
        other => other.to_string(),
    }
}

/// Where a pod is.
fn place(pod: &Value) -> (&str, &str) {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("");
    (text("namespace"), text("name"))
}

fn path(pod: &Value) -> String {
    let (namespace, name) = place(pod);
    format!("/api/v1/namespaces/{}/pods/{}", encode(namespace), encode(name))
}

impl Drain<'_> {
    async fn nodes(&self, names: Vec<String>, selector: &str) -> Result<Vec<Selected>, Error> {
        let resource = resolve::resource(self.context.discovery().await?, "nodes")?.clone();
        let all = Target { resource, namespace: None, name: None, source: None };
        if names.is_empty() {
            return selection::list(self.context, &all, selector, "").await;
        }
        let mut nodes = Vec::new();
        for name in names {
            let name = name.strip_prefix("node/").or(name.strip_prefix("nodes/")).unwrap_or(&name).to_owned();
            let target = Target { name: Some(name), ..all.clone() };
            let object = self.context.connection().await?.get(&target.path(), JSON).await?;
            nodes.push(Selected { target, object });
        }
        Ok(nodes)
    }

    fn tell(&self, line: &str) -> Result<(), Error> {
        self.context.terminal.out(&format!("{line}{}\n", self.dry_run.suffix()))
    }

    async fn cordon(&self, node: &Selected) -> Result<(), Error> {
        let name = node.object["metadata"]["name"].as_str().unwrap_or("");
        if node.object["spec"]["unschedulable"] == true {
            return self.tell(&format!("node/{name} already cordoned"));
        }
        if self.dry_run != DryRun::Client {
            let path = with_query(&node.target.path(), &[self.dry_run.query()]);
            let patch = json!({"spec": {"unschedulable": true}});
            if let Err(error) = self.context.connection().await?.patch(&path, STRATEGIC_PATCH, &patch).await {
                self.context.terminal.err(&format!("error: unable to cordon node {name:?}: {error}\n"));
                return Ok(());
            }
        }
        self.tell(&format!("node/{name} cordoned"))
    }

    /// The pods of a node that are to go, or what stands in the way.
    async fn pods(&self, node: &str) -> Result<(Vec<Value>, Vec<String>), Error> {
        let connection = self.context.connection().await?;
        let (mut pods, mut token) = (Vec::new(), String::new());
        loop {
            let limit = if self.chunk_size > 0 { self.chunk_size.to_string() } else { String::new() };
            let query = [
                ("continue", token),
                ("fieldSelector", format!("spec.nodeName={node}")),
                ("labelSelector", self.pod_selector.to_owned()),
                ("limit", limit),
            ];
            let mut list = connection.get(&with_query("/api/v1/pods", &query), JSON).await?;
            token = list["metadata"]["continue"].as_str().unwrap_or("").to_owned();
            if let Value::Array(items) = list["items"].take() {
                pods.extend(items);
            }
            if token.is_empty() {
                break;
            }
        }
        let mut fates = Vec::new();
        for pod in pods {
            let lookup = match filters::daemon_set(&pod) {
                None => None,
                Some(name) => {
                    let namespace = encode(place(&pod).0);
                    let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{}", encode(name));
                    match connection.get(&path, JSON).await {
                        Ok(_) => None,
                        Err(error) => Some((error.to_string(), error.is_not_found())),
                    }
                }
            };
            let fate = filters::fate(&pod, self.allowed, self.context.terminal.now(), lookup);
            fates.push((fate, pod));
        }
        let blocked = fates.iter().filter_map(|(fate, pod)| match fate {
            Fate::Blocks(why) => Some((why.as_str(), pod)),
            _ => None,
        });
        let blocked = filters::grouped(blocked);
        if !blocked.is_empty() {
            let errors = blocked.into_iter().map(|why| message(format!("cannot delete {why}"))).collect();
            Error::from_many(errors)?;
        }
        let told = fates.iter().filter_map(|(fate, pod)| match fate {
            Fate::Goes(Some(why)) | Fate::Stays(Some(why)) => Some((why.as_str(), pod)),
            _ => None,
        });
        let warnings = filters::grouped(told);
        let going = fates.into_iter().filter(|(fate, _)| matches!(fate, Fate::Goes(_)));
        Ok((going.map(|(_, pod)| pod).collect(), warnings))
    }

    async fn empty(&self, node: &str) -> Result<(), Error> {
        let terminal = &self.context.terminal;
        let (pods, warnings) = self.pods(node).await?;
        if !warnings.is_empty() {
            terminal.err(&format!("Warning: {}\n", warnings.join("; ")));
        }
        if self.dry_run == DryRun::Client {
            for pod in &pods {
                let (namespace, name) = place(pod);
                terminal.out(&format!("evicting pod {namespace}/{name} (dry run)\n"))?;
            }
            return Ok(());
        }
        let Err(error) = self.remove(&pods).await else { return Ok(()) };
        match self.pods(node).await {
            Ok((pods, _)) if pods.is_empty() => {}
            Ok((pods, _)) => {
                let why = aggregate(&error);
                terminal
                    .err(&format!("There are pending pods in node {node:?} when an error occurred: {why}\n"));
                for pod in &pods {
                    terminal.err(&format!("pod/{}\n", place(pod).1));
                }
            }
            Err(errors) => {
                let why = aggregate(&errors);
                terminal.err(&format!(
                    "Following errors occurred while getting the list of pods to delete:\n{why}"
                ));
            }
        }
        Err(error)
    }

    async fn remove(&self, pods: &[Value]) -> Result<(), Error> {
        if pods.is_empty() {
            return Ok(());
        }
        if self.evict
            && let Some(version) = self.eviction_version().await?
        {
            let evictions = pods.iter().map(|pod| self.evict(pod.clone(), &version));
            let errors = join_all(evictions).await.into_iter().filter_map(Result::err).collect();
            return Error::from_many(errors);
        }
        for pod in pods {
            let connection = self.context.connection().await?;
            let options = self.delete_options();
            match connection.request(Method::DELETE, &path(pod), JSON, Some(&options)).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        if self.dry_run == DryRun::Server {
            return Ok(());
        }
        let waits = join_all(pods.iter().map(|pod| self.gone(pod, "deleted")));
        let waited = match self.timeout {
            Some(limit) => {
                tokio::time::timeout(limit, waits).await.map_err(|_| message("context deadline exceeded"))?
            }
            None => waits.await,
        };
        waited.into_iter().collect()
    }

    /// The version in which the server takes evictions, if it does.
    async fn eviction_version(&self) -> Result<Option<String>, Error> {
        let list = self.context.connection().await?.get("/api/v1", JSON).await?;
        let resources = list["resources"].as_array();
        let found = resources.into_iter().flatten().find(|one| {
            one["name"] == "pods/eviction" && one["kind"] == "Eviction" && one["group"].is_string()
        });
        Ok(found.map(|one| match one["version"].as_str() {
            Some("v1") => "policy/v1".to_owned(),
            _ => "policy/v1beta1".to_owned(),
        }))
    }

    fn delete_options(&self) -> Value {
        let mut options = json!({});
        if self.grace_period >= 0 {
            options["gracePeriodSeconds"] = self.grace_period.into();
        }
        if self.dry_run == DryRun::Server {
            options["dryRun"] = json!(["All"]);
        }
        options
    }

    /// Evicts one pod and waits until it is gone.
    async fn evict(&self, pod: Value, version: &str) -> Result<(), Error> {
        let evicted = self.try_evict(pod.clone(), version);
        let (namespace, name) = place(&pod);
        match self.timeout {
            None => evicted.await,
            Some(limit) => tokio::time::timeout(limit, evicted).await.unwrap_or_else(|_| {
                Err(message(format!(
                    "error when evicting pods/{name:?} -n {namespace:?}: global timeout reached: {}",
                    duration::go(limit)
                )))
            }),
        }
    }

    async fn try_evict(&self, mut pod: Value, version: &str) -> Result<(), Error> {
        let connection = self.context.connection().await?;
        let (namespace, name) = (place(&pod).0.to_owned(), place(&pod).1.to_owned());
        let eviction = json!({"apiVersion": version, "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace}, "deleteOptions": self.delete_options()});
        let retry = format!("(will retry after {})", duration::go(RETRY_DELAY));
        loop {
            self.tell(&format!("evicting pod {namespace}/{name}"))?;
            let path = path(&pod);
            let posted =
                connection.request(Method::POST, &format!("{path}/eviction"), JSON, Some(&eviction)).await;
            let Err(error) = posted else { break };
            let terminating = error.has_cause("NamespaceTerminating");
            match error.reason() {
                Some("NotFound") => return Ok(()),
                Some("TooManyRequests") => self.context.terminal.err(&format!(
                    "error when evicting pods/{name:?} -n {namespace:?} {retry}: {error}\n"
                )),
                // What is deleted already needs no eviction.
                Some("Forbidden") if terminating && !pod["metadata"]["deletionTimestamp"].is_null() => break,
                Some("Forbidden") if terminating => self.context.terminal.err(&format!(
                    "error when evicting pod {name:?} from terminating namespace {namespace:?} {retry}: {error}\n"
                )),
                _ => {
                    return Err(message(format!(
                        "error when evicting pods/{name:?} -n {namespace:?}: {error}"
                    )));
                }
            }
            tokio::time::sleep(RETRY_DELAY).await;
            // If it cannot be read, the eviction will say so.
            if let Ok(fresh) = connection.get(&path, JSON).await {
                pod = fresh;
            }
        }
        if self.dry_run == DryRun::Server {
            return Ok(());
        }
        self.gone(&pod, "evicted").await.map_err(|error| {
            message(format!(
                "error when waiting for pod {name:?} in namespace {namespace:?} to terminate: {error}"
            ))
        })
    }

    /// Waits until a pod is gone, and tells.
    async fn gone(&self, pod: &Value, done: &str) -> Result<(), Error> {
        let connection = self.context.connection().await?;
        let name = place(pod).1;
        loop {
            match connection.get(&path(pod), JSON).await {
                Ok(now) if now["metadata"]["uid"] != pod["metadata"]["uid"] => break,
                Ok(now) => {
                    let after = self.allowed.skip_after;
                    if filters::is_given_up(&now, after, self.context.terminal.now()) {
                        return self.context.terminal.out(&format!(
                            "pod {name:?} has DeletionTimestamp older than {after} seconds, skipping\n"
                        ));
                    }
                }
                Err(error) if error.is_not_found() => break,
                Err(error) => {
                    let failed = if done == "evicted" { "eviction failed" } else { "deletion failed" };
                    self.tell(&format!("pod/{name} {failed}"))?;
                    return Err(error);
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        self.tell(&format!("pod/{name} {done}"))
    }
}
