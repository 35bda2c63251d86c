//! The client's side.

use super::{TUNNEL_PROTOCOL, header};
use crate::spdy::{Connection, Headers};
use crate::upgrade::{Connected, Transport};
use crate::websocket::{self, ByteStream};
use crate::{BoxDuplex, Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes that the server may say about what went wrong.
const MAX_ERROR: u64 = 64 * 1024;

/// Opens connections to ports of a pod.
pub struct Forwarder {
    connection: Connection,
    next_request: AtomicU32,
}

/// One connection to a port.
pub struct Forwarded {
    /// Its bytes.
    pub data: BoxDuplex,
    /// What the server says went wrong; empty: nothing. Resolves when the server ends the connection.
    pub error: BoxFuture<'static, Result<String>>,
}

impl Forwarder {
    /// Over SPDY, or SPDY within WebSocket.
    pub async fn new(connected: Connected) -> Result<Self> {
        let Connected { transport, protocol, io } = connected;
        let (connection, incoming) = match transport {
            Transport::Spdy => Connection::client(io),
            Transport::WebSocket if protocol == TUNNEL_PROTOCOL => {
                Connection::client(ByteStream::new(websocket::client(io).await))
            }
            Transport::WebSocket => {
                return Err(Error::NotUpgraded(format!("no connections can be opened with {protocol:?}")));
            }
        };
        drop(incoming);
        Ok(Self { connection, next_request: AtomicU32::new(0) })
    }

    /// Opens a connection to a port. The server dials after this has returned.
    pub async fn open(&self, port: u16) -> Result<Forwarded> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed).to_string();
        let port = port.to_string();
        let headers = |kind: &'static str| {
            let pairs = [(header::STREAM_TYPE, kind), (header::PORT, &port), (header::REQUEST_ID, &request)];
            Headers::new(pairs)
        };
        let mut error = self.connection.open(headers(header::ERROR)).await?;
        error.shutdown().await?;
        let data = self.connection.open(headers(header::DATA)).await?;
        let error = async move {
            let mut said = Vec::new();
            error.take(MAX_ERROR).read_to_end(&mut said).await?;
            Ok(String::from_utf8_lossy(&said).into_owned())
        };
        Ok(Forwarded { data: Box::new(data), error: error.boxed() })
    }

    /// Waits for the answer to a ping.
    pub async fn ping(&self) -> Result<()> {
        self.connection.ping().await
    }

    /// Waits until the connection to the pod is lost.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }
}
