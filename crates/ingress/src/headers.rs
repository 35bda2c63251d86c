//! Headers of requests and responses on their way: what concerns one connection only goes no further, and backends are told
//! who asked, and how.
//!
//! **Contract**: pure.
//! **Upstream**: RFC 9110, 7.6.1; ingress-nginx' `X-Forwarded-*`, which are not believed but set.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Version};
use std::net::SocketAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const SCHEME: HeaderName = HeaderName::from_static("x-scheme");

/// Where requests come in, and what backends are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    /// At which port.
    pub(crate) port: u16,
    /// Over TLS?
    pub(crate) secure: bool,
    /// Who asks.
    peer: HeaderValue,
    port_text: HeaderValue,
}

impl Entrance {
    pub(crate) fn new(peer: SocketAddr, port: u16, secure: bool) -> Self {
        let peer = peer.ip().to_canonical().to_string();
        let peer = HeaderValue::from_str(&peer).expect("an address is plain text");
        Self { port, secure, peer, port_text: port.into() }
    }

    fn scheme(&self) -> HeaderValue {
        HeaderValue::from_static(if self.secure { "https" } else { "http" })
    }
}

/// The protocol that a request wants its connection to become.
pub(crate) fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(UPGRADE)?;
    (version == Version::HTTP_11 && tokens(headers).any(|token| token == "upgrade")).then(|| wanted.clone())
}

/// The names in `Connection`, in small letters.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|token| token.trim().to_ascii_lowercase())
}

/// Takes away what concerns only the connection by which a message came.
pub(crate) fn without_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> =
            tokens(headers).filter_map(|token| HeaderName::try_from(token).ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    // A length beside an encoding is a contradiction; the encoding counts.
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Makes a client's headers those that a backend gets.
pub(crate) fn forward(
    headers: &mut HeaderMap,
    host: HeaderValue,
    entrance: &Entrance,
    request_id: impl FnOnce() -> String,
) {
    without_hop(headers);
    // HTTP/2 may send them one by one, HTTP/1.1 may not.
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(all) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, all);
    }
    headers.insert(HOST, host.clone());
    headers.insert(REAL_IP, entrance.peer.clone());
    headers.insert(FORWARDED_FOR, entrance.peer.clone());
    headers.insert(FORWARDED_HOST, host);
    headers.insert(FORWARDED_PORT, entrance.port_text.clone());
    headers.insert(FORWARDED_PROTO, entrance.scheme());
    headers.insert(FORWARDED_SCHEME, entrance.scheme());
    headers.insert(SCHEME, entrance.scheme());
    if !headers.contains_key(&REQUEST_ID)
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(request_id()))
    {
        headers.insert(REQUEST_ID, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_concerns_one_connection_goes_no_further() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "7"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        without_hop(&mut headers);
        assert_eq!(headers, map(&[("accept", "*/*")]));
    }

    #[test]
    fn backends_are_told_who_asked_and_clients_are_not_believed() {
        let entrance = Entrance::new("[::ffff:10.0.0.9]:5555".parse().unwrap(), 443, true);
        let mut headers = map(&[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]);
        forward(&mut headers, HeaderValue::from_static("a.example"), &entrance, || "id".to_owned());
        for (name, value) in [
            ("host", "a.example"),
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-host", "a.example"),
            ("x-request-id", "id"),
            ("cookie", "a=1; b=2"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
    }

    #[test]
    fn an_upgrade_is_asked_for_in_two_headers() {
        let both = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(Version::HTTP_11, &both), Some(HeaderValue::from_static("websocket")));
        assert_eq!(upgrade(Version::HTTP_2, &both), None);
        assert_eq!(upgrade(Version::HTTP_11, &map(&[("upgrade", "websocket")])), None);
    }
}
