//! Logs over WebSocket: bytes in messages, one way.
//!
//! **Contract**: an empty message first, then the bytes, then the end; in text messages and base64 if the client asks
//! for it. What the client sends is read and ignored.
//! **Upstream**: `Reader` of `k8s.io/apiserver/pkg/util/wsstream`.

use crate::Result;
use crate::upgrade::{self, Accepted, Refusal, Transport};
use crate::websocket::{self, CHUNK, normal_closure, to_io};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::{HeaderMap, Request, Response};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// How long the client has to answer the end.
const LINGER: Duration = Duration::from_secs(5);

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
    log: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin,
) -> Result<()> {
    let base64 = accepted.protocol.starts_with("base64.");
    let socket = websocket::server(accepted.io().await?).await;
    let (mut sink, mut stream) = socket.split();
    let encode =
        |bytes: Bytes| if base64 { Message::text(STANDARD.encode(&bytes)) } else { Message::Binary(bytes) };
    let gone = async { while let Some(Ok(_)) = stream.next().await {} };
    let sending = async {
        sink.send(encode(Bytes::new())).await.map_err(to_io)?;
        let mut log = log;
        while let Some(piece) = log.next().await {
            let mut piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    tracing::debug!("log ended: {error}");
                    break;
                }
            };
            while !piece.is_empty() {
                let chunk = piece.split_to(piece.len().min(CHUNK));
                sink.send(encode(chunk)).await.map_err(to_io)?;
            }
        }
        sink.send(normal_closure()).await.map_err(to_io)
    };
    tokio::pin!(gone);
    tokio::select! {
        sent = sending => sent?,
        () = &mut gone => return Ok(()),
    }
    let _late = tokio::time::timeout(LINGER, gone).await;
    Ok(())
}
