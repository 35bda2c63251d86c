//! The wish for devices that claims and their templates carry.
//!
//! **Upstream**: `validateDeviceClaim`, `SetDefaults_ExactDeviceRequest`.

use super::{bounded, names, taints};
use crate::cel::{Environment, Expression, Kind};
use crate::resources::edit::{each, items, text};
use crate::resources::{check, edit};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// **Upstream**: `DeviceRequestsMaxSize`, `FirstAvailableDeviceRequestMaxSize`, `DeviceSelectorsMaxSize`.
const MAX_REQUESTS: usize = 32;
const MAX_SUBREQUESTS: usize = 8;
const MAX_SELECTORS: usize = 32;
/// **Upstream**: `DeviceConstraintsMaxSize`, `DeviceConfigMaxSize`.
const MAX_CONSTRAINTS: usize = 32;
pub(super) const MAX_CONFIGS: usize = 32;
/// Bytes. **Upstream**: `CELSelectorExpressionMaxLength`, `OpaqueParametersMaxLength`.
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;
const MODES: &[&str] = &["All", "ExactCount"];

fn default_request(request: &mut Value) {
    edit::set_default_text(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" && edit::is_empty(&request["count"]) {
        edit::set(request, "count", 1);
    }
    default_tolerations(request);
}

/// A toleration is for one value, unless it says otherwise.
pub(super) fn default_tolerations(holder: &mut Value) {
    each(holder, "tolerations")
        .for_each(|toleration| edit::set_default_text(toleration, "operator", "Equal"));
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
    bounded::list(errors, path, (holder, "selectors"), MAX_SELECTORS, &mut |errors, path, selector| {
        let path = path.child("cel");
        if selector["cel"].is_object() {
            check_expression(errors, &path.child("expression"), text(&selector["cel"], "expression"));
        } else {
            errors.push(Error::required(&path, ""));
        }
    });
}

/// All errors of what only a driver understands: an object, of so many bytes at most.
pub(super) fn check_raw(errors: &mut ErrorList, path: &Path, raw: &Value, max: usize) {
    if raw.is_null() {
        errors.push(Error::required(path, ""));
    } else if raw.to_string().len() > max {
        errors.push(Error::too_long(path, max));
    } else if !raw.is_object() {
        errors.push(Error::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}

/// All errors of a configuration.
pub(super) fn check_config(errors: &mut ErrorList, path: &Path, config: &Value) {
    let (opaque, path) = (&config["opaque"], path.child("opaque"));
    if !opaque.is_object() {
        errors.push(Error::required(&path, ""));
        return;
    }
    names::driver(errors, &path, opaque);
    check_raw(errors, &path.child("parameters"), &opaque["parameters"], MAX_PARAMETERS);
}

fn check_asked(errors: &mut ErrorList, path: &Path, request: &Value) {
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
    taints::check_tolerations(errors, path, request);
}

fn check_request(errors: &mut ErrorList, path: &Path, request: &Value) {
    names::label(errors, &path.child("name"), text(request, "name"));
    let is_list = !items(request, "firstAvailable").is_empty();
    match (request["exactly"].is_object(), is_list) {
        (true, false) => check_asked(errors, &path.child("exactly"), &request["exactly"]),
        (false, true) => {
            let (list, key) = ((request, "firstAvailable"), bounded::by_name);
            bounded::set(errors, path, list, MAX_SUBREQUESTS, key, &mut |errors, path, alternative| {
                names::label(errors, &path.child("name"), text(alternative, "name"));
                check_asked(errors, path, alternative);
            });
        }
        (false, false) => {
            errors.push(Error::required(path, "exactly one of `exactly` or `firstAvailable` is required"));
        }
        (true, true) => {
            let detail =
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(Error::invalid(path, Value::Null, detail));
        }
    }
}

/// Whether a claim has a request, or an alternative of one, by this name: `request` or `request/alternative`.
fn is_known(claim: &Value, name: &str) -> bool {
    let (name, alternative) = name.split_once('/').map_or((name, None), |(name, part)| (name, Some(part)));
    let mut requests = items(&claim["devices"], "requests").iter().filter(|r| text(r, "name") == name);
    requests.any(|request| {
        let mut alternatives = items(request, "firstAvailable").iter();
        alternative.is_none_or(|wanted| alternatives.any(|known| text(known, "name") == wanted))
    })
}

/// All errors of a reference to one of a claim's requests.
pub(super) fn check_reference(errors: &mut ErrorList, path: &Path, claim: &Value, name: &str) {
    let few = name.split('/').count() <= 2;
    for part in name.split('/').filter(|_| few) {
        names::label(errors, path, part);
    }
    if !few || !is_known(claim, name) {
        let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        errors.push(Error::invalid(path, name, detail));
    }
}

/// All errors of the references in a field `requests`.
pub(super) fn check_references(errors: &mut ErrorList, path: &Path, claim: &Value, holder: &Value) {
    let (list, key) = ((holder, "requests"), bounded::itself);
    bounded::set(errors, path, list, MAX_REQUESTS, key, &mut |errors, path, name| {
        check_reference(errors, path, claim, name.as_str().unwrap_or_default());
    });
}

fn check_constraint(errors: &mut ErrorList, path: &Path, constraint: &Value) {
    let named = ["matchAttribute", "distinctAttribute"];
    match named.into_iter().find_map(|field| constraint[field].as_str().map(|name| (field, name))) {
        Some((field, name)) => names::fully_qualified(errors, &path.child(field), name),
        None => {
            let detail = r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
            errors.push(Error::required(path, detail));
        }
    }
}

/// All errors of a claim's spec.
pub(super) fn check_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (devices, path) = (&spec["devices"], path.child("devices"));
    let (list, key) = ((devices, "requests"), bounded::by_name);
    bounded::set(errors, &path, list, MAX_REQUESTS, key, &mut check_request);
    let list = (devices, "constraints");
    bounded::list(errors, &path, list, MAX_CONSTRAINTS, &mut |errors, path, constraint| {
        check_references(errors, path, spec, constraint);
        check_constraint(errors, path, constraint);
    });
    bounded::list(errors, &path, (devices, "config"), MAX_CONFIGS, &mut |errors, path, config| {
        check_references(errors, path, spec, config);
        check_config(errors, path, config);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wish_is_refused_with_all_that_is_wrong_with_it() {
        let exactly = |more: Value| {
            let mut request = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1});
            for (field, value) in more.as_object().unwrap() {
                request[field] = value.clone();
            }
            json!({"name": "r", "exactly": request})
        };
        let plain = exactly(json!({}));
        let list = json!({"name": "r", "firstAvailable": [
            {"name": "a", "deviceClassName": "c", "allocationMode": "All"},
            {"name": "a", "deviceClassName": "c", "allocationMode": "All", "count": 1}]});
        let many: Vec<Value> = (0..33).map(|i| json!({"name": format!("r{i}")})).collect();
        let reference = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        for (name, devices, wanted) in [
            ("nothing", json!({}), vec![]),
            ("one", json!({"requests": [plain]}), vec![]),
            (
                "names twice",
                json!({"requests": [plain, plain]}),
                vec!["spec.devices.requests[1]: Duplicate value: \"r\"".to_owned()],
            ),
            (
                "too many say nothing else",
                json!({"requests": many}),
                vec!["spec.devices.requests: Too many: 33: must have at most 32 items".to_owned()],
            ),
            (
                "both ways",
                json!({"requests": [{"name": "r", "exactly": {}, "firstAvailable": [{}]}]}),
                vec!["spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set".to_owned()],
            ),
            (
                "no class, a bad count and mode",
                json!({"requests": [exactly(json!({"deviceClassName": "", "count": -1})), {"name": "s", "exactly": {"deviceClassName": "c", "allocationMode": "Some"}}]}),
                vec![
                    "spec.devices.requests[0].exactly.deviceClassName: Required value".to_owned(),
                    "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero".to_owned(),
                    "spec.devices.requests[1].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"".to_owned(),
                ],
            ),
            (
                "alternatives",
                json!({"requests": [list]}),
                vec![
                    "spec.devices.requests[0].firstAvailable[1].count: Invalid value: 1: must not be specified when allocationMode is 'All'".to_owned(),
                    "spec.devices.requests[0].firstAvailable[1]: Duplicate value: \"a\"".to_owned(),
                ],
            ),
            (
                "tolerations",
                json!({"requests": [exactly(json!({"tolerations": [
                    {"operator": "Exists", "value": "v"}, {"operator": "Near"}, {"operator": "Equal", "effect": "Never"}]}))]}),
                vec![
                    "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`".to_owned(),
                    "spec.devices.requests[0].exactly.tolerations[1].operator: Unsupported value: \"Near\": supported values: \"Equal\", \"Exists\"".to_owned(),
                    "spec.devices.requests[0].exactly.tolerations[2].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"".to_owned(),
                ],
            ),
            (
                "references",
                json!({"requests": [list.clone(), {"name": "s", "exactly": plain["exactly"]}],
                    "constraints": [{"requests": ["r", "r/a", "s"], "matchAttribute": "x.io/numa"}, {"requests": ["s/a"]}],
                    "config": [{"requests": ["a/b/c", "s", "s"], "opaque": {"driver": "x.io", "parameters": 1}}]}),
                vec![
                    "spec.devices.requests[0].firstAvailable[1].count: Invalid value: 1: must not be specified when allocationMode is 'All'".to_owned(),
                    "spec.devices.requests[0].firstAvailable[1]: Duplicate value: \"a\"".to_owned(),
                    format!("spec.devices.constraints[1].requests[0]: Invalid value: \"s/a\": {reference}"),
                    "spec.devices.constraints[1]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set".to_owned(),
                    format!("spec.devices.config[0].requests[0]: Invalid value: \"a/b/c\": {reference}"),
                    "spec.devices.config[0].requests[2]: Duplicate value: \"s\"".to_owned(),
                    "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object".to_owned(),
                ],
            ),
        ] {
            let mut errors = ErrorList::new();
            check_spec(&mut errors, &Path::new("spec"), &json!({"devices": devices}));
            let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, wanted, "{name}");
        }
    }
}
