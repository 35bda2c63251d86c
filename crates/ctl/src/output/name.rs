//! `-o name` and the start of one-line outputs: `pod/x`, `deployment.apps/x`.

use serde_json::Value;

/// `kind.group/name` of an object with its own kind.
pub(crate) fn of(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("").to_lowercase();
    let group = object["apiVersion"].as_str().unwrap_or("").split_once('/').map_or("", |(group, _)| group);
    let name = object["metadata"]["name"].as_str().filter(|name| !name.is_empty()).unwrap_or("<unknown>");
    format!("{}/{name}", with_group(if kind.is_empty() { "<unknown>" } else { &kind }, group))
}

/// `resource.group`, or the resource alone in the core group.
pub(crate) fn with_group(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// `kind/name`
pub(crate) fn of_parts(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}
