//! exec, attach, port-forward and run.
//!
//! **Contract**: what is wrong with the request itself is an answer; once the connection is upgraded, failures go to the
//! client as the protocol has it. When the client goes away its streams are closed; a command goes on.
//! **Upstream**: `getExec`, `getAttach`, `getPortForward`, `getRun` of `pkg/kubelet/server`.

use super::containers::has_terminal;
use super::request::Query;
use super::{Answer, Refusal, Request, Server, body, text};
use http::Response;
use runtime::{ContainerId, ContainerStatus, RuntimeService, Streams, TerminalSize};
use std::time::Duration;
use streaming::port_forward;
use streaming::remote_command::{self, Options, Outcome, ServerStreams};
use tokio::sync::mpsc;

/// Sizes of a terminal that nobody has taken yet.
const SIZES: usize = 16;

/// Namespace, pod, UID if given, container.
pub(super) type Target<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);

/// What is done with a container's streams.
enum Work {
    Exec(Vec<String>),
    Attach,
}

impl Server {
    pub(super) async fn exec(&self, target: Target<'_>, query: &Query, request: &mut Request) -> Answer {
        let options = Options::from_query(query.pairs()).map_err(Refusal::bad_request)?;
        let container = self.target(target).await?.ok_or_else(|| {
            let (.., name) = target;
            Refusal::internal(format!("container not found ({name:?})"))
        })?;
        let command = query.all("command").map(str::to_owned).collect();
        self.stream(request, options, options.tty, container.id, Work::Exec(command))
    }

    pub(super) async fn attach(&self, target: Target<'_>, query: &Query, request: &mut Request) -> Answer {
        let options = Options::from_query(query.pairs()).map_err(Refusal::bad_request)?;
        let (namespace, pod, uid, name) = target;
        let container = self.target(target).await?.ok_or_else(|| {
            Refusal::internal(format!("container {name} not found in pod {pod}_{namespace}"))
        })?;
        // What the container was made with, whatever the client believes.
        let tty = self.containers.pod(namespace, pod, uid).is_some_and(|pod| has_terminal(&pod, name));
        self.stream(request, options, tty, container.id, Work::Attach)
    }

    /// Runs a command and answers with its output.
    pub(super) async fn run(&self, target: Target<'_>, query: &Query) -> Answer {
        let (.., name) = target;
        let missing = || Refusal::internal(format!("container not found ({name:?})"));
        let container = self.target(target).await?.ok_or_else(missing)?;
        let command: Vec<String> =
            query.get("cmd").unwrap_or_default().split(' ').map(str::to_owned).collect();
        let ran = self.containers.runtime.exec_sync(&container.id, &command, Duration::ZERO).await;
        let ran = ran.map_err(Refusal::internal)?;
        let output = [ran.stdout, ran.stderr].concat();
        match ran.exit_code {
            0 => Ok(text(output)),
            code => {
                let output = String::from_utf8_lossy(&output);
                Err(Refusal::internal(format!(
                    "command '{}' exited with {code}: {output}",
                    command.join(" ")
                )))
            }
        }
    }

    pub(super) async fn port_forward(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        query: &Query,
        request: &mut Request,
    ) -> Answer {
        let ports = port_forward::parse_ports(query.all("port")).map_err(Refusal::bad_request)?;
        let pod = self.containers.pod(namespace, name, uid).ok_or_else(no_pod)?;
        let sandbox = self.containers.sandbox(&pod).await?;
        let missing = || Refusal::internal(format!("pod not found (\"{name}_{namespace}\")"));
        let sandbox = sandbox.ok_or_else(missing)?;
        let (response, server) = port_forward::Server::accept(request, ports)?;
        let (runtime, pod) = (self.containers.runtime.clone(), format!("{name}_{namespace}"));
        let uid = uid.unwrap_or_default().to_owned();
        let dial = move |port: u16| {
            let (runtime, sandbox) = (runtime.clone(), sandbox.clone());
            let prefix = format!("error forwarding port {port} to pod {pod}, uid {uid}");
            async move {
                let connected = runtime.port_forward(&sandbox, port).await;
                let stream = connected.map_err(|error| format!("{prefix}: {error}"))?;
                Ok(Box::new(stream) as streaming::BoxDuplex)
            }
        };
        tokio::spawn(async move {
            if let Err(error) = server.serve(dial).await {
                tracing::debug!("port-forward: {error}");
            }
        });
        Ok(upgraded(response))
    }

    /// The container that a request means, if it runs.
    async fn target(&self, target: Target<'_>) -> Result<Option<ContainerStatus>, Refusal> {
        let (namespace, name, uid, container) = target;
        let pod = self.containers.pod(namespace, name, uid).ok_or_else(no_pod)?;
        self.containers.running(&pod, container).await
    }

    fn stream(
        &self,
        request: &mut Request,
        options: Options,
        tty: bool,
        container: ContainerId,
        work: Work,
    ) -> Answer {
        let (response, accepted) = remote_command::accept(request)?;
        let runtime = self.containers.runtime.clone();
        tokio::spawn(async move {
            let served = async {
                let streams = ServerStreams::open(accepted, options).await?;
                serve(&*runtime, streams, tty, &container, work).await
            };
            if let Err(error) = served.await {
                tracing::debug!(%container, "streams: {error}");
            }
        });
        Ok(upgraded(response))
    }
}

fn no_pod() -> Refusal {
    Refusal::not_found("pod does not exist")
}

fn upgraded(response: Response<()>) -> Response<super::Body> {
    response.map(|()| body(""))
}

/// Does the work and says how it ended, unless the client has gone away.
async fn serve(
    runtime: &dyn RuntimeService,
    mut client: ServerStreams,
    tty: bool,
    container: &ContainerId,
    work: Work,
) -> streaming::Result<()> {
    let streams = Streams {
        stdin: client.stdin.take(),
        stdout: client.stdout.take(),
        stderr: client.stderr.take(),
        tty,
        resize: client.resize.take().map(sizes),
    };
    let working = async {
        match work {
            Work::Exec(command) => match runtime.exec(container, &command, streams).await? {
                0 => Ok(Outcome::Success),
                code => Ok(Outcome::Exit(code)),
            },
            Work::Attach => runtime.attach(container, streams).await.map(|()| Outcome::Success),
        }
    };
    let outcome = tokio::select! {
        outcome = working => outcome,
        () = &mut client.gone => return Ok(()),
    };
    client.finish(outcome.unwrap_or_else(|error: runtime::Error| Outcome::internal(error))).await
}

/// The same sizes as the runtime calls them.
fn sizes(mut from: mpsc::Receiver<remote_command::TerminalSize>) -> mpsc::Receiver<TerminalSize> {
    let (sender, receiver) = mpsc::channel(SIZES);
    tokio::spawn(async move {
        while let Some(remote_command::TerminalSize { width, height }) = from.recv().await {
            if sender.send(TerminalSize { width, height }).await.is_err() {
                return;
            }
        }
    });
    receiver
}
