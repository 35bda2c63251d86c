//! Both sides against each other, and the protocol without SPDY by its bytes.

use super::server::{over_channels, over_spdy};
use super::{Forwarded, Forwarder, PROTOCOL, TUNNEL_PROTOCOL};
use crate::channels::Encoding;
use crate::upgrade::{Connected, Transport};
use crate::websocket::{self, ByteStream};
use crate::{BoxDuplex, Error};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

const DEADLINE: Duration = Duration::from_secs(60);

/// Port 7 sends back what it receives, port 13 says something and hangs up, nobody listens on others.
async fn dial(port: u16) -> Result<BoxDuplex, String> {
    let (near, mut far) = tokio::io::duplex(100);
    match port {
        7 => {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(far);
                tokio::io::copy(&mut read, &mut write).await.expect("copied");
                write.shutdown().await.expect("shut down");
            });
        }
        13 => {
            tokio::spawn(async move { far.write_all(b"noon").await });
        }
        _ => return Err("connection refused".to_owned()),
    }
    Ok(Box::new(near))
}

async fn forwarder(transport: Transport) -> Forwarder {
    let (near, far) = tokio::io::duplex(1000);
    let protocol = match transport {
        Transport::Spdy => {
            tokio::spawn(over_spdy(far, Arc::new(dial)));
            PROTOCOL
        }
        Transport::WebSocket => {
            tokio::spawn(async move {
                over_spdy(ByteStream::new(websocket::server(far).await), Arc::new(dial)).await
            });
            TUNNEL_PROTOCOL
        }
    };
    let connected = Connected { transport, protocol: protocol.to_owned(), io: Box::new(near) };
    Forwarder::new(connected).await.expect("a forwarder")
}

#[tokio::test]
async fn connections_go_there_and_back() {
    for transport in [Transport::Spdy, Transport::WebSocket] {
        let forwarder = forwarder(transport).await;
        let exchange = async || {
            let Forwarded { data, error } = forwarder.open(7).await.expect("opened");
            let (mut read, mut write) = tokio::io::split(data);
            let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
            let send = async {
                write.write_all(&bytes).await.expect("written");
                write.shutdown().await.expect("half closed");
            };
            let mut got = Vec::new();
            let ((), read, error) = tokio::join!(send, read.read_to_end(&mut got), error);
            read.expect("all");
            assert!(got == bytes, "{transport:?}");
            assert_eq!(error.expect("an end"), "");
        };
        let both = async { tokio::join!(exchange(), exchange()) };
        tokio::time::timeout(DEADLINE, both).await.expect("in time");
        let Forwarded { mut data, .. } = forwarder.open(13).await.expect("opened");
        let mut noon = String::new();
        data.read_to_string(&mut noon).await.expect("text");
        assert_eq!(noon, "noon");
        let Forwarded { mut data, error } = forwarder.open(9).await.expect("opened");
        assert_eq!(error.await.expect("text"), "connection refused");
        assert_eq!(data.read(&mut [0]).await.expect("an end"), 0);
        // The failure of one takes no other with it.
        exchange().await;
        forwarder.ping().await.expect("an answer");
    }
}

#[tokio::test]
async fn a_stream_without_a_port_is_refused() {
    let (near, far) = tokio::io::duplex(1000);
    tokio::spawn(over_spdy(far, Arc::new(dial)));
    let (connection, _incoming) = crate::spdy::Connection::client(near);
    let headers = crate::spdy::Headers::new([("streamType", "data"), ("port", "0")]);
    assert!(matches!(connection.open(headers).await, Err(Error::Reset)));
}

#[tokio::test(start_paused = true)]
async fn half_a_pair_is_given_up() {
    let (near, far) = tokio::io::duplex(1000);
    tokio::spawn(over_spdy(far, Arc::new(dial)));
    let (connection, _incoming) = crate::spdy::Connection::client(near);
    let headers = crate::spdy::Headers::new([("streamType", "error"), ("port", "7"), ("requestID", "5")]);
    let mut error = connection.open(headers).await.expect("taken");
    let mut text = String::new();
    error.read_to_string(&mut text).await.expect("text");
    assert_eq!(text, "(request=5) timed out waiting for streams");
}

#[tokio::test]
async fn ports_over_channels_begin_with_their_number() {
    let (near, far) = tokio::io::duplex(1000);
    tokio::spawn(
        async move { over_channels(Box::new(far), Encoding::Binary, &[7, 9], Arc::new(dial)).await },
    );
    let (mut sink, stream) = websocket::client(near).await.split();
    let mut messages = stream
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(bytes),
            _ => None,
        })
        .boxed_local();
    for expected in [&[0, 7, 0], &[1, 7, 0], &[2, 9, 0], &[3, 9, 0]] {
        assert_eq!(messages.next().await.expect("a message"), &expected[..]);
    }
    assert_eq!(messages.next().await.expect("a message"), "\u{3}connection refused");
    sink.send(Message::Binary(Bytes::from_static(b"\0ping"))).await.expect("sent");
    assert_eq!(messages.next().await.expect("a message"), "\0ping");
    sink.close().await.expect("closed");
    let ended = tokio::time::timeout(DEADLINE, messages.next()).await.expect("in time");
    assert_eq!(ended, None);
}
