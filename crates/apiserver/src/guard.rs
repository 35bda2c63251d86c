//! Bodies with a watch over them: that of a long-running response ends when the server does, and is counted until
//! then; that of a request is read to its end even if the handler did not want it.

use crate::body::{Body, BoxError};
use bytes::Bytes;
use component_base::Shutdown;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// A body that ends early, but cleanly, at shutdown.
pub(crate) struct Guarded<G> {
    body: Body,
    end: BoxFuture<'static, ()>,
    _guard: G,
}

impl<G> Guarded<G> {
    pub(crate) fn new(body: Body, shutdown: Shutdown, guard: G) -> Self {
        Self { body, end: async move { shutdown.requested().await }.boxed(), _guard: guard }
    }
}

impl<G: Unpin> http_body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.end.poll_unpin(cx).map(|()| None)
    }
}

/// Bytes of an unwanted body that are read for the sake of the connection. **Upstream**: net/http's
/// `maxPostHandlerReadBytes`.
const UNWANTED_BYTES: usize = 256 << 10;
/// How long its sender may take.
const UNWANTED_TIME: Duration = Duration::from_secs(5);

/// The body of a request. What is left of it when it is dropped goes to [`Rest`]: as long as some of it is on its
/// way, HTTP/1.1 can serve no other request on the same connection, and would close it.
pub(crate) struct Drained {
    body: Option<Body>,
    rest: Option<oneshot::Sender<Body>>,
}

/// Where the rest of a body goes.
pub(crate) struct Rest(oneshot::Receiver<Body>);

impl Rest {
    /// Reads what the handler, which is done, did not want.
    pub(crate) async fn read(mut self) {
        let Ok(mut body) = self.0.try_recv() else { return };
        let read = async move {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > UNWANTED_BYTES {
                    break;
                }
            }
        };
        // Whoever takes longer loses the connection.
        let _ = tokio::time::timeout(UNWANTED_TIME, read).await;
    }
}

impl Drained {
    pub(crate) fn new(body: Body) -> (Self, Rest) {
        let (rest, receiver) = oneshot::channel();
        (Self { body: Some(body), rest: Some(rest) }, Rest(receiver))
    }
}

impl http_body::Body for Drained {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !http_body::Body::is_end_stream(body));
        if let (Some(body), Some(to)) = (rest, self.rest.take()) {
            // Nobody waits for it if the connection is gone.
            let _ = to.send(body);
        }
    }
}
