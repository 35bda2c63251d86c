//! How a plugin says no.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/errors.go`.

use super::Attributes;
use api::status::Status;
use serde_json::Value;

/// 403 about the object of the request, which may have no name yet.
pub(super) fn forbidden(attributes: &Attributes<'_>, object: Option<&Value>, why: &str) -> Status {
    let text = |field: &str| object.and_then(|o| o["metadata"][field].as_str()).filter(|s| !s.is_empty());
    let name = match attributes.name {
        "" => text("name").or_else(|| text("generateName")).unwrap_or("Unknown"),
        name => name,
    };
    Status::forbidden(attributes.resource, name, why)
}

/// Whether the request is about objects of this resource themselves.
pub(super) fn is_about(attributes: &Attributes<'_>, group: &str, plural: &str) -> bool {
    attributes.subresource.is_empty()
        && attributes.resource.group == group
        && attributes.resource.plural == plural
}
