//! patch: what changes of the object (or its status).
//!
//! **Contract**: a patch is a patch of the object in the version that the client speaks.

use super::create::check_namespace;
use super::decode::{self, FieldValidation};
use super::options::WriteQuery;
use super::{Call, read_body};
use crate::body::{Request, Response};
use crate::patch::{Patch, apply};
use crate::registry::{Change, UpdateOptions};
use api::status::Status;
use async_trait::async_trait;
use http::StatusCode;
use serde_json::Value;

pub(super) async fn patch(
    call: &Call<'_>,
    what: UpdateOptions,
    request: Request,
) -> Result<Response, Status> {
    let content_type = Patch::content_type_or_apply(&call.headers, call.version.resource())?;
    if content_type == apply::CONTENT_TYPE {
        return super::apply::apply(call, what, request).await;
    }
    let query = WriteQuery::parse(&call.info.query, "PatchOptions")?;
    let body = read_body(request).await?;
    let patch = Patch::parse(content_type, call.version.resource(), &body)?;
    let problems = match query.validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => Patch::problems(content_type, &body),
    };
    let name = call.info.name.as_str();
    let mut options = call.write_options(query.dry_run);
    let mut change = Patching { call, patch, problems, validation: query.validation, warnings: Vec::new() };
    let updated = call.store.update_by(&mut options, call.namespace, name, what, &mut change).await?;
    let mut warnings = change.warnings;
    warnings.extend(options.warnings);
    call.object(StatusCode::OK, &updated.object, &warnings).await
}

struct Patching<'a> {
    call: &'a Call<'a>,
    patch: Patch,
    /// What is wrong with its text.
    problems: Vec<String>,
    validation: FieldValidation,
    warnings: Vec<String>,
}

#[async_trait]
impl Change for Patching<'_> {
    async fn change(&mut self, old: Option<&Value>) -> Result<Value, Status> {
        let (store, version) = (self.call.store, self.call.version);
        let old = old.ok_or_else(|| Status::not_found(store.resource(), &self.call.info.name))?;
        let mut object = version.of_stored(old).await?.into_owned();
        self.patch.apply(&mut object)?;
        if self.patch.names_kind() {
            decode::check_patched_kind(version.resource(), &object)?;
        }
        let decoded = decode::patched(version, object, self.validation, &self.problems)?;
        check_namespace(version.resource(), &decoded.value, self.call.namespace)?;
        self.warnings = decoded.warnings;
        version.to_stored(decoded.value).await
    }
}
