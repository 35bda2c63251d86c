//! Answers that are no objects of a store: JSON documents, texts, and every `Status`.

use crate::body::{Response, full};
use api::status::Status;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

/// A response of this media type.
pub(crate) fn bytes(code: u16, media_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(full(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A JSON document.
pub(crate) fn json(code: u16, value: &Value) -> Response {
    bytes(code, "application/json", value.to_string())
}

/// A text.
pub(crate) fn text(code: u16, body: impl Into<String>) -> Response {
    let mut response = bytes(code, "text/plain; charset=utf-8", body.into());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A failure, with `Retry-After` if the client may try again.
pub(crate) fn status(status: &Status) -> Response {
    let mut response = json(status.code, &status.to_json());
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
