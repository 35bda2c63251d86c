//! Bodies of requests that are answered outside the stores: reviews, bindings, tokens.
//!
//! **Not here**: strict decoding, which the verb handlers do for stored kinds.

use crate::body::{ReadError, Request, read};
use crate::chain::MAX_BODY_BYTES;
use crate::negotiate::MEDIA_TYPES;
use api::protobuf;
use api::status::Status;
use http::header;
use serde_json::Value;

/// The object in a request's body, or null if it is empty.
pub(crate) async fn object(request: Request) -> Result<Value, Status> {
    let (head, body) = request.into_parts();
    let media_type = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let bytes = read(body, MAX_BODY_BYTES).await.map_err(|error| match error {
        ReadError::TooLarge(limit) => Status::too_large(limit),
        ReadError::Broken(_) => Status::bad_request("unable to read the body of the request"),
    })?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let value: Value = match media_type {
        "" | "application/json" => serde_json::from_slice(&bytes).map_err(|e| e.to_string()),
        "application/yaml" => serde_saphyr::from_slice(&bytes).map_err(|e| e.to_string()),
        protobuf::MEDIA_TYPE => protobuf::object(&bytes).map_err(|e| e.to_string()),
        _ => return Err(Status::unsupported_media_type(&MEDIA_TYPES)),
    }
    .map_err(|error| Status::bad_request(format!("the object provided is unrecognized: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Status::bad_request("the object provided is unrecognized"))
    }
}

/// The object in a request's body, which must be of this kind if it says any.
pub(crate) async fn object_of(request: Request, api_version: &str, kind: &str) -> Result<Value, Status> {
    let mut object = object(request).await?;
    if object.is_null() {
        return Err(Status::bad_request("a body is required"));
    }
    let (has_version, has_kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    if !has_kind.is_empty() && (has_kind != kind || has_version != api_version) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({has_version}, kind {has_kind}) does not match the expected API version ({api_version}, kind {kind})"
        )));
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

/// A string field, or empty.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list of strings, or empty.
pub(crate) fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
