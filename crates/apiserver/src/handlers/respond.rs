//! Responses: one object, a failure, a list; in the form that was agreed on.
//!
//! **Contract**: an object that is sent as it is costs one copy; a list is copied block by block while it is sent.

use super::Call;
use crate::body::{self, Body, Response};
use crate::negotiate::{Encoding, Negotiated, Shape};
use crate::protobuf;
use crate::registry::{Object, table};
use crate::respond::add_warnings;
use api::status::Status;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;

/// Responses below this size are not compressed. **Upstream**: `defaultGzipThresholdBytes`.
const GZIP_THRESHOLD: usize = 128 << 10;
/// How hard to compress. **Upstream**: `defaultGzipContentEncodingLevel`.
const GZIP_LEVEL: Compression = Compression::new(1);

impl Call<'_> {
    /// One object.
    pub(super) async fn object(
        &self,
        code: StatusCode,
        object: &Arc<Object>,
        warnings: &[String],
    ) -> Result<Response, Status> {
        let stored = object;
        let object = &self.version.show(object).await?;
        let json = match self.negotiated.shape {
            Shape::Object => object.json(),
            Shape::Metadata(version) => table::partial_metadata(object, version),
            Shape::Table(version) => {
                let include = table::Include::parse(self.info.query.text("includeObject"))?;
                let mut writer = table::Writer::new(self.version, version, include, self.context.clock.now());
                writer.whole(stored, object)
            }
        };
        if self.negotiated.encoding == Encoding::Protobuf
            && self.negotiated.shape == Shape::Object
            && let Some(bytes) = protobuf::stored(object, self.version.resource())
        {
            let mut response = self.send_encoded(code, bytes);
            add_warnings(response.headers_mut(), warnings);
            return Ok(response);
        }
        Ok(self.send(code, json, warnings))
    }

    /// Bytes that are in the encoding that was agreed on.
    pub(super) fn send_encoded(&self, code: StatusCode, bytes: Bytes) -> Response {
        finish(&self.negotiated, code, bytes)
    }

    /// JSON in the encoding that was agreed on.
    pub(super) fn send(&self, code: StatusCode, json: Bytes, warnings: &[String]) -> Response {
        let mut response = encode(&self.negotiated, code, json);
        add_warnings(response.headers_mut(), warnings);
        response
    }
}

/// A `Status` of success about an object.
pub(super) fn success(call: &Call<'_>, name: &str, uid: &str) -> Bytes {
    let resource = call.store.resource();
    let mut details = serde_json::Map::new();
    for (field, text) in
        [("name", name), ("group", &*resource.group), ("kind", &*resource.plural), ("uid", uid)]
    {
        if !text.is_empty() {
            details.insert(field.to_owned(), text.into());
        }
    }
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    status.to_string().into()
}

/// A response with these bytes of JSON.
pub(crate) fn encode(negotiated: &Negotiated, code: StatusCode, json: Bytes) -> Response {
    let bytes = match negotiated.encoding {
        Encoding::Json if !negotiated.pretty => line(&json),
        Encoding::Json => reformat(&json, |value| serde_json::to_vec_pretty(value).ok()),
        Encoding::Yaml => {
            reformat(&json, |value| serde_saphyr::to_string(value).ok().map(String::into_bytes))
        }
        Encoding::Protobuf => match protobuf::from_json(&json) {
            Some(bytes) => bytes,
            // What has no such form is better sent in another than not at all.
            None => return finish(&Negotiated { encoding: Encoding::Json, ..*negotiated }, code, json),
        },
    };
    finish(negotiated, code, bytes)
}

/// A response with these bytes, compressed if they are many.
fn finish(negotiated: &Negotiated, code: StatusCode, bytes: Bytes) -> Response {
    let compress = negotiated.gzip && bytes.len() >= GZIP_THRESHOLD;
    let length = bytes.len();
    let body = if compress { gzip([bytes].into_iter()) } else { body::full(bytes) };
    head(negotiated, code, body, (!compress).then_some(length), compress)
}

/// Upstream's encoder ends a document with a line break unless it indents it.
fn line(json: &Bytes) -> Bytes {
    let mut line = Vec::with_capacity(json.len() + 1);
    line.extend_from_slice(json);
    line.push(b'\n');
    line.into()
}

fn reformat(json: &Bytes, format: impl FnOnce(&Value) -> Option<Vec<u8>>) -> Bytes {
    let value: Option<Value> = serde_json::from_slice(json).ok();
    value.and_then(|value| format(&value)).map_or_else(|| json.clone(), Bytes::from)
}

/// A response whose JSON comes in blocks, `length` bytes in all.
pub(super) fn blocks(
    negotiated: &Negotiated,
    length: Option<usize>,
    blocks: impl Iterator<Item = Bytes> + Send + 'static,
) -> Response {
    if negotiated.encoding != Encoding::Json || negotiated.pretty {
        let json: Vec<u8> = blocks.flatten().collect();
        return encode(negotiated, StatusCode::OK, json.into());
    }
    if negotiated.gzip && length.is_none_or(|length| length >= GZIP_THRESHOLD) {
        return head(negotiated, StatusCode::OK, gzip(blocks), None, true);
    }
    let body = body::stream(futures::stream::iter(blocks.map(Ok)));
    head(negotiated, StatusCode::OK, body, length, false)
}

fn gzip(mut blocks: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    let mut encoder = Some(GzEncoder::new(Vec::new(), GZIP_LEVEL));
    let compressed = std::iter::from_fn(move || {
        loop {
            let Some(block) = blocks.next() else {
                return encoder.take().map(|encoder| encoder.finish().map(Bytes::from).map_err(Into::into));
            };
            let encoder = encoder.as_mut()?;
            if let Err(error) = encoder.write_all(&block) {
                return Some(Err(error.into()));
            }
            if !encoder.get_ref().is_empty() {
                return Some(Ok(std::mem::take(encoder.get_mut()).into()));
            }
        }
    });
    body::stream(futures::stream::iter(compressed))
}

pub(super) fn head(
    negotiated: &Negotiated,
    code: StatusCode,
    body: Body,
    length: Option<usize>,
    gzip: bool,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(negotiated.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(http::header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}
