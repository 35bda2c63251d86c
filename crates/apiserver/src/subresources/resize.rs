//! `pods/resize`: more or less CPU and memory for containers that run.
//!
//! **Upstream**: `ValidatePodResize`, `podResizeStrategy`.

use super::pod_part::{PodPart, is_static};
use crate::resources::edit::{self, each, is_empty, items, same};
use crate::resources::pod_spec::{check_pod_spec, default_pod_spec};
use api::field::{Error, ErrorList, Path};
use api::k8s_openapi::api::core::v1::PodSpec;
use api::pod::{QosClass, qos_class};
use serde_json::{Value, json};

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// The subresource.
pub(super) const RESIZE: PodPart = PodPart { name: "resize", merge, check, configuration };

/// The pod with the resources of another's containers.
fn merge(old: &Value, wanted: &Value) -> Result<Value, ErrorList> {
    let mut pod = old.clone();
    for list in LISTS {
        let (before, after) = (items(&old["spec"], list), items(&wanted["spec"], list));
        if before.len() != after.len() || before.iter().zip(after).any(|(a, b)| a["name"] != b["name"]) {
            let what = if list == "containers" { "containers" } else { "init containers" };
            let detail = format!("pod updates may not add or remove {what}");
            return Err(vec![Error::forbidden(&Path::new("spec").child(list), &detail)]);
        }
        for (container, new) in each(&mut pod["spec"], list).zip(after) {
            edit::copy(container, "resources", new);
            edit::copy(container, "resizePolicy", new);
        }
    }
    if let Some(spec) = edit::child(&mut pod, "spec") {
        default_pod_spec(spec);
    }
    Ok(pod)
}

/// All errors of the change.
fn check(pod: &Value, old: &Value) -> ErrorList {
    let whole = |why: &str| vec![Error::forbidden(&Path::new(""), why)];
    if !is_empty(&old["spec"]["resources"]) {
        return whole("pods with pod-level resources cannot be resized");
    }
    if is_static(old) {
        return whole("static pods cannot be resized");
    }
    if old["spec"]["os"]["name"] == "windows" {
        return whole("windows pods cannot be resized");
    }
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    check_pod_spec(&mut errors, &path, &pod["spec"]);
    if qos(old) != qos(pod) {
        let class = pod["status"]["qosClass"].clone();
        errors.push(Error::invalid(&path, class, "Pod QOS Class may not change as a result of resizing"));
    }
    if !is_supported(old) {
        errors.push(Error::forbidden(&path, "Pod running on node without support for resize"));
    }
    for list in LISTS {
        let pairs = items(&old["spec"], list).iter().zip(items(&pod["spec"], list));
        for (i, (before, after)) in pairs.enumerate() {
            check_container(&mut errors, &path, list, i, before, after);
        }
    }
    errors
}

fn check_container(errors: &mut ErrorList, spec: &Path, list: &str, i: usize, before: &Value, after: &Value) {
    let sidecar = list == "initContainers";
    if sidecar && before["restartPolicy"] != "Always" {
        if !same(before, after) {
            let detail = "resources for non-sidecar init containers are immutable";
            errors.push(Error::forbidden(spec, detail));
        }
        return;
    }
    let path = spec.child(list).index(i).child("resources");
    for what in ["requests", "limits"] {
        let removed = edit::entries(&before["resources"], what)
            .any(|(name, _)| after["resources"][what].get(name).is_none());
        if removed {
            errors.push(Error::forbidden(&path.child(what), &format!("resource {what} cannot be removed")));
        }
    }
    if !same(before, &with_old_amounts(before, after)) {
        let detail = match sidecar {
            true => "only cpu and memory resources for sidecar containers are mutable",
            false => "only cpu and memory resources are mutable",
        };
        errors.push(Error::forbidden(spec, detail));
    }
}

/// A container with everything put back that may change.
fn with_old_amounts(before: &Value, after: &Value) -> Value {
    let mut container = after.clone();
    for what in ["requests", "limits"] {
        let Some(amounts) = edit::child(&mut container["resources"], what) else { continue };
        for name in ["cpu", "memory"] {
            edit::copy(amounts, name, &before["resources"][what]);
        }
    }
    container
}

/// Whether the node's kubelet tells what containers have got, as those do that can change it.
fn is_supported(pod: &Value) -> bool {
    let statuses = items(&pod["status"], "containerStatuses");
    let running = statuses.iter().find(|status| !status["state"]["running"].is_null());
    running.is_none_or(|status| !status["resources"].is_null())
}

fn qos(pod: &Value) -> Option<QosClass> {
    serde_json::from_value::<PodSpec>(pod["spec"].clone()).ok().map(|spec| qos_class(&spec))
}

fn configuration(wanted: &Value) -> Value {
    let mut spec = json!({});
    for list in LISTS {
        let part = |container: &Value| {
            let mut part = json!({"name": container["name"]});
            edit::copy(&mut part, "resources", container);
            edit::copy(&mut part, "resizePolicy", container);
            part
        };
        if !items(&wanted["spec"], list).is_empty() {
            spec[list] = items(&wanted["spec"], list).iter().map(part).collect();
        }
    }
    json!({"spec": spec})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value) -> Value {
        let container = json!({"name": "c", "image": "i", "resources": resources});
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}});
        default_pod_spec(&mut pod["spec"]);
        pod
    }

    #[test]
    fn cpu_and_memory_may_change_and_nothing_else() {
        let old = pod(json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}));
        let wanted = |requests: Value, limits: Value| pod(json!({"requests": requests, "limits": limits}));
        let memory = json!({"memory": "3Gi"});
        for (wanted, why) in [
            (wanted(json!({"cpu": "2", "memory": "1Gi"}), memory.clone()), None),
            (
                wanted(json!({"memory": "1Gi"}), memory.clone()),
                Some("spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"),
            ),
            (
                wanted(json!({"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}), memory.clone()),
                Some("spec: Forbidden: only cpu and memory resources are mutable"),
            ),
            (
                wanted(json!({"cpu": "1", "memory": "3Gi"}), json!({"cpu": "1", "memory": "3Gi"})),
                Some("spec: Invalid value: null: Pod QOS Class may not change as a result of resizing"),
            ),
        ] {
            let errors = check(&merge(&old, &wanted).unwrap(), &old);
            let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(said.first().map(String::as_str), why, "{said:?}");
        }
        let mut two = old.clone();
        two["spec"]["containers"][0]["name"] = json!("d");
        assert!(merge(&old, &two).is_err());
    }

    #[test]
    fn refuses_pods_that_cannot_be_resized() {
        let old = pod(json!({"requests": {"cpu": "1"}}));
        let mut mirror = old.clone();
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        let mut mute = old.clone();
        mute["status"] = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
        for (pod, why) in [
            (mirror, ": Forbidden: static pods cannot be resized"),
            (mute, "spec: Forbidden: Pod running on node without support for resize"),
        ] {
            assert_eq!(check(&pod, &pod)[0].to_string(), why);
        }
    }
}
