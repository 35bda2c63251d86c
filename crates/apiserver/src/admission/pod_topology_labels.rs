//! A pod that is bound to a node carries the node's zone and region as labels of its own.
//!
//! **Upstream**: `plugin/pkg/admission/podtopologylabels` (there the labels go onto the Binding first).

use super::{Attributes, Operation, Plugin};
use api::meta;
use api::status::Status;
use api::well_known::label::{TOPOLOGY_REGION, TOPOLOGY_ZONE};
use serde_json::{Value, json};

/// The plugin.
pub(super) struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let is_pod = attributes.resource.group.is_empty() && attributes.resource.plural == "pods";
        let is_bound = match (attributes.operation, attributes.subresource) {
            (Operation::Create, "") | (Operation::Update, "binding") => true,
            _ => return Ok(()),
        };
        let Some(name) =
            pod["spec"]["nodeName"].as_str().filter(|name| is_pod && is_bound && !name.is_empty())
        else {
            return Ok(());
        };
        let Some(node) = attributes.lookup.get("", "nodes", "", name) else { return Ok(()) };
        for key in [TOPOLOGY_ZONE, TOPOLOGY_REGION] {
            if let Some(value) = meta::label(&node, key) {
                pod["metadata"]["labels"][key] = json!(value);
            }
        }
        Ok(())
    }
}
