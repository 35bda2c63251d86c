//! A whole server in a test: memory storage, certificates of its own, and a client that shows raw answers.

use super::Server;
use crate::auth::{GROUP_MASTERS, UserInfo};
use crate::config::{Config, DEFAULT_ISSUER, Options};
use crate::subresources::{NodeDialer, NodeStream, NodeTarget};
use async_trait::async_trait;
use bytes::Bytes;
use component_base::{Context, Health};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use storage::{Location, OpenOptions, Storage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// A kubelet that answers every request with its path and query.
pub(crate) struct EchoNode;

#[async_trait]
impl NodeDialer for EchoNode {
    async fn dial(&self, node: &NodeTarget) -> std::io::Result<Box<dyn NodeStream>> {
        let (near, far) = tokio::io::duplex(4096);
        let name = node.name.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let text = format!("{name} {}", request.uri());
                async move { Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(text)))) }
            });
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service).await;
        });
        Ok(Box::new(near))
    }
}

/// The certificates of a test's cluster.
pub(crate) struct Pki {
    pub(crate) ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    pub(crate) proxies: Authority,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self { ca: Authority::new("test-ca").ca, proxies: Authority::new("front-proxy-ca") }
    }

    /// Certificate and key (PEM) with this common name and organization.
    pub(crate) fn issue(&self, name: &str, group: &str, hosts: &[&str]) -> (String, String) {
        issue(&self.ca, name, group, hosts)
    }
}

/// Who signs certificates.
pub(crate) struct Authority {
    pub(crate) ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        Self { ca }
    }

    /// Certificate and key (PEM) with this common name and organization.
    pub(crate) fn issue(&self, name: &str, group: &str, hosts: &[&str]) -> (String, String) {
        issue(&self.ca, name, group, hosts)
    }
}

fn issue(
    ca: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    name: &str,
    group: &str,
    hosts: &[&str],
) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(hosts).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

pub(crate) async fn memory() -> Arc<dyn Storage> {
    let clock = component_base::Clock::system();
    let now = Arc::new(move || u64::try_from(clock.now().as_millisecond()).unwrap_or_default());
    storage::open(Location::Memory, OpenOptions::new(now)).await.unwrap()
}

pub(crate) fn config(pki: &Pki, listener: Option<TcpListener>) -> Config {
    let (cert_pem, key_pem) = pki.issue("kube-apiserver", "", &["localhost", "127.0.0.1"]);
    let (front_proxy_cert_pem, front_proxy_key_pem) = pki.proxies.issue("front-proxy-client", "", &[]);
    Config {
        ca_pem: pki.ca.pem(),
        cert_pem,
        key_pem,
        token_key_pem: rcgen::KeyPair::generate().unwrap().serialize_pem(),
        token_issuer: DEFAULT_ISSUER.to_owned(),
        listeners: listener.into_iter().collect(),
        front_proxy_ca_pem: pki.proxies.ca.pem(),
        front_proxy_cert_pem,
        front_proxy_key_pem,
        options: Options::default(),
        service_cidr: (IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), 16),
        secondary_service_cidr: None,
        hostname: "machine".to_owned(),
        advertise_address: IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)),
        advertise_port: 6443,
        nodes: Arc::new(EchoNode),
        components: Health::default(),
    }
}

pub(crate) async fn start() -> Arc<Server> {
    Server::start(memory().await, Context::system(), config(&Pki::new(), None)).await.unwrap()
}

/// A server with another way to its nodes.
pub(crate) async fn start_with(nodes: Arc<dyn NodeDialer>) -> Arc<Server> {
    let config = Config { nodes, ..config(&Pki::new(), None) };
    Server::start(memory().await, Context::system(), config).await.unwrap()
}

pub(crate) fn root() -> UserInfo {
    UserInfo::authenticated("root", [GROUP_MASTERS.to_owned()])
}

/// A kube client with this identity.
pub(crate) fn client(server: &Arc<Server>, user: UserInfo) -> kube::Client {
    let (call, server) = (server.call_as(user.clone()), Arc::clone(server));
    let in_memory = client::InMemory {
        call,
        dial: Arc::new(move || {
            let stream = server.connect(user.clone());
            Box::pin(async move { Ok(stream) })
        }),
    };
    client::connection::in_memory(in_memory, "default")
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends one request over a new connection with this identity.
pub(crate) async fn call(
    server: &Arc<Server>,
    user: UserInfo,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Value,
) -> Answer {
    exchange(server.connect(user), method, path, headers, body).await
}

pub(crate) async fn exchange<S>(
    stream: S,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Value,
) -> Answer
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request =
        request.header("content-type", "application/json").body(Full::new(Bytes::from(body))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        code: head.status.as_u16(),
        headers: head.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// Makes an answer of path and body.
pub(crate) type Handler = Arc<dyn Fn(&str, Value) -> Value + Send + Sync>;

/// A server over TLS that answers with what the handler makes of path and body.
pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) pki: Pki,
    asked: Arc<AtomicUsize>,
}

impl Service {
    pub(crate) async fn start(handler: impl FnOnce(&str) -> Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let pki = Pki::new();
        let (certificate, key) = pki.issue("service", "", &["localhost"]);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let (handler, asked) = (handler(&url), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, handler, count) = (acceptor.clone(), Arc::clone(&handler), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service =
                        hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
                            let (handler, count) = (Arc::clone(&handler), Arc::clone(&count));
                            async move {
                                count.fetch_add(1, Ordering::SeqCst);
                                let path = request.uri().path().to_owned();
                                let body = request.into_body().collect().await.unwrap().to_bytes();
                                let body = serde_json::from_slice(&body).unwrap_or_default();
                                let answer = Bytes::from(handler(&path, body).to_string());
                                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(answer)))
                            }
                        });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, pki, asked }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
