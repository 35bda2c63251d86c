//! What a container's environment may be.
//!
//! **Upstream**: `ValidateEnv`, `ValidateEnvFrom`.

use crate::resources::check;
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

const FIELD_PATHS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// All errors of `env` and `envFrom`.
pub(super) fn check_environment(errors: &mut ErrorList, path: &Path, container: &Value, spec: &Value) {
    for (i, variable) in items(container, "env").iter().enumerate() {
        let path = path.child("env").index(i);
        match text(variable, "name") {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name => check::invalid(errors, &path.child("name"), &name.into(), names::env_var_name(name)),
        }
        if variable["valueFrom"].is_object() {
            let path = path.child("valueFrom");
            check_source(errors, &path, variable);
            check_file_ref(errors, &path.child("fileKeyRef"), &variable["valueFrom"]["fileKeyRef"], spec);
        }
    }
    for (i, source) in items(container, "envFrom").iter().enumerate() {
        let path = path.child("envFrom").index(i);
        if let Some(prefix) = source["prefix"].as_str().filter(|p| !p.is_empty()) {
            check::invalid(errors, &path.child("prefix"), &prefix.into(), names::env_var_name(prefix));
        }
        let kinds: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|k| source[*k].is_object()).collect();
        match kinds.as_slice() {
            [] => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(Error::invalid(&path, "", detail));
            }
            [kind] => {
                let path = path.child(kind).child("name");
                check::required_name(errors, &path, &source[*kind]["name"], check::subdomain);
            }
            _ => {
                let detail = "may not have more than one field specified at a time";
                errors.push(Error::invalid(&path, "", detail));
            }
        }
    }
}

fn check_source(errors: &mut ErrorList, path: &Path, variable: &Value) {
    let source = &variable["valueFrom"];
    let kinds: Vec<&str> = SOURCES.into_iter().filter(|k| source[*k].is_object()).collect();
    if kinds.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(Error::invalid(path, "", detail));
    } else if !text(variable, "value").is_empty() {
        errors.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if kinds.len() > 1 {
        errors.push(Error::invalid(path, "", "may not have more than one field specified at a time"));
    }
    for kind in kinds {
        let (path, reference) = (path.child(kind), &source[kind]);
        match kind {
            "fieldRef" => check_field_ref(errors, &path, reference, FIELD_PATHS),
            "resourceFieldRef" => check_resource_ref(errors, &path, reference),
            "configMapKeyRef" | "secretKeyRef" => {
                check::required_name(errors, &path.child("name"), &reference["name"], check::subdomain);
                match text(reference, "key") {
                    "" => errors.push(Error::required(&path.child("key"), "")),
                    key => {
                        check::invalid(errors, &path.child("key"), &key.into(), names::config_map_key(key))
                    }
                }
            }
            _ => {}
        }
    }
}

/// A reference to a variable in a file. **Upstream**: `validateFileKeySelector`, `validateFileKeyRefVolumes`.
fn check_file_ref(errors: &mut ErrorList, path: &Path, reference: &Value, spec: &Value) {
    if !reference.is_object() {
        return;
    }
    match text(reference, "key") {
        "" => errors.push(Error::required(&path.child("key"), "")),
        key => check::invalid(errors, &path.child("key"), &key.into(), names::env_var_name(key)),
    }
    let name_path = path.child("volumeName");
    check::required(errors, &name_path, &reference["volumeName"]);
    if check::required(errors, &path.child("path"), &reference["path"]) {
        super::volume::check_no_back_steps(errors, &path.child("path"), text(reference, "path"));
    }
    let name = text(reference, "volumeName");
    match items(spec, "volumes").iter().find(|volume| text(volume, "name") == name) {
        None => errors.push(Error::not_found(&name_path, name)),
        Some(volume) if !volume["emptyDir"].is_object() => {
            errors.push(Error::invalid(&name_path, name, "referenced volume must be of type emptyDir"));
        }
        Some(_) => {}
    }
}

/// A reference to a field of the pod itself.
pub(super) fn check_field_ref(errors: &mut ErrorList, path: &Path, reference: &Value, supported: &[&str]) {
    let (path, field) = (path.child("fieldPath"), text(reference, "fieldPath"));
    if field.is_empty() {
        errors.push(Error::required(&path, ""));
        return;
    }
    let key = ["metadata.labels", "metadata.annotations"]
        .into_iter()
        .find_map(|map| field.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']"));
    match key {
        Some(key) => check::invalid(errors, &path, &field.into(), names::qualified_name(key)),
        None if supported.contains(&field) => {}
        None => errors.push(Error::not_supported(&path, field, supported)),
    }
}

fn check_resource_ref(errors: &mut ErrorList, path: &Path, reference: &Value) {
    let (path, name) = (path.child("resource"), text(reference, "resource"));
    if name.is_empty() {
        errors.push(Error::required(&path, ""));
    } else if !RESOURCES.contains(&name) && !name.contains("hugepages-") {
        errors.push(Error::not_supported(&path, name, RESOURCES));
    }
}
