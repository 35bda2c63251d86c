//! Where it is decided whether a component talks to the API server in memory or over HTTPS.
//!
//! **Contract**: both ways give a [`kube::Client`] that can do everything, upgrades (exec, attach, port-forward)
//! included. An in-memory connection is HTTP/1.1 over a [`DuplexStream`]; the identity that it carries belongs to
//! whoever made the [`Dial`], and goes through the server's authorizer like any other. Watches and logs are streamed,
//! not buffered.
//! **Not here**: the server's side (`apiserver`), identities (the launcher).

use crate::Error;
use futures::future::BoxFuture;
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Opens one more connection to the server: the near half of a pair whose far half the server already serves.
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, io::Result<DuplexStream>> + Send + Sync>;

/// The name by which the server is addressed in memory; it is one of its certificate's names, too.
const AUTHORITY: &str = "kubernetes.default.svc";

/// Idle connections that are kept; each watch holds one of its own beside them.
const IDLE_CONNECTIONS: usize = 4;

/// A client over in-memory connections; must be called inside a tokio runtime.
pub fn in_memory(dial: Dial, default_namespace: &str) -> kube::Client {
    let connector = tower::service_fn(move |_: Uri| {
        let stream = dial();
        Box::pin(async move { Ok::<_, io::Error>(TokioIo::new(InMemory(stream.await?))) })
    });
    let pool = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build::<_, Body>(connector);
    let service = tower::service_fn(move |mut request: Request<Body>| {
        *request.uri_mut() = absolute(request.uri());
        pool.request(request)
    });
    kube::Client::new(service, default_namespace)
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
