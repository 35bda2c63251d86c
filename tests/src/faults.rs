//! What stands between the controllers and the API server and now and then fails, by a seed.
//!
//! **Contract**: lists and watches are refused, a watch is told that its revision is too old, or breaks after a few changes;
//! writes are refused, and with [`Writes::LostOrRepeated`] also done although the answer says otherwise, or done twice.
//! Everybody but the controllers is answered as ever.

use crate::workloads::ready;
use bytes::Bytes;
use component_base::{Context, Rng};
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use minik::Cluster;
use serde_json::json;
use std::io;
use std::sync::Arc;

/// Of so many calls one suffers each kind of fault.
const ONE_IN: u64 = 24;
/// A watch that breaks does so after fewer pieces than this.
const PIECES: u64 = 8;

/// What becomes of writes that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They are not done.
    Refused,
    /// They are not done, or done without the client's knowledge, or done twice.
    LostOrRepeated,
}

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A cluster of three simulated nodes whose controllers are answered so.
///
/// # Panics
/// If it does not start.
pub async fn cluster(seed: u64, writes: Writes) -> Cluster {
    let rng = Rng::seeded(seed);
    let builder = Cluster::builder().context(Context::simulated(seed)).nodes(0).simulated_nodes(3);
    let builder = builder.controllers_through(Arc::new(move |client| through(client, rng.clone(), writes)));
    let cluster = builder.start().await.expect("it starts");
    ready(&cluster, 3).await;
    cluster
}

/// A client all of whose calls pass through here.
fn through(inner: kube::Client, rng: Rng, writes: Writes) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, rng) = (inner.clone(), rng.clone());
        async move {
            match *request.method() {
                Method::GET => read(&inner, &rng, request).await,
                _ => write(&inner, &rng, writes, request).await,
            }
        }
    });
    kube::Client::new(service, "default")
}

async fn read(inner: &kube::Client, rng: &Rng, request: Request<Body>) -> io::Result<Answer> {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
    match rng.below(ONE_IN) {
        0 => Ok(refusal(503, "ServiceUnavailable")),
        1 if watches => Ok(refusal(410, "Expired")),
        2 if watches => {
            let pieces = usize::try_from(rng.below(PIECES)).expect("a small number");
            Ok(send(inner, request).await?.map(|body| {
                let pieces = body.into_data_stream().take(pieces);
                StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
            }))
        }
        _ => send(inner, request).await,
    }
}

async fn write(
    inner: &kube::Client,
    rng: &Rng,
    writes: Writes,
    request: Request<Body>,
) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await.map_err(io::Error::other)?;
    let again = || send(inner, Request::from_parts(head.clone(), Body::from(body.to_vec())));
    match rng.below(ONE_IN) {
        0 => return Ok(refusal(503, "ServiceUnavailable")),
        1 if writes == Writes::LostOrRepeated => {
            again().await?;
            return Ok(refusal(503, "ServiceUnavailable"));
        }
        2 if writes == Writes::LostOrRepeated => drop(again().await?),
        _ => {}
    }
    again().await
}

async fn send(inner: &kube::Client, request: Request<Body>) -> io::Result<Answer> {
    let answer = inner.send(request).await.map_err(io::Error::other)?;
    Ok(answer.map(|body| body.map_err(io::Error::other).boxed_unsync()))
}

fn refusal(code: u16, reason: &str) -> Answer {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "as the test wants it", "reason": reason, "code": code,
    });
    let response = Response::builder().status(code).header("content-type", "application/json");
    let body = Full::from(status.to_string()).map_err(|never| match never {}).boxed_unsync();
    response.body(body).expect("a response")
}
