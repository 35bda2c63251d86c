//! ServiceAccount: an identity for pods.
//!
//! **Upstream**: `pkg/registry/core/serviceaccount`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::{cells, edit};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of ServiceAccounts.
pub(crate) struct ServiceAccount(Resource);

impl ServiceAccount {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        Self(
            Resource::new("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", scope)
                .short(&["sa"]),
        )
    }

    /// Only names of Secrets count: upstream drops the rest of each reference.
    fn clean_secrets(object: &mut Value) {
        for secret in edit::each(object, "secrets") {
            let name = secret["name"].clone();
            *secret = serde_json::json!({ "name": name });
        }
    }
}

impl Strategy for ServiceAccount {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        Self::clean_secrets(object);
    }

    fn prepare_for_update(&self, _: &WriteContext<'_>, object: &mut Value, _old: &Value) {
        Self::clean_secrets(object);
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), cells::age(object, now)]
    }
}
