//! One request: where it leads, whether it may, and its way to an endpoint and back.
//!
//! **Contract**: bodies are streamed both ways. An endpoint that does not take a connection is passed over for the next one;
//! so is one that breaks off before it answers, if asking twice does no harm.
//! **Upstream**: ingress-nginx (`proxy_next_upstream error timeout`, three tries).

use crate::annotations::Protocol;
use crate::body::{Lender, Lent, ResponseBody, Timed, within};
use crate::clients::{Clients, Connectors};
use crate::gateway::{self, Ports};
use crate::headers::{self, Entrance};
use crate::pool::{Answer, Error};
use crate::routes::{Table, Target};
use crate::workers::Workers;
use arc_swap::ArcSwap;
use bytes::Bytes;
use component_base::Context;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, LOCATION, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version, request};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// **Upstream**: `proxy-next-upstream-tries`.
const TRIES: usize = 3;
/// Never redirected: certificates are proved by it. **Upstream**: ingress-nginx' exception.
const ACME: &str = "/.well-known/acme-challenge";

/// What all connections share.
pub(crate) struct Proxy {
    pub(crate) table: ArcSwap<Table>,
    /// What listeners of Gateways do, by their ports; no Ingress is asked there.
    pub(crate) gateways: ArcSwap<Ports>,
    /// Where TLS is spoken, for redirects.
    pub(crate) https_port: AtomicU16,
    /// Who serves connections.
    pub(crate) workers: Workers,
    context: Context,
}

/// A client's connection: where it came in, and with what its requests go on.
pub(crate) struct Visit {
    pub(crate) entrance: Entrance,
    pub(crate) clients: Arc<Clients>,
}

impl Proxy {
    pub(crate) fn new(context: &Context) -> Result<Self, rustls::Error> {
        Ok(Self {
            table: ArcSwap::default(),
            gateways: ArcSwap::default(),
            https_port: AtomicU16::new(443),
            workers: Workers::new(context, Connectors::new()?),
            context: context.clone(),
        })
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, visit: &Visit, request: Request<Incoming>) -> Response<ResponseBody> {
        if self.gateways.load().contains_key(&visit.entrance.port) {
            // Requests may take long: they must not hold on to what only a look needs.
            let ports = self.gateways.load_full();
            return Box::pin(gateway::answer(self, &ports, visit, request)).await;
        }
        let authority = authority(&request);
        let host = host(authority.to_str().unwrap_or_default());
        let found = {
            let table = self.table.load();
            table.find(&host, request.uri().path()).map(|(target, rewritten)| (target.clone(), rewritten))
        };
        let Some((target, rewritten)) = found else {
            return said(StatusCode::NOT_FOUND, "default backend - 404");
        };
        let https_port = self.https_port.load(Ordering::Relaxed);
        if let Some((status, to)) = redirect(&target, &visit.entrance, &host, request.uri(), https_port) {
            return redirected(status, &to);
        }
        if let Some(limit) = target.settings.body_limit {
            let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            if length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > limit) {
                return said(StatusCode::PAYLOAD_TOO_LARGE, "413 Request Entity Too Large");
            }
        }
        self.forward(&target, rewritten, authority.clone(), visit, request).await
    }

    /// A number below this one, any.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.context.rng.below(bound)
    }

    pub(crate) async fn forward(
        &self,
        target: &Target,
        rewritten: Option<String>,
        authority: HeaderValue,
        visit: &Visit,
        mut request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let endpoints = target.upstream.endpoints();
        if endpoints.addresses.is_empty() {
            let service = &target.backend.service;
            let text =
                format!("503 Service Temporarily Unavailable: no endpoint of service {service} is ready");
            return said(StatusCode::SERVICE_UNAVAILABLE, &text);
        }
        let protocol = target.settings.protocol.or(endpoints.protocol).unwrap_or(Protocol::Http);
        let is_http2 = matches!(protocol, Protocol::Grpc | Protocol::Grpcs);
        let wanted = headers::upgrade(request.version(), request.headers()).filter(|_| !is_http2);
        let upgraded = wanted.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        let id =
            || format!("{:016x}{:016x}", self.context.rng.below(u64::MAX), self.context.rng.below(u64::MAX));
        let host = target.settings.virtual_host.as_deref().and_then(|host| HeaderValue::from_str(host).ok());
        headers::forward(&mut head.headers, host.unwrap_or(authority), &visit.entrance, id);
        if is_http2 {
            // There it is a part of the URI.
            head.headers.remove(HOST);
            head.headers.insert(TE, HeaderValue::from_static("trailers"));
        } else if let Some(protocol) = wanted {
            head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(UPGRADE, protocol);
        }
        let path = match rewritten {
            Some(path) => with_query(&path, head.uri.query()),
            None => head.uri.path_and_query().cloned(),
        };
        // A tunnel of its own is nobody's request.
        let Some(path) = path.filter(|_| head.method != Method::CONNECT) else {
            return said(StatusCode::BAD_REQUEST, "400 Bad Request");
        };

        let lender = Lender::new(body, target.settings.body_limit);
        let (turn, count) = (target.upstream.turn(), endpoints.addresses.len());
        let mut why = String::new();
        for attempt in 0..TRIES {
            let address = &endpoints.addresses[(turn + attempt) % count];
            let outgoing = outgoing(&head, protocol, &path, lender.lend());
            let asked = visit.clients.ask(protocol, address, outgoing);
            let error = match within(target.settings.read_timeout, &lender, asked).await {
                Ok(Ok(response)) => return self.back(response, upgraded, target),
                Ok(Err(error)) => error,
                Err(_) => return said(StatusCode::GATEWAY_TIMEOUT, "504 Gateway Time-out"),
            };
            if lender.is_too_large() {
                return said(StatusCode::PAYLOAD_TOO_LARGE, "413 Request Entity Too Large");
            }
            why = component_base::logging::chain(&error);
            let is_connect = matches!(error, Error::Connect(_));
            let refused = is_connect && lender.is_whole() && count > 1;
            let harmless = !is_connect && lender.is_empty() && head.method.is_idempotent();
            tracing::debug!(%address, attempt, "cannot ask an endpoint: {why}");
            if !refused && !harmless {
                break;
            }
        }
        tracing::debug!(service = %target.backend.service, "no endpoint has answered: {why}");
        said(StatusCode::BAD_GATEWAY, "502 Bad Gateway")
    }

    /// The backend's answer, as the client gets it.
    fn back(
        &self,
        mut response: Response<Answer>,
        client: Option<OnUpgrade>,
        target: &Target,
    ) -> Response<ResponseBody> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            headers::without_hop(response.headers_mut());
            let limit = target.settings.read_timeout;
            return response.map(|body| ResponseBody::Backend(Timed::new(body, limit)));
        }
        let Some(client) = client else { return said(StatusCode::BAD_GATEWAY, "502 Bad Gateway") };
        let backend = hyper::upgrade::on(&mut response);
        self.context.shutdown.spawn(async move {
            let (client, backend) = match tokio::try_join!(client, backend) {
                Ok(both) => both,
                Err(error) => return tracing::debug!(%error, "a connection was not handed over"),
            };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
        });
        let mut answer = Response::new(ResponseBody::Own(Full::default()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        answer
    }
}

/// The request for one endpoint.
fn outgoing(head: &request::Parts, protocol: Protocol, path: &PathAndQuery, body: Lent) -> Request<Lent> {
    let mut outgoing = Request::new(body);
    *outgoing.uri_mut() = Uri::from(path.clone());
    *outgoing.method_mut() = head.method.clone();
    *outgoing.headers_mut() = head.headers.clone();
    *outgoing.version_mut() = match protocol {
        Protocol::Http | Protocol::Https => Version::HTTP_11,
        Protocol::Grpc | Protocol::Grpcs => Version::HTTP_2,
    };
    outgoing
}

/// Host and port as the client asked for them.
pub(crate) fn authority<B>(request: &Request<B>) -> HeaderValue {
    let of_uri =
        request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    of_uri.or_else(|| request.headers().get(HOST).cloned()).unwrap_or_else(|| HeaderValue::from_static(""))
}

/// The host alone, in small letters.
pub(crate) fn host(authority: &str) -> Cow<'_, str> {
    let after_user = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let host = match after_user.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => after_user,
    };
    let host = host.trim_end_matches('.');
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

/// Where a request is sent instead, if it is.
fn redirect(
    target: &Target,
    entrance: &Entrance,
    host: &str,
    uri: &Uri,
    https_port: u16,
) -> Option<(StatusCode, String)> {
    let settings = &target.settings;
    if let Some((status, to)) = &settings.redirect {
        return Some((StatusCode::from_u16(*status).ok()?, to.clone()));
    }
    let to_tls = settings.force_ssl_redirect || settings.ssl_redirect && target.secure;
    if to_tls && !entrance.secure && !uri.path().starts_with(ACME) {
        let port = if https_port == 443 { String::new() } else { format!(":{https_port}") };
        let rest = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        return Some((StatusCode::PERMANENT_REDIRECT, format!("https://{host}{port}{rest}")));
    }
    let root = settings.app_root.as_ref().filter(|_| uri.path() == "/");
    root.map(|root| (StatusCode::FOUND, root.clone()))
}

fn with_query(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    match query {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

pub(crate) fn redirected(status: StatusCode, to: &str) -> Response<ResponseBody> {
    let Ok(location) = HeaderValue::from_str(to) else {
        return said(StatusCode::BAD_REQUEST, "400 Bad Request");
    };
    let mut response = said(status, status.canonical_reason().unwrap_or_default());
    response.headers_mut().insert(LOCATION, location);
    response
}

/// An answer of our own.
pub(crate) fn said(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let body = Full::new(Bytes::from(format!("{text}\n")));
    let mut response = Response::new(ResponseBody::Own(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Several connections share it.
pub(crate) type Shared = Arc<Proxy>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::Settings;
    use crate::endpoints::PortRef;
    use crate::routes::BackendKey;
    use client::Key;

    #[test]
    fn reads_hosts() {
        for (authority, expected) in [
            ("A.example:8080", "a.example"),
            ("a.example.", "a.example"),
            ("u:p@a.example", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host(authority), expected, "{authority}");
        }
    }

    #[test]
    fn redirects_as_annotations_say() {
        let settings = Settings::default;
        let table = [
            ("plain", settings(), false, false, "/x?y=1", 443, None),
            ("to TLS", settings(), true, false, "/x?y=1", 443, Some((308, "https://h/x?y=1"))),
            ("other port", settings(), true, false, "/x", 8443, Some((308, "https://h:8443/x"))),
            ("is TLS", settings(), true, true, "/x", 443, None),
            ("proof", settings(), true, false, "/.well-known/acme-challenge/t", 443, None),
            ("not wanted", Settings { ssl_redirect: false, ..settings() }, true, false, "/", 443, None),
            (
                "forced",
                Settings { force_ssl_redirect: true, ..settings() },
                false,
                false,
                "/",
                443,
                Some((308, "https://h/")),
            ),
            (
                "root",
                Settings { app_root: Some("/app".into()), ..settings() },
                false,
                false,
                "/",
                443,
                Some((302, "/app")),
            ),
            (
                "below",
                Settings { app_root: Some("/app".into()), ..settings() },
                false,
                false,
                "/x",
                443,
                None,
            ),
            (
                "moved",
                Settings { redirect: Some((301, "https://b".into())), ..settings() },
                true,
                false,
                "/x",
                443,
                Some((301, "https://b")),
            ),
        ];
        for (what, settings, certified, secure, uri, port, expected) in table {
            let backend = BackendKey { service: Key::new("n", "s"), port: PortRef::Number(80) };
            let target = Target { backend, upstream: Arc::default(), settings, secure: certified };
            let entrance = Entrance::new(([127, 0, 0, 1], 1).into(), 80, secure);
            let got = redirect(&target, &entrance, "h", &uri.parse().unwrap(), port);
            let got = got.as_ref().map(|(status, to)| (status.as_u16(), to.as_str()));
            assert_eq!(got, expected, "{what}");
        }
    }
}
