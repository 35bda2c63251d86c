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
                check_no_back_steps(errors, &path.child("path"), host);
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
        "ephemeral" if !source["volumeClaimTemplate"].is_object() => {
            errors.push(Error::required(&path.child("volumeClaimTemplate"), ""));
        }
        "nfs" => {
            check::required(errors, &path.child("server"), &source["server"]);
            check::required(errors, &path.child("path"), &source["path"]);
            let folder = text(source, "path");
            if !folder.starts_with('/') {
                errors.push(Error::invalid(&path.child("path"), folder, "must be an absolute path"));
            }
        }
        "csi" => {
            check::required_name(errors, &path.child("driver"), &source["driver"], driver_name);
        }
        "projected" => check_projected(errors, path, source),
        _ => {}
    }
}

fn driver_name(name: &str) -> Vec<String> {
    check::subdomain(&name.to_lowercase())
}

fn check_projected(errors: &mut ErrorList, path: &Path, source: &Value) {
    check_mode(errors, &path.child("defaultMode"), &source["defaultMode"]);
    for (i, part) in items(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        let kinds = part.as_object().into_iter().flatten().filter(|(_, part)| !part.is_null());
        if kinds.clone().count() > 1 {
            errors.push(Error::forbidden(&path, "may not specify more than 1 volume type per source"));
        }
        for (kind, part) in kinds {
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
                        check_relative(errors, &path.child("path"), text(part, "path"));
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
            check_relative(errors, &path.child("path"), text(item, "path"));
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
            check_relative(errors, &path.child("path"), text(item, "path"));
        }
        check_mode(errors, &path.child("mode"), &item["mode"]);
    }
}

/// A path that does not go upwards.
pub(super) fn check_no_back_steps(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

/// A path below a folder: relative, and never upwards.
pub(super) fn check_relative(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    check_no_back_steps(errors, path, value);
}

/// All errors of a container's mounts.
pub(super) fn check_mounts(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &BTreeSet<&str>) {
    let mut points = BTreeSet::new();
    // Upstream names some fields as if the list were one mount.
    let fields = path;
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
                check_relative(errors, &fields.child(field), sub);
            }
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(Error::invalid(&path.child("subPathExpr"), text(mount, "subPathExpr"), detail));
        }
        let propagation = &["Bidirectional", "HostToContainer", "None"];
        let value = &mount["mountPropagation"];
        check::one_of_if_set(errors, &fields.child("mountPropagation"), value, propagation);
        if *value == "Bidirectional" && container["securityContext"]["privileged"] != true {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(Error::forbidden(&fields.child("mountPropagation"), detail));
        }
        check_recursive(errors, &fields.child("recursiveReadOnly"), mount);
        let devices = || items(container, "volumeDevices").iter();
        if devices().any(|device| text(device, "name") == name) {
            errors.push(Error::invalid(&path.child("name"), name, "must not already exist in volumeDevices"));
        }
        if devices().any(|device| text(device, "devicePath") == point) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(Error::invalid(&path.child("mountPath"), point, detail));
        }
    }
}

fn check_recursive(errors: &mut ErrorList, path: &Path, mount: &Value) {
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount["readOnly"] != true {
                errors.push(Error::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !matches!(text(mount, "mountPropagation"), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, detail));
            }
        }
        Some(other) => {
            errors.push(Error::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]));
        }
    }
}

/// All errors of a container's devices. **Upstream**: `ValidateVolumeDevices`.
pub(super) fn check_devices(errors: &mut ErrorList, path: &Path, container: &Value, spec: &Value) {
    let devices = items(container, "volumeDevices");
    let mounts = || items(container, "volumeMounts").iter();
    for (i, device) in devices.iter().enumerate() {
        let (name, point) = (text(device, "name"), text(device, "devicePath"));
        let (name_path, point_path) = (path.index(i).child("name"), path.index(i).child("devicePath"));
        check::required(errors, &name_path, &device["name"]);
        if devices[..i].iter().any(|other| text(other, "name") == name) {
            errors.push(Error::invalid(&name_path, name, "must be unique"));
        }
        match items(spec, "volumes").iter().find(|volume| text(volume, "name") == name) {
            None => errors.push(Error::not_found(&name_path, name)),
            Some(volume) if volume["persistentVolumeClaim"].is_null() && volume["ephemeral"].is_null() => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&name_path, name, detail));
            }
            Some(_) => {}
        }
        check::required(errors, &point_path, &device["devicePath"]);
        if devices[..i].iter().any(|other| text(other, "devicePath") == point) {
            errors.push(Error::invalid(&point_path, point, "must be unique"));
        }
        if point.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&point_path, point, "can not contain backsteps ('..')"));
        }
        if mounts().any(|mount| text(mount, "name") == name) {
            errors.push(Error::invalid(&name_path, name, "must not already exist in volumeMounts"));
        }
        if mounts().any(|mount| text(mount, "mountPath") == point) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(Error::invalid(&point_path, point, detail));
        }
    }
}
