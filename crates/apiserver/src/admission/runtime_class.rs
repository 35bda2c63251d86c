//! A pod takes over overhead, node selector and tolerations of its RuntimeClass.
//!
//! **Upstream**: `plugin/pkg/admission/runtimeclass`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use api::quota::amounts;
use api::status::Status;
use serde_json::{Value, json};
use std::sync::Arc;

/// The plugin.
pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let Some(class) = class(attributes, Some(pod))? else { return Ok(()) };
        let overhead = &class["overhead"]["podFixed"];
        if is_set(overhead) {
            if is_set(&pod["spec"]["overhead"]) && !same(overhead, &pod["spec"]["overhead"]) {
                return Err(mismatch(attributes, pod));
            }
            pod["spec"]["overhead"] = overhead.clone();
        }
        for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
            let own = &pod["spec"]["nodeSelector"][key];
            if !own.is_null() && own != value {
                let (wanted, own) = (value.as_str().unwrap_or_default(), own.as_str().unwrap_or_default());
                let why = format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
                );
                return Err(forbidden(attributes, Some(pod), &why));
            }
            pod["spec"]["nodeSelector"][key] = value.clone();
        }
        let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        for toleration in class["scheduling"]["tolerations"].as_array().into_iter().flatten() {
            if !tolerations.contains(toleration) {
                tolerations.push(toleration.clone());
            }
        }
        if !tolerations.is_empty() {
            pod["spec"]["tolerations"] = json!(tolerations);
        }
        Ok(())
    }

    fn validate(&self, attributes: &mut Attributes<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some(pod) = pod.filter(|_| concerns(attributes)) else { return Ok(()) };
        let class = class(attributes, Some(pod))?;
        let defined = class.as_deref().map(|class| &class["overhead"]["podFixed"]).filter(|o| is_set(o));
        match defined {
            Some(overhead) if !same(overhead, &pod["spec"]["overhead"]) => Err(mismatch(attributes, pod)),
            None if is_set(&pod["spec"]["overhead"]) => {
                let why =
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(forbidden(attributes, Some(pod), why))
            }
            _ => Ok(()),
        }
    }
}

fn concerns(attributes: &Attributes<'_>) -> bool {
    attributes.operation == Operation::Create && is_about(attributes, "", "pods")
}

fn is_set(amounts: &Value) -> bool {
    amounts.as_object().is_some_and(|amounts| !amounts.is_empty())
}

fn same(a: &Value, b: &Value) -> bool {
    amounts(a) == amounts(b)
}

fn mismatch(attributes: &Attributes<'_>, pod: &Value) -> Status {
    let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
    forbidden(attributes, Some(pod), why)
}

/// The class of a new pod, if it names one.
fn class(attributes: &Attributes<'_>, pod: Option<&Value>) -> Result<Option<Arc<Value>>, Status> {
    let name = pod.and_then(|pod| pod["spec"]["runtimeClassName"].as_str()).filter(|name| !name.is_empty());
    let Some(name) = name.filter(|_| concerns(attributes)) else { return Ok(None) };
    match attributes.lookup.get("node.k8s.io", "runtimeclasses", "", name) {
        Some(class) => Ok(Some(class)),
        None => {
            let why = format!("pod rejected: RuntimeClass {name:?} not found");
            Err(forbidden(attributes, pod, &why))
        }
    }
}
