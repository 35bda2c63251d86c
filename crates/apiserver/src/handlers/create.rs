//! create: a new object.

use super::decode::{self, Media};
use super::options::WriteQuery;
use super::{Call, read_body};
use crate::body::{Request, Response};
use api::kind::Resource;
use api::meta;
use api::status::Status;
use http::StatusCode;
use serde_json::Value;

pub(super) async fn create(call: &Call<'_>, request: Request) -> Result<Response, Status> {
    let query = WriteQuery::parse(&call.info.query, "CreateOptions")?;
    let media = Media::of(&call.headers)?;
    let body = read_body(request).await?;
    let resource = call.version.resource();
    let decoded = decode::object(call.version, media, &body, query.validation)?;
    check_namespace(resource, &decoded.value, call.namespace)?;
    let mut options = call.write_options(query.dry_run);
    options.warnings = decoded.warnings;
    let object = call.version.to_stored(decoded.value).await?;
    let object = call.store.create(&mut options, call.namespace, object).await?;
    let warnings = options.warnings;
    call.object(StatusCode::CREATED, &object, &warnings).await
}

/// The namespace of the object must be that of the request.
pub(super) fn check_namespace(resource: &Resource, object: &Value, namespace: &str) -> Result<(), Status> {
    let own = meta::namespace(object);
    if own.is_empty() || !resource.namespaced() || own == namespace {
        Ok(())
    } else {
        Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ))
    }
}
