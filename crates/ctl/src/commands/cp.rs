//! `cp`: files between this machine and a container that has `tar`.
//!
//! **Contract.** Files are streamed, none is held in memory.
//! **Upstream.** `kubectl/pkg/cmd/cp` (behaviour).

mod archive;
mod paths;

use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use archive::Note;
use clap::ArgMatches;
use paths::Spec;
use serde_json::Value;
use streaming::remote_command::Options;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, encode};
use crate::report::{Error, message};
use crate::streams::copy::{self, Reader, Sink, Writer};
use crate::streams::pods;
use crate::streams::remote::{self, Ends, Request};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "cp", build, run: |context, matches| Box::pin(run(context, matches)) };

/// How long the question whether the destination is a folder may take (kubectl's).
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Copy files and directories to and from containers")
        .arg(cli::arguments("<file-spec-src> <file-spec-dest>"))
        .arg(pods::container_flag())
        .arg(cli::flag("no-preserve", "The copied file/directory's ownership and permissions will not be preserved in the container"))
        .arg(cli::number("retries", "Set number of retries to complete a copy operation from a container. Specify 0 to disable or any negative value for infinite retrying. The default is 0 (no retry).").default_value("0"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let [source, destination] = arguments.as_slice() else {
        return Err(message("source and destination are required"));
    };
    let source = Spec::parse(source).map_err(message)?;
    let destination = Spec::parse(destination).map_err(message)?;
    if source.pod.is_some() && destination.pod.is_some() {
        return Err(message("one of src or dest must be a local file specification"));
    }
    if source.file.is_empty() || destination.file.is_empty() {
        return Err(message("filepath can not be empty"));
    }
    let container = value(matches, "container");
    match (&source.pod, &destination.pod) {
        (Some(pod), None) => {
            let there = There::find(context, pod, container).await?;
            let retries = matches.get_one::<i64>("retries").copied().unwrap_or(0);
            there.fetch(&source.file, &destination.file, retries).await
        }
        (None, Some(pod)) => {
            if !Path::new(&source.file).exists() {
                return Err(message(format!("{} doesn't exist in local filesystem", source.file)));
            }
            let there = There::find(context, pod, container).await?;
            there.put(&source.file, &destination.file, matches.get_flag("no-preserve")).await
        }
        _ => Err(message("one of src or dest must be a remote file specification")),
    }
}

/// The container at the other end.
struct There<'a> {
    context: &'a Context,
    namespace: String,
    pod: String,
    container: String,
}

impl<'a> There<'a> {
    async fn find(
        context: &'a Context,
        (namespace, name): &(Option<String>, String),
        container: &str,
    ) -> Result<Self, Error> {
        let namespace = namespace.clone().unwrap_or_else(|| context.namespace().to_owned());
        let path = format!("/api/v1/namespaces/{}/pods/{}", encode(&namespace), encode(name));
        let pod: Value = context.connection().await?.get(&path, JSON).await?;
        let phase = pod["status"]["phase"].as_str().unwrap_or("");
        if matches!(phase, "Succeeded" | "Failed") {
            return Err(message(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            )));
        }
        let chosen = pods::choose(context, &pod, container, false)?;
        let container = chosen["name"].as_str().unwrap_or("").to_owned();
        Ok(Self { context, namespace, pod: name.clone(), container })
    }

    async fn exec(&self, command: &[&str], ends: Ends<'_>) -> Result<(), Error> {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let stdin = ends.stdin.is_some();
        let request = Request {
            subresource: "exec",
            namespace: &self.namespace,
            pod: &self.pod,
            container: &self.container,
            command: &command,
            options: Options { stdin, stdout: true, stderr: true, tty: false },
        };
        remote::run(self.context, &request, ends).await
    }

    async fn is_folder(&self, file: &str) -> Result<bool, Error> {
        let mut ends = Ends::of(self.context);
        (ends.stdout, ends.stderr) = (Sink::Nowhere, Sink::Nowhere);
        let command = ["test", "-d", file];
        let tested = self.exec(&command, ends);
        match tokio::time::timeout(TEST_TIMEOUT, tested).await {
            Ok(tested) => Ok(tested.is_ok()),
            Err(_) => Err(message("context deadline exceeded")),
        }
    }

    async fn put(&self, source: &str, destination: &str, no_preserve: bool) -> Result<(), Error> {
        let mut destination = destination.to_owned();
        if self.is_folder(&destination).await? {
            destination = paths::join(&destination, &paths::split(source).1);
        }
        let (folder, _) = paths::split(&destination);
        let mut command = vec!["tar"];
        if no_preserve {
            command.extend(["--no-same-permissions", "--no-same-owner"]);
        }
        command.extend(["-xmf", "-", "-C", &folder]);
        let (sender, pieces) = copy::pipe();
        let source = source.to_owned();
        let named = destination.clone();
        let packing = tokio::task::spawn_blocking(move || {
            // Many small writes would be as many messages.
            archive::pack(&source, &named, BufWriter::with_capacity(copy::PIECE, Writer(sender)))
        });
        let mut ends = Ends::of(self.context);
        ends.stdin = Some(pieces);
        self.exec(&command, ends).await?;
        match packing.await {
            Ok(packed) => packed.map_err(Error::from),
            Err(_) => Err(message("the archive could not be made")),
        }
    }

    async fn fetch(&self, source: &str, destination: &str, retries: i64) -> Result<(), Error> {
        let (sender, pieces) = copy::pipe();
        let (prefix, destination) = (paths::prefix(source), destination.to_owned());
        let terminal = self.context.terminal.clone();
        let hint = format!(
            " (consider using \"kctl exec -n {:?} {:?} -- tar cf - {source:?} | tar xf -\")",
            self.namespace, self.pod
        );
        let unpacking = tokio::task::spawn_blocking(move || {
            let mut hint = Some(hint);
            let note = |note| match note {
                Note::Outside(file) => {
                    terminal.err(&format!("warning: file {file:?} is outside target destination, skipping\n"))
                }
                Note::Link(file, target) => {
                    let hint = hint.take().unwrap_or_default();
                    terminal.err(&format!("warning: skipping symlink: {file:?} -> {target:?}{hint}\n"));
                }
            };
            archive::unpack(Reader::new(pieces), &prefix, &destination, note)
        });
        let (mut read, mut tried) = (0_u64, 0_i64);
        loop {
            let from = format!("tar cf - '{}' | tail -c+{}", source.replace('\'', r"'\''"), read + 1);
            let command = match retries {
                0 => vec!["tar", "cf", "-", source],
                _ => vec!["sh", "-c", &from],
            };
            let mut ends = Ends::of(self.context);
            let terminal = &self.context.terminal;
            // What tar complains about goes where kubectl lets it go.
            ends.stderr = Sink::Call(Box::new(|bytes| terminal.out_bytes(bytes)));
            ends.stdout = Sink::Pipe(sender.clone(), &mut read);
            match self.exec(&command, ends).await {
                Ok(()) => break,
                // The archive is no good: that is what went wrong.
                Err(_) if sender.is_closed() => break,
                Err(_) if retries < 0 || tried < retries => {
                    tried += 1;
                    self.context
                        .terminal
                        .out(&format!("Resuming copy at {read} bytes, retry {tried}/{retries}\n"))?;
                }
                Err(error) => {
                    if retries != 0 {
                        let line = format!("Dropping out copy after {tried} retries\n");
                        self.context.terminal.out(&line)?;
                    }
                    return Err(error);
                }
            }
        }
        drop(sender);
        match unpacking.await {
            Ok(unpacked) => unpacked.map_err(|error| match error.kind() {
                std::io::ErrorKind::Other => message(error.to_string()),
                _ => Error::from(error),
            }),
            Err(_) => Err(message("the archive could not be read")),
        }
    }
}
