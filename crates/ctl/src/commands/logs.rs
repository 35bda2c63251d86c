//! `logs`: what containers wrote.
//!
//! **Contract.** Bytes are passed on as they come; with `--prefix`, line by line. Several containers are read one after
//! the other, or at the same time with `-f`.
//! **Upstream.** `kubectl/pkg/cmd/logs` (behaviour).

use std::time::Duration;

use clap::ArgMatches;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, encode, with_query};
use crate::duration;
use crate::output::name;
use crate::report::{Error, message};
use crate::resolve;
use crate::streams::pods::{self as pods_of_owners, selector as pod_selector};

/// The annotation that names the container to take where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Lines of each container with a selector, unless `--tail` says otherwise (kubectl's default).
const SELECTOR_TAIL: i64 = 10;

const EXPECTED: &str = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'";
const SEE_HELP: &str = "\nSee 'kctl logs -h' for help and examples";

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "logs", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Print the logs for a container in a pod")
        .arg(cli::arguments("(POD | TYPE/NAME) [-c CONTAINER]"))
        .arg(
            cli::text("container", "Print the logs of this container")
                .short('c')
                .default_value("")
                .hide_default_value(true),
        )
        .arg(cli::flag("follow", "Specify if the logs should be streamed").short('f'))
        .arg(
            cli::flag(
                "previous",
                "If true, print the logs for the previous instance of the container in a pod if it exists",
            )
            .short('p'),
        )
        .arg(cli::flag("timestamps", "Include timestamps on each line in the log output"))
        .arg(
            cli::text("since", "Only return logs newer than a relative duration like 5s, 2m, or 3h")
                .default_value("0s"),
        )
        .arg(
            cli::text("since-time", "Only return logs after a specific date (RFC3339)")
                .default_value("")
                .hide_default_value(true),
        )
        .arg(cli::number("tail", "Lines of recent log file to display").default_value("-1"))
        .arg(cli::number("limit-bytes", "Maximum bytes of logs to return").default_value("0"))
        .arg(cli::flag("all-containers", "Get all containers' logs in the pod(s)"))
        .arg(cli::flag("all-pods", "Get logs from all pod(s). Sets prefix to true"))
        .arg(cli::flag("prefix", "Prefix each log line with the log source (pod name and container name)"))
        .arg(cli::flag(
            "ignore-errors",
            "If watching / following pod logs, allow for any errors that occur to be non-fatal",
        ))
        .arg(cli::flag(
            "insecure-skip-tls-verify-backend",
            "Skip verifying the identity of the kubelet that logs are requested from",
        ))
        .arg(
            cli::number(
                "max-log-requests",
                "Specify maximum number of concurrent logs to follow when using by a selector",
            )
            .default_value("5"),
        )
        .arg(pods_of_owners::timeout_flag().default_value("20s"))
        .arg(
            cli::text("selector", "Selector (label query) to filter on")
                .short('l')
                .default_value("")
                .hide_default_value(true),
        )
}

/// One log to read.
struct Source {
    path: String,
    prefix: String,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let mut arguments = values(matches, "arguments");
    let selector = value(matches, "selector");
    let mut container = value(matches, "container").to_owned();
    if arguments.is_empty() && selector.is_empty() {
        return Err(message(format!(
            "{EXPECTED}.
POD or TYPE/NAME is a required argument for the logs command{SEE_HELP}"
        )));
    }
    if !arguments.is_empty() && !selector.is_empty() {
        return Err(message(format!("only a selector (-l) or a POD name is allowed{SEE_HELP}")));
    }
    if arguments.len() == 2 {
        if !container.is_empty() {
            return Err(message("only one of -c or an inline [CONTAINER] arg is allowed"));
        }
        container = arguments.remove(1);
    }
    if arguments.len() > 1 {
        return Err(message(format!(
            "{EXPECTED}.
POD or TYPE/NAME is a required argument for the logs command{SEE_HELP}"
        )));
    }
    let all_containers = matches.get_flag("all-containers");
    if all_containers && !container.is_empty() {
        return Err(message(
            "--all-containers=true should not be specified with container name ".to_owned() + &container,
        ));
    }
    let query = query(matches, !selector.is_empty())?;
    let limit = pods_of_owners::timeout(matches, "logs")?;
    let argument = arguments.first().map(String::as_str);
    let pods = pods(context, argument, selector, matches.get_flag("all-pods"), limit).await?;
    if pods.is_empty() {
        context.terminal.err(&format!("No resources found in {} namespace.\n", context.namespace()));
        return Ok(());
    }
    let prefix = matches.get_flag("prefix") || matches.get_flag("all-pods");
    let mut sources = Vec::new();
    for pod in &pods {
        let names = if all_containers { all_names(pod) } else { vec![one_name(context, pod, &container)?] };
        for container in names {
            sources.push(source(pod, &container, &query, prefix));
        }
    }
    let follow = matches.get_flag("follow");
    let most = matches.get_one::<i64>("max-log-requests").copied().unwrap_or(5);
    if follow && sources.len() > 1 {
        if sources.len() as i64 > most {
            return Err(message(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {most}, use --max-log-requests to increase the limit",
                sources.len()
            )));
        }
        let mut running: FuturesUnordered<_> = sources.iter().map(|source| copy(context, source)).collect();
        while let Some(result) = running.next().await {
            settle(context, matches, result)?;
        }
        return Ok(());
    }
    for source in &sources {
        settle(context, matches, copy(context, source).await)?;
    }
    Ok(())
}

fn settle(context: &Context, matches: &ArgMatches, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if matches.get_flag("ignore-errors") && !matches!(error, Error::Io(_)) => {
            let text = error.to_string();
            context.terminal.out(&format!("error: {text}\n"))
        }
        other => other,
    }
}

/// The request's parameters, without the container.
fn query(matches: &ArgMatches, selector: bool) -> Result<Vec<(&'static str, String)>, Error> {
    let mut pairs = Vec::new();
    if matches.get_flag("follow") {
        pairs.push(("follow", "true".to_owned()));
    }
    let limit = matches.get_one::<i64>("limit-bytes").copied().unwrap_or(0);
    if limit < 0 {
        return Err(message("--limit-bytes must be greater than 0"));
    }
    if limit > 0 {
        pairs.push(("limitBytes", limit.to_string()));
    }
    if matches.get_flag("previous") {
        pairs.push(("previous", "true".to_owned()));
    }
    let since = value(matches, "since");
    let seconds = duration::parse(since).ok_or_else(|| {
        message(format!(
            "invalid argument {since:?} for \"--since\" flag: time: invalid duration {since:?}\nSee 'kctl logs --help' for usage."
        ))
    })?;
    let since_time = value(matches, "since-time");
    if !seconds.is_zero() && !since_time.is_empty() {
        return Err(message("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if !seconds.is_zero() {
        pairs.push(("sinceSeconds", seconds.as_secs_f64().ceil().to_string()));
    }
    if !since_time.is_empty() {
        since_time
            .parse::<jiff::Timestamp>()
            .map_err(|_| {
            message(format!("parsing time {since_time:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {since_time:?} as \"2006\""))
        })?;
        pairs.push(("sinceTime", since_time.to_owned()));
    }
    let mut tail = matches.get_one::<i64>("tail").copied().unwrap_or(-1);
    if tail < -1 {
        return Err(message("--tail must be greater than or equal to -1"));
    }
    if selector && matches.value_source("tail") != Some(clap::parser::ValueSource::CommandLine) {
        tail = SELECTOR_TAIL;
    }
    if tail >= 0 {
        pairs.push(("tailLines", tail.to_string()));
    }
    if matches.get_flag("timestamps") {
        pairs.push(("timestamps", "true".to_owned()));
    }
    if matches.get_flag("insecure-skip-tls-verify-backend") {
        pairs.push(("insecureSkipTLSVerifyBackend", "true".to_owned()));
    }
    Ok(pairs)
}

/// The pods meant: one by name, those of a selector, or those of an owner's selector.
async fn pods(
    context: &Context,
    argument: Option<&str>,
    selector: &str,
    all: bool,
    limit: Duration,
) -> Result<Vec<Value>, Error> {
    let connection = context.connection().await?;
    let collection = format!("/api/v1/namespaces/{}/pods", context.namespace());
    let Some(argument) = argument else { return list(context, selector).await };
    let (kind, name) = argument.split_once('/').unwrap_or(("pods", argument));
    let is_pod = matches!(kind, "pods" | "pod" | "po" | "Pod");
    if is_pod {
        return match connection.get(&format!("{collection}/{}", encode(name)), JSON).await {
            Ok(pod) => Ok(vec![pod]),
            Err(error) if error.is_not_found() => Err(message(format!(
                "error from server (NotFound): {error} in namespace {:?}",
                context.namespace()
            ))),
            Err(error) => Err(error),
        };
    }
    let resource = resolve::resource(context.discovery().await?, kind)?;
    let owner = connection.get(&resource.object(Some(context.namespace()), name), JSON).await?;
    let labels = selector_of(&owner)?;
    let mut pods = list(context, &labels).await?;
    pods.sort_by_key(|pod| (pod["status"]["phase"] != "Running", !is_ready(pod)));
    if pods.is_empty() {
        pods.push(pods_of_owners::pod_of(context, owner, limit).await?);
    }
    if !all && pods.len() > 1 {
        let first = pods.remove(0);
        context.terminal.err(&format!(
            "Found {} pods, using pod/{}\n",
            pods.len() + 1,
            first["metadata"]["name"].as_str().unwrap_or("")
        ));
        return Ok(vec![first]);
    }
    Ok(pods)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The label selector by which an owner finds its pods.
fn selector_of(owner: &Value) -> Result<String, Error> {
    let kind = owner["kind"].as_str().unwrap_or("");
    pod_selector(owner).map_err(|why| message(format!("cannot get the logs from *v1.{kind}: {why}")))
}

async fn list(context: &Context, selector: &str) -> Result<Vec<Value>, Error> {
    let path = with_query(
        &format!("/api/v1/namespaces/{}/pods", context.namespace()),
        &[("labelSelector", selector.to_owned()), ("limit", "500".to_owned())],
    );
    let found = context.connection().await?.get(&path, JSON).await?;
    Ok(found["items"].as_array().cloned().unwrap_or_default())
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    pod["spec"][list]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str())
        .map(str::to_owned)
        .collect()
}

fn all_names(pod: &Value) -> Vec<String> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| names(pod, list))
        .collect()
}

/// All containers as messages list them: the ordinary ones first.
fn labelled_names(pod: &Value) -> Vec<String> {
    let marked =
        |list: &str, mark: &str| names(pod, list).into_iter().map(|name| name + mark).collect::<Vec<_>>();
    [marked("containers", ""), marked("initContainers", " (init)"), marked("ephemeralContainers", " (ephem)")]
        .concat()
}

/// The container asked for, the annotated one, or the first, which is then told.
fn one_name(context: &Context, pod: &Value, asked: &str) -> Result<String, Error> {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or("");
    if !asked.is_empty() {
        if !all_names(pod).iter().any(|name| name == asked) {
            return Err(message(format!(
                "container {asked} is not valid for pod {pod_name} out of: {}",
                labelled_names(pod).join(", ")
            )));
        }
        return Ok(asked.to_owned());
    }
    if let Some(name) =
        pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().filter(|name| !name.is_empty())
    {
        if all_names(pod).iter().any(|one| one == name) {
            return Ok(name.to_owned());
        }
        context.terminal.err(&format!("Default container name {name:?} not found in pod {pod_name}\n"));
    }
    let containers = names(pod, "containers");
    let Some(first) = containers.first() else {
        return Err(message(format!("pod {pod_name} has no containers")));
    };
    let others = labelled_names(pod);
    if others.len() > 1 {
        context.terminal.err(&format!("Defaulted container {first:?} out of: {}\n", others.join(", ")));
    }
    Ok(first.clone())
}

fn source(pod: &Value, container: &str, query: &[(&'static str, String)], prefix: bool) -> Source {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("").to_owned();
    let mut pairs = vec![("container", container.to_owned())];
    pairs.extend(query.iter().cloned());
    Source {
        path: with_query(
            &format!("/api/v1/namespaces/{}/pods/{}/log", text("namespace"), encode(&text("name"))),
            &pairs,
        ),
        prefix: if prefix {
            format!("[{}/{container}] ", name::of_parts("pod", &text("name")))
        } else {
            String::new()
        },
    }
}

async fn copy(context: &Context, source: &Source) -> Result<(), Error> {
    let mut stream = context.connection().await?.stream(&source.path, "application/json, */*").await?;
    if source.prefix.is_empty() {
        while let Some(chunk) = stream.chunk().await? {
            context.terminal.out_bytes(&chunk)?;
        }
        return Ok(());
    }
    while let Some(mut line) = stream.line().await? {
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        let mut text = source.prefix.clone().into_bytes();
        text.append(&mut line);
        context.terminal.out_bytes(&text)?;
    }
    Ok(())
}
