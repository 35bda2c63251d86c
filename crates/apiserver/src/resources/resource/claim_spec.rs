//! The wish for devices that claims and their templates carry.
//!
//! **Upstream**: `validateDeviceClaim`, `SetDefaults_ExactDeviceRequest`.

use crate::cel::{Environment, Expression, Kind};
use crate::resources::edit::{each, items, text};
use crate::resources::{check, edit};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// **Upstream**: `DeviceRequestsMaxSize`, `FirstAvailableDeviceRequestMaxSize`, `DeviceConfigMaxSize`.
const MAX_REQUESTS: usize = 32;
const MAX_SUBREQUESTS: usize = 8;
const MAX_CONFIGS: usize = 32;
/// **Upstream**: `CELSelectorExpressionMaxLength`.
const MAX_EXPRESSION: usize = 10 * 1024;
const MODES: &[&str] = &["All", "ExactCount"];

fn default_request(request: &mut Value) {
    edit::set_default_text(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" && edit::is_empty(&request["count"]) {
        edit::set(request, "count", 1);
    }
}

/// Fills the defaults of a claim's spec.
pub(super) fn default_spec(spec: &mut Value) {
    edit::set_default(spec, "devices", serde_json::json!({}));
    let Some(devices) = edit::child(spec, "devices") else { return };
    for request in each(devices, "requests") {
        if let Some(exactly) = edit::child(request, "exactly") {
            default_request(exactly);
        }
        each(request, "firstAvailable").for_each(default_request);
    }
}

fn check_expression(errors: &mut ErrorList, path: &Path, source: &str) {
    if source.is_empty() {
        errors.push(Error::required(path, ""));
    } else if source.len() > MAX_EXPRESSION {
        errors.push(Error::too_long(path, MAX_EXPRESSION));
    } else if let Err(why) = Expression::compile(source, &Environment::of_devices(), Kind::Bool) {
        errors.push(Error::invalid(path, source, &why));
    }
}

/// All errors of selectors.
pub(super) fn check_selectors(errors: &mut ErrorList, path: &Path, holder: &Value) {
    let selectors = items(holder, "selectors");
    if selectors.len() > MAX_REQUESTS {
        errors.push(Error::too_many(&path.child("selectors"), selectors.len(), MAX_REQUESTS));
    }
    for (i, selector) in selectors.iter().enumerate() {
        let path = path.child("selectors").index(i).child("cel");
        if selector["cel"].is_object() {
            check_expression(errors, &path.child("expression"), text(&selector["cel"], "expression"));
        } else {
            errors.push(Error::required(&path, ""));
        }
    }
}

/// All errors of configurations.
pub(super) fn check_configs(errors: &mut ErrorList, path: &Path, holder: &Value) {
    let configs = items(holder, "config");
    if configs.len() > MAX_CONFIGS {
        errors.push(Error::too_many(&path.child("config"), configs.len(), MAX_CONFIGS));
    }
    for (i, config) in configs.iter().enumerate() {
        let (opaque, path) = (&config["opaque"], path.child("config").index(i).child("opaque"));
        if !opaque.is_object() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        check::required_name(errors, &path.child("driver"), &opaque["driver"], check::subdomain);
        if opaque["parameters"].is_null() {
            errors.push(Error::required(&path.child("parameters"), ""));
        } else if !opaque["parameters"].is_object() {
            let detail = "must be a valid JSON object";
            errors.push(Error::invalid(&path.child("parameters"), "<value omitted>", detail));
        }
    }
}

fn check_exact(errors: &mut ErrorList, path: &Path, request: &Value) {
    let class = &request["deviceClassName"];
    check::required_name(errors, &path.child("deviceClassName"), class, check::subdomain);
    check_selectors(errors, path, request);
    let (count, at) = (request["count"].as_i64().unwrap_or(0), path.child("count"));
    match text(request, "allocationMode") {
        "ExactCount" if count <= 0 => errors.push(Error::invalid(&at, count, "must be greater than zero")),
        "All" if count != 0 => {
            errors.push(Error::invalid(&at, count, "must not be specified when allocationMode is 'All'"));
        }
        mode if MODES.contains(&mode) => {}
        mode => errors.push(Error::not_supported(&path.child("allocationMode"), mode, MODES)),
    }
}

/// All errors of a claim's spec.
pub(super) fn check_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (devices, path) = (&spec["devices"], path.child("devices"));
    let requests = items(devices, "requests");
    if requests.len() > MAX_REQUESTS {
        errors.push(Error::too_many(&path.child("requests"), requests.len(), MAX_REQUESTS));
    }
    let mut names: Vec<String> = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        let path = path.child("requests").index(i);
        let name = text(request, "name");
        check::required_name(errors, &path.child("name"), &request["name"], check::label);
        if requests[..i].iter().any(|other| other["name"] == request["name"]) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        names.push(name.to_owned());
        let alternatives = items(request, "firstAvailable");
        match (request["exactly"].is_object(), alternatives.is_empty()) {
            (true, true) => check_exact(errors, &path.child("exactly"), &request["exactly"]),
            (false, false) => {
                if alternatives.len() > MAX_SUBREQUESTS {
                    let path = path.child("firstAvailable");
                    errors.push(Error::too_many(&path, alternatives.len(), MAX_SUBREQUESTS));
                }
                for (j, alternative) in alternatives.iter().enumerate() {
                    let path = path.child("firstAvailable").index(j);
                    check::required_name(errors, &path.child("name"), &alternative["name"], check::label);
                    check_exact(errors, &path, alternative);
                    names.push(format!("{name}/{}", text(alternative, "name")));
                }
            }
            (both, _) => {
                let detail = "exactly one of `exactly` or `firstAvailable` is required";
                errors.push(if both {
                    Error::invalid(&path, Value::Null, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
                } else {
                    Error::required(&path, detail)
                });
            }
        }
    }
    for (list, field) in [("constraints", "requests"), ("config", "requests")] {
        for (i, item) in items(devices, list).iter().enumerate() {
            for (j, name) in items(item, field).iter().enumerate() {
                if !name.as_str().is_some_and(|name| names.iter().any(|known| known == name)) {
                    let path = path.child(list).index(i).child(field).index(j);
                    let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
                    errors.push(Error::invalid(&path, name.clone(), detail));
                }
            }
        }
    }
    check_configs(errors, &path, devices);
}
