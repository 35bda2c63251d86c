//! update: the object (or its status) as a whole.

use super::create::check_namespace;
use super::decode::{self, Media};
use super::options::WriteQuery;
use super::{Call, read_body};
use crate::body::{Request, Response};
use crate::registry::{UpdateOptions, metadata};
use api::meta;
use api::status::Status;
use http::StatusCode;

pub(super) async fn update(
    call: &Call<'_>,
    what: UpdateOptions,
    request: Request,
) -> Result<Response, Status> {
    let query = WriteQuery::parse(&call.info.query, "UpdateOptions")?;
    let media = Media::of(&call.headers)?;
    let body = read_body(request).await?;
    let resource = call.version.resource();
    let decoded = decode::object(call.version, media, &body, query.validation)?;
    let mut object = decoded.value;
    let name = call.info.name.as_str();
    match meta::name(&object) {
        "" => drop(metadata::of(&mut object).insert("name".to_owned(), name.into())),
        own if own == name => {}
        own => {
            return Err(Status::bad_request(format!(
                "the name of the object ({own}) does not match the name on the URL ({name})"
            )));
        }
    }
    check_namespace(resource, &object, call.namespace)?;
    let mut options = call.write_options(query.dry_run);
    options.warnings = decoded.warnings;
    let object = call.version.to_stored(object).await?;
    let updated =
        call.store.update(&mut options, call.namespace, name, what, &mut |_| Ok(object.clone())).await?;
    let warnings = options.warnings;
    let code = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    call.object(code, &updated.object, &warnings).await
}
