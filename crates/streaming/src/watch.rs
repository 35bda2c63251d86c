//! Watches over WebSocket: a message an event, one way.
//!
//! **Contract**: text messages for JSON, binary ones for everything else. A client that names one protocol gets it,
//! whatever it is.
//! **Upstream**: `HandleWS` of `k8s.io/apiserver/pkg/endpoints/handlers/watch.go`.

use crate::upgrade::{self, Accepted, Refusal, Transport};
use crate::{Result, one_way};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use http::{Request, Response};
use tokio_tungstenite::tungstenite::Message;

/// Whether a request for a watch is one for a WebSocket.
pub fn is_requested(headers: &HeaderMap) -> bool {
    upgrade::requested(headers) == Some(Transport::WebSocket)
}

/// Decides the upgrade: the response to send, and what [`send`] needs.
pub fn accept<B>(request: &mut Request<B>) -> Result<(Response<()>, Accepted), Refusal> {
    let offered = request.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let offered = offered.unwrap_or_default().trim().to_owned();
    upgrade::accept(request, &["", &offered], &[])
}

/// What the events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Text,
    /// Protobuf.
    Binary,
}

/// Sends events until their end, or until the client goes away.
pub async fn send(accepted: Accepted, form: Form, events: impl Stream<Item = Bytes>) -> Result<()> {
    let message = |event: Bytes| match form {
        Form::Text => Message::text(String::from_utf8_lossy(&event).into_owned()),
        Form::Binary => Message::Binary(event),
    };
    one_way::send(accepted, events.map(message)).await
}
