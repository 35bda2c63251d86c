//! WebSocket over an upgraded connection: limits, and a byte stream within its binary messages.
//!
//! **Contract**: a message has at most [`MAX_MESSAGE`] bytes; pings are answered while the connection is read.
//! **Not here**: the handshake (`upgrade`), channels within messages (`channels`).
//! **Upstream**: RFC 6455.

use bytes::Bytes;
use futures::{Sink, Stream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

/// Bytes of the longest message that is taken.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Bytes of the longest message that is sent.
pub const CHUNK: usize = 32 * 1024;

/// Messages over a byte stream.
pub type WebSocket<S> = WebSocketStream<S>;

/// The side that was asked.
pub async fn server<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocket<S> {
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await
}

/// The side that has asked.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocket<S> {
    WebSocketStream::from_raw_socket(io, Role::Client, Some(config())).await
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(CHUNK)
        .write_buffer_size(CHUNK)
        .max_write_buffer_size(2 * MAX_MESSAGE)
}

/// Go's clients take a close frame without a status for a failure.
pub(crate) fn normal_closure() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

pub(crate) fn to_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::BrokenPipe.into()
        }
        other => io::Error::other(other),
    }
}

/// A byte stream within messages, whose limits mean nothing. Its shutdown closes both directions.
pub struct ByteStream<S> {
    socket: WebSocket<S>,
    rest: Bytes,
    /// The peer sends no more.
    ended: bool,
    /// The close frame is on its way.
    closing: bool,
}

impl<S> ByteStream<S> {
    /// Over a connection of which nothing was read yet.
    pub fn new(socket: WebSocket<S>) -> Self {
        Self { socket, rest: Bytes::new(), ended: false, closing: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Text(text))) => self.rest = text.into(),
                Some(Ok(Message::Close(_))) | None => self.ended = true,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                // The peer went away without a word.
                Some(Err(tungstenite::Error::Protocol(
                    tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
                ))) => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
            }
        }
        let n = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(to_io)?;
        let n = buf.len().min(CHUNK);
        let message = Message::Binary(Bytes::copy_from_slice(&buf[..n]));
        Pin::new(&mut self.socket).start_send(message).map_err(to_io)?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(to_io)?;
            Pin::new(&mut self.socket).start_send(normal_closure()).map_err(to_io)?;
            self.closing = true;
        }
        Pin::new(&mut self.socket).poll_flush(cx).map_err(to_io)
    }
}
