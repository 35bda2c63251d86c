//! Turns a pod's priority class into a number; keeps the default class unique.
//!
//! **Upstream**: `plugin/pkg/admission/priority`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use api::status::Status;
use serde_json::{Value, json};
use std::sync::Arc;

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";
const PREEMPT: &str = "PreemptLowerPriority";

/// The plugin.
pub(super) struct Priority;

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        if !is_about(attributes, "", "pods") || !pod["spec"].is_object() {
            return Ok(());
        }
        match attributes.operation {
            Operation::Create => resolve(attributes, pod),
            Operation::Update => {
                // An updater may leave out what admission filled in.
                if let Some(old) = attributes.old {
                    for field in ["priority", "preemptionPolicy"] {
                        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
                            pod["spec"][field] = old["spec"][field].clone();
                        }
                    }
                }
                Ok(())
            }
            Operation::Delete | Operation::Connect => Ok(()),
        }
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(class) = object.filter(|class| class["globalDefault"] == true) else { return Ok(()) };
        if !is_about(attributes, GROUP, CLASSES) || attributes.operation == Operation::Delete {
            return Ok(());
        }
        let other = attributes
            .lookup
            .list(GROUP, CLASSES, "")
            .into_iter()
            .find(|o| o["globalDefault"] == true && o["metadata"]["name"] != class["metadata"]["name"]);
        let Some(other) = other else { return Ok(()) };
        let name = other["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
        Err(forbidden(attributes, object, &why))
    }
}

fn resolve(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let class = match pod["spec"]["priorityClassName"].as_str().unwrap_or_default() {
        "" => default_class(attributes),
        name => match attributes.lookup.get(GROUP, CLASSES, "", name) {
            Some(class) => Some(class),
            None => {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(forbidden(attributes, Some(pod), &why));
            }
        },
    };
    let (value, policy) = match &class {
        None => (0, PREEMPT.to_owned()),
        Some(class) => {
            pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
            let policy = class["preemptionPolicy"].as_str().unwrap_or(PREEMPT);
            (class["value"].as_i64().unwrap_or_default(), policy.to_owned())
        }
    };
    if let Some(given) = pod["spec"]["priority"].as_i64().filter(|given| *given != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; \
             priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(forbidden(attributes, Some(pod), &why));
    }
    if let Some(given) = pod["spec"]["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(forbidden(attributes, Some(pod), &why));
    }
    pod["spec"]["priority"] = json!(value);
    pod["spec"]["preemptionPolicy"] = json!(policy);
    Ok(())
}

/// The class for pods that name none; the lowest, should there be several.
fn default_class(attributes: &Attributes<'_>) -> Option<Arc<Value>> {
    let classes = attributes.lookup.list(GROUP, CLASSES, "");
    classes
        .into_iter()
        .filter(|class| class["globalDefault"] == true)
        .min_by_key(|class| class["value"].as_i64().unwrap_or_default())
}
