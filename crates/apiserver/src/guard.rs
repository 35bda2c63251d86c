//! The body of a long-running response: ends when the server does, and is counted until then.

use crate::body::{Body, BoxError};
use bytes::Bytes;
use component_base::Shutdown;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::Frame;
use std::pin::Pin;
use std::task::{Context, Poll};

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
