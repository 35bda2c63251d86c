//! Patches: the ways in which a client may say only what changes.
//!
//! **Not here**: strategic merge and server-side apply, which need the schema's merge keys and field ownership.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers/patch.go`.

pub mod json;
pub mod merge;

use api::status::Status;
use http::header::CONTENT_TYPE;
use serde_json::Value;

/// The content types that are served.
const ACCEPTED: [&str; 2] = [json::CONTENT_TYPE, merge::CONTENT_TYPE];

/// A parsed patch.
#[derive(Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(json::Operations),
    /// RFC 7386.
    Merge(Value),
}

/// Which patch a request brings; 415 if none that is served.
pub fn content_type(headers: &http::HeaderMap) -> Result<&'static str, Status> {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media_type = value.split(';').next().unwrap_or("").trim();
    ACCEPTED
        .into_iter()
        .find(|accepted| *accepted == media_type)
        .ok_or_else(|| Status::unsupported_media_type(&ACCEPTED))
}

impl Patch {
    /// Parses a patch of this content type.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Self, Status> {
        if content_type == json::CONTENT_TYPE {
            json::parse(body).map(Self::Json)
        } else {
            merge::parse(body).map(Self::Merge)
        }
    }

    /// Changes an object.
    pub fn apply(&self, object: &mut Value) -> Result<(), Status> {
        match self {
            Self::Json(operations) => json::apply(operations, object),
            Self::Merge(patch) => {
                merge::apply(patch, object);
                Ok(())
            }
        }
    }
}
