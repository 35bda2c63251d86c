//! Kubernetes' protobuf: objects to bytes and back, by the schema table, without generated code.
//!
//! **Contract**: pure. What a Go client writes becomes the JSON that it would have written, and the other way
//! round; unknown fields are skipped; input of any kind ends in an object or in an [`Error`], never in a panic,
//! with bounds on depth and on the number of values. Embedded objects are JSON.
//! **Not here**: content negotiation and the framing of watches over HTTP (`apiserver`), kinds that are not
//! built in, which have no protobuf form.
//! **Upstream**: `runtime/serializer/protobuf`, `runtime.Unknown`, the `generated.proto` files.

mod decode;
mod encode;
mod plan;
mod scalar;
mod wire;

#[cfg(test)]
mod tests;

use crate::kind::parse_api_version;
use crate::schema::{Schema, Type};
use serde_json::Value;

pub use decode::{message, object, object_of};
pub use encode::{append_bytes, append_item, append_message, envelope, object_bytes, watch_event};

/// What every object in protobuf begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The deepest JSON that an object may become; our JSON parser goes no deeper than 127.
const MAX_DEPTH: usize = 120;

/// The most values that an object may have, so that a small message cannot become a huge object.
const MAX_VALUES: usize = 500_000;

/// Why bytes are no object, or an object has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes do not begin with [`MAGIC`].
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// The bytes end inside a field.
    #[error("unexpected EOF")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field's number is zero or too large.
    #[error("proto: illegal tag {0}")]
    IllegalTag(u64),
    /// A wire type that nothing has.
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    /// A field has another wire type than its type.
    #[error("proto: wrong wireType for field {0}")]
    WrongWireType(&'static str),
    /// A string is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    InvalidUtf8(&'static str),
    /// An embedded value is not JSON.
    #[error("proto: field {0} contains invalid JSON")]
    InvalidJson(&'static str),
    /// Seconds outside of what a time can be.
    #[error("proto: field {0} contains an invalid time")]
    InvalidTime(&'static str),
    /// An amount that cannot be read.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    InvalidQuantity,
    /// The object says that it is of a kind that is not built in.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// What it says of its version.
        api_version: String,
        /// What it says of its kind.
        kind: String,
    },
    /// The object is nested too deeply.
    #[error("proto: exceeded the maximum depth of {MAX_DEPTH}")]
    TooDeep,
    /// The object has too many values.
    #[error("proto: exceeded the maximum of {MAX_VALUES} values")]
    TooMany,
    /// A JSON value is not of its field's type.
    #[error("value of field {0} is not of the field's type")]
    Mismatch(&'static str),
}

/// The type of objects that say this of themselves; `None` for kinds that have no protobuf form.
pub fn type_of(api_version: &str, kind: &str) -> Option<&'static Type> {
    let (group, version) = match parse_api_version(api_version) {
        // The same types under another name.
        ("meta.k8s.io", "v1beta1") => ("meta.k8s.io", "v1"),
        other => other,
    };
    let ty = Schema::get().type_by_gvk(group, version, kind)?;
    // The youngest types have no numbers yet.
    ty.fields.iter().any(|field| !field.proto.is_empty()).then_some(ty)
}

/// A string field of an object, or empty.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
