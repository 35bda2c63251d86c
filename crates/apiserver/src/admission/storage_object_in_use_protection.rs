//! Volumes and claims get the finalizer that keeps them while they are used.
//!
//! **Not here**: taking it away, which the controllers `persistentvolume-protection-controller` and
//! `persistentvolumeclaim-protection-controller` do.
//! **Upstream**: `plugin/pkg/admission/storage/storageobjectinuseprotection`.

use super::{Attributes, Operation, Plugin};
use api::meta;
use api::status::Status;
use api::well_known::finalizer::{PV_PROTECTION, PVC_PROTECTION, VAC_PROTECTION};
use serde_json::{Value, json};

/// The plugin.
pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !attributes.subresource.is_empty() {
            return Ok(());
        }
        let finalizer = match (&*attributes.resource.group, &*attributes.resource.plural) {
            ("", "persistentvolumes") => PV_PROTECTION,
            ("", "persistentvolumeclaims") => PVC_PROTECTION,
            ("storage.k8s.io", "volumeattributesclasses") => VAC_PROTECTION,
            _ => return Ok(()),
        };
        if meta::finalizers(object).all(|present| present != finalizer) {
            match object["metadata"]["finalizers"].as_array_mut() {
                Some(finalizers) => finalizers.push(json!(finalizer)),
                None => object["metadata"]["finalizers"] = json!([finalizer]),
            }
        }
        Ok(())
    }
}
