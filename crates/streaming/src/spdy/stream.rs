//! One stream: bytes in both directions.

use super::connection::Handle;
use super::frame::{Headers, ResetStatus};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream. Shutting it down ends this direction only; the end of the other, a reset by the peer and the end of the
/// connection all read as the end.
pub struct Stream {
    handle: Arc<Handle>,
    id: u32,
    headers: Headers,
}

impl Stream {
    pub(super) fn new(handle: Arc<Handle>, id: u32, headers: Headers) -> Self {
        Self { handle, id, headers }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Tells the peer that its stream is taken.
    pub(super) fn reply(&self) {
        self.handle.shared.reply(self.id);
    }

    /// What it was opened with.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.handle.shared.poll_read(cx, self.id, buf));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.handle.shared.poll_write(cx, self.id, buf));
        Poll::Ready(written.map_err(|()| io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.shared.shutdown(self.id);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.handle.shared.release(self.id, ResetStatus::CANCEL);
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}
