//! Images are pulled anew at every start, so that nobody runs what another has pulled. Off by default.
//!
//! **Upstream**: `plugin/pkg/admission/alwayspullimages`.

use super::{Attributes, Operation, Plugin};
use api::status::Status;
use serde_json::{Value, json};

/// The plugin.
pub(super) struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let is_pod = attributes.resource.group.is_empty() && attributes.resource.plural == "pods";
        let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
        if !is_pod || !is_write || !matches!(attributes.subresource, "" | "ephemeralcontainers") {
            return Ok(());
        }
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
                container["imagePullPolicy"] = json!("Always");
            }
        }
        for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
            if let Some(image) = volume.get_mut("image").filter(|image| image.is_object()) {
                image["pullPolicy"] = json!("Always");
            }
        }
        Ok(())
    }
}
