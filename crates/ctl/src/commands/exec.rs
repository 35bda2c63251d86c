//! `exec`: a command in a container.
//!
//! **Upstream.** `kubectl/pkg/cmd/exec` (behaviour).

use clap::{Arg, ArgAction, ArgMatches};
use streaming::remote_command::Options;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::manifests::Sources;
use crate::report::{Error, message};
use crate::streams::pods;
use crate::streams::remote::{self, Ends, Request};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "exec", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Execute a command in a container")
        .arg(cli::arguments("(POD | TYPE/NAME)"))
        .arg(after_dashes("COMMAND"))
        .arg(cli::texts("filename", "to use to exec into the resource").short('f'))
        .arg(pods::container_flag())
        .arg(pods::timeout_flag())
        .args(session_flags())
}

/// What follows `--`.
pub(super) fn after_dashes(what: &'static str) -> Arg {
    Arg::new("command-line").value_name(what).num_args(0..).last(true).action(ArgAction::Append)
}

/// What was given after `--`, empty words included.
pub(super) fn command_line(matches: &ArgMatches) -> Vec<String> {
    matches.get_many::<String>("command-line").into_iter().flatten().cloned().collect()
}

/// `-i -t -q`
pub(super) fn session_flags() -> [Arg; 3] {
    [
        cli::flag("stdin", "Pass stdin to the container").short('i'),
        cli::flag("tty", "Stdin is a TTY").short('t'),
        cli::flag("quiet", "Only print output from the remote session").short('q'),
    ]
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let command = command_line(matches);
    let files = Sources::from_matches(matches)?;
    if command.is_empty() && (arguments.len() > 1 || (!arguments.is_empty() && !files.is_empty())) {
        return Err(message(
            "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\nSee 'kctl exec -h' for help and examples",
        ));
    }
    if arguments.is_empty() && files.is_empty() {
        return Err(message("pod, type/name or --filename must be specified"));
    }
    if command.is_empty() {
        return Err(message("you must specify at least one command for the container"));
    }
    let limit = pods::timeout(matches, "exec")?;
    let object = pods::object(context, matches, arguments.first().map(String::as_str)).await?;
    let pod = pods::pod_of(context, object, limit).await?;
    let phase = pod["status"]["phase"].as_str().unwrap_or("");
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(message(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let quiet = matches.get_flag("quiet");
    let container = pods::choose(context, &pod, value(matches, "container"), quiet)?;
    let stdin = matches.get_flag("stdin");
    let console = remote::console(context, stdin, matches.get_flag("tty"), quiet);
    let tty = console.is_some();
    let mut ends = Ends::of(context);
    ends.stdin = stdin.then(|| context.terminal.stdin_pieces());
    ends.console = console.map(|console| (console, console.size().into_iter().collect()));
    let request = Request {
        subresource: "exec",
        namespace: pod["metadata"]["namespace"].as_str().unwrap_or(""),
        pod: pod["metadata"]["name"].as_str().unwrap_or(""),
        container: container["name"].as_str().unwrap_or(""),
        command: &command,
        options: Options { stdin, stdout: true, stderr: !tty, tty },
    };
    remote::run(context, &request, ends).await
}
