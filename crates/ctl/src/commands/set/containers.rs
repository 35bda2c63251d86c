//! The pod spec inside an object, and the containers of it that a pattern means.

use serde_json::Value;

use crate::cli::fits;

/// Where an object keeps the pod spec that it makes pods of.
pub(super) fn pod_spec(object: &mut Value) -> Result<&mut Value, String> {
    let pointer = match object["kind"].as_str().unwrap_or("") {
        "Pod" => "/spec",
        "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet" | "ReplicationController" | "Job" => {
            "/spec/template/spec"
        }
        "PodTemplate" => "/template/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        kind => {
            let version = object["apiVersion"].as_str().unwrap_or("").rsplit('/').next().unwrap_or("");
            return Err(format!(
                "the object is not a pod or does not have a pod template: *{version}.{kind}"
            ));
        }
    };
    object.pointer_mut(pointer).ok_or_else(|| "the object has no pod template".to_owned())
}

/// The containers and then the init containers that fit.
pub(super) fn matching<'a>(spec: &'a mut Value, pattern: &str) -> Vec<&'a mut Value> {
    let Some(map) = spec.as_object_mut() else { return Vec::new() };
    let (mut containers, mut init) = (Vec::new(), Vec::new());
    for (key, list) in map {
        let into = match key.as_str() {
            "containers" => &mut containers,
            "initContainers" => &mut init,
            _ => continue,
        };
        let all = list.as_array_mut().into_iter().flatten();
        into.extend(all.filter(|one| fits(one["name"].as_str().unwrap_or(""), pattern)));
    }
    containers.append(&mut init);
    containers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_name_containers() {
        for (name, pattern, wanted) in [
            ("web", "*", true),
            ("web", "web", true),
            ("web", "we", false),
            ("web-1", "web*", true),
            ("my-web", "*web", true),
            ("my-web-1", "*web", false),
            ("my-web-1", "my*1", true),
        ] {
            assert_eq!(fits(name, pattern), wanted, "{name} {pattern}");
        }
    }

    #[test]
    fn pod_specs_are_found() {
        let mut job = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [
            {"name": "a"}], "initContainers": [{"name": "b"}]}}}}}});
        let spec = pod_spec(&mut job).unwrap();
        let names: Vec<_> = matching(spec, "*").into_iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(
            pod_spec(&mut json!({"kind": "Service", "apiVersion": "v1"}))
                .unwrap_err()
                .ends_with("*v1.Service")
        );
    }
}
