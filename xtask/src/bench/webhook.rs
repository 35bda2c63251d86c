//! A mutating webhook in this process: what its answers take itself is known, so the rest is the API server's.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// The server; it ends with the value.
pub(super) struct Webhook {
    port: u16,
    ca: String,
    own: Arc<Mutex<Vec<Duration>>>,
    task: JoinHandle<()>,
}

impl Webhook {
    /// Listens on the loopback interface, under a certificate made for it.
    pub(super) async fn start() -> Result<Self> {
        let key = rcgen::KeyPair::generate().context("a key")?;
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .context("a certificate")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a port")?;
        let port = listener.local_addr()?.port();
        let own: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let times = Arc::clone(&own);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (acceptor, times) = (acceptor.clone(), Arc::clone(&times));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, Arc::clone(&times)));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { port, ca: certificate.pem(), own, task })
    }

    /// The object that has config maps of a namespace's label mutated.
    pub(super) fn configuration(&self, name: &str, label: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": format!("https://localhost:{}/", self.port), "caBundle": STANDARD.encode(&self.ca),
                },
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": label}},
                "rules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                }],
            }],
        })
    }

    /// What its answers have taken so far, which is forgotten: from the request's last byte to the answer's first.
    pub(super) fn own_times(&self) -> Vec<Duration> {
        std::mem::take(&mut self.own.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: http::Request<Incoming>,
    times: Arc<Mutex<Vec<Duration>>>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let bytes =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let before = Instant::now();
    let review: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let patch = json!([{"op": "add", "path": "/data/mutated", "value": "yes"}]).to_string();
    let response = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch),
        },
    });
    let mut answer = http::Response::new(Full::new(Bytes::from(response.to_string())));
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    times.lock().unwrap_or_else(PoisonError::into_inner).push(before.elapsed());
    Ok(answer)
}
