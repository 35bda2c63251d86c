//! Annotations of a pod that say something about its spec.
//!
//! **Contract**: AppArmor profiles that are asked for by annotation become fields when a pod is created, unless the field
//! is there; what both say must agree.
//! **Upstream**: `applyAppArmorVersionSkew`, `ValidatePodSpecificAnnotations`.

use crate::resources::edit;
use crate::resources::edit::{child, child_or_new, each, entries, items, text};
use api::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCALHOST: &str = "localhost/";
const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Writes the profiles of a new pod's annotations into its containers.
pub(crate) fn sync_apparmor(pod: &mut Value) {
    let annotations = pod["metadata"]["annotations"].clone();
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    if pod["spec"]["os"]["name"] == "windows" {
        return;
    }
    let Some(spec) = child(pod, "spec") else { return };
    for list in CONTAINER_LISTS {
        for container in each(spec, list) {
            let profile = annotation(&annotations, container).and_then(profile);
            if let Some(profile) = profile.filter(|profile| *profile != of_pod)
                && container["securityContext"]["appArmorProfile"].is_null()
                && let Some(context) = child_or_new(container, "securityContext")
            {
                edit::set(context, "appArmorProfile", profile);
            }
        }
    }
}

/// What is told to whom creates a pod with such annotations, before they become fields.
pub(crate) fn deprecated_apparmor(pod: &Value) -> Vec<String> {
    let (annotations, spec) = (&pod["metadata"]["annotations"], &pod["spec"]);
    if spec["os"]["name"] == "windows" {
        return Vec::new();
    }
    let path = Path::new("metadata").child("annotations");
    let containers = CONTAINER_LISTS.iter().flat_map(|list| items(spec, list));
    let deprecated = containers.filter(|container| {
        let value = annotation(annotations, container);
        let of_pod = &spec["securityContext"]["appArmorProfile"];
        container["securityContext"]["appArmorProfile"].is_null()
            && value.is_some_and(|value| profile(value).is_none_or(|profile| profile != *of_pod))
    });
    let warning = |container: &Value| {
        let path = path.key(&format!("{APPARMOR}{}", text(container, "name")));
        format!("{}: deprecated since v1.30; use the \"appArmorProfile\" field instead", path.as_str())
    };
    deprecated.map(warning).collect()
}

fn annotation<'a>(annotations: &'a Value, container: &Value) -> Option<&'a str> {
    annotations[format!("{APPARMOR}{}", text(container, "name"))].as_str()
}

/// The field of an annotation; none, if there is none that is valid.
fn profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix(LOCALHOST)?;
            let valid =
                !name.is_empty() && name.trim() == name && name.len() <= super::security::APPARMOR_NAME_MAX;
            valid.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// All errors of such annotations, in `path`.
pub(crate) fn check_annotations(errors: &mut ErrorList, path: &Path, annotations: &Value, spec: &Value) {
    if let Some(mirror) = annotations[MIRROR].as_str()
        && text(spec, "nodeName").is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation exists";
        errors.push(Error::invalid(&path.key(MIRROR), mirror, detail));
    }
    if let Some(cost) = annotations[DELETION_COST].as_str()
        && !is_deletion_cost(cost)
    {
        errors.push(Error::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    let holder = json!({ "annotations": annotations });
    for (key, value) in entries(&holder, "annotations") {
        let Some(name) = key.strip_prefix(APPARMOR) else { continue };
        let path = path.key(key);
        let mut containers = CONTAINER_LISTS.iter().flat_map(|list| items(spec, list));
        if !containers.any(|container| container["name"] == name) {
            errors.push(Error::invalid(&path, name, "container not found"));
        }
        let value = value.as_str().unwrap_or_default();
        if !matches!(value, "" | "unconfined" | "runtime/default") && !value.starts_with(LOCALHOST) {
            let detail = format!("invalid AppArmor profile name: {value:?}");
            errors.push(Error::invalid(&path, value, &detail));
        }
    }
}

/// A number that Go reads, without a plus sign or leading zeros.
fn is_deletion_cost(cost: &str) -> bool {
    let canonical = cost == "0" || cost.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c));
    canonical && cost.parse::<i32>().is_ok()
}

/// That a container's field and its annotation ask for different profiles.
pub(crate) fn check_apparmor_agrees(
    errors: &mut ErrorList,
    spec_path: &Path,
    annotations: &Value,
    spec: &Value,
) {
    if spec["os"]["name"] == "windows" {
        return;
    }
    for list in CONTAINER_LISTS {
        for (i, container) in items(spec, list).iter().enumerate() {
            let field = &container["securityContext"]["appArmorProfile"];
            let Some(value) = annotation(annotations, container).filter(|_| !field.is_null()) else {
                continue;
            };
            let path = spec_path.child(list).index(i).child("securityContext").child("appArmorProfile");
            let same_type = match text(field, "type") {
                "Unconfined" => value == "unconfined",
                "RuntimeDefault" => value == "runtime/default",
                "Localhost" => value.starts_with(LOCALHOST),
                _ => continue,
            };
            let name = value.strip_prefix(LOCALHOST);
            if !same_type {
                let detail = "apparmor type in annotation and field must match";
                errors.push(Error::forbidden(&path.child("type"), detail));
            } else if name != field["localhostProfile"].as_str() {
                let detail = "apparmor profile in annotation and field must match";
                errors.push(Error::forbidden(&path.child("localhostProfile"), detail));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotation: &str, of_pod: Value, own: Value) -> Value {
        let mut annotations = json!({});
        annotations[format!("{APPARMOR}c")] = annotation.into();
        json!({"metadata": {"annotations": annotations}, "spec": {
            "securityContext": of_pod, "containers": [{"name": "c", "securityContext": own}, {"name": "d"}]}})
    }

    #[test]
    fn an_annotation_becomes_a_field_and_is_told_to_be_old() {
        let runtime = || json!({"appArmorProfile": {"type": "RuntimeDefault"}});
        let local = json!({"type": "Localhost", "localhostProfile": "p"});
        for (annotation, of_pod, own, expected, warned) in [
            ("runtime/default", json!({}), Value::Null, json!({"type": "RuntimeDefault"}), true),
            ("unconfined", runtime(), json!({}), json!({"type": "Unconfined"}), true),
            ("localhost/p", json!({}), json!({}), local, true),
            ("runtime/default", runtime(), json!({}), Value::Null, false),
            ("unconfined", json!({}), runtime(), json!({"type": "RuntimeDefault"}), false),
            ("localhost/", json!({}), json!({}), Value::Null, true),
            ("other", json!({}), json!({}), Value::Null, true),
        ] {
            let mut pod = pod(annotation, of_pod, own);
            let warnings = deprecated_apparmor(&pod);
            sync_apparmor(&mut pod);
            assert_eq!(
                pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"], expected,
                "{annotation}"
            );
            assert_eq!(pod["spec"]["containers"][1], json!({"name": "d"}));
            let warning = "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead";
            assert_eq!(warnings, if warned { vec![warning] } else { Vec::new() }, "{annotation}");
        }
    }

    #[test]
    fn annotations_are_checked_with_the_spec() {
        let spec = json!({"containers": [{"name": "c",
            "securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}}}]});
        let at = |name: &str| format!("{APPARMOR}{name}");
        for (key, value, expected) in [
            (at("c"), "localhost/p", None),
            (
                at("c"),
                "localhost/q",
                Some(
                    "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match",
                ),
            ),
            (
                at("c"),
                "unconfined",
                Some(
                    "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match",
                ),
            ),
            (
                at("x"),
                "unconfined",
                Some(
                    "metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: Invalid value: \"x\": container not found",
                ),
            ),
            (
                MIRROR.to_owned(),
                "m",
                Some(
                    "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"m\": must set spec.nodeName if mirror pod annotation exists",
                ),
            ),
            (DELETION_COST.to_owned(), "-10", None),
            (
                DELETION_COST.to_owned(),
                "+1",
                Some(
                    "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
                ),
            ),
        ] {
            let mut annotations = json!({});
            annotations[key] = value.into();
            let mut errors = ErrorList::new();
            check_annotations(&mut errors, &Path::new("metadata").child("annotations"), &annotations, &spec);
            check_apparmor_agrees(&mut errors, &Path::new("spec"), &annotations, &spec);
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(errors, expected.into_iter().collect::<Vec<_>>(), "{annotations}");
        }
    }

    #[test]
    fn a_name_that_is_no_profile_is_refused() {
        let mut errors = ErrorList::new();
        let annotations = json!({"container.apparmor.security.beta.kubernetes.io/c": "x"});
        check_annotations(
            &mut errors,
            &Path::new("annotations"),
            &annotations,
            &json!({"containers": [{"name": "c"}]}),
        );
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "annotations[container.apparmor.security.beta.kubernetes.io/c]: Invalid value: \"x\": invalid AppArmor profile name: \"x\""
            ]
        );
    }
}
