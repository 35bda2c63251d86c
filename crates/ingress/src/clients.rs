//! Who asks endpoints: a pool of connections for HTTP/1.1, one for HTTP/2; each serving thread has its own.

use crate::annotations::Protocol;
use crate::body::Lent;
use crate::pool::{Answer, Connector, Error, IDLE_CONNECTIONS, IDLE_TIMEOUT, Place, Pool};
use component_base::Context;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;

/// **Upstream**: `proxy-connect-timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How connections are made, for either version of HTTP.
#[derive(Clone)]
pub(crate) struct Connectors {
    http1: Connector,
    http2: Connector,
}

impl Connectors {
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        // Certificates of backends are their own business, as with nginx' `proxy_ssl_verify off`.
        let tls = component_base::tls::unverified()?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = || HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        Ok(Self {
            http1: connector().enable_http1().wrap_connector(http.clone()),
            http2: connector().enable_http2().wrap_connector(http),
        })
    }
}

/// The pools.
pub(crate) struct Clients {
    http1: Pool,
    http2: Client<Connector, Lent>,
}

impl Clients {
    pub(crate) fn new(connectors: &Connectors, context: &Context) -> Self {
        let http2 = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http2_only(true)
            .build(connectors.http2.clone());
        Self { http1: Pool::new(connectors.http1.clone(), context), http2 }
    }

    /// Asks an endpoint; the request's URI is its path alone.
    pub(crate) async fn ask(
        &self,
        protocol: Protocol,
        address: &Authority,
        mut request: Request<Lent>,
    ) -> Result<Response<Answer>, Error> {
        let scheme = match protocol {
            Protocol::Http | Protocol::Grpc => Scheme::HTTP,
            Protocol::Https | Protocol::Grpcs => Scheme::HTTPS,
        };
        if matches!(protocol, Protocol::Http | Protocol::Https) {
            return self.http1.ask(Place { scheme, authority: address.clone() }, request).await;
        }
        let uri = Uri::builder().scheme(scheme).authority(address.clone());
        let uri =
            uri.path_and_query(request.uri().path_and_query().map_or("/", PathAndQuery::as_str)).build();
        *request.uri_mut() = uri.map_err(|error| Error::Connect(error.into()))?;
        match self.http2.request(request).await {
            Ok(response) => Ok(response.map(Answer::from)),
            Err(error) if error.is_connect() => Err(Error::Connect(error.into())),
            Err(error) => Err(Error::Broken(error.into())),
        }
    }
}
