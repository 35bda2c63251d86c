//! Load on an API server: connections that each have one request under way, and no more than that.
//!
//! **Contract**: no pool, no retries, no transparent decompression: what is measured is what the server does. Any answer
//! but 2xx is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt as _;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

/// Where requests go, and as whom.
#[derive(Clone)]
pub(super) struct Target {
    tls: TlsConnector,
    host: String,
    port: u16,
}

/// A request without its connection.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Bytes>,
}

/// One connection, HTTP/1.1 over TLS.
pub(super) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Target {
    /// The server and the identity of a kubeconfig.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let mut tls = config.rustls_client_config().context("the kubeconfig's keys")?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let host = config.cluster_url.host().context("a server with a host")?.to_owned();
        let port = config.cluster_url.port_u16().context("a server with a port")?;
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), host, port })
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.context("connect")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone()).context("the server's name")?;
        let stream = self.tls.connect(name, stream).await.context("the handshake")?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.context("HTTP")?;
        tokio::spawn(connection);
        Ok(Connection { requests, authority: format!("{}:{}", self.host, self.port) })
    }

    async fn connections(&self, number: usize) -> Result<Vec<Connection>> {
        try_join_all((0..number).map(|_| self.connect())).await
    }

    /// Repeats a GET on so many connections for some time; requests per second.
    pub(super) async fn repeat(&self, path: &str, connections: usize, span: Duration) -> Result<f64> {
        let stop = Arc::new(AtomicBool::new(false));
        let call = Call { method: Method::GET, path: path.to_owned(), body: None };
        let workers = self.connections(connections).await?.into_iter().map(|mut connection| {
            let (stop, call) = (stop.clone(), call.clone());
            tokio::spawn(async move {
                let mut done = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    connection.drain(&call).await?;
                    done += 1;
                }
                anyhow::Ok(done)
            })
        });
        let before = Instant::now();
        let workers: Vec<_> = workers.collect();
        sleep(span).await;
        stop.store(true, Ordering::Relaxed);
        let mut done = 0.0;
        for worker in workers {
            done += f64::from(worker.await??);
        }
        Ok(done / before.elapsed().as_secs_f64())
    }

    /// Makes every call once, on so many connections; requests per second.
    pub(super) async fn each(&self, calls: Vec<Call>, connections: usize) -> Result<f64> {
        let number = u32::try_from(calls.len())?;
        let mut shares = vec![Vec::new(); connections];
        for (index, call) in calls.into_iter().enumerate() {
            shares[index % connections].push(call);
        }
        let connections = self.connections(connections).await?;
        let before = Instant::now();
        let workers = connections.into_iter().zip(shares).map(|(mut connection, calls)| {
            tokio::spawn(async move {
                for call in &calls {
                    connection.drain(call).await?;
                }
                anyhow::Ok(())
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await??;
        }
        Ok(f64::from(number) / before.elapsed().as_secs_f64())
    }
}

impl Connection {
    /// Sends a request; the answer's body is still to be read.
    pub(super) async fn send(&mut self, call: &Call) -> Result<Incoming> {
        let answer = self.answer(call).await?;
        let status = answer.status();
        let body = answer.into_body();
        if !status.is_success() {
            let text = body.collect().await?.to_bytes();
            anyhow::bail!("{} {}: {status}: {}", call.method, call.path, String::from_utf8_lossy(&text));
        }
        Ok(body)
    }

    /// Sends a request that may be refused, and reads its answer to the end.
    pub(super) async fn status(&mut self, call: &Call) -> Result<StatusCode> {
        let answer = self.answer(call).await?;
        let status = answer.status();
        answer.into_body().collect().await.context("read an answer")?;
        Ok(status)
    }

    async fn answer(&mut self, call: &Call) -> Result<http::Response<Incoming>> {
        let Call { method, path, body } = call;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json");
        let request = match body {
            Some(_) => request.header(header::CONTENT_TYPE, "application/json"),
            None => request,
        };
        let request = request.body(Full::new(body.clone().unwrap_or_default()))?;
        self.requests.ready().await.context("the connection")?;
        self.requests.send_request(request).await.with_context(|| format!("{method} {path}"))
    }

    /// Sends a request and reads its answer to the end; its bytes.
    pub(super) async fn drain(&mut self, call: &Call) -> Result<usize> {
        let mut body = self.send(call).await?;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.context("read an answer")?.data_ref().map_or(0, Bytes::len);
        }
        Ok(bytes)
    }

    /// Sends a request and keeps its answer.
    pub(super) async fn read(&mut self, call: &Call) -> Result<Bytes> {
        let body = self.send(call).await?.collect().await.context("read an answer")?.to_bytes();
        ensure!(!body.is_empty(), "{} {}: an empty answer", call.method, call.path);
        Ok(body)
    }
}
