//! From HTTP/1.1 to a streaming protocol: what is offered, what is taken.
//!
//! **Contract**: nothing is written here; a server sends the response that [`accept`] gives it, a client sends a request
//! with the headers of an [`Offer`].
//! **Upstream**: `k8s.io/apimachinery/pkg/util/httpstream`, RFC 6455 section 4.

use crate::{BoxDuplex, Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Names the protocol over SPDY; repeated in a request.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// What a server would have accepted.
pub const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// The value of `Upgrade` for SPDY.
pub const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";

/// What the connection becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// RFC 6455.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

/// Which of the two a request asks for, if any.
pub fn requested(headers: &HeaderMap) -> Option<Transport> {
    if !list(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let asked = |wanted: &str| list(headers, &UPGRADE).any(|word| word.eq_ignore_ascii_case(wanted));
    if asked(WEBSOCKET) {
        Some(Transport::WebSocket)
    } else if asked(SPDY) {
        Some(Transport::Spdy)
    } else {
        None
    }
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// Why a server does not upgrade: the answer to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its code.
    pub status: StatusCode,
    /// Headers beside the usual.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), message: message.into() }
    }
}

/// An upgrade that was accepted, once its response is sent.
pub struct Accepted {
    /// What the connection becomes.
    pub transport: Transport,
    /// The protocol that was agreed on; empty where the client named none.
    pub protocol: String,
    on_upgrade: OnUpgrade,
}

impl Accepted {
    /// The connection. Waits until the response is sent.
    pub async fn io(self) -> Result<BoxDuplex> {
        let upgraded = self.on_upgrade.await.map_err(Error::Upgrade)?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// Decides an upgrade: the response to send and what the connection becomes then. `websocket` may contain the empty
/// name, for clients that name none.
pub fn accept<B>(
    request: &mut Request<B>,
    websocket: &[&str],
    spdy: &[&str],
) -> Result<(Response<()>, Accepted), Refusal> {
    let headers = request.headers();
    let transport = requested(headers);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let protocol = match transport {
        Some(Transport::WebSocket) => {
            let protocol = choose_websocket(headers, websocket)?;
            let key = headers
                .get(SEC_WEBSOCKET_KEY)
                .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "missing or bad WebSocket-Key"))?;
            answer.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
            answer.insert(SEC_WEBSOCKET_ACCEPT, value(&derive_accept_key(key.as_bytes())));
            if !protocol.is_empty() {
                answer.insert(SEC_WEBSOCKET_PROTOCOL, value(protocol));
            }
            protocol
        }
        Some(Transport::Spdy) => {
            let protocol = choose_spdy(headers, spdy)?;
            answer.insert(UPGRADE, HeaderValue::from_static(SPDY));
            answer.insert(STREAM_PROTOCOL, value(protocol));
            protocol
        }
        None => {
            let message = "unable to upgrade: missing upgrade headers in request";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
    };
    let protocol = protocol.to_owned();
    let transport = transport.unwrap_or(Transport::Spdy);
    Ok((response, Accepted { transport, protocol, on_upgrade: hyper::upgrade::on(request) }))
}

/// The client's first choice that is supported.
fn choose_websocket<'a>(headers: &HeaderMap, supported: &[&'a str]) -> Result<&'a str, Refusal> {
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refusal = Refusal::new(StatusCode::BAD_REQUEST, "missing or bad WebSocket Version");
        refusal.headers.push((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        return Err(refusal);
    }
    let offered: Vec<&str> = list(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    let wanted = if offered.is_empty() { &[""][..] } else { &offered[..] };
    let chosen = wanted.iter().find_map(|wanted| supported.iter().find(|known| *known == wanted));
    chosen.copied().ok_or_else(|| {
        let message = format!(
            "requested protocol(s) are not supported: [{}]; supports [{}]",
            offered.join(" "),
            supported.join(" ")
        );
        Refusal::new(StatusCode::FORBIDDEN, message)
    })
}

/// The client's first choice that is supported.
fn choose_spdy<'a>(headers: &HeaderMap, supported: &[&'a str]) -> Result<&'a str, Refusal> {
    let offered: Vec<&str> = list(headers, &STREAM_PROTOCOL).collect();
    if offered.is_empty() {
        let message = "unable to upgrade: X-Stream-Protocol-Version is required";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    let chosen = offered.iter().find_map(|wanted| supported.iter().find(|known| *known == wanted));
    chosen.copied().ok_or_else(|| {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            supported.join(" ")
        );
        let mut refusal = Refusal::new(StatusCode::FORBIDDEN, message);
        for protocol in supported {
            refusal.headers.push((ACCEPTED_PROTOCOLS, value(protocol)));
        }
        refusal
    })
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("protocols and keys are printable")
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Offer {
    transport: Transport,
    protocols: Vec<String>,
    key: String,
}

/// A connection that a server has upgraded.
pub struct Connected {
    /// What it has become.
    pub transport: Transport,
    /// The protocol that was agreed on.
    pub protocol: String,
    /// The connection.
    pub io: BoxDuplex,
}

impl Offer {
    /// Protocols in order of preference. `nonce` is random; WebSocket sends it.
    pub fn new(transport: Transport, protocols: &[&str], nonce: [u8; 16]) -> Self {
        let protocols = protocols.iter().map(|protocol| (*protocol).to_owned()).collect();
        Self { transport, protocols, key: STANDARD.encode(nonce) }
    }

    /// kubectl's method.
    pub fn method(&self) -> Method {
        match self.transport {
            Transport::WebSocket => Method::GET,
            Transport::Spdy => Method::POST,
        }
    }

    /// Sets a request's headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self.transport {
            Transport::WebSocket => {
                headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                headers.insert(SEC_WEBSOCKET_KEY, value(&self.key));
                if !self.protocols.is_empty() {
                    headers.insert(SEC_WEBSOCKET_PROTOCOL, value(&self.protocols.join(", ")));
                }
            }
            Transport::Spdy => {
                headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
                headers.remove(STREAM_PROTOCOL);
                for protocol in &self.protocols {
                    headers.append(STREAM_PROTOCOL, value(protocol));
                }
            }
        }
    }

    /// Takes the connection, if the response is an upgrade to what was offered. An answer with another code is an
    /// error of the server, which the caller reads itself.
    pub async fn connected<B>(&self, response: Response<B>) -> Result<Connected> {
        let headers = response.headers();
        let refused = |why: &str| Error::NotUpgraded(why.to_owned());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::NotUpgraded(format!("the server answered {}", response.status())));
        }
        if requested(headers) != Some(self.transport) {
            return Err(refused("unable to upgrade: missing upgrade headers in response"));
        }
        let name = match self.transport {
            Transport::WebSocket => {
                let accept = derive_accept_key(self.key.as_bytes());
                if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|got| got.as_bytes() != accept.as_bytes()) {
                    return Err(refused("the key in the WebSocket response does not match"));
                }
                SEC_WEBSOCKET_PROTOCOL
            }
            Transport::Spdy => STREAM_PROTOCOL,
        };
        let protocol = list(headers, &name).next().unwrap_or_default().to_owned();
        if !protocol.is_empty() && !self.protocols.contains(&protocol) {
            return Err(Error::NotUpgraded(format!("the server chose {protocol:?}, which was not offered")));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(Error::Upgrade)?;
        Ok(Connected { transport: self.transport, protocol, io: Box::new(TokioIo::new(upgraded)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Request<()> {
        let builder =
            pairs.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).expect("a request")
    }

    const WS: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn chosen(pairs: &[(&str, &str)]) -> Result<String, (u16, String)> {
        let outcome = accept(&mut request(pairs), &["", "v5.x", "v4.x"], &["v4.x", "x"]);
        outcome
            .map(|(_, accepted)| accepted.protocol)
            .map_err(|refusal| (refusal.status.as_u16(), refusal.message))
    }

    #[test]
    fn negotiates() {
        let with = |more: &[(&'static str, &'static str)]| [&WS[..], more].concat();
        assert_eq!(chosen(&WS), Ok(String::new()));
        assert_eq!(chosen(&with(&[("sec-websocket-protocol", "v6.x, v4.x,v5.x")])), Ok("v4.x".into()));
        let message = "requested protocol(s) are not supported: [v9]; supports [ v5.x v4.x]".to_owned();
        assert_eq!(chosen(&with(&[("sec-websocket-protocol", "v9")])), Err((403, message)));
        assert_eq!(chosen(&WS[..2]).map_err(|e| e.0), Err(400));

        let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        assert_eq!(chosen(&spdy).map_err(|e| e.0), Err(400));
        let header = "x-stream-protocol-version";
        let offer = [&spdy[..], &[(header, "v5.x"), (header, "x"), (header, "v4.x")]].concat();
        assert_eq!(chosen(&offer), Ok("x".into()));
        let offer = [&spdy[..], &[(header, "v5.x")]].concat();
        let message = "unable to upgrade: unable to negotiate protocol: client supports [v5.x], server accepts [v4.x x]";
        assert_eq!(chosen(&offer), Err((403, message.to_owned())));
        assert_eq!(chosen(&[]).map_err(|e| e.0), Err(400));
    }

    #[test]
    fn derives_the_accept_key() {
        let (response, _) = accept(&mut request(&WS), &[""], &[]).expect("accepted");
        // RFC 6455, section 1.3.
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
