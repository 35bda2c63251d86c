//! Bodies and messages: the one body type that every request and response of this crate has.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::convert::Infallible;

/// What can go wrong while a body is read.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body: bytes at hand, or bytes to come.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
/// A request.
pub type Request = http::Request<Body>;
/// A response.
pub type Response = http::Response<Body>;

/// Bytes at hand.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

/// Nothing.
pub fn empty() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

/// Bytes to come; the body ends with the stream.
pub fn stream(chunks: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| chunk.map(http_body::Frame::data))).boxed_unsync()
}

fn never(never: Infallible) -> BoxError {
    match never {}
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than it may be.
    #[error("body is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke.
    #[error("cannot read the body")]
    Broken(#[source] BoxError),
}

/// Reads a whole body of at most `limit` bytes.
pub async fn read(mut body: Body, limit: usize) -> Result<Bytes, ReadError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(ReadError::TooLarge(limit));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
