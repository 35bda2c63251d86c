//! Connections to endpoints, kept while they are useful: one pool for HTTP/1.1, one for HTTP/2.

use crate::annotations::Protocol;
use crate::body::Lent;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
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
        // Certificates of backends are their own business, as with nginx' `proxy_ssl_verify off`.
        let tls = component_base::tls::unverified()?;
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
