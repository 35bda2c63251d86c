//! What volumes and their mounts may be.
//!
//! **Upstream**: `ValidateVolumes`, `ValidateVolumeMounts`.

use super::environment::check_field_ref;
use crate::resources::check;
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use api::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeSet;

const HOST_PATH_TYPES: &[&str] =
    &["BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const DOWNWARD_PATHS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// All errors of the volumes; returns their names.
pub(super) fn check_volumes<'a>(errors: &mut ErrorList, path: &Path, spec: &'a Value) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (i, volume) in items(spec, "volumes").iter().enumerate() {
        let path = path.index(i);
        let name = text(volume, "name");
        check::required_name(errors, &path.child("name"), &volume["name"], check::label);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let sources: Vec<(&String, &Value)> = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(field, source)| *field != "name" && !source.is_null())
            .collect();
        if sources.is_empty() {
            errors.push(Error::required(&path, "must specify a volume type"));
        }
        for (j, (kind, source)) in sources.iter().enumerate() {
            if j > 0 {
                errors.push(Error::forbidden(&path.child(kind), "may not specify more than 1 volume type"));
            } else {
                check_source(errors, &path.child(kind), kind, source);
            }
        }
    }
    seen
}

fn check_source(errors: &mut ErrorList, path: &Path, kind: &str, source: &Value) {
    match kind {
        "emptyDir" => {
            let limit = source["sizeLimit"].as_str().and_then(|l| l.parse::<Quantity>().ok());
            if limit.is_some_and(Quantity::is_negative) {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.push(Error::forbidden(&path.child("sizeLimit"), detail));
            }
        }
        "hostPath" => {
            let host = text(source, "path");
            if check::required(errors, &path.child("path"), &source["path"]) {
                no_back_steps(errors, &path.child("path"), host);
            }
            check::one_of_if_set(errors, &path.child("type"), &source["type"], HOST_PATH_TYPES);
        }
        "secret" => {
            check::required(errors, &path.child("secretName"), &source["secretName"]);
            check_files(errors, path, source);
        }
        "configMap" => {
            check::required(errors, &path.child("name"), &source["name"]);
            check_files(errors, path, source);
        }
        "downwardAPI" => check_downward(errors, path, source),
        "persistentVolumeClaim" => {
            check::required(errors, &path.child("claimName"), &source["claimName"]);
        }
        "image" => {
            check::required(errors, &path.child("reference"), &source["reference"]);
        }
        "projected" => check_projected(errors, path, source),
        _ => {}
    }
}

fn check_projected(errors: &mut ErrorList, path: &Path, source: &Value) {
    check_mode(errors, &path.child("defaultMode"), &source["defaultMode"]);
    for (i, part) in items(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        for (kind, part) in part.as_object().into_iter().flatten() {
            let path = path.child(kind);
            match kind.as_str() {
                "secret" | "configMap" => {
                    check::required(errors, &path.child("name"), &part["name"]);
                    check_files(errors, &path, part);
                }
                "downwardAPI" => check_downward(errors, &path, part),
                "serviceAccountToken" => {
                    let seconds = part["expirationSeconds"].as_i64().unwrap_or(3600);
                    if seconds < 600 {
                        let detail = "may not specify a duration less than 10 minutes";
                        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, detail));
                    }
                    if check::required(errors, &path.child("path"), &part["path"]) {
                        relative(errors, &path.child("path"), text(part, "path"));
                    }
                }
                _ => {}
            }
        }
    }
}

fn check_downward(errors: &mut ErrorList, path: &Path, source: &Value) {
    check_mode(errors, &path.child("defaultMode"), &source["defaultMode"]);
    for (i, item) in items(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        if check::required(errors, &path.child("path"), &item["path"]) {
            relative(errors, &path.child("path"), text(item, "path"));
        }
        if item["fieldRef"].is_object() {
            check_field_ref(errors, &path.child("fieldRef"), &item["fieldRef"], DOWNWARD_PATHS);
        } else if !item["resourceFieldRef"].is_object() {
            errors.push(Error::required(&path, "one of fieldRef and resourceFieldRef is required"));
        }
    }
}

fn check_mode(errors: &mut ErrorList, path: &Path, mode: &Value) {
    if let Some(mode) = mode.as_i64().filter(|m| !(0..=0o777).contains(m)) {
        errors.push(Error::invalid(path, mode, MODE));
    }
}

fn check_files(errors: &mut ErrorList, path: &Path, source: &Value) {
    check_mode(errors, &path.child("defaultMode"), &source["defaultMode"]);
    for (i, item) in items(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        check::required(errors, &path.child("key"), &item["key"]);
        if check::required(errors, &path.child("path"), &item["path"]) {
            relative(errors, &path.child("path"), text(item, "path"));
        }
        check_mode(errors, &path.child("mode"), &item["mode"]);
    }
}

fn no_back_steps(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

fn relative(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    no_back_steps(errors, path, value);
}

/// All errors of a container's mounts.
pub(super) fn check_mounts(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &BTreeSet<&str>) {
    let mut points = BTreeSet::new();
    for (i, mount) in items(container, "volumeMounts").iter().enumerate() {
        let path = path.index(i);
        let (name, point) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !volumes.contains(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        if check::required(errors, &path.child("mountPath"), &mount["mountPath"]) && !points.insert(point) {
            errors.push(Error::invalid(&path.child("mountPath"), point, "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            if let Some(sub) = mount[field].as_str().filter(|s| !s.is_empty()) {
                relative(errors, &path.child(field), sub);
            }
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(Error::invalid(&path.child("subPathExpr"), text(mount, "subPathExpr"), detail));
        }
        let propagation = &["Bidirectional", "HostToContainer", "None"];
        let value = &mount["mountPropagation"];
        check::one_of_if_set(errors, &path.child("mountPropagation"), value, propagation);
        if *value == "Bidirectional" && container["securityContext"]["privileged"] != true {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(Error::forbidden(&path.child("mountPropagation"), detail));
        }
    }
}
