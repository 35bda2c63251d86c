//! HTTPS requests of the server's own: to webhooks and to issuers of tokens.
//!
//! **Contract**: answers are read to a limit; who is asked is verified by the authorities given, or the machine's.
//! **Not here**: kubelets (`subresources`), which are reached another way.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the longest answer that is read.
const ANSWER_BYTES: usize = 3 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Certificates or keys make no sense.
    #[error("cannot use the certificates: {0}")]
    Certificates(String),
    /// The request cannot be made.
    #[error("cannot make the request")]
    Request(#[source] http::Error),
    /// The other side cannot be reached, or breaks off.
    #[error("cannot reach the server")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It takes too long.
    #[error("the server did not answer within {0:?}")]
    Timeout(Duration),
}

/// Whom to trust, and who we are.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    /// Authorities (PEM); none: the machine's.
    pub(crate) ca_pem: Option<String>,
    /// Our certificate and key (PEM).
    pub(crate) identity: Option<(String, String)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Bytes,
}

/// A client with its own connections.
#[derive(Clone)]
pub(crate) struct Outbound(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Outbound {
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, Error> {
        let unusable = |error: &dyn std::fmt::Display| Error::Certificates(error.to_string());
        let mut roots = RootCertStore::empty();
        match &options.ca_pem {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|error| unusable(&error))?;
                    roots.add(certificate).map_err(|error| unusable(&error))?;
                }
                if roots.is_empty() {
                    return Err(unusable(&"there is no certificate authority"));
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots);
        let tls = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(&error))?;
                let chain = chain.map_err(|error| unusable(&error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))?
            }
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let request = request.body(Full::new(body)).map_err(Error::Request)?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| Error::Connection(error.into()))?;
            let code = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            Ok(Answer { code, body: body.map_err(Error::Connection)?.to_bytes() })
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Error::Timeout(limit)))
    }
}
