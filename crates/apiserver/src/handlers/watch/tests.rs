//! Watches through a whole server.

use crate::server::testing::{call, root, start};
use http::Method;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_watch_comes_in_messages_too() {
    let server = start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for (accept, opcode) in [("application/json", 0x81), ("application/vnd.kubernetes.protobuf", 0x82)] {
        let stream = TokioIo::new(server.connect(root()));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = http::Request::get(format!("{maps}?watch=1&fieldSelector=metadata.name%3Da"))
            .header("host", "localhost")
            .header("accept", accept)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 101);
        let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let map = json!({ "metadata": { "name": "a" }, "data": { "k": "x".repeat(200) } });
        assert_eq!(call(&server, root(), Method::POST, maps, &[], map).await.code, 201);
        assert_eq!(
            call(&server, root(), Method::DELETE, &format!("{maps}/a"), &[], Value::Null).await.code,
            200
        );
        for change in ["ADDED", "DELETED"] {
            let mut head = [0; 4];
            tokio::time::timeout(DEADLINE, io.read_exact(&mut head)).await.unwrap().unwrap();
            assert_eq!(head[..2], [opcode, 126], "{accept}: a message of more than 125 bytes");
            let mut event = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
            io.read_exact(&mut event).await.unwrap();
            if opcode == 0x81 {
                let event: Value = serde_json::from_slice(&event).unwrap();
                assert_eq!(
                    (&event["type"], &event["object"]["metadata"]["name"]),
                    (&json!(change), &json!("a"))
                );
            } else {
                let said = event.windows(change.len()).any(|bytes| bytes == change.as_bytes());
                assert!(said, "{change}: {event:?}");
            }
        }
    }
}
