//! Headers of requests and responses on their way: what concerns one connection only goes no further, and backends are told
//! who asked, and how.
//!
//! **Contract**: pure.
//! **Upstream**: RFC 9110, 7.6.1; ingress-nginx' `X-Forwarded-*`, which are not believed but set.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Version};
use std::net::SocketAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// Who asks.
    pub(crate) peer: SocketAddr,
    /// At which port.
    pub(crate) port: u16,
    /// Over TLS?
    pub(crate) secure: bool,
}

impl Entrance {
    fn scheme(self) -> &'static str {
        if self.secure { "https" } else { "http" }
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
pub(crate) fn forward(headers: &mut HeaderMap, host: &str, entrance: Entrance, request_id: &str) {
    without_hop(headers);
    // HTTP/2 may send them one by one, HTTP/1.1 may not.
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(all) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, all);
    }
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let (peer, port) = (entrance.peer.ip().to_canonical().to_string(), entrance.port.to_string());
    set(HOST, host);
    set(HeaderName::from_static("x-real-ip"), &peer);
    set(HeaderName::from_static("x-forwarded-for"), &peer);
    set(HeaderName::from_static("x-forwarded-host"), host);
    set(HeaderName::from_static("x-forwarded-port"), &port);
    set(HeaderName::from_static("x-forwarded-proto"), entrance.scheme());
    set(HeaderName::from_static("x-forwarded-scheme"), entrance.scheme());
    set(HeaderName::from_static("x-scheme"), entrance.scheme());
    if !headers.contains_key(&REQUEST_ID)
        && let Ok(value) = HeaderValue::from_str(request_id)
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
        let entrance = Entrance { peer: "[::ffff:10.0.0.9]:5555".parse().unwrap(), port: 443, secure: true };
        let mut headers = map(&[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]);
        forward(&mut headers, "a.example", entrance, "id");
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
