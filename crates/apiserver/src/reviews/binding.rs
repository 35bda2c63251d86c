//! `bindings`: the older way to say on which node a pod is to run, by a Binding named after the pod.
//!
//! **Upstream**: `pkg/registry/core/pod/storage` (`LegacyBindingREST`).

use super::ReviewKind;
use crate::auth::UserInfo;
use crate::server::Server;
use crate::subresources::binding;
use api::kind::{Resource, Scope};
use api::meta;
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

/// The kind.
pub(super) struct Binding(Resource);

impl Binding {
    pub(super) fn new() -> Self {
        Self(Resource::new("", "v1", "Binding", "bindings", "binding", Scope::Namespaced))
    }
}

#[async_trait]
impl ReviewKind for Binding {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn carry_out(
        &self,
        server: &Server,
        user: &UserInfo,
        namespace: &str,
        question: &Value,
        dry_run: bool,
    ) -> Result<(), Status> {
        binding::bind(server, user, (namespace, meta::name(question)), question, dry_run).await
    }

    async fn answer(
        &self,
        _: &Server,
        _: &UserInfo,
        _: &str,
        _: Value,
        _: &mut Vec<String>,
    ) -> Result<Value, Status> {
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    }
}
