//! apply: the fields that a manager wants the object (or its status) to have.
//!
//! **Upstream**: `handlers/patch.go` (`applyPatcher`).

use super::create::check_namespace;
use super::decode::{self, FieldValidation};
use super::options::WriteQuery;
use super::{Call, read_body};
use crate::body::{Request, Response};
use crate::patch::apply::{self, Apply, Merging};
use crate::registry::{Change, Tracking, UpdateOptions, metadata};
use api::meta;
use api::status::Status;
use async_trait::async_trait;
use http::StatusCode;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) async fn apply(
    call: &Call<'_>,
    what: UpdateOptions,
    request: Request,
) -> Result<Response, Status> {
    let query = WriteQuery::parse_apply(&call.info.query)?;
    let body = read_body(request).await?;
    let store = call.store;
    let resource = call.version.resource();
    let mut config = apply::parse(&body)?;
    let fields = config.as_object_mut().expect("a configuration is an object");
    // What cannot be written here is nobody's.
    match what {
        UpdateOptions::Status => {
            fields.retain(|name, _| matches!(name.as_str(), "kind" | "apiVersion" | "metadata" | "status"))
        }
        _ if store.strategy().has_status() => drop(fields.shift_remove("status")),
        _ => {}
    }
    let name = call.info.name.as_str();
    check_namespace(resource, &config, call.namespace)?;
    match meta::name(&config) {
        "" => drop(metadata::of(&mut config).insert("name".to_owned(), name.into())),
        own if own == name => {}
        own => {
            return Err(Status::bad_request(format!(
                "the name of the object ({own}) does not match the name on the URL ({name})"
            )));
        }
    }
    let apply = Apply {
        config,
        manager: call.manager.clone(),
        subresource: call.info.subresource.clone(),
        force: call.info.query.flag("force"),
        time: api::time::format(call.context.clock.now()),
    };
    let mut options = call.write_options(query.dry_run);
    options.tracking = Tracking::Applied;
    let problem = match query.validation {
        FieldValidation::Ignore => None,
        FieldValidation::Warn | FieldValidation::Strict => apply::problem(&body),
    };
    let mut change = Applying { call, apply, problem, validation: query.validation, warnings: Vec::new() };
    let updated = store.update_by(&mut options, call.namespace, name, what, &mut change).await?;
    let mut warnings = change.warnings;
    warnings.extend(options.warnings);
    let code = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    call.object(code, &updated.object, &warnings).await
}

struct Applying<'a> {
    call: &'a Call<'a>,
    apply: Apply,
    /// What is wrong with its text.
    problem: Option<String>,
    validation: FieldValidation,
    warnings: Vec<String>,
}

#[async_trait]
impl Change for Applying<'_> {
    async fn change(&mut self, old: Option<&Value>) -> Result<Value, Status> {
        let (store, version) = (self.call.store, self.call.version);
        let stored = old.unwrap_or(&Value::Null);
        let live = version.of_stored(stored).await?;
        let merging = Merging::new((version.resource(), version.shape()), old.map(|_| &*live), &self.apply)?;
        let elsewhere = match store.versions() {
            [_] => BTreeMap::new(),
            _ => {
                let merged = version.to_stored(merging.object().clone()).await?;
                store.changes_in(merging.versions(), version, stored, &merged).await?
            }
        };
        let object = merging.finish(elsewhere)?;
        if let (FieldValidation::Strict, Some(problem)) = (self.validation, &self.problem) {
            return Err(Status::bad_request(format!("error strict decoding YAML: {problem}")));
        }
        let decoded = decode::patched(version, object, self.validation, &[])?;
        self.warnings = self.problem.iter().cloned().chain(decoded.warnings).collect();
        version.to_stored(decoded.value).await
    }
}
