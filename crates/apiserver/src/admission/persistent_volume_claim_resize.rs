//! A claim grows only once it is bound, and where its class allows it.
//!
//! **Upstream**: `plugin/pkg/admission/storage/persistentvolume/resize`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use api::quota::amount;
use api::status::Status;
use serde_json::Value;

/// The plugin.
pub(super) struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, claim: Option<&Value>) -> Result<(), Status> {
        if attributes.operation != Operation::Update || !is_about(attributes, "", "persistentvolumeclaims") {
            return Ok(());
        }
        let (Some(claim), Some(old)) = (claim, attributes.old) else { return Ok(()) };
        let size =
            |claim: &Value| amount(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or_default();
        if size(claim) <= size(old) {
            return Ok(());
        }
        if old["status"]["phase"] != "Bound" {
            let why = "Only bound persistent volume claims can be expanded";
            return Err(forbidden(attributes, Some(claim), why));
        }
        let class = match &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"] {
            Value::String(class) => class,
            _ => claim["spec"]["storageClassName"].as_str().unwrap_or_default(),
        };
        let allows = !class.is_empty()
            && attributes
                .lookup
                .get("storage.k8s.io", "storageclasses", "", class)
                .is_some_and(|class| class["allowVolumeExpansion"] == true);
        if allows {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(forbidden(attributes, Some(claim), why))
    }
}
