//! The server's side: what the kubelet gets.

use super::resize::{self, Sizes, TerminalSize};
use super::status::Outcome;
use super::{Options, SPDY_PROTOCOLS, Version, WEBSOCKET_PROTOCOLS, channel, stream_type};
use crate::channels::{self, Encoding};
use crate::spdy::{Connection, Incoming, Stream};
use crate::upgrade::{self, Accepted, Refusal, Transport};
use crate::{BoxDuplex, BoxRead, BoxWrite, Error, Result};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// How long a client has to open its streams (upstream: `DefaultStreamCreationTimeout`).
const STREAM_CREATION_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of input that wait for the command.
const PIPE: usize = 64 * 1024;

/// Decides the upgrade: the response to send, and what leads to the streams once it is sent.
pub fn accept<B>(request: &mut Request<B>) -> Result<(Response<()>, Accepted), Refusal> {
    upgrade::accept(request, &WEBSOCKET_PROTOCOLS, &SPDY_PROTOCOLS)
}

/// The streams of a command, those that were asked for.
pub struct ServerStreams {
    /// What the client sends; ends when the client closes it or goes away.
    pub stdin: Option<BoxRead>,
    /// To the client.
    pub stdout: Option<BoxWrite>,
    /// To the client.
    pub stderr: Option<BoxWrite>,
    /// Sizes of the client's terminal.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
    /// Resolves when the client has gone away.
    pub gone: BoxFuture<'static, ()>,
    error: ErrorStream,
    version: Version,
}

enum ErrorStream {
    Channel(channels::Sender),
    Spdy(Box<Stream>),
}

impl ServerStreams {
    /// Waits for the upgrade and for the client's streams.
    pub async fn open(accepted: Accepted, options: Options) -> Result<Self> {
        let (transport, protocol) = (accepted.transport, accepted.protocol.clone());
        let io = accepted.io().await?;
        Self::over(io, transport, &protocol, options).await
    }

    /// The same over a connection that is upgraded already.
    pub(crate) async fn over(
        io: BoxDuplex,
        transport: Transport,
        protocol: &str,
        options: Options,
    ) -> Result<Self> {
        // A terminal has one output.
        let options = Options { stderr: options.stderr && !options.tty, ..options };
        match transport {
            Transport::WebSocket => Self::over_websocket(io, protocol, options).await,
            Transport::Spdy => Self::over_spdy(io, protocol, options).await,
        }
    }

    async fn over_websocket(io: BoxDuplex, protocol: &str, options: Options) -> Result<Self> {
        let version = Version::over_websocket(protocol);
        let (sender, receiver) = channels::server(io, Encoding::of(protocol)).await;
        // Tells the client that the connection is established.
        let first = match options {
            Options { stdout: true, .. } => channel::STDOUT,
            Options { stderr: true, .. } => channel::STDERR,
            _ => channel::ERROR,
        };
        sender.send(first, Bytes::new()).await?;
        let (near, far) = tokio::io::duplex(PIPE);
        let (sizes, resize) = mpsc::channel(resize::QUEUE);
        tokio::spawn(distribute(
            receiver,
            options.stdin.then_some(far),
            options.tty.then_some(sizes),
            version,
        ));
        let writer = |channel| Box::new(sender.writer(channel, None)) as BoxWrite;
        let watched = sender.clone();
        Ok(Self {
            stdin: options.stdin.then(|| Box::new(near) as BoxRead),
            stdout: options.stdout.then(|| writer(channel::STDOUT)),
            stderr: options.stderr.then(|| writer(channel::STDERR)),
            resize: options.tty.then_some(resize),
            gone: async move { watched.closed().await }.boxed(),
            error: ErrorStream::Channel(sender),
            version,
        })
    }

    async fn over_spdy(io: BoxDuplex, protocol: &str, options: Options) -> Result<Self> {
        let version = Version::over_spdy(protocol);
        let (connection, mut incoming) = Connection::server(io);
        let with_resize = options.tty && version.resize;
        let collected = collect(&mut incoming, options, with_resize);
        let mut streams = tokio::time::timeout(STREAM_CREATION_TIMEOUT, collected)
            .await
            .map_err(|_| Error::StreamsTimeout)??;
        let resize = streams.resize.take().map(|stream| {
            let (sender, receiver) = mpsc::channel(resize::QUEUE);
            tokio::spawn(async move {
                if let Err(error) = resize::pump(stream, sender).await {
                    tracing::debug!("sizes of a terminal: {error}");
                }
            });
            receiver
        });
        let error = streams.error.take().ok_or(Error::StreamsTimeout)?;
        Ok(Self {
            stdin: streams.stdin.map(|stream| Box::new(stream) as BoxRead),
            stdout: streams.stdout.map(|stream| Box::new(stream) as BoxWrite),
            stderr: streams.stderr.map(|stream| Box::new(stream) as BoxWrite),
            resize,
            gone: async move {
                // Later streams are of no use.
                let _refused = incoming;
                connection.closed().await;
            }
            .boxed(),
            error: ErrorStream::Spdy(Box::new(error)),
            version,
        })
    }

    /// Says how the command ended and closes the connection. What was written to the streams is sent before.
    pub async fn finish(mut self, outcome: Outcome) -> Result<()> {
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            output.shutdown().await?;
        }
        let said = if self.version.status { outcome.to_status().to_string() } else { outcome.to_text() };
        match self.error {
            ErrorStream::Channel(sender) => {
                if !said.is_empty() {
                    sender.send(channel::ERROR, said).await?;
                }
            }
            ErrorStream::Spdy(mut stream) => {
                stream.write_all(said.as_bytes()).await?;
                stream.shutdown().await?;
            }
        }
        Ok(())
    }
}

/// Gives messages of the client to whom they are for.
async fn distribute(
    mut receiver: channels::Receiver,
    mut stdin: Option<DuplexStream>,
    mut resize: Option<mpsc::Sender<TerminalSize>>,
    version: Version,
) {
    let mut sizes = Sizes::default();
    while let Some((channel, bytes)) = receiver.recv().await {
        match channel {
            channel::STDIN => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            channel::RESIZE => {
                for size in sizes.feed(&bytes) {
                    if let Some(sink) = &mut resize
                        && sink.send(size).await.is_err()
                    {
                        resize = None;
                    }
                }
            }
            channel::CLOSE if version.close => match bytes.first() {
                Some(&channel::STDIN) => stdin = None,
                Some(&channel::RESIZE) => resize = None,
                _ => {}
            },
            other => tracing::debug!(channel = other, "message for a channel that is not read"),
        }
    }
}

#[derive(Default)]
struct Collected {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    error: Option<Stream>,
    resize: Option<Stream>,
}

/// Waits for every stream that was asked for.
async fn collect(incoming: &mut Incoming, options: Options, resize: bool) -> Result<Collected> {
    let mut streams = Collected::default();
    loop {
        let missing = [
            (true, &streams.error),
            (options.stdin, &streams.stdin),
            (options.stdout, &streams.stdout),
            (options.stderr, &streams.stderr),
            (resize, &streams.resize),
        ];
        if missing.iter().all(|(wanted, stream)| !wanted || stream.is_some()) {
            return Ok(streams);
        }
        let new = incoming.next().await.ok_or(Error::Closed)?;
        let place = match new.headers().get(stream_type::HEADER) {
            Some(stream_type::STDIN) => &mut streams.stdin,
            Some(stream_type::STDOUT) => &mut streams.stdout,
            Some(stream_type::STDERR) => &mut streams.stderr,
            Some(stream_type::ERROR) => &mut streams.error,
            Some(stream_type::RESIZE) => &mut streams.resize,
            other => {
                tracing::debug!("unexpected stream type: {other:?}");
                continue;
            }
        };
        *place = Some(new.accept());
    }
}
