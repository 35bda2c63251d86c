//! HTTPS requests of the server's own: to webhooks and to issuers of tokens.
//!
//! **Contract**: answers are read to a limit; who is asked is verified by the authorities given, or the machine's.
//! Connections are kept for the next request.
//! **Not here**: kubelets (`subresources`), which are reached another way; where a Service is (`service_dialer`).

use crate::subresources::NodeStream;
use async_trait::async_trait;
use bytes::Bytes;
use component_base::tls::AnyCertificate;
use futures::future::BoxFuture;
use http::Uri;
use http_body_util::{BodyExt, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service;

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
    /// Whether anybody is trusted.
    pub(crate) insecure: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What an answer that is none says, as clients of the API would tell it.
    ///
    /// **Upstream**: `k8s.io/client-go/rest` (`transformResponse`), `NewGenericServerResponse`.
    pub(crate) fn failure(&self) -> String {
        let status: Option<Value> = serde_json::from_slice(&self.body).ok();
        let said = status.filter(|status| status["kind"] == "Status");
        if let Some(message) = said.as_ref().and_then(|status| status["message"].as_str()) {
            return message.to_owned();
        }
        let body = std::str::from_utf8(&self.body).unwrap_or_default().trim();
        let body = if body.is_empty() { "unknown" } else { body };
        match self.code {
            400 => "the server rejected our request for an unknown reason".to_owned(),
            401 => "the server has asked for the client to provide credentials".to_owned(),
            403 | 406 | 415 => body.to_owned(),
            404 => "the server could not find the requested resource".to_owned(),
            405 => "the server does not allow this method on the requested resource".to_owned(),
            422 => "the server rejected our request due to an error in our request".to_owned(),
            429 => "the server has received too many requests and has asked us to try again later".to_owned(),
            503 => "the server is currently unable to handle the request".to_owned(),
            504 => "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
            500.. => format!("an error on the server ({body:?}) has prevented the request from succeeding"),
            code => format!("the server responded with the status code {code} but did not return more information"),
        }
    }
}

/// Makes connections.
#[async_trait]
pub(crate) trait Dial: Send + Sync {
    /// A connection to a host and port, or why there is none, in the words of Go's net package.
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn NodeStream>, String>;
}

/// Hosts as the machine knows them.
struct Machine;

#[async_trait]
impl Dial for Machine {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn NodeStream>, String> {
        let host = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.map_err(|error| crate::subresources::dial_error(host, port, &error))?;
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream))
    }
}

/// The failure of a dialler.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Undialled(String);

/// A dialled connection.
pub(crate) struct Wire(TokioIo<Box<dyn NodeStream>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Wire {
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

/// The dialler as hyper wants it.
#[derive(Clone)]
pub(crate) struct Connector(Arc<dyn Dial>);

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = Undialled;
    type Future = BoxFuture<'static, Result<Wire, Undialled>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Undialled>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialler = Arc::clone(&self.0);
        Box::pin(async move {
            let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
            let stream = dialler.dial(host, port).await.map_err(Undialled)?;
            Ok(Wire(TokioIo::new(stream)))
        })
    }
}

/// A failure as Go's HTTP client would tell it.
pub(crate) fn in_gos_words(error: &Error) -> String {
    let Error::Connection(source) = error else {
        return match error {
            Error::Timeout(_) => "context deadline exceeded".to_owned(),
            error => component_base::logging::Chain(error).to_string(),
        };
    };
    let mut cause: &(dyn std::error::Error + 'static) = &**source;
    loop {
        if let Some(error) = of_tls(cause) {
            return tls_failure(error);
        }
        match cause.source() {
            Some(next) => cause = next,
            None if cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message) => {
                return "EOF".to_owned();
            }
            None => return cause.to_string(),
        }
    }
}

/// The TLS error that an error is, or that it hides: those of I/O do not tell `source` what is in them.
fn of_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => of_tls(error.get_ref()?),
        None => error.downcast_ref(),
    }
}

fn tls_failure(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    let why = match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "certificate signed by unknown authority"
        }
        rustls::Error::InvalidCertificate(
            Certificate::Expired | Certificate::ExpiredContext { .. } | Certificate::NotValidYet,
        ) => "certificate has expired or is not yet valid",
        rustls::Error::InvalidCertificate(Certificate::NotValidForNameContext { expected, .. }) => {
            let name = expected.to_str();
            return format!("tls: failed to verify certificate: x509: certificate is not valid for {name}");
        }
        rustls::Error::InvalidMessage(_) => {
            return "tls: first record does not look like a TLS handshake".to_owned();
        }
        error => return format!("tls: {error}"),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// A client of hyper's that keeps connections, for requests with this kind of body.
pub(crate) type HttpsClient<B> = Client<HttpsConnector<Connector>, B>;

/// Makes such a client, to hosts as a dialler knows them.
pub(crate) fn client<B>(options: &TlsOptions, dialler: Arc<dyn Dial>) -> Result<HttpsClient<B>, Error>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(client_config(options)?)
        .https_only()
        .enable_http1()
        .wrap_connector(Connector(dialler));
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// TLS over a stream to a host.
pub(crate) async fn secured(
    options: &TlsOptions,
    host: &str,
    stream: Box<dyn NodeStream>,
) -> Result<Box<dyn NodeStream>, String> {
    let config = client_config(options).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected
        .map(|stream| Box::new(stream) as Box<dyn NodeStream>)
        .map_err(|error| in_gos_words(&Error::Connection(error.into())))
}

/// A client with its own connections.
#[derive(Clone)]
pub(crate) struct Outbound(HttpsClient<Full<Bytes>>);

impl Outbound {
    /// To hosts as the machine knows them.
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, Error> {
        Self::through(options, Arc::new(Machine))
    }

    /// To hosts as a dialler knows them.
    pub(crate) fn through(options: &TlsOptions, dialler: Arc<dyn Dial>) -> Result<Self, Error> {
        client(options, dialler).map(Self)
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

/// Whether a text has certificates in it (PEM).
pub(crate) fn has_certificates(pem: &str) -> bool {
    CertificateDer::pem_slice_iter(pem.as_bytes()).next().is_some_and(|certificate| certificate.is_ok())
}

/// How TLS connections are made.
pub(crate) fn client_config(options: &TlsOptions) -> Result<ClientConfig, Error> {
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
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let builder = match options.insecure {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        false => builder.with_root_certificates(roots),
    };
    let tls = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(&error))?;
            let chain = chain.map_err(|error| unusable(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))?
        }
    };
    Ok(tls)
}
