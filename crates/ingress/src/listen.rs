//! Where requests come in: plain and over TLS, HTTP/1.1 and HTTP/2 at either.
//!
//! **Contract**: of several ports the first that is free at every address is taken, else the first that is free at some. When
//! the doors are dropped they close; requests under way are finished.

use crate::headers::Entrance;
use crate::proxy::{Shared, Visit};
use crate::tls::Resolver;
use component_base::{Context, Shutdown, logging};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle. **Upstream**: `keep-alive`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long requests under way may take at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// **Upstream**: `http2-max-concurrent-streams`.
const MAX_STREAMS: u32 = 128;

/// Listening sockets of one port.
pub(crate) struct Door {
    pub(crate) port: u16,
    listeners: Vec<TcpListener>,
}

/// Binds the first of these ports that is free; what was refused on the way.
pub(crate) async fn bind(addresses: &[IpAddr], ports: &[u16]) -> (Option<Door>, Vec<String>) {
    let (mut best, mut refused): (Option<Door>, _) = (None, Vec::new());
    for port in ports {
        let mut listeners = Vec::new();
        for address in addresses {
            match TcpListener::bind((*address, *port)).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    refused.push(format!("cannot listen on {}: {error}", SocketAddr::new(*address, *port)))
                }
            }
        }
        let whole = listeners.len() == addresses.len();
        let bound = listeners.first().and_then(|listener| listener.local_addr().ok()).map(|at| at.port());
        if let Some(port) = bound
            && (whole || best.is_none())
        {
            best = Some(Door { port, listeners });
        }
        if whole {
            break;
        }
    }
    (best, refused)
}

/// How TLS is spoken with these certificates.
pub(crate) fn tls(resolver: &Arc<Resolver>) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| logging::chain(&error))?
        .with_no_client_auth()
        .with_cert_resolver(resolver.clone());
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Lets requests in until it is dropped.
pub(crate) struct Open(Shutdown);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

impl Door {
    /// Opens it; with a configuration, for TLS.
    pub(crate) fn open(self, context: &Context, proxy: &Shared, tls: Option<&Arc<ServerConfig>>) -> Open {
        let open = context.shutdown.child();
        for listener in self.listeners {
            let (proxy, context, ended) = (proxy.clone(), context.clone(), open.clone());
            let (port, tls) = (self.port, tls.map(|tls| TlsAcceptor::from(tls.clone())));
            open.spawn(async move {
                loop {
                    match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                        Ok((stream, peer)) => {
                            let entrance = Entrance::new(peer, port, tls.is_some());
                            let (tls, shared, ended) = (tls.clone(), proxy.clone(), ended.clone());
                            proxy.workers.serve(move |clients| {
                                connection(stream, tls, shared, Visit { entrance, clients }, ended)
                            });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            context.clock.sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            });
        }
        Open(open)
    }
}

async fn connection(
    stream: std::net::TcpStream,
    tls: Option<TlsAcceptor>,
    proxy: Shared,
    visit: Visit,
    ended: Shutdown,
) {
    let _ = stream.set_nodelay(true);
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot serve a connection"),
    };
    let Some(tls) = tls else { return serve(stream, proxy, visit, ended).await };
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = ended.requested() => return,
    };
    match shaken {
        Ok(Ok(stream)) => serve(stream, proxy, visit, ended).await,
        Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
        Err(_) => tracing::debug!("handshake took too long"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    proxy: Shared,
    visit: Visit,
    ended: Shutdown,
) {
    let here = Arc::new((proxy, visit));
    let service = hyper::service::service_fn(move |request| {
        let here = here.clone();
        async move { Ok::<_, Infallible>(here.0.answer(&here.1, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ended.requested() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN_TIMEOUT, connection).await {
                Ok(result) => result,
                Err(_) => return tracing::debug!("requests under way were cut off"),
            }
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn takes_the_first_port_that_is_free() {
        let localhost = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let (door, refused) = bind(&localhost, &[port, 0]).await;
        assert!(door.is_some_and(|door| door.port != port));
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{refused:?}");
        let (door, _) = bind(&localhost, &[port]).await;
        assert!(door.is_none());
    }
}
