//! `exec_sync`: a command in a running container, with its whole output.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bytes::BytesMut;
use futures::StreamExt;
use runtime::{ContainerId, Error, ExecResult, Result};

use crate::client::DockerRuntime;
use crate::error;

/// Upstream keeps no more of a probe's output: `maxRespBodyLength` of the exec prober is 10 KiB, CRI's limit 16 MiB.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;

impl DockerRuntime {
    pub(crate) async fn exec(
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
        let exec = self.client.create_exec(id.as_str(), options).await.map_err(|error| {
            if error::is_status(&error, 409) {
                Error::Invalid { message: error::message(&error) }
            } else {
                error::container("create exec", id.as_str())(error)
            }
        })?;
        let started = self.client.start_exec(&exec.id, None).await.map_err(error::other("start exec"))?;
        let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
        if let StartExecResults::Attached { mut output, input: _input } = started {
            while let Some(piece) = output.next().await {
                let (to, message) = match piece.map_err(error::other("read exec output"))? {
                    LogOutput::StdErr { message } => (&mut stderr, message),
                    LogOutput::StdOut { message }
                    | LogOutput::StdIn { message }
                    | LogOutput::Console { message } => (&mut stdout, message),
                };
                let room = MAX_OUTPUT.saturating_sub(to.len());
                to.extend_from_slice(&message[..message.len().min(room)]);
            }
        }
        let ended = self.client.inspect_exec(&exec.id).await.map_err(error::other("inspect exec"))?;
        let exit_code = ended.exit_code.unwrap_or(0).try_into().unwrap_or(-1);
        if matches!(exit_code, 126 | 127) && stdout.starts_with(b"OCI runtime exec failed") {
            let message = String::from_utf8_lossy(&stdout).trim_end().to_owned();
            return Err(Error::CannotStart { message, exit_code });
        }
        Ok(ExecResult { stdout: stdout.freeze(), stderr: stderr.freeze(), exit_code })
    }
}
