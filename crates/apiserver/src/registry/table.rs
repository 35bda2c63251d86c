//! Objects as rows of a table, for `kubectl get`, and as their metadata alone.
//!
//! **Upstream**: `meta.k8s.io` `Table`, `PartialObjectMetadata`; `handlers/response.go`.

use super::{Cell, Column, Description, Object, Version};
use api::kind::Resource;
use api::schema::descriptions::Descriptions;
use api::schema::{Schema, Type};
use api::status::Status;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// The value of `includeObject`.
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// What a table says of a kind's columns. Unpacks every description there is: for whoever asks seldom or keeps the answer.
pub(crate) fn definitions(resource: &Resource, columns: &[Column]) -> Vec<Value> {
    let descriptions = Descriptions::load();
    let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
    let definition = |column: &Column| {
        let description = match column.description {
            Description::None => None,
            Description::Text(words) => Some(words.to_owned()),
            Description::Field(path) => ty.and_then(|ty| field(&descriptions, ty, path)),
        };
        json!({"name": column.name, "type": column.kind, "format": column.format,
            "description": description.unwrap_or_default(), "priority": column.priority})
    };
    columns.iter().map(definition).collect()
}

/// What upstream says of a field below a type: `spec.replicas`.
fn field(descriptions: &Descriptions, ty: &Type, path: &str) -> Option<String> {
    match path.split_once('.') {
        Some((parent, rest)) => field(descriptions, ty.field(parent)?.ty.named()?, rest),
        None => descriptions.of(ty.name).field(path).map(Into::into),
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

fn write_partial(out: &mut Vec<u8>, object: &Object, version: &str) {
    let json = object.json();
    let head: Option<Head<'_>> = serde_json::from_slice(&json).ok();
    let metadata = head.map_or("{}", |head| head.metadata.get());
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(metadata.as_bytes());
    out.push(b'}');
}

/// An object's `PartialObjectMetadata`.
pub fn partial_metadata(object: &Object, version: &str) -> Bytes {
    let mut out = Vec::with_capacity(512);
    write_partial(&mut out, object, version);
    out.into()
}

/// The same of an object that no store has.
pub(crate) fn metadata_of(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

/// A table of objects that no store has, given with their cells.
pub(crate) fn of_objects(
    (version, include): (&str, Include),
    metadata: &Value,
    columns: &[Value],
    objects: impl Iterator<Item = (Vec<Cell>, Value)>,
) -> Value {
    let row = |(cells, object): (Vec<Cell>, Value)| match include {
        Include::None => json!({"cells": cells}),
        Include::Metadata => json!({"cells": cells, "object": metadata_of(&object, version)}),
        Include::Object => json!({"cells": cells, "object": object}),
    };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": objects.map(row).collect::<Vec<_>>(),
    })
}

/// Writes tables of one kind.
pub struct Writer {
    kind: Version,
    version: &'static str,
    include: Include,
    now: Timestamp,
    columns_sent: bool,
}

impl Writer {
    /// A writer of tables in this version of `meta.k8s.io`.
    pub fn new(kind: &Version, version: &'static str, include: Include, now: Timestamp) -> Self {
        Self { kind: kind.clone(), version, include, now, columns_sent: false }
    }

    /// The time by which ages are told.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// A table of one object, as it is stored and as its version shows it. Only a writer's first table defines the columns.
    pub fn whole(&mut self, stored: &Object, object: &Object) -> Bytes {
        let mut out = Vec::with_capacity(1024);
        let metadata = json!({"resourceVersion": object.revision().to_string()});
        self.begin(&mut out, &metadata);
        self.row(&mut out, stored, object);
        out.extend_from_slice(b"]}");
        out.into()
    }

    /// A table without rows at a revision.
    pub fn bookmark(&mut self, metadata: &Value) -> Bytes {
        let mut out = Vec::new();
        self.begin(&mut out, metadata);
        out.extend_from_slice(b"]}");
        out.into()
    }

    /// The beginning of a table, up to its rows.
    pub fn begin(&mut self, out: &mut Vec<u8>, metadata: &Value) {
        let columns = if self.columns_sent { Cow::default() } else { self.kind.columns() };
        let columns = serde_json::to_string(&columns).expect("what is JSON can be written as such");
        self.columns_sent = true;
        let version = self.version;
        let head = format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata},\
             \"columnDefinitions\":{columns},\"rows\":["
        );
        out.extend_from_slice(head.as_bytes());
    }

    /// One row: the cells of the stored object, which the row carries as its version shows it.
    pub fn row(&self, out: &mut Vec<u8>, stored: &Object, object: &Object) {
        let (cells, conditions) = self.kind.row(stored, object, self.now);
        out.extend_from_slice(b"{\"cells\":");
        out.extend_from_slice(Value::from(cells).to_string().as_bytes());
        if !conditions.is_empty() {
            out.extend_from_slice(b",\"conditions\":");
            out.extend_from_slice(Value::from(conditions).to_string().as_bytes());
        }
        match self.include {
            Include::None => {}
            Include::Metadata => {
                out.extend_from_slice(b",\"object\":");
                write_partial(out, object, self.version);
            }
            Include::Object => {
                out.extend_from_slice(b",\"object\":");
                out.extend_from_slice(&object.json());
            }
        }
        out.push(b'}');
    }
}
