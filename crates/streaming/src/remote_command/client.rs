//! The client's side.

use super::resize::{self, TerminalSize};
use super::status::Outcome;
use super::{Options, Version, channel, stream_type};
use crate::channels::{self, Encoding};
use crate::spdy::{Connection, Headers, Stream};
use crate::upgrade::{Connected, Transport};
use crate::{BoxDuplex, BoxRead, BoxWrite, Error, Result};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};

/// Bytes of output that nobody has read yet.
const PIPE: usize = 64 * 1024;
/// Bytes that an error stream may say.
const MAX_ERROR: usize = 1 << 20;

/// The streams of a command, those that were asked for.
pub struct ClientStreams {
    /// To the command. Shutting it down tells the command that there is no more, where the protocol can.
    pub stdin: Option<BoxWrite>,
    /// From the command.
    pub stdout: Option<BoxRead>,
    /// From the command.
    pub stderr: Option<BoxRead>,
    /// Sizes of this terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// How the command ended. Output has to be read meanwhile.
    pub outcome: BoxFuture<'static, Result<Outcome>>,
}

/// Opens the streams over a connection that the server has upgraded.
pub async fn connect(connected: Connected, options: &Options) -> Result<ClientStreams> {
    let Connected { transport, protocol, io } = connected;
    let options = Options { stderr: options.stderr && !options.tty, ..*options };
    match transport {
        Transport::WebSocket => Ok(over_websocket(io, &protocol, options).await),
        Transport::Spdy => over_spdy(io, &protocol, options).await,
    }
}

async fn over_websocket(io: BoxDuplex, protocol: &str, options: Options) -> ClientStreams {
    let version = Version::over_websocket(protocol);
    let (sender, receiver) = channels::client(io, Encoding::of(protocol)).await;
    let (stdout, stdout_pipe) = pipe(options.stdout);
    let (stderr, stderr_pipe) = pipe(options.stderr);
    let (ended, end) = oneshot::channel();
    tokio::spawn(distribute(receiver, stdout_pipe, stderr_pipe, version, ended));
    let close = version.close.then(|| (channel::CLOSE, Bytes::from_static(&[channel::STDIN])));
    let stdin = options.stdin.then(|| Box::new(sender.writer(channel::STDIN, close)) as BoxWrite);
    let resize = options.tty.then(|| forward_sizes(sender.writer(channel::RESIZE, None)));
    ClientStreams {
        stdin,
        stdout,
        stderr,
        resize,
        outcome: async move {
            // Kept until the end: without a sender the connection is closed.
            let _open = sender;
            end.await.unwrap_or(Err(Error::Closed))
        }
        .boxed(),
    }
}

async fn over_spdy(io: BoxDuplex, protocol: &str, options: Options) -> Result<ClientStreams> {
    let version = Version::over_spdy(protocol);
    let (connection, incoming) = Connection::client(io);
    drop(incoming);
    let open = async |kind: &str, wanted: bool| -> Result<Option<Stream>> {
        if !wanted {
            return Ok(None);
        }
        connection.open(Headers::new([(stream_type::HEADER, kind)])).await.map(Some)
    };
    let error = open(stream_type::ERROR, true).await?;
    let stdin = open(stream_type::STDIN, options.stdin).await?;
    let stdout = open(stream_type::STDOUT, options.stdout).await?;
    let stderr = open(stream_type::STDERR, options.stderr).await?;
    let resize = open(stream_type::RESIZE, options.tty && version.resize).await?;
    Ok(ClientStreams {
        stdin: stdin.map(|stream| Box::new(stream) as BoxWrite),
        stdout: stdout.map(|stream| Box::new(stream) as BoxRead),
        stderr: stderr.map(|stream| Box::new(stream) as BoxRead),
        resize: resize.map(forward_sizes),
        outcome: async move {
            let mut said = Vec::new();
            if let Some(mut error) = error {
                error.shutdown().await?;
                error.take(MAX_ERROR as u64).read_to_end(&mut said).await?;
            }
            drop(connection);
            ended(&said, version)
        }
        .boxed(),
    })
}

/// A connection that ends without a `Status`, where there has to be one, was lost.
fn ended(said: &[u8], version: Version) -> Result<Outcome> {
    if said.is_empty() && version.status { Err(Error::Closed) } else { Ok(Outcome::parse(said)) }
}

fn pipe(wanted: bool) -> (Option<BoxRead>, Option<DuplexStream>) {
    if !wanted {
        return (None, None);
    }
    let (near, far) = tokio::io::duplex(PIPE);
    (Some(Box::new(near)), Some(far))
}

/// Gives messages of the server to whom they are for.
async fn distribute(
    mut receiver: channels::Receiver,
    mut stdout: Option<DuplexStream>,
    mut stderr: Option<DuplexStream>,
    version: Version,
    outcome: oneshot::Sender<Result<Outcome>>,
) {
    let mut said = Vec::new();
    while let Some((channel, bytes)) = receiver.recv().await {
        let pipe = match channel {
            channel::STDOUT => &mut stdout,
            channel::STDERR => &mut stderr,
            channel::ERROR => {
                let room = MAX_ERROR.saturating_sub(said.len());
                said.extend_from_slice(&bytes[..bytes.len().min(room)]);
                continue;
            }
            _ => continue,
        };
        if let Some(open) = pipe
            && open.write_all(&bytes).await.is_err()
        {
            *pipe = None;
        }
    }
    drop((stdout, stderr));
    // Nobody may wait any more.
    let _gone = outcome.send(ended(&said, version));
}

fn forward_sizes(mut sink: impl AsyncWrite + Send + Unpin + 'static) -> mpsc::Sender<TerminalSize> {
    let (sender, mut receiver) = mpsc::channel::<TerminalSize>(resize::QUEUE);
    tokio::spawn(async move {
        while let Some(size) = receiver.recv().await {
            if sink.write_all(size.to_json().as_bytes()).await.is_err() {
                return;
            }
        }
    });
    sender
}
