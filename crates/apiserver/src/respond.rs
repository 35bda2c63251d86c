//! Answers that are no objects of a store: documents, texts, and every `Status`.

use crate::body::{Response, full};
use crate::negotiate::{Encoding, Negotiated};
use api::status::Status;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
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
    // Upstream's encoder ends every document with a line break; people read them in terminals.
    bytes(code, "application/json", format!("{value}\n"))
}

/// A JSON document that is for people whoever asks.
pub(crate) fn indented(code: u16, value: &Value) -> Response {
    bytes(code, "application/json", format!("{value:#}"))
}

/// An object in the form that was agreed on; in JSON if it has no other.
pub(crate) fn object(code: u16, value: &Value, form: Negotiated) -> Response {
    match form.encoding {
        Encoding::Json if form.pretty => return indented(code, value),
        Encoding::Json => {}
        Encoding::Yaml => {
            if let Ok(text) = serde_saphyr::to_string(value) {
                return bytes(code, "application/yaml", text);
            }
        }
        Encoding::Protobuf => {
            if let Ok(message) = api::protobuf::object_bytes(value) {
                return bytes(code, api::protobuf::MEDIA_TYPE, message);
            }
        }
    }
    json(code, value)
}

/// A text.
pub(crate) fn text(code: u16, body: impl Into<String>) -> Response {
    let mut response = bytes(code, "text/plain; charset=utf-8", body.into());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A failure, with `Retry-After` if the client may try again.
pub(crate) fn status(status: &Status, form: Negotiated) -> Response {
    let mut response = object(status.code, &status.to_json(), form);
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning: 299 - "text"` headers.
pub(crate) fn add_warnings(headers: &mut HeaderMap, warnings: &[String]) {
    for warning in warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(HeaderName::from_static("warning"), value);
        }
    }
}
