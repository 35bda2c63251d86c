//! Connections: TLS over TCP, and pairs of streams in memory. Both speak HTTP/1.1 and HTTP/2, with upgrades. And requests
//! without a connection, from the same process.
//!
//! **Contract**: a handshake runs in its own task, so a slow client delays nobody. At shutdown no connection is
//! accepted any more, long-running responses end, and requests under way are finished.
//! **Upstream**: `k8s.io/apiserver/pkg/server/secure_serving.go`.

use crate::auth::{ANONYMOUS, UserInfo, cert};
use crate::body::{BoxError, Response};
use crate::chain;
use crate::config::Config;
use crate::error::Error;
use crate::server::Server;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How long a client may take for its handshake. **Upstream**: net/http's `TLSHandshakeTimeout`.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests under way may take at shutdown. **Upstream**: the 60 s of a request, cut for a local cluster.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Upstream's `HTTP2MaxStreamsPerConnection`.
const MAX_STREAMS: u32 = 100;
/// Bytes that wait in each direction of a connection in memory.
const DUPLEX_BYTES: usize = 64 << 10;

/// The TLS side of listeners: our certificate, and client certificates of our authorities if there are any.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    clients: Arc<dyn ClientCertVerifier>,
    proxies: Arc<dyn ClientCertVerifier>,
    proxy_names: Arc<[String]>,
}

impl Tls {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let other = |error: rustls::Error| Error::Tls(Box::new(error));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = certificates(&config.ca_pem, "certificate authority")?;
        let proxies = match &config.options.request_header.ca_file {
            Some(file) => {
                let pem = std::fs::read_to_string(file).map_err(|error| Error::File(file.clone(), error))?;
                certificates(&pem, "authority of front proxies")?
            }
            None => certificates(&config.front_proxy_ca_pem, "authority of front proxies")?,
        };
        let verifier = |authorities: &mut dyn Iterator<Item = &CertificateDer<'static>>| {
            let mut roots = RootCertStore::empty();
            for certificate in authorities {
                roots.add(certificate.clone()).map_err(other)?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            builder.allow_unauthenticated().build().map_err(|error| Error::Tls(Box::new(error)))
        };
        let any = verifier(&mut clients.iter().chain(&proxies))?;
        let key = PrivateKeyDer::from_pem_slice(config.key_pem.as_bytes())
            .map_err(|error| Error::Pem("server's key", error))?;
        let mut tls = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(other)?
            .with_client_cert_verifier(Arc::new(AnyClient(any)))
            .with_single_cert(certificates(&config.cert_pem, "server's certificate")?, key)
            .map_err(other)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            clients: verifier(&mut clients.iter())?,
            proxies: verifier(&mut proxies.iter())?,
            proxy_names: config.options.request_header.allowed_names.clone().into(),
        })
    }

    /// Who the other side is, by its certificates, if one of the authorities has signed them.
    fn peer(&self, chain: Option<&[CertificateDer<'_>]>, address: Option<IpAddr>) -> Peer {
        let mut peer = Peer { address, ..Peer::default() };
        let Some([leaf, intermediates @ ..]) = chain else { return peer };
        // Certificates are valid by the machine's own time, as everywhere in TLS.
        let signed_by = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).is_ok()
        };
        peer.is_stranger = !signed_by(&self.clients);
        if !peer.is_stranger {
            peer.identity = cert::identity(leaf).map(Arc::new);
        }
        if signed_by(&self.proxies) {
            let name = cert::common_name(leaf);
            peer.is_proxy =
                self.proxy_names.is_empty() || name.is_some_and(|name| self.proxy_names.contains(&name));
        }
        peer
    }
}

/// Lets a client show any certificate that it has the key of: who is unknown by it may be known by a token, and is
/// otherwise told so by the API and not by TLS. **Upstream**: `tls.RequestClientCert`.
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| Error::Pem(what, e))
}

/// The other side of a connection.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Whom its certificate, or whoever made the connection, names.
    pub(crate) identity: Option<Arc<UserInfo>>,
    /// Whether it has shown a certificate that no authority of clients vouches for.
    pub(crate) is_stranger: bool,
    /// Whether it may speak for others in headers.
    pub(crate) is_proxy: bool,
    /// Where it is; nowhere for a connection in memory.
    pub(crate) address: Option<IpAddr>,
}

/// Accepts connections until the shutdown.
pub(crate) fn listen(server: &Arc<Server>, listener: TcpListener, tls: Tls) {
    let server = Arc::clone(server);
    server.context.shutdown.clone().spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let task = handshake(Arc::clone(&server), stream, tls.clone());
                    server.context.shutdown.spawn_graceful(task);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    server.context.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
}

async fn handshake(server: Arc<Server>, stream: TcpStream, tls: Tls) {
    let _ = stream.set_nodelay(true);
    let address = stream.peer_addr().ok().map(|address| address.ip());
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor.accept(stream)) => accepted,
        () = server.context.shutdown.requested() => return,
    };
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let peer = tls.peer(stream.get_ref().1.peer_certificates(), address);
    connection(server, stream, peer).await;
}

/// Who asks in memory.
fn within(identity: UserInfo) -> Peer {
    let identity = (identity.name != ANONYMOUS).then(|| Arc::new(identity));
    Peer { identity, ..Peer::default() }
}

/// See [`Server::connect`].
pub(crate) fn connect(server: &Arc<Server>, identity: UserInfo) -> DuplexStream {
    let (near, far) = tokio::io::duplex(DUPLEX_BYTES);
    server.context.shutdown.spawn_graceful(connection(Arc::clone(server), far, within(identity)));
    near
}

/// Has the server answer a request that comes without a connection: in the caller's task, and given up when that is dropped.
/// Fails if the server has ended, or is about to.
pub type Call =
    Arc<dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, Result<Response, BoxError>> + Send + Sync>;

/// See [`Server::call_as`].
pub(crate) fn call_as(server: &Arc<Server>, identity: UserInfo) -> Call {
    let (server, peer) = (Arc::clone(server), Arc::new(within(identity)));
    Arc::new(move |request| {
        let (server, peer) = (Arc::clone(&server), Arc::clone(&peer));
        Box::pin(async move {
            if server.context.shutdown.is_requested() {
                return Err("the API server has ended".into());
            }
            Ok(chain::serve(server, peer, request.map(Full::new)).await?)
        })
    })
}

/// Serves one connection to its end.
async fn connection<S>(server: Arc<Server>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shutdown = server.context.shutdown.clone();
    let peer = Arc::new(peer);
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        chain::serve(Arc::clone(&server), Arc::clone(&peer), request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN_TIMEOUT, connection).await {
                Ok(result) => result,
                Err(_) => return tracing::debug!("requests under way were cut off at shutdown"),
            }
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "connection ended");
    }
}
