//! `exec_sync` and `exec`: a command in a running container, with its whole output or with streams.
//!
//! Contract: a command that cannot be started is an error, also where the engine reports it as output of the command.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use runtime::{ContainerId, Error, ExecResult, LogStreamKind, Result, Streams, TerminalSize};
use tokio::sync::mpsc;

use crate::client::DockerRuntime;
use crate::{error, streams};

/// Upstream keeps no more of a probe's output: `maxRespBodyLength` of the exec prober is 10 KiB, CRI's limit 16 MiB.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;
/// How the engine begins to say that it could not start a command.
const COULD_NOT_START: &str = "OCI runtime exec failed";
/// How long a command may go on after its output has ended (dockershim: five times two seconds).
const EXIT_CODE_TIMEOUT: Duration = Duration::from_secs(10);
const EXIT_CODE_PAUSE: Duration = Duration::from_millis(20);
/// A terminal has its size as soon as it exists: a command that asks for it at once does not wait.
const RESIZE_PAUSE: Duration = Duration::from_millis(2);
const RESIZE_ATTEMPTS: usize = 250;

impl DockerRuntime {
    pub(crate) async fn exec_to_end(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult> {
        let run = self.run_exec(id, command);
        if timeout.is_zero() {
            return run.await;
        }
        match tokio::time::timeout(timeout, run).await {
            Ok(result) => result,
            Err(_) => Err(Error::DeadlineExceeded { command: command.join(" ") }),
        }
    }

    async fn run_exec(&self, id: &ContainerId, command: &[String]) -> Result<ExecResult> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let (exec, started) = self.begin_exec(id.as_str(), options).await?;
        let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
        // The input is kept: its end would be seen by the command.
        let (mut output, _input) = started;
        while let Some(piece) = output.next().await {
            let (kind, message) = split(piece.map_err(error::other("read exec output"))?);
            let to = if kind == LogStreamKind::Stderr { &mut stderr } else { &mut stdout };
            let room = MAX_OUTPUT.saturating_sub(to.len());
            to.extend_from_slice(&message[..message.len().min(room)]);
        }
        let exit_code = self.exec_exit_code(&exec).await?;
        if let Some(error) = could_not_start(&stdout, exit_code) {
            return Err(error);
        }
        Ok(ExecResult { stdout: stdout.freeze(), stderr: stderr.freeze(), exit_code })
    }

    pub(crate) async fn exec_with_streams(
        &self,
        id: &ContainerId,
        command: &[String],
        mut streams: Streams,
    ) -> Result<i32> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdin: Some(streams.stdin.is_some()),
            // Always: with the output the command's end is seen.
            attach_stdout: Some(true),
            attach_stderr: Some(streams.stderr.is_some() && !streams.tty),
            tty: Some(streams.tty),
            ..CreateExecOptions::default()
        };
        let (exec, (output, input)) = self.begin_exec(id.as_str(), options).await?;
        let mut resize = streams.resize.take();
        let resizing = async {
            while let Some(size) = receive(&mut resize).await {
                self.resize_exec(&exec, size).await;
            }
        };
        // The engine tells of a command that it cannot start as if it were the command's output.
        let (copied, held) = streams::copy(output, input, streams, resizing, Some(COULD_NOT_START)).await;
        copied.map_err(|error| Error::Other { operation: "exec", message: error })?;
        let exit_code = self.exec_exit_code(&exec).await?;
        match could_not_start(&held, exit_code) {
            Some(error) => Err(error),
            None => Ok(exit_code),
        }
    }

    /// The exec's id, its output and its input.
    pub(crate) async fn begin_exec(
        &self,
        container: &str,
        options: CreateExecOptions<String>,
    ) -> Result<(String, (streams::Output, streams::Input))> {
        let tty = options.tty == Some(true);
        let exec = self.client.create_exec(container, options).await.map_err(|error| {
            if error::is_status(&error, 409) {
                Error::Invalid { message: error::message(&error) }
            } else {
                error::container("create exec", container)(error)
            }
        })?;
        let options = StartExecOptions { detach: false, tty, output_capacity: None };
        match self.client.start_exec(&exec.id, Some(options)).await {
            Ok(StartExecResults::Attached { output, input }) => Ok((exec.id, (output, input))),
            Ok(StartExecResults::Detached) => {
                Err(Error::Other { operation: "start exec", message: "the engine detached it".to_owned() })
            }
            // Newer engines say so at once.
            Err(error) if error::message(&error).contains(COULD_NOT_START) => {
                Err(Error::CannotStart { message: error::message(&error), exit_code: 126 })
            }
            Err(error) => Err(error::other("start exec")(error)),
        }
    }

    /// The exit code, when the engine knows it: that can be a moment after the output has ended. A command that has
    /// closed its output and goes on counts as ended well.
    pub(crate) async fn exec_exit_code(&self, exec: &str) -> Result<i32> {
        let ended = async {
            loop {
                let found = self.client.inspect_exec(exec).await.map_err(error::other("inspect exec"))?;
                if found.running != Some(true) {
                    return Ok(found.exit_code.unwrap_or(0).try_into().unwrap_or(-1));
                }
                tokio::time::sleep(EXIT_CODE_PAUSE).await;
            }
        };
        tokio::time::timeout(EXIT_CODE_TIMEOUT, ended).await.unwrap_or(Ok(0))
    }

    /// The terminal exists a moment after the engine has answered the start.
    async fn resize_exec(&self, exec: &str, size: TerminalSize) {
        for _ in 0..RESIZE_ATTEMPTS {
            let options = ResizeExecOptions { width: size.width, height: size.height };
            match self.client.resize_exec(exec, options).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(exec, "resize: {}", error::message(&error)),
            }
            tokio::time::sleep(RESIZE_PAUSE).await;
        }
    }
}

/// The next size; pends for ever where there is no terminal.
pub(crate) async fn receive(sizes: &mut Option<mpsc::Receiver<TerminalSize>>) -> Option<TerminalSize> {
    match sizes {
        Some(sizes) => sizes.recv().await,
        None => std::future::pending().await,
    }
}

/// A piece of output, and where it was written to.
pub(crate) fn split(output: LogOutput) -> (LogStreamKind, Bytes) {
    match output {
        LogOutput::StdErr { message } => (LogStreamKind::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            (LogStreamKind::Stdout, message)
        }
    }
}

fn could_not_start(output: &[u8], exit_code: i32) -> Option<Error> {
    let failed = matches!(exit_code, 126 | 127) && output.starts_with(COULD_NOT_START.as_bytes());
    failed.then(|| Error::CannotStart {
        message: String::from_utf8_lossy(output).trim_end().to_owned(),
        exit_code,
    })
}
