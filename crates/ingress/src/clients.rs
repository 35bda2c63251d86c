//! Connections to endpoints, kept while they are useful: one pool for HTTP/1.1, one for HTTP/2.

use crate::annotations::Protocol;
use crate::body::Lent;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;

/// **Upstream**: `proxy-connect-timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// **Upstream**: `upstream-keepalive-timeout`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// **Upstream**: `upstream-keepalive-connections`.
const IDLE_CONNECTIONS: usize = 320;

type Pool = Client<HttpsConnector<HttpConnector>, Lent>;

/// The pools.
pub(crate) struct Clients {
    http1: Pool,
    http2: Pool,
}

impl Clients {
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS);
        let connector = || HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        Ok(Self {
            http1: builder.build(connector().enable_http1().wrap_connector(http.clone())),
            http2: builder.http2_only(true).build(connector().enable_http2().wrap_connector(http)),
        })
    }

    /// Who speaks this.
    pub(crate) fn of(&self, protocol: Protocol) -> &Pool {
        match protocol {
            Protocol::Http | Protocol::Https => &self.http1,
            Protocol::Grpc | Protocol::Grpcs => &self.http2,
        }
    }
}

/// How a backend's address begins.
pub(crate) fn scheme(protocol: Protocol) -> Scheme {
    match protocol {
        Protocol::Http | Protocol::Grpc => Scheme::HTTP,
        Protocol::Https | Protocol::Grpcs => Scheme::HTTPS,
    }
}

/// Believes every backend: their certificates are their own business, as with nginx' `proxy_ssl_verify off`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
