//! Pods demand to be alone on a node at most, never in a zone. Off by default.
//!
//! **Upstream**: `plugin/pkg/admission/antiaffinity`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use api::status::Status;
use api::well_known::label::HOSTNAME;
use serde_json::Value;

/// The plugin.
pub(super) struct LimitPodHardAntiAffinityTopology;

impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some(pod) = pod.filter(|_| is_about(attributes, "", "pods")) else { return Ok(()) };
        if attributes.operation == Operation::Delete {
            return Ok(());
        }
        let terms =
            &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let mut keys = terms.as_array().into_iter().flatten().filter_map(|term| term["topologyKey"].as_str());
        match keys.find(|key| *key != HOSTNAME) {
            None => Ok(()),
            Some(key) => {
                let why = format!(
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
                );
                Err(forbidden(attributes, Some(pod), &why))
            }
        }
    }
}
