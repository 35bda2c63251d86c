//! Objects of one version as another has them, by a webhook.
//!
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/conversion`.

use super::definition::Definition;
use api::status::Status;
use serde_json::Value;
use std::sync::Arc;

/// A webhook that converts.
pub(crate) struct Converter {
    name: String,
}

impl Converter {
    /// The one of a definition; `None`: versions differ in name only.
    pub(super) fn of(definition: &Definition) -> Option<Arc<Self>> {
        (definition.conversion.strategy == "Webhook")
            .then(|| Arc::new(Self { name: definition.name.clone() }))
    }

    /// The objects in the wanted version, in their order.
    #[expect(clippy::unused_async, reason = "a webhook is waited for")]
    pub(super) async fn convert(&self, _objects: Vec<Value>, wanted: &str) -> Result<Vec<Value>, Status> {
        Err(Status::internal(&format!(
            "conversion webhook for {} to {wanted} failed: it cannot be called",
            self.name
        )))
    }
}
