//! Messages to a client over WebSocket, one way.
//!
//! **Contract**: sends until the messages end, the connection breaks, or the client goes away. What the client sends is
//! read and ignored.

use crate::Result;
use crate::upgrade::Accepted;
use crate::websocket::{self, normal_closure, to_io};
use futures::{SinkExt, Stream, StreamExt};
use std::pin::pin;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// How long the client has to answer the end.
const LINGER: Duration = Duration::from_secs(5);

/// Sends them all, and the end.
pub(crate) async fn send(accepted: Accepted, messages: impl Stream<Item = Message>) -> Result<()> {
    let socket = websocket::server(accepted.io().await?).await;
    let (mut sink, mut stream) = socket.split();
    let mut gone = pin!(async { while let Some(Ok(_)) = stream.next().await {} });
    let sending = async {
        let mut messages = pin!(messages);
        while let Some(message) = messages.next().await {
            sink.send(message).await.map_err(to_io)?;
        }
        sink.send(normal_closure()).await.map_err(to_io)
    };
    tokio::select! {
        sent = sending => sent?,
        () = &mut gone => return Ok(()),
    }
    let _late = tokio::time::timeout(LINGER, gone).await;
    Ok(())
}
