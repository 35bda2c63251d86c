//! Ports at which load balancers ask whether a service has endpoints here: `spec.healthCheckNodePort`.
//!
//! **Contract**: a listener a service for as long as it has the port; a port that another program has is reported.
//! **Upstream**: `pkg/proxy/healthcheck/service_health.go`; the answers are its.

use crate::family::Family;
use client::Key;
use component_base::{Context, Shutdown};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Pause after a failed accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// What is told of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Where.
    pub port: u16,
    /// How many endpoints are on this machine.
    pub endpoints: usize,
}

/// The listeners of all services.
pub(crate) struct HealthChecks {
    context: Context,
    at: IpAddr,
    services: HashMap<Key, Check>,
}

struct Check {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    listening: Shutdown,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.listening.trigger();
    }
}

impl HealthChecks {
    /// They listen at all addresses of these families; a socket of IPv6 takes connections over IPv4 as well.
    pub(crate) fn new(context: &Context, families: &[Family]) -> Self {
        let last = families.iter().max().copied().unwrap_or(Family::V4);
        Self { context: context.clone(), at: last.unspecified(), services: HashMap::new() }
    }

    /// Tells this of a service from now on; what could not be listened on.
    pub(crate) async fn update(&mut self, service: &Key, health: Option<Health>) -> Option<String> {
        let Some(health) = health else {
            self.services.remove(service);
            return None;
        };
        if let Some(check) = self.services.get(service).filter(|check| check.port == health.port) {
            check.endpoints.store(health.endpoints, Ordering::Relaxed);
            return None;
        }
        self.services.remove(service);
        let listener = match TcpListener::bind((self.at, health.port)).await {
            Ok(listener) => listener,
            Err(error) => return Some(format!("cannot listen on port {}: {error}", health.port)),
        };
        let endpoints = Arc::new(AtomicUsize::new(health.endpoints));
        let listening = self.context.shutdown.child();
        let (clock, connections) = (self.context.clock.clone(), listening.clone());
        let (key, count) = (service.clone(), endpoints.clone());
        listening.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => connections.spawn(serve(stream, key.clone(), count.clone())),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        clock.sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        self.services.insert(service.clone(), Check { port: health.port, endpoints, listening });
        None
    }
}

async fn serve(stream: TcpStream, service: Key, endpoints: Arc<AtomicUsize>) {
    let answer = service_fn(move |_: Request<Incoming>| {
        let answer = answer(&service, endpoints.load(Ordering::Relaxed));
        async move { Ok::<_, Infallible>(answer) }
    });
    // Whoever asked may go at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

fn answer(service: &Key, endpoints: usize) -> Response<Full<Bytes>> {
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {:?},\n\t\t\"name\": {:?}\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\
         \"serviceProxyHealthy\": true\n}}",
        service.namespace, service.name
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    if endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, "application/json".parse().expect("a constant"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, "nosniff".parse().expect("a constant"));
    headers.insert(WEIGHT, endpoints.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(port: u16) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    }

    /// A port that no connection of another process gets between one listener and the next.
    async fn outside_of_the_ephemeral_ports() -> TcpListener {
        for port in 61_000..u16::MAX {
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
                return listener;
            }
        }
        panic!("no port is free");
    }

    #[tokio::test]
    async fn says_how_many_endpoints_there_are() {
        let taken = outside_of_the_ephemeral_ports().await;
        let port = taken.local_addr().expect("bound").port();
        let mut checks = HealthChecks::new(&Context::system(), &[Family::V4]);
        let key = Key::new("shop", "web");
        let health = |endpoints| Some(Health { port, endpoints });
        let refused = checks.update(&key, health(1)).await.expect("refused");
        assert!(refused.starts_with(&format!("cannot listen on port {port}: ")), "{refused}");
        drop(taken);
        assert_eq!(checks.update(&key, health(2)).await, None);
        let text = ask(port).await.expect("an answer");
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.contains("endpoint-weight: 2\r\n"), "{text}");
        let body = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\
                    \"serviceProxyHealthy\": true\n}";
        assert!(text.ends_with(body), "{text}");
        assert_eq!(checks.update(&key, health(0)).await, None);
        assert!(ask(port).await.expect("an answer").starts_with("HTTP/1.0 503 Service Unavailable\r\n"));
        assert_eq!(checks.update(&key, None).await, None);
        testkit::eventually(Duration::from_secs(60), async || ask(port).await.is_none()).await;
    }
}
