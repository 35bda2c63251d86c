//! Objects of no store in the form that was agreed on: as they are, as a table, as their metadata.
//!
//! **Contract**: pure.

use crate::body::Response;
use crate::handlers;
use crate::negotiate::{Negotiated, Shape};
use crate::registry::{Version, table};
use crate::request::RequestInfo;
use api::status::Status;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// One object.
pub(super) fn one(
    version: &Version,
    form: &Negotiated,
    info: &RequestInfo,
    object: Value,
    now: Timestamp,
) -> Result<Value, Status> {
    Ok(match form.shape {
        Shape::Object => whole(version, object),
        Shape::Metadata(meta) => table::metadata_of(&object, meta),
        Shape::Table(meta) => table(version, meta, info, vec![object], now)?,
    })
}

/// A list.
pub(super) fn list(
    version: &Version,
    form: &Negotiated,
    info: &RequestInfo,
    objects: Vec<Value>,
    now: Timestamp,
) -> Result<Value, Status> {
    let resource = version.resource();
    let listed = |kind: &str, api_version: &str, items: Vec<Value>| json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items});
    Ok(match form.shape {
        Shape::Object => listed(&resource.list_kind(), &resource.api_version(), objects),
        Shape::Metadata(meta) => {
            let items = objects.iter().map(|object| table::metadata_of(object, meta)).collect();
            listed("PartialObjectMetadataList", &format!("meta.k8s.io/{meta}"), items)
        }
        Shape::Table(meta) => table(version, meta, info, objects, now)?,
    })
}

/// The answer as a response.
pub(super) fn send(form: &Negotiated, answer: &Value) -> Response {
    handlers::encode(form, StatusCode::OK, answer.to_string().into())
}

fn whole(version: &Version, object: Value) -> Value {
    let resource = version.resource();
    let mut whole = Map::new();
    whole.insert("kind".to_owned(), json!(resource.kind));
    whole.insert("apiVersion".to_owned(), json!(resource.api_version()));
    if let Value::Object(fields) = object {
        whole.extend(fields);
    }
    whole.into()
}

fn table(
    version: &Version,
    meta: &str,
    info: &RequestInfo,
    objects: Vec<Value>,
    now: Timestamp,
) -> Result<Value, Status> {
    let include = table::Include::parse(info.query.text("includeObject"))?;
    let row = |object: Value| (version.strategy().row(&object, now), whole(version, object));
    let rows = objects.into_iter().map(row);
    Ok(table::of_objects((meta, include), &json!({}), &version.columns(), rows))
}
