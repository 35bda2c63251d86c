//! A backend in the test's process: says how it was asked; echoes what becomes another protocol; sends trailers; or is silent.

use crate::client::{Body, empty, full};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, json};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

/// Answers until the test ends; its port.
pub(crate) async fn start(name: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(move |request| async move {
                Ok::<_, Infallible>(answer(name, request).await)
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

async fn answer(name: &str, mut request: Request<Incoming>) -> Response<Body> {
    if request.headers().get("upgrade").is_some_and(|to| to == "echo") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = TokioIo::new(upgrade.await.expect("it is upgraded"));
            let (mut from, mut to) = tokio::io::split(upgraded);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
        response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        return response;
    }
    if request.uri().path() == "/silent" {
        std::future::pending::<()>().await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Response::new(empty()) };
    let headers: Map<String, serde_json::Value> =
        head.headers.iter().map(|(key, value)| (key.to_string(), json!(value.to_str().ok()))).collect();
    let said = json!({
        "name": name, "path": head.uri.path_and_query().map(|path| path.as_str()), "headers": headers,
        "version": format!("{:?}", head.version), "bytes": body.to_bytes().len(), "method": head.method.as_str(),
    });
    if head.uri.path() == "/trailers" {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Ok(Frame::data(Bytes::from(said.to_string()))), Ok(Frame::trailers(trailers))];
        return Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
    }
    let mut response = Response::new(full(said.to_string()));
    response.headers_mut().insert("x-from", HeaderValue::from_static("backend"));
    response
}
