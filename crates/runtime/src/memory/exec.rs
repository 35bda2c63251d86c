//! Commands, attached streams and connections on paper.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};

use super::Memory;
use crate::script::{End, Script, Step};
use crate::*;

/// Bytes that either end of a connection may be ahead.
const PIPE: usize = 64 * 1024;
/// Bytes of the longest line that a shell reads.
const MAX_LINE: u64 = 64 * 1024;

impl Memory {
    pub(super) async fn run_to_end(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult> {
        self.running(id)?;
        let script = Script::from_command(command);
        if let Some(message) = script.cannot_start {
            return Err(Error::CannotStart { message, exit_code: 126 });
        }
        let (time, exit_code) = script.ends_after().unwrap_or((Duration::ZERO, 0));
        if !timeout.is_zero() && time > timeout {
            tokio::time::sleep(timeout).await;
            return Err(Error::DeadlineExceeded { command: command.join(" ") });
        }
        tokio::time::sleep(time).await;
        let joined = |wanted: LogStreamKind| -> Bytes {
            let lines = script.lines().filter(|(_, stream, _)| *stream == wanted);
            lines.map(|(_, _, text)| format!("{text}\n")).collect::<String>().into()
        };
        Ok(ExecResult {
            stdout: joined(LogStreamKind::Stdout),
            stderr: joined(LogStreamKind::Stderr),
            exit_code,
        })
    }

    pub(super) async fn run_with_streams(
        &self,
        id: &ContainerId,
        command: &[String],
        streams: Streams,
    ) -> Result<i32> {
        let mut ended = self.running(id)?;
        let script = Script::from_command(command);
        if let Some(message) = script.cannot_start {
            return Err(Error::CannotStart { message, exit_code: 126 });
        }
        let mut process = Process::new(streams);
        let play = async {
            process.play(&script.steps).await?;
            match script.end {
                End::Exit(code) => Ok(code),
                End::Forever => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            outcome = play => outcome,
            _killed = ended.wait_for(|ended| *ended) => Ok(137),
        };
        process.close().await;
        outcome.map_err(|error: std::io::Error| broken("exec", &error))
    }

    pub(super) async fn attach_streams(&self, id: &ContainerId, streams: Streams) -> Result<()> {
        self.running(id)?;
        let options = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
        let mut lines = self.logs(id, &options)?;
        let mut process = Process::new(streams);
        while let Some(line) = lines.next().await {
            let line = line?;
            process.print(line.stream, &line.bytes).await.map_err(|error| broken("attach", &error))?;
        }
        process.close().await;
        Ok(())
    }

    /// A connection to whoever serves the port by its script: it sends back what it receives.
    pub(super) fn connect(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        let state = self.state();
        let sandbox = state.sandboxes.get(id).filter(|sandbox| sandbox.is_ready());
        let sandbox = sandbox.ok_or_else(|| Error::sandbox_not_found(id.as_str()))?;
        let mut inside = sandbox.containers.iter().filter_map(|id| state.containers.get(id));
        if !inside.any(|container| container.is_running() && container.script.serves.contains(&port)) {
            let message = format!("dial tcp4 127.0.0.1:{port}: connect: connection refused");
            return Err(Error::Other { operation: "port forward", message });
        }
        let (near, far) = tokio::io::duplex(PIPE);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(far);
            // The other end may go away at any time.
            let _copied = tokio::io::copy(&mut read, &mut write).await;
            let _ended = write.shutdown().await;
        });
        Ok(Box::new(near))
    }

    /// Tells when the container ends.
    fn running(&self, id: &ContainerId) -> Result<watch::Receiver<bool>> {
        let state = self.state();
        let container = state.containers.get(id).ok_or_else(|| Error::container_not_found(id.as_str()))?;
        if !container.is_running() {
            return Err(Error::Invalid { message: format!("container {id} is not running") });
        }
        Ok(container.ended.subscribe())
    }
}

fn broken(operation: &'static str, error: &std::io::Error) -> Error {
    Error::Other { operation, message: error.to_string() }
}

/// A command on paper.
struct Process {
    stdin: BufReader<BoxRead>,
    stdout: Option<BoxWrite>,
    stderr: Option<BoxWrite>,
    tty: bool,
    resize: Option<mpsc::Receiver<TerminalSize>>,
}

impl Process {
    fn new(streams: Streams) -> Self {
        let Streams { stdin, stdout, stderr, tty, resize } = streams;
        let stdin = stdin.unwrap_or_else(|| Box::new(tokio::io::empty()));
        Self { stdin: BufReader::new(stdin), stdout, stderr, tty, resize }
    }

    async fn play(&mut self, steps: &[Step]) -> std::io::Result<()> {
        for step in steps {
            match step {
                Step::Print(stream, text) => self.print(*stream, format!("{text}\n").as_bytes()).await?,
                Step::Sleep(time) => tokio::time::sleep(*time).await,
                Step::Copy => self.copy().await?,
                Step::Terminal => {
                    let text = if self.tty { "terminal\n" } else { "no terminal\n" };
                    self.print(LogStreamKind::Stdout, text.as_bytes()).await?;
                }
                Step::AwaitSize(wanted) => self.await_size(*wanted).await,
                Step::Shell => Box::pin(self.shell()).await?,
            }
        }
        Ok(())
    }

    async fn print(&mut self, stream: LogStreamKind, bytes: &[u8]) -> std::io::Result<()> {
        let sink = match stream {
            LogStreamKind::Stderr if !self.tty => &mut self.stderr,
            LogStreamKind::Stderr | LogStreamKind::Stdout => &mut self.stdout,
        };
        let Some(sink) = sink else { return Ok(()) };
        sink.write_all(bytes).await?;
        sink.flush().await
    }

    async fn copy(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; 8 * 1024];
        loop {
            let n = self.stdin.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            self.print(LogStreamKind::Stdout, &buffer[..n]).await?;
        }
    }

    /// Waits for a size; without a terminal there is none to wait for.
    async fn await_size(&mut self, wanted: TerminalSize) {
        let Some(sizes) = &mut self.resize else { return };
        while let Some(size) = sizes.recv().await {
            if size == wanted {
                return;
            }
        }
    }

    /// Reads lines and plays what they say, until `exit` or the end.
    async fn shell(&mut self) -> std::io::Result<()> {
        loop {
            if self.tty {
                self.print(LogStreamKind::Stdout, b"$ ").await?;
            }
            let mut line = Vec::new();
            if (&mut self.stdin).take(MAX_LINE).read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim();
            if line == "exit" || line.starts_with("exit ") {
                return Ok(());
            }
            let script = Script::from_command(&["sh", "-c", line].map(str::to_owned));
            self.play(&script.steps).await?;
        }
    }

    async fn close(&mut self) {
        for sink in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            // Whoever listened may have gone.
            let _ended = sink.shutdown().await;
        }
    }
}
