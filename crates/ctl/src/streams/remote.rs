//! One command in a container, or its first process: standard streams, terminal, exit code.
//!
//! **Upstream.** `kubectl/pkg/cmd/exec` (`StreamOptions`), `kubectl/pkg/util/term` (behaviour).

use streaming::remote_command::{self, Options, Outcome, TerminalSize};
use tokio::sync::mpsc;

use super::console::Console;
use super::copy::{self, Pieces, Sink};
use super::detach::Detach;
use super::{REMOTE_COMMAND, open};
use crate::commands::Context;
use crate::connection::encode;
use crate::report::{Error, message};

/// What is asked of a pod.
pub(crate) struct Request<'a> {
    /// `exec` or `attach`.
    pub(crate) subresource: &'a str,
    /// The pod's namespace.
    pub(crate) namespace: &'a str,
    /// The pod's name.
    pub(crate) pod: &'a str,
    /// The container's.
    pub(crate) container: &'a str,
    /// The command; none to attach.
    pub(crate) command: &'a [String],
    /// Which streams.
    pub(crate) options: Options,
}

impl Request<'_> {
    /// The path, with its parameters in kubectl's order.
    fn path(&self) -> String {
        let mut query: Vec<String> =
            self.command.iter().map(|word| format!("command={}", encode(word))).collect();
        query.push(format!("container={}", encode(self.container)));
        let Options { stdin, stdout, stderr, tty } = self.options;
        for (name, wanted) in [("stderr", stderr), ("stdin", stdin), ("stdout", stdout), ("tty", tty)] {
            if wanted {
                query.push(format!("{name}=true"));
            }
        }
        format!(
            "/api/v1/namespaces/{}/pods/{}/{}?{}",
            encode(self.namespace),
            encode(self.pod),
            self.subresource,
            query.join("&")
        )
    }
}

/// The user's side.
pub(crate) struct Ends<'a> {
    /// What the command reads.
    pub(crate) stdin: Option<Pieces>,
    /// What it writes.
    pub(crate) stdout: Sink<'a>,
    /// What it complains about.
    pub(crate) stderr: Sink<'a>,
    /// The terminal that it has, with the sizes to announce first.
    pub(crate) console: Option<(Console, Vec<TerminalSize>)>,
    /// The keys that end the session here.
    pub(crate) detach: Option<Detach>,
}

impl<'a> Ends<'a> {
    /// The process's own streams.
    pub(crate) fn of(context: &'a Context) -> Self {
        Self {
            stdin: None,
            stdout: Sink::Call(Box::new(|bytes| context.terminal.out_bytes(bytes))),
            stderr: Sink::Call(Box::new(|bytes| {
                context.terminal.err_bytes(bytes);
                Ok(())
            })),
            console: None,
            detach: None,
        }
    }
}

/// Runs it to its end.
pub(crate) async fn run(context: &Context, request: &Request<'_>, ends: Ends<'_>) -> Result<(), Error> {
    let connected = open(context, &request.path(), &REMOTE_COMMAND).await?;
    let lost = |error: streaming::Error| message(error.to_string());
    let streams = remote_command::connect(connected, &request.options).await.map_err(lost)?;
    let Ends { stdin, mut stdout, mut stderr, console, detach } = ends;
    let _raw = console.as_ref().map(|(console, _)| console.raw()).transpose()?;
    let sending = async {
        if let (Some(pieces), Some(to)) = (stdin, streams.stdin) {
            // A command that reads no further is no failure.
            if let Ok(copy::End::Detached) = copy::send(pieces, to, detach).await {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let resizing = async {
        if let (Some((console, first)), Some(sizes)) = (console, streams.resize) {
            announce(console, first, sizes).await;
        }
        std::future::pending::<()>().await;
    };
    let receiving = async {
        tokio::try_join!(
            copy::receive(streams.stdout, &mut stdout),
            copy::receive(streams.stderr, &mut stderr),
            async { streams.outcome.await.map_err(lost) },
        )
    };
    let (_, _, outcome) = tokio::select! {
        received = receiving => received?,
        () = sending => return Ok(()),
        () = resizing => return Ok(()),
    };
    match outcome {
        Outcome::Success => Ok(()),
        Outcome::Exit(code) => {
            let text = format!("command terminated with exit code {code}\n");
            Err(Error::Plain(text, u8::try_from(code).unwrap_or(1)))
        }
        Outcome::Failure(failure) => Err(message(failure.message)),
    }
}

/// Tells the terminal's size, and every change of it.
async fn announce(console: Console, first: Vec<TerminalSize>, sizes: mpsc::Sender<TerminalSize>) {
    for size in first {
        if sizes.send(size).await.is_err() {
            return;
        }
    }
    let Ok(mut changes) = console.resizes() else { return };
    while changes.recv().await.is_some() {
        let Some(size) = console.size() else { continue };
        if sizes.send(size).await.is_err() {
            return;
        }
    }
}

/// Which terminal a session has, given what the user wishes; says why it has none.
pub(crate) fn console(context: &Context, stdin: bool, tty: bool, quiet: bool) -> Option<Console> {
    if !stdin || !tty {
        return None;
    }
    let console = context.terminal.console();
    if console.is_none() && !quiet {
        let text = "Unable to use a TTY - input is not a terminal or the right kind of file\n";
        context.terminal.err(text);
    }
    console
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_as_kubectl_does() {
        let command = ["sh".to_owned(), "-c".to_owned(), "a & b".to_owned()];
        let options = Options { stdin: false, stdout: true, stderr: true, tty: false };
        let request = Request {
            subresource: "exec",
            namespace: "default",
            pod: "p",
            container: "c1",
            command: &command,
            options,
        };
        assert_eq!(
            request.path(),
            "/api/v1/namespaces/default/pods/p/exec?command=sh&command=-c&command=a%20%26%20b&container=c1&stderr=true&stdout=true"
        );
    }
}
