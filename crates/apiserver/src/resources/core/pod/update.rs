//! What may change in a pod once it exists: images, deadline, tolerations, and little else.
//!
//! **Upstream**: `ValidatePodUpdate`.

use crate::resources::edit;
use crate::resources::edit::{each, items, same, text};
use crate::resources::pod_spec::{check_annotations, check_pod_spec, check_toleration};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// All errors of a changed pod.
pub(super) fn validate(pod: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let (spec, before) = (&pod["spec"], &old["spec"]);
    let annotations = Path::new("metadata").child("annotations");
    check_annotations(&mut errors, &annotations, &pod["metadata"]["annotations"], spec);
    check_pod_spec(&mut errors, &path, spec);
    for list in ["containers", "initContainers"] {
        if items(spec, list).len() != items(before, list).len() {
            let detail = if list == "containers" {
                "pod updates may not add or remove containers"
            } else {
                "pod updates may not add or remove init containers"
            };
            return vec![Error::forbidden(&path.child(list), detail)];
        }
    }
    check_deadline(&mut errors, spec, before);
    check_tolerations(&mut errors, spec, before);
    check_gates(&mut errors, spec, before);
    if !same(&with_old_values(spec, before), before) {
        errors.push(Error::forbidden(&path, FORBIDDEN));
    }
    errors
}

/// The new spec with everything put back that may change.
fn with_old_values(spec: &Value, before: &Value) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        let images: Vec<Value> = items(before, list).iter().map(|c| c["image"].clone()).collect();
        for (container, image) in each(&mut spec, list).zip(images) {
            edit::set(container, "image", image);
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        edit::copy(&mut spec, field, before);
    }
    let grace = "terminationGracePeriodSeconds";
    if before[grace].as_i64().is_some_and(|g| g < 0) && spec[grace] == 1 {
        edit::copy(&mut spec, grace, before);
    }
    // A gated pod may still be steered: its node selector may grow.
    if !items(before, "schedulingGates").is_empty() {
        let kept = |(key, value): (&String, &Value)| spec["nodeSelector"][key] == *value;
        if edit::entries(before, "nodeSelector").all(kept) {
            edit::copy(&mut spec, "nodeSelector", before);
        }
    }
    spec
}

fn check_deadline(errors: &mut ErrorList, spec: &Value, before: &Value) {
    let path = Path::new("spec").child("activeDeadlineSeconds");
    match (spec["activeDeadlineSeconds"].as_i64(), before["activeDeadlineSeconds"].as_i64()) {
        (Some(new), Some(old)) if new > old => {
            errors.push(Error::invalid(&path, new, "must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            errors.push(Error::invalid(
                &path,
                Value::Null,
                "must not update from a positive integer to nil value",
            ));
        }
        _ => {}
    }
}

fn check_tolerations(errors: &mut ErrorList, spec: &Value, before: &Value) {
    let path = Path::new("spec").child("tolerations");
    let new = items(spec, "tolerations");
    let identity = |t: &Value| {
        ["key", "operator", "value", "effect"].map(|f| match (f, text(t, f)) {
            ("operator", "") => "Equal".to_owned(),
            (_, text) => text.to_owned(),
        })
    };
    for old in items(before, "tolerations") {
        let kept = new.iter().any(|t| {
            let seconds =
                t["tolerationSeconds"] == old["tolerationSeconds"] || text(old, "effect") == "NoExecute";
            identity(t) == identity(old) && seconds
        });
        if !kept {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            errors.push(Error::forbidden(&path, detail));
            return;
        }
    }
    for (i, toleration) in new.iter().enumerate().skip(items(before, "tolerations").len()) {
        let mut found = ErrorList::new();
        check_toleration(&mut found, &path.index(i), toleration);
        errors.extend(found.into_iter().filter(|e| !errors.contains(e)).collect::<Vec<_>>());
    }
}

fn check_gates(errors: &mut ErrorList, spec: &Value, before: &Value) {
    let path = Path::new("spec").child("schedulingGates");
    for (i, gate) in items(spec, "schedulingGates").iter().enumerate() {
        if !items(before, "schedulingGates").iter().any(|g| g["name"] == gate["name"]) {
            let name = text(gate, "name");
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(Error::forbidden(&path.index(i).child("name"), &detail));
        }
    }
}
