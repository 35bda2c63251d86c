//! Subresources of a Pod that are the Pod, of which one part may be changed: one struct, one row a part.
//!
//! **Contract**: everything else that a writer sends is ignored, as upstream does.
//! **Upstream**: `pkg/registry/core/pod/storage` (`EphemeralContainersREST`, `ResizeREST`).

use super::view::{self, View};
use super::{Facts, Subresource};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::registry::UpdateOptions;
use crate::request::RequestInfo;
use crate::server::Server;
use api::field::ErrorList;
use api::kind::GroupVersionKind;
use api::meta;
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// Marks the API's image of a pod that its node has from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// One part.
pub(super) struct PodPart {
    /// Last path segment.
    pub(super) name: &'static str,
    /// The old pod with this part of the wanted one.
    pub(super) merge: fn(&Value, &Value) -> Result<Value, ErrorList>,
    /// All errors of the merged pod, given the old one.
    pub(super) check: fn(&Value, &Value) -> ErrorList,
    /// What of an applied pod counts.
    pub(super) configuration: fn(&Value) -> Value,
}

/// Whether a pod is a static one's image.
pub(super) fn is_static(pod: &Value) -> bool {
    meta::annotation(pod, MIRROR).is_some()
}

#[async_trait]
impl Subresource for PodPart {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "pods",
            name: self.name,
            namespaced: true,
            kind: GroupVersionKind::new("", "v1", "Pod"),
            verbs: &["get", "patch", "update"],
        }
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status> {
        view::serve(self, server, info, user, request).await
    }
}

impl View for PodPart {
    fn kind(&self) -> (&'static str, &'static str, &'static str) {
        ("", "v1", "Pod")
    }

    fn show(&self, object: &Value) -> Value {
        object.clone()
    }

    fn take(&self, object: &Value, view: &Value) -> Result<Value, Status> {
        let invalid = |errors: ErrorList| Status::invalid("", "Pod", meta::name(object), &errors);
        let pod = (self.merge)(object, view).map_err(invalid)?;
        let errors = (self.check)(&pod, object);
        if errors.is_empty() { Ok(pod) } else { Err(invalid(errors)) }
    }

    fn configuration(&self, view: &Value) -> Option<Value> {
        Some((self.configuration)(view))
    }

    fn what(&self) -> UpdateOptions {
        UpdateOptions::Part
    }
}
