//! Where it is decided whether a component talks to the API server in memory or over HTTPS.
//!
//! **Contract**: both ways give a [`kube::Client`] that can do everything, upgrades (exec, attach, port-forward)
//! included. An in-memory connection is HTTP over a [`DuplexStream`]; the identity that it carries belongs to
//! whoever made the [`Dial`], and goes through the server's authorizer like any other. Watches and logs are streamed,
//! not buffered.
//! **Not here**: the server's side (`apiserver`), identities (the launcher).

use crate::Error;
use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::Semaphore;

/// Opens one more connection to the server: the near half of a pair whose far half the server already serves.
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, io::Result<DuplexStream>> + Send + Sync>;

/// The name by which the server is addressed in memory; it is one of its certificate's names, too.
const AUTHORITY: &str = "kubernetes.default.svc";

/// Idle connections that are kept; each watch holds one of its own beside them.
const IDLE_CONNECTIONS: usize = 4;

/// Requests that a component may have under way at a time; the others wait for their turn. Upstream's clients have a rate
/// for the same purpose: nobody fills the server's queues alone.
pub const COMPONENT_REQUESTS: usize = 64;

/// Bytes of all watches on the connection that they share: as good as no bound, each has its own.
const SHARED_WINDOW: u32 = 1 << 30;

/// How long connections are kept that a burst of requests has opened.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// How often a request is sent again that the server was too busy for (client-go: `WithMaxRetries(10)`).
const RETRIES: u32 = 10;

/// A mark on a component's request: it is content with a connection that many requests share. A watch of its own
/// connection is faster, but holds buffers on either side, and a cluster may have hundreds of watches on which nothing
/// happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared;

/// A client over in-memory connections; must be called inside a tokio runtime.
pub fn in_memory(dial: Dial, default_namespace: &str) -> kube::Client {
    let pool = pool(dial, IDLE_CONNECTIONS);
    let service = tower::service_fn(move |mut request: Request<Body>| {
        *request.uri_mut() = absolute(request.uri());
        pool.request(request)
    });
    kube::Client::new(service, default_namespace)
}

/// The same for a component: at most as many requests are under way as `limit` has permits (a watch counts until it is
/// established), and what the server was too busy for is sent again when it says so. `idle` connections are kept.
pub fn for_component(
    dial: Dial,
    default_namespace: &str,
    limit: Arc<Semaphore>,
    idle: usize,
) -> kube::Client {
    let (own, shared) = (pool(dial.clone(), idle), shared(dial));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (mut head, body) = request.into_parts();
        let pool = if head.extensions.remove::<Shared>().is_some() { shared.clone() } else { own.clone() };
        let limit = limit.clone();
        async move {
            head.uri = absolute(&head.uri);
            let body = body.collect_bytes().await?;
            for _ in 0..RETRIES {
                let again = Request::from_parts(head.clone(), Body::from(body.to_vec()));
                let response = send(&pool, &limit, again).await?;
                let Some(pause) = busy_for(&response) else { return Ok(response) };
                tokio::time::sleep(pause).await;
            }
            let last = Request::from_parts(head, Body::from(body.to_vec()));
            send(&pool, &limit, last).await
        }
    });
    kube::Client::new(service, default_namespace)
}

async fn send(
    pool: &Pool,
    limit: &Semaphore,
    request: Request<Body>,
) -> Result<Response<Incoming>, tower::BoxError> {
    let _turn = limit.acquire().await?;
    Ok(pool.request(request).await?)
}

/// How long the server wants to be left alone, if it was too busy.
fn busy_for(response: &Response<Incoming>) -> Option<Duration> {
    let after =
        response.headers().get(RETRY_AFTER).filter(|_| response.status() == StatusCode::TOO_MANY_REQUESTS)?;
    Some(Duration::from_secs(after.to_str().ok()?.parse().ok()?))
}

type Connect = BoxFuture<'static, io::Result<TokioIo<InMemory>>>;
type Pool = hyper_util::client::legacy::Client<Connector, Body>;

/// Opens connections for the pool.
#[derive(Clone)]
struct Connector(Dial);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<InMemory>;
    type Error = io::Error;
    type Future = Connect;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Connect {
        let stream = (self.0)();
        Box::pin(async move { Ok(TokioIo::new(InMemory(stream.await?))) })
    }
}

fn pool(dial: Dial, idle: usize) -> Pool {
    let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(idle);
    if idle > IDLE_CONNECTIONS {
        // What a burst has opened does not stay for ever; a few are not worth a timer.
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIME);
    }
    builder.build::<_, Body>(Connector(dial))
}

/// A pool of one connection, on which requests do not wait for each other (HTTP/2).
fn shared(dial: Dial) -> Pool {
    let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    builder.http2_only(true).http2_initial_connection_window_size(SHARED_WINDOW);
    builder.build::<_, Body>(Connector(dial))
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

/// The same path and query at the server's in-memory name, as the connection pool wants it.
fn absolute(uri: &Uri) -> Uri {
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static(AUTHORITY));
    parts.path_and_query =
        Some(uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")));
    Uri::from_parts(parts).expect("a scheme, an authority and a path make a URI")
}

/// A duplex stream as a connection that the pool may reuse.
struct InMemory(DuplexStream);

impl Connection for InMemory {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for InMemory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for InMemory {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
