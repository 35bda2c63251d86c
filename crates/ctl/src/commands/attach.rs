//! `attach`: the first process of a container, as if it had been started from here.
//!
//! **Upstream.** `kubectl/pkg/cmd/attach` (behaviour).

use clap::{Arg, ArgMatches};
use serde_json::Value;
use streaming::remote_command::{Options, TerminalSize};

use super::{Command, Context, exec};
use crate::cli::{self, value, values};
use crate::connection::JSON;
use crate::report::{Error, message};
use crate::resolve::{self, Target};
use crate::streams::detach::Detach;
use crate::streams::pods;
use crate::streams::remote::{self, Ends, Request};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "attach", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Attach to a running container")
        .arg(cli::arguments("(POD | TYPE/NAME) -c CONTAINER"))
        .arg(pods::container_flag())
        .arg(pods::timeout_flag())
        .args(exec::session_flags())
        .arg(detach_flag())
}

/// `--detach-keys`
pub(super) fn detach_flag() -> Arg {
    cli::text("detach-keys", "Override the key sequence for detaching a container")
        .default_value("ctrl-p,ctrl-q")
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let limit = pods::timeout(matches, "attach")?;
    let target = match arguments.as_slice() {
        [] => return Err(message("at least 1 argument is required for attach")),
        [one] => pods::target(context, one).await?,
        [word, name] => {
            let resource = resolve::resource(context.discovery().await?, word)?.clone();
            let namespace = resource.namespaced.then(|| context.namespace().to_owned());
            Target { resource, namespace, name: Some(name.clone()), source: None }
        }
        more => {
            return Err(message(format!(
                "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {}: [{}]",
                more.len(),
                more.join(" ")
            )));
        }
    };
    let object = context.connection().await?.get(&target.path(), JSON).await?;
    let pod = pods::pod_of(context, object, limit).await?;
    let phase = pod["status"]["phase"].as_str().unwrap_or("");
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(message(format!(
            "cannot attach a container in a completed pod; current phase is {phase}"
        )));
    }
    Session::from_matches(matches)?.run(context, &pod, value(matches, "container")).await
}

/// How somebody sits before a container.
pub(super) struct Session {
    pub(super) stdin: bool,
    pub(super) tty: bool,
    pub(super) quiet: bool,
    pub(super) detach: Detach,
}

impl Session {
    /// Reads `-i -t -q --detach-keys`.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let keys = match matches.try_contains_id("detach-keys") {
            Ok(true) => value(matches, "detach-keys"),
            _ => "ctrl-p,ctrl-q",
        };
        Ok(Self {
            stdin: matches.get_flag("stdin"),
            tty: matches.get_flag("tty"),
            quiet: matches.get_flag("quiet"),
            detach: Detach::parse(keys)
                .map_err(|why| message(format!("could not bind detach keys: {why}")))?,
        })
    }

    /// Attaches, until the process ends or the user has had enough.
    pub(super) async fn run(self, context: &Context, pod: &Value, asked: &str) -> Result<(), Error> {
        let container = pods::choose(context, pod, asked, self.quiet)
            .map_err(|error| message(format!("cannot attach to the container: {error}")))?;
        let name = container["name"].as_str().unwrap_or("");
        let has_tty = container["tty"] == true;
        if self.tty && !has_tty && !self.quiet {
            context
                .terminal
                .err(&format!("error: Unable to use a TTY - container {name} did not allocate one\n"));
        }
        // A container with a terminal speaks to a terminal, whatever was asked for.
        let console = remote::console(context, self.stdin, has_tty, self.quiet);
        let tty = console.is_some();
        if !self.quiet {
            context.terminal.err("All commands and output from this session will be recorded in container logs, including credentials and sensitive information passed through the command prompt.\nIf you don't see a command prompt, try pressing enter.\n");
        }
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("");
        let mut ends = Ends::of(context);
        ends.stdin = self.stdin.then(|| context.terminal.stdin_pieces());
        ends.detach = tty.then_some(self.detach);
        ends.console = console.map(|console| (console, console.size().map(twice).unwrap_or_default()));
        let request = Request {
            subresource: "attach",
            namespace: text("namespace"),
            pod: text("name"),
            container: name,
            command: &[],
            options: Options { stdin: self.stdin, stdout: true, stderr: !tty, tty },
        };
        remote::run(context, &request, ends).await?;
        if self.quiet || !tty {
            return Ok(());
        }
        let resume = format!("'kctl attach {} -c {name} -n {} -i -t'", text("name"), text("namespace"));
        let ephemeral = pod["spec"]["ephemeralContainers"].as_array();
        let line = if ephemeral.into_iter().flatten().any(|c| c["name"] == name) {
            format!(
                "Session ended, the ephemeral container will not be restarted but may be reattached using {resume} if it is still running\n"
            )
        } else {
            format!("Session ended, resume using {resume} command\n")
        };
        context.terminal.out(&line)
    }
}

/// A size, after another one: the change makes the program draw its screen again.
fn twice(size: TerminalSize) -> Vec<TerminalSize> {
    let larger = TerminalSize { width: size.width.saturating_add(1), height: size.height.saturating_add(1) };
    vec![larger, size]
}
