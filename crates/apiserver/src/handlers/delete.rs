//! delete and deletecollection.
//!
//! **Upstream**: `handlers/delete.go`, `metav1/validation.ValidateDeleteOptions`.

use super::decode::{self, Media};
use super::options::{ListOptions, integer, invalid, validate_dry_run};
use super::respond::success;
use super::{Call, list, read_body};
use crate::admission::Sent;
use crate::body::{Request, Response};
use crate::registry::DeleteOptions;
use crate::request::Query;
use crate::watch_cache::Selection;
use api::field::{Error, Path};
use api::meta;
use api::protobuf;
use api::schema::{Schema, strict};
use api::status::Status;
use http::StatusCode;
use serde_json::Value;

pub(super) async fn delete(call: &Call<'_>, request: Request) -> Result<Response, Status> {
    let (delete, dry_run) = read_options(call, request).await?;
    let mut options = call.write_options(dry_run);
    options.sent = Sent::Delete(&delete);
    warn(call, &delete, &mut options.warnings);
    let name = call.info.name.as_str();
    let deleted = call.store.delete(&mut options, call.namespace, name, &delete).await?;
    let warnings = options.warnings;
    if deleted.removed && call.store.strategy().returns_deleted_object() {
        return call.object(StatusCode::OK, &deleted.object, &warnings).await;
    }
    if deleted.removed {
        let uid = meta::uid(&deleted.object.to_value()).to_owned();
        return Ok(call.send(StatusCode::OK, success(call, name, &uid), &warnings));
    }
    let cascading =
        delete.orphan_dependents == Some(false) || delete.propagation_policy.as_deref() == Some("Foreground");
    let code = if cascading { StatusCode::ACCEPTED } else { StatusCode::OK };
    call.object(code, &deleted.object, &warnings).await
}

pub(super) async fn delete_collection(call: &Call<'_>, request: Request) -> Result<Response, Status> {
    let query = ListOptions::parse(&call.info.query, false)?;
    let (delete, dry_run) = read_options(call, request).await?;
    let selection =
        Selection::parse(call.version, call.namespace, &query.label_selector, &query.field_selector)?
            .named(&call.info.name);
    let page = list::page(call.store, &selection, &query).await?;
    let mut options = call.write_options(dry_run);
    options.sent = Sent::Delete(&delete);
    warn(call, &delete, &mut options.warnings);
    for object in &page.objects {
        let result = call.store.delete(&mut options, object.namespace(), object.name(), &delete).await;
        match result {
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            result => drop(result?),
        }
    }
    let warnings = options.warnings;
    let mut response = list::respond(call, page).await?;
    crate::respond::add_warnings(response.headers_mut(), &warnings);
    Ok(response)
}

/// Tells who leaves it to the kind what becomes of dependents.
fn warn(call: &Call<'_>, delete: &DeleteOptions, warnings: &mut Vec<String>) {
    if delete.propagation_policy.is_none() && delete.orphan_dependents.is_none() {
        warnings.extend(call.store.strategy().deletion_warning().map(str::to_owned));
    }
}

async fn read_options(call: &Call<'_>, request: Request) -> Result<(DeleteOptions, bool), Status> {
    let body = read_body(request).await?;
    if body.is_empty() {
        let options = from_query(&call.info.query)?;
        return check(options, call.info.query.all("dryRun").map(str::to_owned).collect());
    }
    let media = Media::of(&call.headers)?;
    let value = match (media, protobuf::type_of("v1", "DeleteOptions")) {
        // Whatever group it says it is of.
        (Media::Protobuf, Some(ty)) => protobuf::object_of(&body, ty).map_err(|e| e.to_string()),
        _ => decode::any(media, &body),
    };
    let value = value.map_err(|error| decode::unrecognized("DeleteOptions", &error, &body))?;
    let kind = value["kind"].as_str().unwrap_or("");
    if !value.is_object() || !matches!(kind, "" | "DeleteOptions") {
        return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
    }
    // A field of the wrong type must not turn a trial, or a deletion with conditions, into a plain one.
    if let Some(ty) = Schema::get().type_by_gvk("", "v1", "DeleteOptions") {
        strict::decode_value(value.clone(), ty).map_err(|error| {
            Status::bad_request(strict::bad_request("DeleteOptions", "v1", "DeleteOptions", &error))
        })?;
    }
    let mut dry_run: Vec<String> = strings(&value["dryRun"]);
    dry_run.extend(call.info.query.all("dryRun").map(str::to_owned));
    check(from_body(&value), dry_run)
}

fn from_query(query: &Query) -> Result<DeleteOptions, Status> {
    let text = |name: &str| query.get(name).filter(|v| !v.is_empty()).map(str::to_owned);
    Ok(DeleteOptions {
        grace_period_seconds: integer(query, "gracePeriodSeconds")?,
        uid: text("preconditions.uid"),
        resource_version: text("preconditions.resourceVersion"),
        propagation_policy: text("propagationPolicy"),
        orphan_dependents: query.optional_flag("orphanDependents"),
    })
}

fn from_body(body: &Value) -> DeleteOptions {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        propagation_policy: text(&body["propagationPolicy"]),
        orphan_dependents: body["orphanDependents"].as_bool(),
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn check(options: DeleteOptions, dry_run: Vec<String>) -> Result<(DeleteOptions, bool), Status> {
    let mut errors = Vec::new();
    if let Some(policy) = &options.propagation_policy {
        let path = Path::new("propagationPolicy");
        if options.orphan_dependents.is_some() {
            let text = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(Error::invalid(&path, policy.as_str(), text));
        }
        if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(Error::not_supported(&path, policy.as_str(), &supported));
        }
    }
    errors.extend(validate_dry_run(dry_run.iter().map(String::as_str)));
    if !errors.is_empty() {
        return Err(invalid("DeleteOptions", &errors));
    }
    let dry_run = dry_run.iter().any(|value| value == "All");
    Ok((options, dry_run))
}
