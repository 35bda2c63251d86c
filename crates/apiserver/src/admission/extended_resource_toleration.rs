//! A pod that asks for an extended resource tolerates the taint of the nodes that are kept for it. Off by default.
//!
//! **Upstream**: `plugin/pkg/admission/extendedresourcetoleration`.

use super::refusal::is_about;
use super::{Attributes, Operation, Plugin};
use api::quota::Kind;
use api::status::Status;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The plugin.
pub(super) struct ExtendedResourceToleration;

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
        if !is_write || !is_about(attributes, "", "pods") || !pod["spec"].is_object() {
            return Ok(());
        }
        // Quotas name extended resources `requests.example.com/gpu`, and nothing else with a domain.
        let usage = Kind::core("pods").usage(pod, attributes.now);
        let names = usage.keys().filter_map(|name| name.strip_prefix("requests."));
        let names: BTreeSet<&str> = names.filter(|name| name.contains('/')).collect();
        let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        for name in names {
            let toleration = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
            if !tolerations.contains(&toleration) {
                tolerations.push(toleration);
            }
        }
        if !tolerations.is_empty() {
            pod["spec"]["tolerations"] = Value::Array(tolerations);
        }
        Ok(())
    }
}
