//! Numbered channels within WebSocket messages: `channel.k8s.io` and its relatives.
//!
//! **Contract**: the first byte of a message names its channel, in the base64 variants as a digit. What is sent goes out
//! in order, whatever its channel. One task works on the connection until the peer is gone or every [`Sender`] is
//! dropped; then a close frame is sent and the peer has some time to answer it.
//! **Upstream**: `k8s.io/apiserver/pkg/util/wsstream`.

use crate::websocket::{CHUNK, WebSocket, normal_closure, to_io};
use crate::{BoxDuplex, Result, websocket};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::PollSender;

/// How long the peer has to close a connection that is closed here.
const LINGER: Duration = Duration::from_secs(5);
/// How long the peer has to take what is to be sent to it when nobody here is interested any more.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client sends a ping so often (upstream: `pingPeriod`).
const PING_PERIOD: Duration = Duration::from_secs(5);
/// A client gives up a server of which it has heard nothing for so long (upstream: `pingReadDeadline`).
const PING_DEADLINE: Duration = Duration::from_secs(61);
/// Messages that wait to be sent, or to be taken.
const QUEUE: usize = 4;

/// How bytes become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Binary messages.
    Binary,
    /// Text messages; the channel is a digit, the rest is base64.
    Base64,
}

impl Encoding {
    /// Of a protocol's name.
    pub(crate) fn of(protocol: &str) -> Self {
        if protocol.contains("base64.") { Self::Base64 } else { Self::Binary }
    }

    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut message = BytesMut::with_capacity(bytes.len() + 1);
                message.put_u8(channel);
                message.put_slice(bytes);
                Message::Binary(message.freeze())
            }
            Self::Base64 => {
                let mut message = String::from(char::from(b'0'.wrapping_add(channel)));
                STANDARD.encode_string(bytes, &mut message);
                Message::text(message)
            }
        }
    }

    /// None: a message without a channel, or that is no base64.
    fn decode(self, mut message: Bytes) -> Option<(u8, Bytes)> {
        if message.is_empty() {
            return None;
        }
        let channel = message.split_to(1)[0];
        match self {
            Self::Binary => Some((channel, message)),
            Self::Base64 => Some((channel.checked_sub(b'0')?, STANDARD.decode(&message).ok()?.into())),
        }
    }
}

/// Sends messages.
#[derive(Debug, Clone)]
pub(crate) struct Sender(mpsc::Sender<(u8, Bytes)>);

impl Sender {
    /// Sends one message.
    pub(crate) async fn send(&self, channel: u8, bytes: impl Into<Bytes>) -> io::Result<()> {
        self.0.send((channel, bytes.into())).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Waits until nothing can be sent any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }

    /// Sends what is written to it on a channel. `on_shutdown` is sent when it is shut down.
    pub(crate) fn writer(&self, channel: u8, on_shutdown: Option<(u8, Bytes)>) -> Writer {
        Writer { sender: PollSender::new(self.0.clone()), channel, on_shutdown }
    }
}

/// One channel as a sink of bytes.
pub(crate) struct Writer {
    sender: PollSender<(u8, Bytes)>,
    channel: u8,
    on_shutdown: Option<(u8, Bytes)>,
}

impl Writer {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: impl FnOnce() -> (u8, Bytes),
    ) -> Poll<io::Result<()>> {
        let broken = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.sender.poll_reserve(cx)).map_err(broken)?;
        Poll::Ready(self.sender.send_item(message()).map_err(broken))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let (channel, n) = (self.channel, buf.len().min(CHUNK));
        if n > 0 {
            ready!(self.poll_send(cx, || (channel, Bytes::copy_from_slice(&buf[..n]))))?;
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(message) = self.on_shutdown.clone() {
            ready!(self.poll_send(cx, || message))?;
            self.on_shutdown = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Messages with their channels, in the order in which they came; ends with the connection.
pub(crate) type Receiver = mpsc::Receiver<(u8, Bytes)>;

/// Starts channels over a connection, on the server's side.
pub(crate) async fn server(io: BoxDuplex, encoding: Encoding) -> (Sender, Receiver) {
    start(websocket::server(io).await, encoding, None)
}

/// Starts channels over a connection, on the client's side, which keeps it alive by pings.
pub(crate) async fn client(io: BoxDuplex, encoding: Encoding) -> (Sender, Receiver) {
    start(websocket::client(io).await, encoding, Some(PING_PERIOD))
}

fn start(socket: WebSocket<BoxDuplex>, encoding: Encoding, ping: Option<Duration>) -> (Sender, Receiver) {
    let (sender, outgoing) = mpsc::channel(QUEUE);
    let (incoming, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = run(socket, encoding, ping, outgoing, incoming).await {
            tracing::debug!("WebSocket connection: {error}");
        }
    });
    (Sender(sender), receiver)
}

async fn run(
    socket: WebSocket<BoxDuplex>,
    encoding: Encoding,
    ping: Option<Duration>,
    mut outgoing: mpsc::Receiver<(u8, Bytes)>,
    incoming: mpsc::Sender<(u8, Bytes)>,
) -> Result<()> {
    let (sink, stream) = socket.split();
    let reading = read(stream, encoding, ping.map(|_| PING_DEADLINE), incoming);
    tokio::pin!(reading);
    tokio::select! {
        read = &mut reading => read?,
        written = write(sink, encoding, ping, &mut outgoing) => {
            written?;
            let _late = tokio::time::timeout(LINGER, reading).await;
        }
    }
    Ok(())
}

async fn write(
    mut sink: impl Sink<Message, Error = WsError> + Unpin,
    encoding: Encoding,
    ping: Option<Duration>,
    outgoing: &mut mpsc::Receiver<(u8, Bytes)>,
) -> io::Result<()> {
    let mut ticks = ping.map(|period| tokio::time::interval_at(tokio::time::Instant::now() + period, period));
    loop {
        let message = match &mut ticks {
            None => outgoing.recv().await.map(|(channel, bytes)| encoding.encode(channel, &bytes)),
            Some(ticks) => tokio::select! {
                item = outgoing.recv() => item.map(|(channel, bytes)| encoding.encode(channel, &bytes)),
                _ = ticks.tick() => Some(Message::Ping(Bytes::new())),
            },
        };
        match message {
            Some(message) => sink.send(message).await.map_err(to_io)?,
            None => break,
        }
    }
    let closed = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(normal_closure())).await;
    closed.map_or(Ok(()), |closed| closed.map_err(to_io))
}

async fn read(
    mut stream: impl Stream<Item = std::result::Result<Message, WsError>> + Unpin,
    encoding: Encoding,
    deadline: Option<Duration>,
    incoming: mpsc::Sender<(u8, Bytes)>,
) -> io::Result<()> {
    loop {
        let next = match deadline {
            None => stream.next().await,
            Some(deadline) => match tokio::time::timeout(deadline, stream.next()).await {
                Ok(next) => next,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            },
        };
        let message = match next {
            Some(Ok(Message::Binary(bytes))) => bytes,
            // Clients send text where they have text.
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Close(_))) | None => return Ok(()),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Err(error)) => return Err(to_io(error)),
        };
        if let Some(item) = encoding.decode(message) {
            // Nobody listens any more: the connection is still read, for its end.
            let _unheard = incoming.send(item).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_channel_first() {
        let binary = Encoding::of("v5.channel.k8s.io").encode(2, b"hi");
        assert_eq!(binary, Message::Binary(Bytes::from_static(b"\x02hi")));
        let text = Encoding::of("v4.base64.channel.k8s.io").encode(1, b"hi");
        assert_eq!(text, Message::text("1aGk="));
        assert_eq!(Encoding::Base64.decode("0aGk=".into()), Some((0, "hi".into())));
        assert_eq!(Encoding::Base64.decode("0?".into()), None);
        assert_eq!(Encoding::Binary.decode(Bytes::new()), None);
        assert_eq!(Encoding::Binary.decode("\u{4}".into()), Some((4, Bytes::new())));
    }
}
