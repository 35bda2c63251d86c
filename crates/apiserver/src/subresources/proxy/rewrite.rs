//! Links that would lead past the proxy, made to lead through it: in `Location`, and in HTML.
//!
//! **Contract**: a page is rewritten as a whole, so one longer than [`MAX_PAGE`] is passed on as it is.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/proxy/transport.go`.

use super::html;
use crate::body::{self, Body, Response};
use api::status::Status;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::{BodyDataStream, BodyExt};
use std::io::{self, Read, Write};

/// Bytes of the longest page that is rewritten, packed or unpacked.
const MAX_PAGE: usize = 16 << 20;

/// Where a page came from.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// The path up to and with `proxy`.
    pub(super) prefix: String,
    /// `host:port` of the backend.
    pub(super) backend: String,
    /// The host that the client asked for.
    pub(super) requested: String,
}

impl Page {
    /// A link as it leads through the proxy, if it leads to the page's own host and from its root.
    pub(super) fn link(&self, link: &str) -> String {
        let url = Url::split(link);
        let own = |host: &str| host == self.backend || host == self.requested;
        if !url.host.is_none_or(own) || !url.path.starts_with('/') {
            return link.to_owned();
        }
        // The client's own host stays; the backend's would mean nothing to it.
        let origin = match url.host {
            Some(host) if host == self.requested => &link[..link.len() - url.path.len() - url.tail.len()],
            _ => "",
        };
        if url.path.starts_with(&self.prefix) {
            return format!("{origin}{}{}", url.path, url.tail);
        }
        format!("{origin}{}{}{}", self.prefix, clean(url.path), url.tail)
    }
}

/// The parts of a link that matter here.
struct Url<'a> {
    host: Option<&'a str>,
    path: &'a str,
    /// Query and fragment.
    tail: &'a str,
}

impl<'a> Url<'a> {
    fn split(link: &'a str) -> Self {
        let scheme = link.find(':').filter(|at| {
            let word = &link[..*at];
            word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        });
        let rest = scheme.map_or(link, |at| &link[at + 1..]);
        let (host, rest) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            // `mailto:someone` leads nowhere through a proxy.
            None if scheme.is_some() => (None, ""),
            None => (None, rest),
        };
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        Self { host, path: &rest[..end], tail: &rest[end..] }
    }
}

/// A path without empty segments, `.` and `..`; a slash at the end stays.
pub(super) fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut cleaned = segments.iter().map(|segment| format!("/{segment}")).collect::<String>();
    if path.ends_with('/') {
        cleaned.push('/');
    }
    cleaned
}

/// An answer with its links rewritten.
pub(super) async fn answer(mut answer: Response, page: &Page) -> Result<Response, Status> {
    if let Some(location) = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()) {
        if let Ok(location) = HeaderValue::from_str(&page.link(location)) {
            answer.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(answer);
    }
    // The answer to a HEAD speaks of a page that is not there.
    let packing = Packing::of_html(answer.headers()).filter(|_| !answer.body().is_end_stream());
    let Some(packing) = packing else { return Ok(answer) };
    let (mut head, mut body) = answer.into_parts();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| super::unreachable(&error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            gathered.extend_from_slice(&data);
        }
        if gathered.len() > MAX_PAGE {
            return Ok(Response::from_parts(head, resumed(gathered.freeze(), body)));
        }
    }
    let rewritten = match packing.unpack(&gathered) {
        Ok(text) => packing.pack(&html::rewrite(&text, |link| page.link(link))),
        Err(error) => Err(error),
    };
    let bytes = match rewritten {
        Ok(bytes) => {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            Bytes::from(bytes)
        }
        Err(error) => {
            tracing::debug!(%error, "a page cannot be rewritten");
            gathered.freeze()
        }
    };
    Ok(Response::from_parts(head, body::full(bytes)))
}

/// A body of which the beginning has been read already.
fn resumed(read: Bytes, rest: Body) -> Body {
    let first = futures::stream::once(async move { Ok(read) });
    body::stream(first.chain(BodyDataStream::new(rest).map_err(|error| error)))
}

/// How a page travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Deflate,
}

impl Packing {
    /// `None`: it is no HTML, or packed in a way that is not known here.
    fn of_html(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or("");
        let media_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or("").trim();
        match text(header::CONTENT_ENCODING) {
            _ if media_type != "text/html" => None,
            "" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    fn unpack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let reader: Box<dyn Read + '_> = match self {
            Self::Plain => return Ok(bytes.to_vec()),
            Self::Gzip => Box::new(GzDecoder::new(bytes)),
            Self::Deflate => Box::new(DeflateDecoder::new(bytes)),
        };
        let mut text = Vec::new();
        let limit = u64::try_from(MAX_PAGE).unwrap_or(u64::MAX);
        if reader.take(limit + 1).read_to_end(&mut text)? > MAX_PAGE {
            return Err(io::Error::other("it is too long"));
        }
        Ok(text)
    }

    fn pack(self, text: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(text.to_vec()),
            Self::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(text)?;
                packed.finish()
            }
            Self::Deflate => {
                let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(text)?;
                packed.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page {
            prefix: "/api/v1/namespaces/n/services/s/proxy".to_owned(),
            backend: "10.0.0.1:8080".to_owned(),
            requested: "localhost:8001".to_owned(),
        }
    }

    #[test]
    fn links_from_the_root_lead_through_the_proxy() {
        let prefix = "/api/v1/namespaces/n/services/s/proxy";
        for (link, expected) in [
            ("/a/b?x=1#f", format!("{prefix}/a/b?x=1#f")),
            ("/", format!("{prefix}/")),
            ("/a//b/../c/", format!("{prefix}/a/c/")),
            ("http://10.0.0.1:8080/a", format!("{prefix}/a")),
            ("http://localhost:8001/a", format!("http://localhost:8001{prefix}/a")),
            ("//10.0.0.1:8080/a", format!("{prefix}/a")),
        ] {
            assert_eq!(page().link(link), expected, "{link}");
        }
        for same in
            ["a/b", "", "#top", "?q", "http://example.com/a", "mailto:a@b", "//cdn/x", &format!("{prefix}/a")]
        {
            assert_eq!(page().link(same), same);
        }
    }

    #[test]
    fn packed_pages_stay_packed() {
        let text = b"<a href=/x>".as_slice();
        for packing in [Packing::Plain, Packing::Gzip, Packing::Deflate] {
            assert_eq!(packing.unpack(&packing.pack(text).unwrap()).unwrap(), text);
        }
        assert!(Packing::Gzip.unpack(b"no gzip").is_err());
    }
}
