//! patch: what changes of the object (or its status).

use super::decode;
use super::options::WriteQuery;
use super::{Call, read_body};
use crate::body::{Request, Response};
use crate::patch::{Patch, apply};
use crate::registry::UpdateOptions;
use api::status::Status;
use http::StatusCode;

pub(super) async fn patch(
    call: &Call<'_>,
    what: UpdateOptions,
    request: Request,
) -> Result<Response, Status> {
    let content_type = Patch::content_type_or_apply(&call.headers, call.store.resource())?;
    if content_type == apply::CONTENT_TYPE {
        return super::apply::apply(call, what, request).await;
    }
    let query = WriteQuery::parse(&call.info.query, "PatchOptions")?;
    let body = read_body(request).await?;
    let patch = Patch::parse(content_type, call.store.resource(), &body)?;
    let store = call.store;
    let name = call.info.name.as_str();
    let mut options = call.write_options(query.dry_run);
    let mut warnings = Vec::new();
    let updated = store
        .update(&mut options, call.namespace, name, what, &mut |old| {
            let mut object = old.cloned().ok_or_else(|| Status::not_found(store.resource(), name))?;
            patch.apply(&mut object)?;
            let decoded = decode::patched(store.resource(), object, query.validation)?;
            warnings = decoded.warnings;
            Ok(decoded.value)
        })
        .await?;
    warnings.extend(options.warnings);
    call.object(StatusCode::OK, &updated.object, &warnings)
}
