//! HTTPS servers in the test's process: webhooks, and servers of aggregated APIs.
//!
//! **Contract**: a server ends with its value. What it was asked is kept, and how many connections it was asked over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A body that may be a stream.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// A request with the common name of the client's certificate, if there is one, among its extensions.
pub type Request = http::Request<Incoming>;
/// What a server does.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, http::Response<Body>> + Send + Sync>;

/// The certificates that a client had; of its connection.
#[derive(Clone, Debug)]
pub struct ClientCertificates(pub Vec<Vec<u8>>);

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A JSON answer.
pub fn answer(code: u16, value: &Value) -> http::Response<Body> {
    let response = http::Response::builder().status(code).header("content-type", "application/json");
    response.body(full(value.to_string())).expect("a response")
}

/// A server.
pub struct TlsServer {
    /// Where it listens, on every address.
    pub port: u16,
    /// Who vouches for it (PEM).
    pub ca: String,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl TlsServer {
    /// Begins to serve under these names; `clients`: who vouches for clients that have certificates (PEM).
    pub async fn start(names: &[&str], clients: Option<&str>, handler: Handler) -> Self {
        let issued = issue(names);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("protocol versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
                    roots.add(certificate.expect("PEM")).expect("an authority");
                }
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder
                    .with_client_cert_verifier(verifier.allow_unauthenticated().build().expect("a verifier"))
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
        let acceptor =
            TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a certificate")));
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            // Connections end with the server.
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (acceptor, handler, count) = (acceptor.clone(), Arc::clone(&handler), Arc::clone(&count));
                open.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, Ordering::SeqCst);
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let certificates = ClientCertificates(certificates.iter().map(|c| c.to_vec()).collect());
                    let service = service_fn(move |mut request: Request| {
                        request.extensions_mut().insert(certificates.clone());
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                });
            }
        });
        Self { port, ca: issued.ca, connections, task }
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// `caBundle`
    pub fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.ca)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A certificate, its key, and who vouches for it (PEM).
pub struct Issued {
    /// The authority.
    pub ca: String,
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Issues a certificate for these names by an authority of its own.
///
/// # Panics
/// If it cannot.
pub fn issue(names: &[&str]) -> Issued {
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca = rcgen::CertifiedIssuer::self_signed(params, key).expect("an authority");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = rcgen::CertificateParams::new(names).expect("names");
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, &ca).expect("a certificate");
    Issued { ca: ca.pem(), cert: cert.pem(), key: key.serialize_pem() }
}

/// An address of this machine that is not the loopback's, which endpoints may name.
///
/// # Panics
/// If the machine has none.
pub fn own_address() -> String {
    // Nothing is sent: it is asked which way would be taken.
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("a way out");
    socket.local_addr().expect("an address").ip().to_string()
}

/// What a webhook says about a request.
pub type Decide = Arc<dyn Fn(&str, &Value) -> Value + Send + Sync>;

/// A webhook: answers reviews, and keeps their requests.
pub struct Webhook {
    /// The server.
    pub server: TlsServer,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    /// Begins to answer; `decide` makes of path and request a response, in which it need not name the `uid`. A response
    /// with `delayMillis` is late by that.
    pub async fn start(
        names: &[&str],
        decide: impl Fn(&str, &Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (decide, kept): (Decide, _) = (Arc::new(decide), Arc::clone(&asked));
        let handler: Handler = Arc::new(move |request| {
            let (decide, kept) = (Arc::clone(&decide), Arc::clone(&kept));
            Box::pin(async move {
                let path = request.uri().path().to_owned();
                let query = request.uri().query().unwrap_or_default().to_owned();
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let review: Value = serde_json::from_slice(&body).expect("a review");
                let mut asked = review["request"].clone();
                asked["path"] = path.clone().into();
                asked["query"] = query.into();
                kept.lock().expect("nobody panicked").push(asked);
                let mut response = decide(&path, &review["request"]);
                if let Some(millis) = response["delayMillis"].as_u64() {
                    let late = tokio::time::Instant::now() + std::time::Duration::from_millis(millis);
                    tokio::time::sleep_until(late).await;
                }
                if response["uid"].is_null() {
                    response["uid"] = review["request"]["uid"].clone();
                }
                let (kind, version) = (&review["kind"], &review["apiVersion"]);
                answer(200, &json!({"kind": kind, "apiVersion": version, "response": response}))
            })
        });
        Self { server: TlsServer::start(names, None, handler).await, asked }
    }

    /// The requests so far, each with `path` and `query`.
    pub fn asked(&self) -> Vec<Value> {
        self.asked.lock().expect("nobody panicked").clone()
    }

    /// The first request about an object of this name in the default namespace: controllers write, too.
    ///
    /// # Panics
    /// If there was none.
    pub fn about(&self, name: &str) -> Value {
        let is_it = |request: &Value| request["name"] == name && request["namespace"] == "default";
        self.asked().into_iter().find(is_it).expect("it was asked")
    }

    /// A `clientConfig` with the server's address.
    pub fn at(&self, path: &str) -> Value {
        let url = format!("https://localhost:{}{path}", self.server.port);
        json!({"url": url, "caBundle": self.server.ca_bundle()})
    }
}

/// A JSON patch as a response has it.
pub fn patched(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}
