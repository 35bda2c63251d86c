//! One request to a backend and its answer, with the headers that concern only one of the two connections left out.
//!
//! **Upstream**: `net/http/httputil` (`ReverseProxy`), `k8s.io/apimachinery/pkg/util/proxy/transport.go`.

use super::rewrite::Page;
use super::{rewrite, unreachable};
use crate::body::{Request, Response};
use crate::server::Server;
use crate::subresources::NodeStream;
use crate::subresources::kubelet;
use api::status::Status;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::BodyExt;

/// Headers that concern one connection. **Upstream**: `hopHeaders`.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What a backend may not say in the API server's name. **Upstream**: `corsRemovingTransport`.
const CORS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Passes a request on and its answer back.
pub(super) async fn forward(
    server: &Server,
    backend: Box<dyn NodeStream>,
    request: Request,
    target: Uri,
    page: &Page,
) -> Result<Response, Status> {
    let (head, body) = request.into_parts();
    let mut headers = head.headers;
    let trailers = headers.get(header::TE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"trailers"));
    remove_hop_by_hop(&mut headers);
    kubelet::append_forwarded_for(&mut headers, &head.extensions);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Ok(uri) = HeaderValue::from_str(&format!("{}{}", page.prefix, target.path())) {
        headers.insert(FORWARDED_URI, uri);
    }
    if let Ok(host) = HeaderValue::from_str(&page.requested) {
        headers.insert(header::HOST, host);
    }
    let mut asked = http::Request::new(body);
    (*asked.method_mut(), *asked.uri_mut(), *asked.headers_mut()) = (head.method, target, headers);
    let answer = kubelet::send(server, backend, asked).await;
    let answer = answer.map_err(|error| unreachable(&cause(&error)))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(unreachable("the backend switched protocols without being asked"));
    }
    let mut answer = answer.map(|body| body.map_err(Into::into).boxed_unsync());
    remove_hop_by_hop(answer.headers_mut());
    for name in CORS {
        answer.headers_mut().remove(name);
    }
    rewrite::answer(answer, page).await
}

/// The last of a chain of errors says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Removes what concerns only the connection that the headers came by.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_what_concerns_one_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-One"), ("x-one", "1"), ("x-two", "2"), ("te", "trailers")]
        {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-two"]);
    }
}
