//! Strict decoding: JSON to a value that holds only what its type knows, with a list of what it does not.
//!
//! **Contract**: one pass over the bytes, driven by the type. Unknown fields are dropped and listed; a
//! duplicate key is listed and its last value wins; null means absent; times and quantities are checked and
//! times normalised to UTC; everything else stays as it came. A value of a wrong type is an error.
//! **Not here**: YAML (read it into a [`Value`], then [`decode_value`]), defaults, validation.
//! **Upstream**: `sigs.k8s.io/json`, `runtime/serializer/json`, `fieldValidation` of the create, update and
//! patch handlers. Unlike upstream a duplicate object replaces the earlier one instead of merging into it.

mod scalar;
mod untyped;
mod visitor;

#[cfg(test)]
mod tests;

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::types::{FieldType, Type};
use crate::golang;
pub use untyped::decode_untyped;
use visitor::{Context, Seed};

/// Upstream stops to collect after this many (`sigs.k8s.io/json`).
const MAX_PROBLEMS: usize = 100;

/// Why bytes are not an object of the type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Not JSON; upstream says it while it looks for apiVersion and kind.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Syntax(String),
    /// A value of a wrong type, in the words of Go's decoder.
    #[error("{0}")]
    Type(String),
}

/// A field that strict decoding objects to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Problem {
    /// The type has no such field.
    Unknown(String),
    /// The key occurred before.
    Duplicate(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(path) => write!(f, "unknown field {path:?}"),
            Self::Duplicate(path) => write!(f, "duplicate field {path:?}"),
        }
    }
}

/// A decoded object and what was wrong with it.
#[derive(Debug)]
pub struct Decoded {
    /// The object; unknown fields are not in it.
    pub value: Value,
    /// Unknown and duplicate fields in the order in which they were met, each once, at most 100.
    pub problems: Vec<Problem>,
}

impl Decoded {
    /// Paths of the unknown fields, `spec.containers[0].foo`.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().filter_map(|p| match p {
            Problem::Unknown(path) => Some(path.as_str()),
            Problem::Duplicate(_) => None,
        })
    }

    /// Paths of the duplicate fields.
    pub fn duplicates(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().filter_map(|p| match p {
            Problem::Duplicate(path) => Some(path.as_str()),
            Problem::Unknown(_) => None,
        })
    }

    /// One text a problem, for `fieldValidation=Warn`'s `Warning` headers: `unknown field "spec.foo"`.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.problems.iter().map(ToString::to_string)
    }

    /// The error for `fieldValidation=Strict`: `strict decoding error: unknown field "spec.foo", …`.
    pub fn strict_error(&self) -> Option<String> {
        if self.problems.is_empty() {
            return None;
        }
        let all: Vec<String> = self.warnings().collect();
        Some(format!("strict decoding error: {}", all.join(", ")))
    }
}

/// The message of the 400 `BadRequest` in which upstream wraps a decoding error:
/// `Pod in version "v1" cannot be handled as a Pod: …`.
pub fn bad_request(kind: &str, version: &str, expected: &str, error: &dyn std::fmt::Display) -> String {
    format!("{kind} in version {version:?} cannot be handled as a {expected}: {error}")
}

/// Decodes JSON bytes as an object of the type.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<Decoded, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut context = Context::default();
    let root = FieldType::Ref(ty.reference());
    let value = Seed { ty: &root, cx: &mut context }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|e| Error::Syntax(golang::unread(bytes, &e)))?;
    finish(value, context)
}

/// The same for a value that another parser (YAML) made; it cannot have duplicates.
pub fn decode_value(value: Value, ty: &'static Type) -> Result<Decoded, Error> {
    let mut context = Context::default();
    let root = FieldType::Ref(ty.reference());
    let value =
        Seed { ty: &root, cx: &mut context }.deserialize(value).map_err(|e| Error::Syntax(e.to_string()))?;
    finish(value, context)
}

fn finish(value: Option<Value>, context: Context) -> Result<Decoded, Error> {
    match context.error {
        Some(error) => Err(Error::Type(error)),
        None => Ok(Decoded {
            value: value.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            problems: context.problems,
        }),
    }
}
