//! Bodies on their way: what a client sends, lent to one backend after the other; and what a backend sends, within time.

use crate::pool::Answer;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// What can go wrong with a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body in transit has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the request is longer than it may be")]
    TooLarge,
    #[error("the request was handed to another backend")]
    Gone,
    #[error("the backend was silent for too long")]
    Silent,
}

/// A request's body that nobody has begun to read can still be sent elsewhere.
#[derive(Clone)]
pub(crate) struct Lender(Arc<Slot>);

struct Slot {
    body: Mutex<Option<Incoming>>,
    hint: SizeHint,
    is_empty: bool,
    limit: Option<u64>,
    too_large: AtomicBool,
    /// How much was read, so that one can see whether it goes on.
    read: AtomicU64,
}

impl Lender {
    pub(crate) fn new(body: Incoming, limit: Option<u64>) -> Self {
        let (hint, is_empty) = (body.size_hint(), body.is_end_stream());
        let (too_large, read) = (AtomicBool::new(false), AtomicU64::new(0));
        Self(Arc::new(Slot { body: Mutex::new(Some(body)), hint, is_empty, limit, too_large, read }))
    }

    /// No body.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        let (too_large, read) = (AtomicBool::new(false), AtomicU64::new(0));
        let hint = SizeHint::with_exact(0);
        Self(Arc::new(Slot { body: Mutex::new(None), hint, is_empty: true, limit: None, too_large, read }))
    }

    /// The body for one backend.
    pub(crate) fn lend(&self) -> Lent {
        Lent { slot: self.0.clone(), taken: None }
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty
    }

    /// Whether nobody has begun to read it.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_empty || self.0.body.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.0.too_large.load(Ordering::Relaxed)
    }

    /// Bytes read so far.
    pub(crate) fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }
}

/// See [`Lender`].
pub(crate) struct Lent {
    slot: Arc<Slot>,
    taken: Option<Incoming>,
}

impl Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.slot.is_empty {
            return Poll::Ready(None);
        }
        if this.taken.is_none() {
            this.taken = this.slot.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let Some(body) = &mut this.taken else { return Poll::Ready(Some(Err(Error::Gone.into()))) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = data.len() as u64;
            let read = this.slot.read.fetch_add(length, Ordering::Relaxed) + length;
            if this.slot.limit.is_some_and(|limit| read > limit) {
                this.slot.too_large.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(Error::TooLarge.into())));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.slot.is_empty || self.taken.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.taken.as_ref().map_or_else(|| self.slot.hint, Body::size_hint)
    }
}

/// The body of a response.
pub(crate) enum ResponseBody {
    /// Of an answer of our own.
    Own(Full<Bytes>),
    /// As a backend sends it.
    Backend(Timed),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Backend(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Backend(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Backend(body) => body.size_hint(),
        }
    }
}

/// A response's body that fails when its backend falls silent.
pub(crate) struct Timed {
    body: Answer,
    limit: Duration,
    /// Only while one waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(crate) fn new(body: Answer, limit: Duration) -> Self {
        Self { body, limit, waiting: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = this.limit;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::Silent.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits for something as long as a request's body moves, and so long after its last movement.
pub(crate) async fn within<T>(
    limit: Duration,
    lender: &Lender,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    let mut future = std::pin::pin!(future);
    let mut read = lender.read();
    loop {
        match tokio::time::timeout(limit, future.as_mut()).await {
            Ok(value) => return Ok(value),
            Err(_) if lender.read() > read => read = lender.read(),
            Err(_) => return Err(Error::Silent),
        }
    }
}
