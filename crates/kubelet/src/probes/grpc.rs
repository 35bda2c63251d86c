//! `grpc`: the standard health service; `SERVING` is a success.
//!
//! **Contract**: one unary call over cleartext HTTP/2. Its two messages have one field each, so they are read and written
//! here.
//! **Upstream**: `pkg/probe/grpc`, `grpc.health.v1`.

use super::ask::Said;
use super::tcp::join;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::net::TcpStream;

const SERVING: u64 = 1;
/// Names of `ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// Status codes of gRPC that a probe tells apart.
const UNIMPLEMENTED: &str = "12";
const MAX_ANSWER: usize = 10 * 1024;

pub(super) async fn ask(host: &str, port: u16, service: &str, timeout: Duration) -> Said {
    let address = join(host, port);
    let connecting = tokio::time::timeout(timeout, TcpStream::connect(&address));
    let Ok(Ok(stream)) = connecting.await else {
        let seconds = timeout.as_secs();
        return Said::Failure(format!(
            "timeout: failed to connect service {address:?} within {seconds}s: context deadline exceeded"
        ));
    };
    match tokio::time::timeout(timeout, check(stream, &address, service)).await {
        Ok(Ok(SERVING)) => Said::Success,
        Ok(Ok(status)) => {
            let name = usize::try_from(status).ok().and_then(|n| STATUSES.get(n)).unwrap_or(&"UNKNOWN");
            Said::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Ok(Err(error)) => Said::Failure(error),
        Err(_) => {
            Said::Failure(format!("timeout: health rpc did not complete within {}s", timeout.as_secs()))
        }
    }
}

async fn check(stream: TcpStream, address: &str, service: &str) -> Result<u64, String> {
    let failed = |error: hyper::Error| format!("error: health rpc probe failed: {error}");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(encode(service)))
        .map_err(|error| error.to_string())?;
    let call = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let headers = response.headers().clone();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("error: health rpc probe failed: {error}"))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        answer(&headers, &trailers, &body.to_bytes())
    };
    let mut call = std::pin::pin!(call);
    tokio::select! {
        answer = &mut call => answer,
        ended = connection => match ended {
            Ok(()) => call.await,
            Err(error) => Err(failed(error)),
        },
    }
}

/// A call's outcome; a call that failed may have no body, and its status in the headers.
fn answer(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<u64, String> {
    let read = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    match read("grpc-status").as_str() {
        "0" => decode(body).ok_or_else(|| "error: health rpc probe failed: malformed answer".to_owned()),
        UNIMPLEMENTED => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            read("grpc-message")
        )),
        code => Err(format!(
            "error: health rpc probe failed: rpc error: code = {code} desc = {}",
            read("grpc-message")
        )),
    }
}

/// `HealthCheckRequest`: field 1 is the service's name. In front: not compressed, and the length.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    framed.freeze()
}

fn put_varint(into: &mut BytesMut, mut n: u64) {
    while n >= 0x80 {
        into.put_u8((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    into.put_u8(n as u8);
}

/// `HealthCheckResponse`: field 1 is the status; absent it is 0.
fn decode(framed: &[u8]) -> Option<u64> {
    let message = framed.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, status, ..] if *status < 0x80 => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_protobuf() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(encode(&"x".repeat(200)).len(), 5 + 3 + 200);
        for (answer, status) in
            [(&[0, 0, 0, 0, 2, 8, 1][..], Some(1)), (&[0, 0, 0, 0, 0], Some(0)), (&[0, 0], None)]
        {
            assert_eq!(decode(answer), status, "{answer:?}");
        }
    }

    /// A health server that answers every call so.
    async fn serve(status: u8) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service =
                    hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| async move {
                        let path = request.uri().path().to_owned();
                        assert_eq!(path, "/grpc.health.v1.Health/Check");
                        let body = request.into_body().collect().await.expect("a body").to_bytes();
                        assert_eq!(body, encode("me"));
                        let trailers = HeaderMap::from_iter([(
                            http::HeaderName::from_static("grpc-status"),
                            http::HeaderValue::from_static("0"),
                        )]);
                        let frames = [
                            Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(Bytes::from(vec![
                                0, 0, 0, 0, 2, 8, status,
                            ]))),
                            Ok(hyper::body::Frame::trailers(trailers)),
                        ];
                        let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
                        Ok::<_, std::convert::Infallible>(http::Response::new(body))
                    });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        port
    }

    #[tokio::test]
    async fn asks_the_health_service() {
        // Who is there answers sooner, on a busy machine too.
        let limit = Duration::from_secs(60);
        assert_eq!(super::ask("127.0.0.1", serve(1).await, "me", limit).await, Said::Success);
        let said = super::ask("127.0.0.1", serve(2).await, "me", limit).await;
        assert_eq!(said, Said::Failure("service unhealthy (responded with \"NOT_SERVING\")".to_owned()));
    }

    #[test]
    fn a_failed_call_says_why() {
        let trailers = |code: &str| {
            HeaderMap::from_iter([("grpc-status".parse().expect("a name"), code.parse().expect("a value"))])
        };
        let none = HeaderMap::new();
        assert_eq!(answer(&none, &trailers("0"), &[0, 0, 0, 0, 2, 8, 2]), Ok(2));
        assert!(answer(&trailers("12"), &none, &[]).is_err_and(|e| e.contains("does not implement")));
        assert!(answer(&none, &trailers("5"), &[]).is_err_and(|e| e.contains("code = 5")));
    }
}
