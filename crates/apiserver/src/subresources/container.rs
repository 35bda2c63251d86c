//! Which container of a pod is meant. Pure.
//!
//! **Upstream**: `pkg/registry/core/pod/strategy.go` (`validateContainer`).

use crate::decode::text;
use api::status::Status;
use serde_json::Value;

/// The container that a request means: the one it names, or the only one.
pub(super) fn container(pod: &Value, pod_name: &str, wanted: &str) -> Result<String, Status> {
    let names = |field: &str| -> Vec<String> {
        let list = pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|c| text(&c["name"]).to_owned()).collect()
    };
    let main = names("containers");
    let all = [names("initContainers"), main.clone(), names("ephemeralContainers")].concat();
    if !wanted.is_empty() {
        return if all.iter().any(|name| name == wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
        };
    }
    match main.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        _ => Err(Status::bad_request(format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chooses_the_only_container_or_asks_for_one() {
        let pod = |containers: &[&str], init: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|n| json!({ "name": n })).collect::<Vec<_>>();
            json!({ "spec": { "containers": list(containers), "initContainers": list(init) } })
        };
        assert_eq!(container(&pod(&["a"], &["i"]), "p", "").unwrap(), "a");
        assert_eq!(container(&pod(&["a", "b"], &["i"]), "p", "i").unwrap(), "i");
        for (pod, wanted, why) in [
            (pod(&["a", "b"], &[]), "", "a container name must be specified for pod p, choose one of: [a b]"),
            (
                pod(&["a", "b"], &["i"]),
                "",
                "a container name must be specified for pod p, choose one of: [i a b]",
            ),
            (pod(&[], &[]), "", "a container name must be specified for pod p"),
            (pod(&["a"], &[]), "x", "container x is not valid for pod p"),
        ] {
            let status = container(&pod, "p", wanted).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, why));
        }
    }
}
