//! The facts of every built-in type of Kubernetes 1.36, and what they decide.
//!
//! **Contract**: immutable data. The table (`data/schema-1.36.txt`, written by `cargo xtask schema`) is
//! part of the binary; one scan finds the names, a type is parsed when it is first asked for and then kept.
//! One source for strict decoding ([`strict`]), static defaults ([`defaults`]), OpenAPI, strategic merge,
//! server-side apply, explain and protobuf.
//! **Not here**: defaults that upstream computes in code, validation, kinds added at run time.
//! **Upstream**: `api/openapi-spec/swagger.json`, `generated.proto`, `k8s.io/kube-openapi/pkg/util/proto`.

pub mod defaults;
pub mod descriptions;
pub mod enums;
mod golang;
pub mod strict;
mod table;
mod types;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use table::Table;

pub use types::{
    Any, Field, FieldType, GroupVersionKindRef, IntegerFormat, ListType, MapType, Presence, SchemaOr, Type,
    TypeRef, Union,
};

/// The committed table.
const TABLE: &str = include_str!("../data/schema-1.36.txt");

/// Every built-in type, by name and by group, version and kind.
#[derive(Debug)]
pub struct Schema {
    table: Table,
}

impl Schema {
    /// The schema. The first call scans the table for names, no more.
    pub fn get() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Self { table: Table::scan(TABLE) })
    }

    /// The type that objects of this group, version and kind have; `None` for kinds that are not built in.
    pub fn type_by_gvk(&self, group: &str, version: &str, kind: &str) -> Option<&'static Type> {
        self.table.by_kind(group, version, kind).map(TypeRef::resolve)
    }

    /// A type by its OpenAPI name, `io.k8s.api.core.v1.Pod`.
    pub fn type_by_name(&self, name: &str) -> Option<&'static Type> {
        self.table.by_name(name).map(TypeRef::resolve)
    }

    /// The table's text: what a digest of everything derived from it starts with.
    pub fn source() -> &'static str {
        TABLE
    }

    /// Every type, in the order of the names. Nothing is parsed before [`TypeRef::resolve`].
    pub fn types(&self) -> impl Iterator<Item = TypeRef> + '_ {
        self.table.refs()
    }

    /// Every group, version and kind with its type, in that order.
    pub fn kinds(&self) -> impl Iterator<Item = (GroupVersionKindRef, TypeRef)> + '_ {
        self.table.kinds()
    }
}
