//! A new node takes no pods before it has been seen ready.
//!
//! **Upstream**: `plugin/pkg/admission/nodetaint`.

use super::refusal::is_about;
use super::{Attributes, Operation, Plugin};
use api::status::Status;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, node: &mut Value) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !is_about(attributes, "", "nodes") {
            return Ok(());
        }
        if !node["spec"].is_object() {
            node["spec"] = json!({});
        }
        let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
            taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
        }
        node["spec"]["taints"] = Value::Array(taints);
        Ok(())
    }
}
