//! `delete`: by name, file, label or all, waiting until the objects are gone.
//!
//! **Contract.** All deletions are sent before the first wait. A wait is a list and a watch of that one name; an object of
//! another uid under the name counts as gone.
//! **Upstream.** `kubectl/pkg/cmd/delete` (behaviour).

use std::time::Duration;

use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, DryRun, value, values};
use crate::connection::{JSON, with_query};
use crate::manifests::{self, Sources};
use crate::output::name;
use crate::report::{Error, message};
use crate::resolve::{self, Query, Target};
use crate::selection::PAGE;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "delete", build, run: |context, matches| Box::pin(run(context, matches)) };

const FORCE_WARNING: &str = "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n";

fn build(command: clap::Command) -> clap::Command {
    command
        .about(
            "Delete resources by file names, stdin, resources and names, or by resources and label selector",
        )
        .arg(cli::arguments("([-f FILENAME] | TYPE [(NAME | -l label | --all)])"))
        .args(cli::files())
        .args(cli::selectors())
        .arg(cli::all_namespaces())
        .arg(cli::dry_run())
        .arg(cli::output())
        .arg(cli::flag("all", "Delete all resources, in the namespace of the specified resource types"))
        .args(cli::without(flags(), &["wait"]))
        .arg(cli::flag("interactive", "If true, delete resource only when user confirms.").short('i'))
        .arg(cli::flag("ignore-not-found", "Treat \"resource not found\" as a successful delete"))
        .arg(cli::flag(
            "now",
            "If true, resources are signaled for immediate shutdown (same as --grace-period=1)",
        ))
        .arg(cli::flag_on("wait", "If true, wait for resources to be gone before returning"))
        .arg(cli::text("raw", "Raw URI to DELETE to the server"))
}

/// How something goes, for every command that deletes.
pub(super) fn flags() -> Vec<clap::Arg> {
    vec![
        cli::text("cascade", "Must be \"background\", \"orphan\", or \"foreground\"")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("background")
            .default_value("background"),
        cli::flag("force", "If true, immediately remove resources from API and bypass graceful deletion"),
        cli::number("grace-period", "Period of time in seconds given to the resource to terminate gracefully").default_value("-1"),
        cli::duration("timeout", "The length of time to wait before giving up on a delete, zero means determine a timeout from the size of the object").default_value("0s"),
        cli::flag("wait", "If true, wait for resources to be gone before returning. This waits for finalizers."),
    ]
}

/// What `flags` say to a command that deletes what it has made.
pub(super) struct Removal {
    /// The body of the request.
    pub(super) options: Value,
    pub(super) force: bool,
    pub(super) wait: bool,
    pub(super) limit: Option<Duration>,
}

impl Removal {
    /// Reads the flags.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut options = json!({"propagationPolicy": propagation(value(matches, "cascade"))?});
        let grace = matches.get_one::<i64>("grace-period").copied().filter(|grace| *grace >= 0);
        let force = matches.get_flag("force");
        if let Some(grace) = grace.or(force.then_some(0)) {
            options["gracePeriodSeconds"] = grace.into();
        }
        let limit = cli::time(matches, "timeout").filter(|limit| !limit.is_zero());
        Ok(Self { options, force, wait: matches.get_flag("wait"), limit })
    }
}

/// How to delete.
struct Options {
    grace_period: i64,
    force: bool,
    propagation: &'static str,
    dry_run: DryRun,
    ignore_not_found: bool,
    wait: bool,
    timeout: Option<Duration>,
    name_only: bool,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let raw = value(matches, "raw");
    if !raw.is_empty() {
        let answer = context.connection().await?.request(Method::DELETE, raw, JSON, None).await?;
        return context.terminal.out(&answer.to_string());
    }
    let options = options(context, matches)?;
    let (targets, mut errors) = targets(context, matches, &options).await?;
    if matches.get_flag("interactive") && !targets.is_empty() && !confirmed(context, &targets)? {
        return context.terminal.out("deletion is cancelled\n");
    }
    let mut waiting = Vec::new();
    for target in &targets {
        match delete(context, target, &options).await {
            Ok(uid) => {
                if let Some(uid) = uid {
                    waiting.push((target, uid));
                }
            }
            Err(error) if options.ignore_not_found && error.is_not_found() => {}
            Err(error) => errors.push(match &target.source {
                Some(source) => error.with_context(format!("error when deleting {source:?}")),
                None => error,
            }),
        }
    }
    if targets.is_empty() && errors.is_empty() && !options.name_only {
        context.terminal.out("No resources found\n")?;
    }
    if options.wait && options.dry_run == DryRun::None && errors.is_empty() {
        for (target, uid) in waiting {
            wait(context, target, &uid, options.timeout).await?;
        }
    }
    Error::from_many(errors)
}

/// Asks whether these are to go.
fn confirmed(context: &Context, targets: &[Target]) -> Result<bool, Error> {
    let mut text = format!("You are about to delete the following {} resource(s):\n", targets.len());
    for target in targets {
        let name = target.name.as_deref().unwrap_or("");
        text += &format!("{}/{name}\n", target.resource.display_kind());
    }
    context.terminal.out(&(text + "Do you want to continue? (y/N): "))?;
    Ok(context.terminal.read_line()?.trim().eq_ignore_ascii_case("y"))
}

fn options(context: &Context, matches: &ArgMatches) -> Result<Options, Error> {
    let mut grace_period = matches.get_one::<i64>("grace-period").copied().unwrap_or(-1);
    let force = matches.get_flag("force");
    let wait = matches.get_flag("wait");
    if matches.get_flag("now") {
        if grace_period != -1 {
            return Err(message("--now and --grace-period cannot be specified together"));
        }
        grace_period = 1;
    }
    if grace_period == 0 && !force {
        // Without --force, zero means "as soon as possible, but wait until it is so".
        grace_period = 1;
    }
    if force && grace_period < 0 {
        grace_period = 0;
    }
    if force && grace_period > 0 {
        return Err(message("--force and --grace-period greater than 0 cannot be specified together"));
    }
    if force {
        context.terminal.err(FORCE_WARNING);
    }
    let propagation = propagation(value(matches, "cascade"))?;
    let timeout = cli::time(matches, "timeout").unwrap_or_default();
    let name_only = match value(matches, "output") {
        "" => false,
        "name" => true,
        other => {
            return Err(message(format!("unexpected -o output mode: {other}. We only support '-o name'")));
        }
    };
    Ok(Options {
        grace_period,
        force,
        propagation,
        dry_run: DryRun::from_matches(matches)?,
        ignore_not_found: matches.get_flag("ignore-not-found") || matches.get_flag("all"),
        wait,
        timeout: Some(timeout).filter(|limit| !limit.is_zero()),
        name_only,
    })
}

/// `--cascade` as the server's `propagationPolicy`.
pub(super) fn propagation(text: &str) -> Result<&'static str, Error> {
    match text {
        "background" | "true" => Ok("Background"),
        "orphan" | "false" => Ok("Orphan"),
        "foreground" => Ok("Foreground"),
        other => Err(message(format!(
            "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
        ))),
    }
}

async fn targets(
    context: &Context,
    matches: &ArgMatches,
    options: &Options,
) -> Result<(Vec<Target>, Vec<Error>), Error> {
    let files = Sources::from_matches(matches)?;
    let arguments = values(matches, "arguments");
    let (labels, fields) = (value(matches, "selector"), value(matches, "field-selector"));
    let selector = !labels.is_empty() || !fields.is_empty();
    let all = matches.get_flag("all");
    if all && !labels.is_empty() {
        return Err(message("setting 'all' parameter but found a non empty selector. "));
    }
    if !files.is_empty() {
        if !arguments.is_empty() {
            return Err(message(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        let (found, errors) = manifests::read(context, &files).await?;
        let targets = found.into_iter().map(Target::from).collect();
        return Ok((targets, errors));
    }
    if arguments.is_empty() {
        return Err(message(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        ));
    }
    let query = Query {
        arguments,
        selector: selector || all,
        all_namespaces: matches.get_flag("all-namespaces"),
        allow_all: false,
    };
    let query = if all && query.arguments.len() > 1 && !query.arguments[0].contains('/') {
        Query { selector: true, ..query }
    } else {
        query
    };
    let mut found = Vec::new();
    let connection = context.connection().await?;
    for target in resolve::targets(context, &query).await? {
        if target.name.is_some() {
            found.push(target);
            continue;
        }
        let pages = match connection.pages(&target.path(), labels, fields, PAGE).await {
            Ok(pages) => pages,
            Err(error) if options.ignore_not_found && error.is_not_found() => continue,
            Err(error) => return Err(target.list_error(error, labels, fields)),
        };
        for item in pages.iter().flat_map(|page| page["items"].as_array().into_iter().flatten()) {
            found.push(Target {
                resource: target.resource.clone(),
                namespace: item["metadata"]["namespace"].as_str().map(str::to_owned),
                name: item["metadata"]["name"].as_str().map(str::to_owned),
                source: None,
            });
        }
    }
    Ok((found, Vec::new()))
}

/// Sends one deletion and prints it; the uid of what is still going away.
async fn delete(context: &Context, target: &Target, options: &Options) -> Result<Option<String>, Error> {
    let name = target.name.as_deref().unwrap_or("");
    let connection = context.connection().await?;
    let mut uid = None;
    if options.dry_run == DryRun::Client {
        connection.get(&target.path(), JSON).await?;
    } else {
        let mut body =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": options.propagation});
        if options.grace_period >= 0 {
            body["gracePeriodSeconds"] = options.grace_period.into();
        }
        if options.dry_run == DryRun::Server {
            body["dryRun"] = json!(["All"]);
        }
        let path = target.path();
        let answer = connection.request(Method::DELETE, &path, JSON, Some(&body)).await?;
        let found =
            if answer["kind"] == "Status" { &answer["details"]["uid"] } else { &answer["metadata"]["uid"] };
        uid = Some(found.as_str().unwrap_or("").to_owned());
    }
    let kind = target.resource.display_kind();
    let line = if options.name_only {
        format!("{kind}/{name}\n")
    } else {
        let verb = if options.force { "force deleted" } else { "deleted" };
        let place = target
            .namespace
            .as_ref()
            .filter(|_| target.resource.namespaced)
            .map_or(String::new(), |namespace| format!(" from {namespace} namespace"));
        format!("{kind} {name:?} {verb}{place}{}\n", options.dry_run.suffix())
    };
    context.terminal.out(&line)?;
    Ok(uid)
}

/// Deletes an object, tells so, and waits until it is gone; nothing where there is none.
pub(super) async fn away(
    context: &Context,
    target: &Target,
    options: &Value,
    limit: Option<Duration>,
    deleted: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let sent = context.connection().await?.request(Method::DELETE, &target.path(), JSON, Some(options)).await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    deleted()?;
    let of = if answer["kind"] == "Status" { &answer["details"] } else { &answer["metadata"] };
    wait(context, target, of["uid"].as_str().unwrap_or(""), limit).await
}

/// Waits until the object is gone.
pub(super) async fn wait(
    context: &Context,
    target: &Target,
    uid: &str,
    limit: Option<Duration>,
) -> Result<(), Error> {
    let gone = wait_gone(context, target, uid);
    let Some(limit) = limit else { return gone.await };
    tokio::time::timeout(limit, gone).await.unwrap_or_else(|_| {
        let name = target.name.as_deref().unwrap_or("");
        let kind = name::with_group(&target.resource.name, &target.resource.group);
        Err(message(format!("timed out waiting for the condition on {kind}/{name}")))
    })
}

async fn wait_gone(context: &Context, target: &Target, uid: &str) -> Result<(), Error> {
    let connection = context.connection().await?;
    let collection = Target { name: None, ..target.clone() }.path();
    let selector = format!("metadata.name={}", target.name.as_deref().unwrap_or(""));
    let same = |object: &Value| uid.is_empty() || object["metadata"]["uid"] == uid;
    loop {
        let list = match connection
            .get(&with_query(&collection, &[("fieldSelector", selector.clone())]), JSON)
            .await
        {
            Ok(list) => list,
            // Whoever may delete but not list does not wait.
            Err(error) if matches!(error.reason(), Some("NotFound" | "MethodNotAllowed" | "Forbidden")) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !list["items"].as_array().into_iter().flatten().any(same) {
            return Ok(());
        }
        let Some(mut stream) = connection.changes_since(&list, &collection, &selector).await? else {
            continue;
        };
        // An expired watch starts again from the list.
        while let Ok(Some((kind, object))) = stream.event().await {
            if kind == "DELETED" && same(&object) || kind != "BOOKMARK" && !same(&object) {
                return Ok(());
            }
        }
    }
}
