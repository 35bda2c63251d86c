//! Bytes between the engine's connection and the streams of a command, and `attach`.
//!
//! Contract: ends when the output has ended, or a sink takes no more; then the sinks are shut down. Input goes on its
//! own: a command that does not read holds up nothing but its writer.

use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error as Engine;
use bollard::query_parameters::{AttachContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use runtime::{ContainerId, Error, LogStreamKind, Result, Streams};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::client::DockerRuntime;
use crate::error;
use crate::exec::{receive, split};

/// What comes from the engine.
pub(crate) type Output = Pin<Box<dyn Stream<Item = std::result::Result<LogOutput, Engine>> + Send>>;
/// What goes to the engine.
pub(crate) type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Bytes of output that are held back at most.
const MAX_HELD: usize = 4096;

impl DockerRuntime {
    pub(crate) async fn attach_streams(&self, id: &ContainerId, mut streams: Streams) -> Result<()> {
        let found = self.client.inspect_container(id.as_str(), None).await;
        let found = found.map_err(error::container("inspect container", id.as_str()))?;
        if found.state.and_then(|state| state.running) != Some(true) {
            return Err(Error::Invalid { message: format!("container {id} is not running") });
        }
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(streams.stdin.is_some())
            .stdout(true)
            .stderr(streams.stderr.is_some() && !streams.tty)
            .build();
        let attached = self.client.attach_container(id.as_str(), Some(options)).await;
        let attached = attached.map_err(error::container("attach", id.as_str()))?;
        let mut resize = streams.resize.take();
        let resizing = async {
            while let Some(size) = receive(&mut resize).await {
                let (width, height) = (i32::from(size.width), i32::from(size.height));
                let options = ResizeContainerTTYOptionsBuilder::default().w(width).h(height).build();
                if let Err(error) = self.client.resize_container_tty(id.as_str(), options).await {
                    tracing::debug!(%id, "resize: {}", error::message(&error));
                }
            }
        };
        let (copied, _) = copy(attached.output, attached.input, streams, resizing, None).await;
        copied.map_err(|message| Error::Other { operation: "attach", message })
    }
}

/// Copies until the end. If the output begins with `marker`, the first bytes of it are held back and returned.
pub(crate) async fn copy(
    output: Output,
    mut input: Input,
    streams: Streams,
    resizing: impl Future<Output = ()>,
    marker: Option<&str>,
) -> (std::result::Result<(), String>, Bytes) {
    let Streams { stdin, mut stdout, mut stderr, tty, .. } = streams;
    let sending = async {
        if let Some(mut stdin) = stdin {
            // Either end may go away; what the command writes is still of interest.
            let _copied = tokio::io::copy(&mut stdin, &mut input).await;
            // The end of a terminal's input would end its output in the engine (moby's `attach.go`).
            if !tty {
                let _ended = input.shutdown().await;
            }
        }
        // The input is kept until the output has ended.
        std::future::pending::<()>().await
    };
    let resizing = async {
        resizing.await;
        std::future::pending::<()>().await
    };
    let mut held = Held::new(marker);
    let receiving = receive_output(output, &mut stdout, &mut stderr, &mut held);
    let outcome = tokio::select! {
        outcome = receiving => outcome,
        () = sending => Ok(()),
        () = resizing => Ok(()),
    };
    for sink in [&mut stdout, &mut stderr].into_iter().flatten() {
        // Whoever listened may have gone.
        let _ended = sink.shutdown().await;
    }
    (outcome, held.bytes.freeze())
}

async fn receive_output(
    mut output: Output,
    stdout: &mut Option<runtime::BoxWrite>,
    stderr: &mut Option<runtime::BoxWrite>,
    held: &mut Held<'_>,
) -> std::result::Result<(), String> {
    while let Some(piece) = output.next().await {
        let (kind, bytes) = split(piece.map_err(|error| error::message(&error))?);
        let (sink, bytes) = match kind {
            LogStreamKind::Stderr => (&mut *stderr, bytes),
            LogStreamKind::Stdout => match held.pass(bytes) {
                Some(bytes) => (&mut *stdout, bytes),
                None => continue,
            },
        };
        let Some(sink) = sink else { continue };
        let written = async {
            sink.write_all(&bytes).await?;
            sink.flush().await
        };
        written.await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Output that may be the engine's own words.
struct Held<'a> {
    marker: Option<&'a str>,
    bytes: BytesMut,
}

impl<'a> Held<'a> {
    fn new(marker: Option<&'a str>) -> Self {
        Self { marker, bytes: BytesMut::new() }
    }

    /// What of it is to be passed on now.
    fn pass(&mut self, bytes: Bytes) -> Option<Bytes> {
        let Some(marker) = self.marker else { return Some(bytes) };
        self.bytes.extend_from_slice(&bytes);
        if self.bytes.starts_with(marker.as_bytes()) && self.bytes.len() <= MAX_HELD {
            return None;
        }
        self.marker = None;
        Some(self.bytes.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_back_the_engines_own_words() {
        let mut held = Held::new(Some("OCI"));
        assert_eq!(held.pass("OCI runtime".into()), None);
        assert_eq!(held.pass(" failed".into()), None);
        assert_eq!(&held.bytes[..], b"OCI runtime failed");
        let long = Bytes::from(vec![b'x'; MAX_HELD]);
        assert_eq!(held.pass(long).map(|bytes| bytes.len()), Some(18 + MAX_HELD));
        assert_eq!(held.pass("OCI".into()), Some("OCI".into()));
        assert_eq!(Held::new(Some("OCI")).pass("output".into()), Some("output".into()));
    }
}
