//! What a container may learn of its own pod: fields and resources, as text.
//!
//! **Contract**: pure. Environment variables and downward API volumes read the same values here.
//! **Upstream**: `pkg/fieldpath`, `pkg/api/v1/resource/helpers.go` (`ExtractContainerResourceValue`).

use crate::container_config::NodeContext;
use api::k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use api::pod::parse_quantity;
use api::quantity::Quantity;
use std::collections::BTreeMap;

/// The value of a path such as `metadata.labels['app']` or `status.podIP`.
pub(crate) fn field(pod: &Pod, path: &str, node: &NodeContext) -> Result<String, String> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(format!("invalid path {path:?}: subscript not supported")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => node.node_name.clone(),
        "spec.serviceAccountName" => {
            pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" => node.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => node.host_ips.join(","),
        "status.podIP" => node.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => node.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `key="value"`, a line each, sorted.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let all = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    all.collect::<Vec<_>>().join("\n")
}

/// A container's request or limit, in units of the divisor, rounded up. A limit that is not set is its pod's, or what the
/// node has.
pub(crate) fn resource(
    pod: &Pod,
    container: &Container,
    selector: &ResourceFieldSelector,
    node: &NodeContext,
) -> Result<String, String> {
    let unknown = || format!("Unsupported container resource : {}", selector.resource);
    let (list, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let list_of = |list: &str| match list {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        _ => resources.and_then(|r| r.requests.as_ref()),
    };
    let capacity = match name {
        "cpu" => i128::from(node.cpu_millis),
        "memory" => i128::from(node.memory_capacity) * 1000,
        "ephemeral-storage" => i128::from(node.disk_capacity) * 1000,
        _ if name.starts_with("hugepages-") => 0,
        _ => return Err(unknown()),
    };
    let of_pod = pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.limits.as_ref());
    let of_pod = of_pod.and_then(|limits| limits.get(name)).map(|q| millis(parse_quantity(q)));
    let capacity = of_pod.unwrap_or(capacity);
    let set = |list: &str| list_of(list).and_then(|l| l.get(name)).map(|q| millis(parse_quantity(q)));
    let value = match list {
        "limits" => set("limits").filter(|n| *n > 0).unwrap_or(capacity),
        "requests" => set("requests").unwrap_or(0),
        _ => return Err(unknown()),
    };
    let divisor = selector.divisor.as_ref().map(|q| millis(parse_quantity(q))).filter(|d| *d > 0);
    let divisor = divisor.unwrap_or(1000);
    Ok(((value + divisor - 1) / divisor).to_string())
}

fn millis(quantity: Quantity) -> i128 {
    // Larger amounts than an i64 of thousandths holds have no thousandths.
    match quantity.millis() {
        i64::MAX => i128::from(quantity.value()) * 1000,
        millis => i128::from(millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_fields() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u", "labels": {"b": "two", "a": "o\"ne"}},
            "spec": {"serviceAccountName": "sa", "containers": []}
        }))
        .expect("a pod");
        let node = NodeContext {
            pod_ips: vec!["1.2.3.4".into(), "::1".into()],
            host_ips: vec!["192.0.2.1".into(), "fd00::1".into()],
            ..NodeContext::default()
        };
        for (path, value) in [
            ("metadata.name", "p"),
            ("metadata.labels['b']", "two"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a=\"o\\\"ne\"\nb=\"two\""),
            ("spec.serviceAccountName", "sa"),
            ("status.podIP", "1.2.3.4"),
            ("status.podIPs", "1.2.3.4,::1"),
            ("status.hostIP", "192.0.2.1"),
            ("status.hostIPs", "192.0.2.1,fd00::1"),
        ] {
            assert_eq!(field(&pod, path, &node).as_deref(), Ok(value), "{path}");
        }
        assert!(field(&pod, "spec.restartPolicy", &node).is_err());
    }

    #[test]
    fn resources_are_rounded_up_and_default_to_the_nodes() {
        let container: Container = serde_json::from_value(json!({"name": "c", "resources": {
            "limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}}))
        .expect("a container");
        let node = NodeContext { cpu_millis: 4000, memory_capacity: 1 << 30, ..NodeContext::default() };
        let bare = Container::default();
        for (container, resource_name, divisor, value) in [
            (&container, "limits.cpu", "0", "2"),
            (&container, "limits.cpu", "1m", "1250"),
            (&container, "requests.cpu", "1", "1"),
            (&container, "limits.memory", "1Mi", "64"),
            (&container, "requests.memory", "1", "0"),
            (&bare, "limits.cpu", "1", "4"),
            (&bare, "limits.memory", "1Mi", "1024"),
        ] {
            let selector: ResourceFieldSelector =
                serde_json::from_value(json!({"resource": resource_name, "divisor": divisor})).expect("one");
            let got = resource(&Pod::default(), container, &selector, &node);
            assert_eq!(got.as_deref(), Ok(value), "{resource_name}");
        }
        let pod: Pod = serde_json::from_value(
            json!({"spec": {"containers": [], "resources": {"limits": {"cpu": "3"}}}}),
        )
        .expect("a pod");
        let selector: ResourceFieldSelector =
            serde_json::from_value(json!({"resource": "limits.cpu"})).expect("one");
        assert_eq!(resource(&pod, &bare, &selector, &node).as_deref(), Ok("3"), "its pod's");
    }
}
