//! `pods/ephemeralcontainers`: containers that join a running pod, to look at it. They come and never go.
//!
//! **Upstream**: `ValidatePodEphemeralContainersUpdate`, `validateEphemeralContainers`.

use super::pod_part::{PodPart, is_static};
use crate::resources::edit::{self, is_empty, items, same, text};
use crate::resources::pod_spec::{check_pod_spec, default_pod_spec};
use api::field::{Error, ErrorList, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LIST: &str = "ephemeralContainers";
/// What an ephemeral container may not have.
const NOT_ALLOWED: [&str; 8] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// The subresource.
pub(super) const EPHEMERAL_CONTAINERS: PodPart =
    PodPart { name: "ephemeralcontainers", merge, check, configuration };

/// The pod with the containers of another.
fn merge(old: &Value, wanted: &Value) -> Result<Value, ErrorList> {
    let mut pod = old.clone();
    if let Some(spec) = edit::child_or_new(&mut pod, "spec") {
        edit::copy(spec, LIST, &wanted["spec"]);
        default_pod_spec(spec);
    }
    Ok(pod)
}

/// All errors of the change.
fn check(pod: &Value, old: &Value) -> ErrorList {
    if is_static(old) {
        return vec![Error::forbidden(&Path::new(""), "static pods do not support ephemeral containers")];
    }
    let mut errors = ErrorList::new();
    let spec = Path::new("spec");
    check_pod_spec(&mut errors, &spec, &pod["spec"]);
    let path = spec.child(LIST);
    check_containers(&mut errors, &path, &pod["spec"]);
    for container in items(&old["spec"], LIST) {
        let name = text(container, "name");
        match items(&pod["spec"], LIST).iter().find(|c| c["name"] == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(Error::forbidden(&path, &detail));
            }
            Some(new) if !same(new, container) => {
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(Error::forbidden(&path, &detail));
            }
            Some(_) => {}
        }
    }
    errors
}

fn check_containers(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let lasting = || items(spec, "containers").iter().chain(items(spec, "initContainers"));
    let mut names: BTreeSet<&str> = lasting().map(|c| text(c, "name")).collect();
    for (i, container) in items(spec, LIST).iter().enumerate() {
        let path = path.index(i);
        let name = text(container, "name");
        if !name.is_empty() && !names.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !lasting().any(|c| c["name"] == target) {
            errors.push(Error::not_found(&path.child("targetContainerName"), target));
        }
        let detail = "cannot be set for an Ephemeral Container";
        for field in NOT_ALLOWED {
            if !is_empty(&container[field]) {
                errors.push(Error::forbidden(&path.child(field), detail));
            }
        }
        for (j, mount) in items(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !is_empty(&mount[field]) {
                    let path = path.child("volumeMounts").index(j).child(field);
                    errors.push(Error::forbidden(&path, detail));
                }
            }
        }
    }
}

fn configuration(wanted: &Value) -> Value {
    json!({"spec": {LIST: wanted["spec"][LIST]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ephemeral: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], LIST: ephemeral}})
    }

    #[test]
    fn containers_come_and_stay_as_they_are() {
        let debugger = json!({"name": "d", "image": "i", "targetContainerName": "c"});
        let none = merge(&pod(json!([])), &pod(json!([]))).unwrap();
        let one = merge(&none, &pod(json!([debugger]))).unwrap();
        assert_eq!(check(&one, &none), ErrorList::new());
        let mut changed = debugger.clone();
        changed["image"] = json!("j");
        for (wanted, why) in [
            (
                json!([]),
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n",
            ),
            (
                json!([changed]),
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n",
            ),
            (
                json!([debugger, {"name": "c", "image": "i"}]),
                "spec.ephemeralContainers[1].name: Duplicate value: \"c\"",
            ),
            (
                json!([debugger, {"name": "e", "image": "i", "targetContainerName": "x"}]),
                "spec.ephemeralContainers[1].targetContainerName: Not found: \"x\"",
            ),
            (
                json!([debugger, {"name": "e", "image": "i", "ports": [{"containerPort": 1}]}]),
                "spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container",
            ),
        ] {
            let errors = check(&merge(&one, &pod(wanted)).unwrap(), &one);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [why]);
        }
        let mut mirror = none;
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        let refused = check(&merge(&mirror, &pod(json!([debugger]))).unwrap(), &mirror);
        assert_eq!(refused[0].to_string(), ": Forbidden: static pods do not support ephemeral containers");
    }
}
