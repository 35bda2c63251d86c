//! A client that says what it saw: plain or over TLS, HTTP/1.1 or HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How to ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Plain,
    Http2,
    Tls(&'static str),
    TlsHttp2(&'static str),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) body: Bytes,
    /// The server's certificate.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

pub(crate) fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Bytes without a length beforehand.
pub(crate) fn streamed(bytes: Bytes) -> Body {
    let frame =
        Ok(http_body_util::StreamBody::new(futures::stream::iter([Ok(hyper::body::Frame::data(bytes))])));
    frame.map_or_else(|never: std::convert::Infallible| match never {}, http_body_util::BodyExt::boxed_unsync)
}

/// Asks, over a connection of its own.
pub(crate) async fn ask(address: SocketAddr, how: How, request: Request<Body>) -> Result<Answer, Failure> {
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        let (name, http2) = match how {
            How::Plain => return exchange(stream, false, request, None).await,
            How::Http2 => return exchange(stream, true, request, None).await,
            How::Tls(name) => (name, false),
            How::TlsHttp2(name) => (name, true),
        };
        let mut config = component_base::tls::unverified()?;
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::try_from(name)?, stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|certificate| certificate.to_vec());
        exchange(stream, http2, request, certificate).await
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await?
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    request: Request<Body>,
    certificate: Option<Vec<u8>>,
) -> Result<Answer, Failure> {
    let stream = TokioIo::new(stream);
    let response = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, trailers, body: body.to_bytes(), certificate })
}
