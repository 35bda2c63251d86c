//! What a pod uses.
//!
//! **Upstream**: `pkg/quota/v1/evaluator/core/pods.go`.

use crate::names::is_extended_resource;
use crate::pod::{self, ResourceList};
use crate::quantity::Quantity;
use crate::quota::amounts;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";
const MEASURES: [&str; 10] = [
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// What every container must state once a quota names it.
const MANDATORY: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

pub(super) fn is_measured_by(name: &str) -> bool {
    MEASURES.contains(&name)
        || name.starts_with(HUGE_PAGES)
        || name
            .strip_prefix(REQUESTS)
            .is_some_and(|name| name.starts_with(HUGE_PAGES) || is_extended_resource(name))
}

pub(super) fn add_usage(usage: &mut ResourceList, pod: &Value, now: Timestamp) {
    if !is_alive(pod, now) {
        return;
    }
    let Ok(spec) = PodSpec::deserialize(&pod["spec"]) else { return };
    usage.insert("pods".to_owned(), Quantity::new(1));
    usage.extend(compute(&pod::requests(&spec), &pod::limits(&spec)));
}

/// Whether a pod still counts: it has not ended, and is not overdue to be gone.
fn is_alive(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return false;
    }
    let metadata = &pod["metadata"];
    let gone_by = crate::time::from_value(&metadata["deletionTimestamp"])
        .zip(metadata["deletionGracePeriodSeconds"].as_i64())
        .and_then(|(at, grace)| at.checked_add(SignedDuration::from_secs(grace)).ok());
    gone_by.is_none_or(|gone_by| now <= gone_by)
}

fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut usage = ResourceList::new();
    for (name, amount) in requests {
        match name.as_str() {
            "cpu" | "memory" | "ephemeral-storage" => {
                usage.insert(name.clone(), *amount);
                usage.insert(format!("{REQUESTS}{name}"), *amount);
            }
            name if name.starts_with(HUGE_PAGES) => {
                usage.insert(name.to_owned(), *amount);
                usage.insert(format!("{REQUESTS}{name}"), *amount);
            }
            name if is_extended_resource(name) => {
                usage.insert(format!("{REQUESTS}{name}"), *amount);
            }
            _ => {}
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

/// What containers of a pod leave out although a quota needs it: `must specify cpu for: a,b; memory for: a`.
pub fn missing<'a>(required: impl IntoIterator<Item = &'a str>, pod: &Value) -> Option<String> {
    let required: BTreeSet<&str> = required.into_iter().filter(|name| MANDATORY.contains(name)).collect();
    if required.is_empty() {
        return None;
    }
    let stated =
        |resources: &Value| compute(&amounts(&resources["requests"]), &amounts(&resources["limits"]));
    let whole = stated(&pod["spec"]["resources"]);
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let own = stated(&container["resources"]);
            for name in
                required.iter().filter(|name| !own.contains_key(**name) && !whole.contains_key(**name))
            {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    if missing.is_empty() {
        return None;
    }
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| {
            format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
        })
        .collect();
    Some(format!("must specify {}", parts.join("; ")))
}
