//! Patches: the ways in which a client may say only what changes.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers/patch.go`.

pub mod apply;
pub mod json;
pub mod merge;
mod strict;

pub use api::strategic_merge as strategic;

use api::kind::Resource;
use api::schema::{Schema, Type};
use api::status::Status;
use http::header::CONTENT_TYPE;
use serde_json::Value;

/// The content types that are served for every kind, those with apply, and those of kinds with a schema.
const PLAIN: [&str; 2] = [json::CONTENT_TYPE, merge::CONTENT_TYPE];
const TYPED: [&str; 3] = [json::CONTENT_TYPE, merge::CONTENT_TYPE, strategic::CONTENT_TYPE];
const APPLIED: [&str; 4] =
    [json::CONTENT_TYPE, merge::CONTENT_TYPE, apply::CONTENT_TYPE, strategic::CONTENT_TYPE];

/// A parsed patch.
#[derive(Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(json::Operations),
    /// RFC 7386.
    Merge(Value),
    /// Strategic merge for a kind of this type.
    Strategic(Value, &'static Type),
}

impl Patch {
    /// Which patch a request for this resource brings; 415 if none that is served.
    pub fn content_type(headers: &http::HeaderMap, resource: &Resource) -> Result<&'static str, Status> {
        let served = if schema(resource).is_some() { &TYPED[..] } else { &PLAIN[..] };
        Self::one_of(headers, served)
    }

    /// The same where objects can be applied, too.
    pub fn content_type_or_apply(
        headers: &http::HeaderMap,
        resource: &Resource,
    ) -> Result<&'static str, Status> {
        let served = if schema(resource).is_some() { &APPLIED[..] } else { &APPLIED[..3] };
        Self::one_of(headers, served)
    }

    fn one_of(headers: &http::HeaderMap, served: &'static [&'static str]) -> Result<&'static str, Status> {
        let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let media_type = value.split(';').next().unwrap_or("").trim();
        served
            .iter()
            .find(|accepted| **accepted == media_type)
            .copied()
            .ok_or_else(|| Status::unsupported_media_type(served))
    }

    /// Parses a patch of this content type.
    pub fn parse(content_type: &str, resource: &Resource, body: &[u8]) -> Result<Self, Status> {
        match (content_type, schema(resource)) {
            (json::CONTENT_TYPE, _) => json::parse(body).map(Self::Json),
            (strategic::CONTENT_TYPE, Some(ty)) => merge::parse(body).map(|patch| Self::Strategic(patch, ty)),
            _ => merge::parse(body).map(Self::Merge),
        }
    }

    /// What strict decoding finds wrong with the text of a patch of this content type.
    pub fn problems(content_type: &str, body: &[u8]) -> Vec<String> {
        match content_type {
            json::CONTENT_TYPE => strict::of_json(body),
            _ => strict::of_merge(body),
        }
    }

    /// Whether the patch can change what kind the object says it is of; strategic merge leaves that alone.
    pub fn names_kind(&self) -> bool {
        !matches!(self, Self::Strategic(..))
    }

    /// Changes an object.
    pub fn apply(&self, object: &mut Value) -> Result<(), Status> {
        match self {
            Self::Json(operations) => json::apply(operations, object),
            Self::Merge(patch) => {
                merge::apply(patch, object);
                Ok(())
            }
            Self::Strategic(patch, ty) => strategic::apply(patch, object, ty),
        }
    }
}

fn schema(resource: &Resource) -> Option<&'static Type> {
    Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind)
}
