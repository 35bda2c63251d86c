//! Logs over WebSocket: bytes in messages, one way.
//!
//! **Contract**: an empty message first, then the bytes, then the end; in text messages and base64 if the client asks
//! for it. What the client sends is read and ignored.
//! **Upstream**: `Reader` of `k8s.io/apiserver/pkg/util/wsstream`.

use crate::upgrade::{self, Accepted, Refusal, Transport};
use crate::websocket::CHUNK;
use crate::{Result, one_way};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, Response};
use std::future::ready;
use tokio_tungstenite::tungstenite::Message;

/// What a server takes.
pub const PROTOCOLS: [&str; 3] = ["", "binary.k8s.io", "base64.binary.k8s.io"];

/// Whether a request for a log is one for a WebSocket.
pub fn is_requested(headers: &HeaderMap) -> bool {
    upgrade::requested(headers) == Some(Transport::WebSocket)
}

/// Decides the upgrade: the response to send, and what [`send`] needs.
pub fn accept<B>(request: &mut Request<B>) -> Result<(Response<()>, Accepted), Refusal> {
    upgrade::accept(request, &PROTOCOLS, &[])
}

/// Sends a log until its end, its first error, or until the client goes away.
pub async fn send<E: std::fmt::Display>(
    accepted: Accepted,
    log: impl Stream<Item = std::result::Result<Bytes, E>>,
) -> Result<()> {
    let base64 = accepted.protocol.starts_with("base64.");
    let encode = move |bytes: Bytes| match base64 {
        true => Message::text(STANDARD.encode(&bytes)),
        false => Message::Binary(bytes),
    };
    let pieces = log
        .scan((), |(), piece| ready(piece.inspect_err(|error| tracing::debug!("log ended: {error}")).ok()));
    let chunks = pieces.flat_map(|mut piece| {
        stream::iter(std::iter::from_fn(move || {
            (!piece.is_empty()).then(|| piece.split_to(piece.len().min(CHUNK)))
        }))
    });
    let first = stream::once(ready(Bytes::new()));
    one_way::send(accepted, first.chain(chunks).map(encode)).await
}
