//! `certificatesigningrequests/approval`: somebody allowed to says yes or no, once.
//!
//! **Not here**: whether the user may approve for that signer, which is admission's question.
//! **Upstream**: `pkg/registry/certificates/certificates` (`csrApprovalStrategy`), `validateConditions`.

use super::view::{self, View};
use super::{Facts, Subresource};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::registry::UpdateOptions;
use crate::request::RequestInfo;
use crate::resources::certificate_conditions;
use crate::server::Server;
use api::kind::GroupVersionKind;
use api::meta;
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

const GROUP: &str = "certificates.k8s.io";
const KIND: &str = "CertificateSigningRequest";

/// The subresource.
pub(super) struct Approval;

#[async_trait]
impl Subresource for Approval {
    fn facts(&self) -> Facts {
        Facts {
            group: GROUP,
            version: "v1",
            plural: "certificatesigningrequests",
            name: "approval",
            namespaced: false,
            kind: GroupVersionKind::new(GROUP, "v1", KIND),
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
        let now = api::time::format(server.context.clock.now());
        view::serve(&At(now), server, info, user, request).await
    }
}

/// The view at one point in time, which new conditions carry.
struct At(String);

impl View for At {
    fn kind(&self) -> (&'static str, &'static str, &'static str) {
        (GROUP, "v1", KIND)
    }

    fn show(&self, object: &Value) -> Value {
        object.clone()
    }

    fn take(&self, object: &Value, view: &Value) -> Result<Value, Status> {
        let mut taken = object.clone();
        if !taken["status"].is_object() {
            taken["status"] = json!({});
        }
        let mut conditions = view["status"]["conditions"].as_array().cloned().unwrap_or_default();
        certificate_conditions::stamp(&mut conditions, object, &self.0);
        if conditions.is_empty() {
            taken["status"].as_object_mut().map(|status| status.shift_remove("conditions"));
        } else {
            taken["status"]["conditions"] = Value::Array(conditions);
        }
        let errors = certificate_conditions::check(&taken, object);
        if errors.is_empty() {
            Ok(taken)
        } else {
            Err(Status::invalid(GROUP, KIND, meta::name(object), &errors))
        }
    }

    fn what(&self) -> UpdateOptions {
        UpdateOptions::Raw
    }
}

#[cfg(test)]
mod tests;
