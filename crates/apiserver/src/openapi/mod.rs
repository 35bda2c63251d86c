//! `/openapi/v2` and `/openapi/v3`: the schema table and the served resources as OpenAPI documents.
//!
//! **Contract**: pure functions; a document is built for the request that asks for it and then dropped, so
//! an idle server keeps none. Its hash is taken over what it is made of (table, resources, [`FORMAT`]), which
//! makes the index and `304 Not Modified` cheap; clients keep documents on disk by that hash.
//! **Not here**: what is published of kinds that were added at run time (`crd::published`).
//! **Upstream**: `k8s.io/kube-openapi/pkg/{handler,handler3}`.

mod gnostic;
mod parameters;
mod paths;
mod schemas;
pub mod v2;
pub mod v3;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::OnceLock;

use crate::crd::Published;
use crate::negotiate::{first_of, takes_gzip};
use api::kind::Name;
use api::schema::Schema;
use api::schema::descriptions::Descriptions;
use api::schema::enums::Enums;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Changes whenever the same resources give other documents, so that clients drop theirs.
const FORMAT: &str = concat!(env!("CARGO_PKG_VERSION"), "-4");

/// What the index goes as, as upstream says nothing of it and lets Go guess.
const INDEX_TYPE: &str = "text/plain; charset=utf-8";

/// A shorter document is not compressed. **Upstream**: `gziphandler.DefaultMinSize`.
const GZIP_THRESHOLD: usize = 1400;

/// `info.version` of the documents.
const KUBERNETES_VERSION: &str = "v1.36.0";

/// What the documents say of a served resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourceFacts {
    /// API group, `""` for core.
    pub group: Name,
    /// API version.
    pub version: Name,
    /// Kind of the objects.
    pub kind: Name,
    /// Path segment, `pods`.
    pub plural: Name,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
    /// Verbs as discovery lists them: `create`, `delete`, `deletecollection`, `get`, `list`, `patch`, …
    pub verbs: Vec<Name>,
    /// Subresources.
    pub subresources: Vec<SubresourceFacts>,
    /// The schema of a kind that was added at run time.
    pub published: Option<Published>,
}

/// What the documents say of a subresource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubresourceFacts {
    /// Last path segment, `status`.
    pub name: Name,
    /// Group of its kind; `autoscaling` for `scale`.
    pub group: Name,
    /// Version of its kind.
    pub version: Name,
    /// Its kind, `Scale`.
    pub kind: Name,
    /// Verbs as discovery lists them.
    pub verbs: Vec<Name>,
}

/// Answers a GET below `/openapi`; `None` if the path is no document's.
pub fn serve(
    path: &str,
    headers: &HeaderMap,
    query: Option<&str>,
    facts: &[ResourceFacts],
    now: Timestamp,
) -> Option<Response<Bytes>> {
    match path.trim_end_matches('/') {
        "/openapi/v2" => Some(serve_v2(headers, facts, &|_| {})),
        "/openapi/v3" => Some(document(headers, &hash(facts), INDEX_TYPE, || v3::root(facts))),
        path => {
            let name = path.strip_prefix("/openapi/v3/")?;
            Some(serve_v3(name, headers, query, facts, now).unwrap_or_else(|| nothing(StatusCode::NOT_FOUND)))
        }
    }
}

/// Answers a GET of `/openapi/v3`; `add` adds documents of others to the index.
pub(crate) fn index(
    headers: &HeaderMap,
    facts: &[ResourceFacts],
    add: &dyn Fn(&mut Value),
) -> Response<Bytes> {
    let mut index: Value = serde_json::from_slice(&v3::root(facts)).unwrap_or_default();
    let own = index.clone();
    add(&mut index);
    let hash = hash(facts);
    let hash = if index == own { hash } else { format!("{hash}-{}", digest(index.to_string().as_bytes())) };
    document(headers, &hash, INDEX_TYPE, || index.to_string().into())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Answers a GET of `/openapi/v2`; `add` adds what others say to the document.
pub(crate) fn serve_v2(
    headers: &HeaderMap,
    facts: &[ResourceFacts],
    add: &dyn Fn(&mut Value),
) -> Response<Bytes> {
    // What is added has no other mark than what it is.
    let mut added = json!({"paths": {}, "definitions": {}});
    add(&mut added);
    let mark = match added["paths"].as_object().is_some_and(Map::is_empty) {
        true => hash(facts),
        false => format!("{}-{}", hash(facts), digest(added.to_string().as_bytes())),
    };
    let whole = || {
        let mut whole = v2::document(facts);
        add(&mut whole);
        whole
    };
    let plain = match first_of(headers, &["application/json", v2::PROTOBUF, v2::PROTOBUF_OLD]) {
        None => nothing(StatusCode::NOT_ACCEPTABLE),
        Some("application/json") => {
            document(headers, &mark, "application/json", || whole().to_string().into())
        }
        Some(_) => {
            let build = || gnostic::v2::document(&whole()).into();
            document(headers, &format!("{mark}-pb"), v2::PROTOBUF_TYPE, build)
        }
    };
    compressed(headers, plain)
}

/// The answer in fewer bytes, if that is asked for; upstream does so with documents of version 2 only.
fn compressed(headers: &HeaderMap, plain: Response<Bytes>) -> Response<Bytes> {
    if !takes_gzip(headers) || plain.body().len() < GZIP_THRESHOLD {
        return plain;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let Ok(packed) = encoder.write_all(plain.body()).and_then(|()| encoder.finish()) else { return plain };
    let mut response = plain.map(|_| packed.into());
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn serve_v3(
    name: &str,
    headers: &HeaderMap,
    query: Option<&str>,
    facts: &[ResourceFacts],
    now: Timestamp,
) -> Option<Response<Bytes>> {
    let members = v3::members(name, facts);
    if members.is_empty() {
        return None;
    }
    let Some(form) = first_of(headers, &["application/json", v3::PROTOBUF, v3::PROTOBUF_OLD]) else {
        return Some(nothing(StatusCode::NOT_ACCEPTABLE));
    };
    let current = v3::hash(&members);
    let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("hash="));
    if asked.is_some_and(|asked| asked != current) {
        let mut response = document(headers, &current, form, Bytes::new);
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let location = HeaderValue::try_from(v3::url(name, &current)).expect("groups and versions are ASCII");
        response.headers_mut().insert(LOCATION, location);
        return Some(response);
    }
    let mut response = match form {
        "application/json" => document(headers, &current, form, || v3::json(&members)),
        _ => document(headers, &current, v3::PROTOBUF, || v3::protobuf(&members)),
    };
    if asked.is_some() {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        headers.insert(EXPIRES, in_a_year(now));
    }
    Some(response)
}

/// The longest time for which a cache may keep an answer.
fn in_a_year(now: Timestamp) -> HeaderValue {
    let date = now.to_zoned(TimeZone::UTC).saturating_add(Span::new().years(1)).timestamp();
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&date);
    text.ok().and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or(HeaderValue::from_static("0"))
}

fn document(
    headers: &HeaderMap,
    hash: &str,
    content_type: &'static str,
    build: impl FnOnce() -> Bytes,
) -> Response<Bytes> {
    let tag = format!("\"{hash}\"");
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let fresh = known.flat_map(|v| v.split(',')).any(|v| v.trim().trim_start_matches("W/") == tag);
    let mut response = if fresh {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(build());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::try_from(tag).expect("a hash is ASCII"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// Upstream says no more than this.
fn nothing(code: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = code;
    response
}

/// Hash of everything that the documents of these resources are made of.
fn hash<'a>(facts: impl IntoIterator<Item = &'a ResourceFacts>) -> String {
    /// The digest of constants.
    static SOURCE: OnceLock<Vec<u8>> = OnceLock::new();
    let source = || {
        let texts = Sha256::new().chain_update(Schema::source()).chain_update(Descriptions::source());
        texts.chain_update(Enums::source()).finalize().to_vec()
    };
    let mut digest = Sha256::new();
    digest.update(FORMAT);
    digest.update(SOURCE.get_or_init(source));
    for resource in facts {
        digest.update(format!("{resource:?}\n"));
    }
    digest.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}
