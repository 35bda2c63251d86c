//! get: one object.

use super::{Call, options};
use crate::body::Response;
use api::status::Status;
use http::StatusCode;

pub(super) async fn get(call: &Call<'_>) -> Result<Response, Status> {
    let (store, name) = (call.store, call.info.name.as_str());
    let object = match call.info.query.text("resourceVersion") {
        // Any state will do, or one that is new enough.
        "" => store.get(call.namespace, name).await?,
        version => {
            store.wait_for(options::resource_version(version)?).await?;
            store.cached(call.namespace, name).ok_or_else(|| Status::not_found(store.resource(), name))?
        }
    };
    call.object(StatusCode::OK, &object, &[]).await
}
