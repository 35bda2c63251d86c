//! Where it is decided whether a component talks to the API server in memory or over HTTPS.
//!
//! **Contract**: both ways give a [`kube::Client`] that can do everything, upgrades (exec, attach, port-forward)
//! included. In memory, a request is handed to the server as it is, and its answer's bytes are the server's own: nothing
//! is encoded or copied in between, and a watch that waits holds no buffers. The identity of such requests belongs to
//! whoever made the [`InMemory`], and goes through the server's authorizer like any other. Watches and logs are
//! streamed, not buffered.
//! **Not here**: the server's side (`apiserver`), identities (the launcher).

use crate::Error;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{HOST, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tower::BoxError;

/// What the server answers.
pub type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;
/// Hands a request to the server.
pub type Call = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Result<Answer, BoxError>> + Send + Sync>;
/// Opens one more connection to the server: the near half of a pair whose far half the server already serves.
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, io::Result<DuplexStream>> + Send + Sync>;

/// The API server of this process, as one identity reaches it.
#[derive(Clone)]
pub struct InMemory {
    /// For requests that are answered.
    pub call: Call,
    /// For requests that become something else (exec, attach, port-forward): these need a connection.
    pub dial: Dial,
}

/// The name by which the server is addressed over a connection in memory; it is one of its certificate's names, too.
const AUTHORITY: HeaderValue = HeaderValue::from_static("kubernetes.default.svc");

/// Requests that a component may have under way at a time; the others wait for their turn. Upstream's clients have a rate
/// for the same purpose: nobody fills the server's queues alone.
pub const COMPONENT_REQUESTS: usize = 64;

/// How often a request is sent again that the server was too busy for (client-go: `WithMaxRetries(10)`).
const RETRIES: u32 = 10;

/// A client of a server in memory.
pub fn in_memory(server: InMemory, default_namespace: &str) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = server.clone();
        async move { server.send(at_hand(request).await?).await }
    });
    kube::Client::new(service, default_namespace)
}

/// The same for a component: at most as many requests are under way as `limit` has permits (a watch counts until it is
/// established), and what the server was too busy for is sent again when it says so.
pub fn for_component(server: InMemory, default_namespace: &str, limit: Arc<Semaphore>) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (server, limit) = (server.clone(), limit.clone());
        async move {
            let request = at_hand(request).await?;
            for _ in 0..RETRIES {
                let answer = server.send_in_turn(&limit, request.clone()).await?;
                let Some(pause) = busy_for(&answer) else { return Ok(answer) };
                tokio::time::sleep(pause).await;
            }
            server.send_in_turn(&limit, request).await
        }
    });
    kube::Client::new(service, default_namespace)
}

impl InMemory {
    async fn send_in_turn(&self, limit: &Semaphore, request: Request<Bytes>) -> Result<Answer, BoxError> {
        let _turn = limit.acquire().await?;
        self.send(request).await
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Answer, BoxError> {
        if request.headers().contains_key(UPGRADE) {
            return self.send_over_connection(request).await;
        }
        (self.call)(request).await
    }

    async fn send_over_connection(&self, mut request: Request<Bytes>) -> Result<Answer, BoxError> {
        request.headers_mut().insert(HOST, AUTHORITY);
        let stream = TokioIo::new((self.dial)().await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request.map(Body::from)).await?;
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}

/// The request with its body, which clients have at hand.
async fn at_hand(request: Request<Body>) -> Result<Request<Bytes>, BoxError> {
    let (head, body) = request.into_parts();
    Ok(Request::from_parts(head, body.collect_bytes().await?))
}

/// How long the server wants to be left alone, if it was too busy.
fn busy_for(answer: &Answer) -> Option<Duration> {
    let after =
        answer.headers().get(RETRY_AFTER).filter(|_| answer.status() == StatusCode::TOO_MANY_REQUESTS)?;
    Some(Duration::from_secs(after.to_str().ok()?.parse().ok()?))
}

/// A client for a context of a kubeconfig file (its current context if none is named).
///
/// # Errors
/// If the file cannot be read, lacks the context, or its credentials cannot be used.
pub async fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<kube::Client, Error> {
    let unusable = |source| Error::Kubeconfig { path: path.to_owned(), source };
    let file = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = kube::Config::from_custom_kubeconfig(file, &options).await.map_err(unusable)?;
    kube::Client::try_from(config).map_err(|source| Error::Connect { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
