//! What a container of a pod may be.
//!
//! **Upstream**: `validateContainers`, `validateInitContainers`, `validateContainerCommon`.

use super::{environment, probe, resources, security, volume};
use crate::resources::check;
use crate::resources::edit::{is_empty, items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;
use std::collections::BTreeSet;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["FallbackToLogsOnError", "File"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// All errors of the containers of a PodSpec.
pub(super) fn check_containers(errors: &mut ErrorList, path: &Path, spec: &Value, volumes: &BTreeSet<&str>) {
    if items(spec, "containers").is_empty() {
        errors.push(Error::required(&path.child("containers"), ""));
    }
    let mut seen = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    for (list, init) in [("containers", false), ("initContainers", true)] {
        for (i, container) in items(spec, list).iter().enumerate() {
            let path = path.child(list).index(i);
            let name = text(container, "name");
            check::required_name(errors, &path.child("name"), &container["name"], check::label);
            if !name.is_empty() && !seen.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            check_container(errors, &path, container, spec, volumes);
            check_restarts(errors, &path, container);
            if init {
                check_init(errors, &path, container);
            }
            let counts = !init || container["restartPolicy"] == "Always";
            check_host_ports(
                errors,
                &path.child("ports"),
                container,
                if counts { Some(&mut host_ports) } else { None },
            );
        }
    }
    if !is_empty(&spec["ephemeralContainers"]) {
        for (i, container) in items(spec, "ephemeralContainers").iter().enumerate() {
            let path = path.child("ephemeralContainers").index(i);
            check::required_name(errors, &path.child("name"), &container["name"], check::label);
            check_container(errors, &path, container, spec, volumes);
        }
    }
}

const RESTARTS: &[&str] = &["Always", "Never", "OnFailure"];
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// A container's own restart policy and its rules. **Upstream**: `validateContainerRestartPolicy`.
fn check_restarts(errors: &mut ErrorList, path: &Path, container: &Value) {
    let policy = container["restartPolicy"].as_str();
    if let Some(policy) = policy.filter(|policy| !RESTARTS.contains(policy)) {
        errors.push(Error::not_supported(&path.child("restartPolicy"), policy, RESTARTS));
    }
    let rules = items(container, "restartPolicyRules");
    if !rules.is_empty() && policy.is_none() {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.push(Error::required(&path.child("restartPolicy"), detail));
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&path, rules.len(), RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        let (action, actions) = (text(rule, "action"), &["Restart", "RestartAllContainers"]);
        if !actions.contains(&action) {
            errors.push(Error::not_supported(&path.child("action"), action, actions));
        }
        let (codes, path) = (&rule["exitCodes"], path.child("exitCodes"));
        if !codes.is_object() {
            errors.push(Error::required(&path, "must be specified"));
            continue;
        }
        let (operator, operators) = (text(codes, "operator"), &["In", "NotIn"]);
        if !operators.contains(&operator) {
            errors.push(Error::not_supported(&path.child("operator"), operator, operators));
        }
        let values = items(codes, "values").len();
        if values > EXIT_CODES_MAX {
            errors.push(Error::too_many(&path.child("values"), values, EXIT_CODES_MAX));
        }
    }
}

fn check_container(
    errors: &mut ErrorList,
    path: &Path,
    container: &Value,
    spec: &Value,
    volumes: &BTreeSet<&str>,
) {
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(Error::invalid(&path.child("image"), image, detail));
    }
    check::one_of(errors, &path.child("imagePullPolicy"), &container["imagePullPolicy"], PULL_POLICIES);
    check::one_of(
        errors,
        &path.child("terminationMessagePolicy"),
        &container["terminationMessagePolicy"],
        MESSAGE_POLICIES,
    );
    check_ports(errors, &path.child("ports"), container, spec["hostNetwork"] == true);
    environment::check_environment(errors, path, container, spec);
    volume::check_mounts(errors, &path.child("volumeMounts"), container, volumes);
    volume::check_devices(errors, &path.child("volumeDevices"), container, spec);
    resources::check_resources(errors, &path.child("resources"), &container["resources"]);
    resources::check_resize_policy(errors, &path.child("resizePolicy"), container, spec);
    for (field, kind) in [
        ("livenessProbe", probe::Kind::Liveness),
        ("readinessProbe", probe::Kind::Readiness),
        ("startupProbe", probe::Kind::Startup),
    ] {
        probe::check_probe(errors, &path.child(field), &container[field], kind);
    }
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if !handler.is_null() {
            let path = path.child("lifecycle").child(hook);
            probe::check_handler(errors, &path, handler);
            probe::check_sleep(errors, &path.child("sleep"), &handler["sleep"], spec);
        }
    }
    security::check_container(errors, &path.child("securityContext"), &container["securityContext"], spec);
}

/// An init container that is no sidecar has nothing to probe.
fn check_init(errors: &mut ErrorList, path: &Path, container: &Value) {
    if container["restartPolicy"] == "Always" {
        return;
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if !is_empty(&container[field]) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    }
}

fn check_ports(errors: &mut ErrorList, path: &Path, container: &Value, host_network: bool) {
    let ports = items(container, "ports");
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            let messages = names::port_name(name);
            if messages.is_empty() && ports[..i].iter().any(|p| p["name"] == name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            check::invalid(errors, &path.child("name"), &name.into(), messages);
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            number => {
                check::invalid(
                    errors,
                    &path.child("containerPort"),
                    &number.into(),
                    names::port_number(number),
                );
            }
        }
        let host = port["hostPort"].as_i64().unwrap_or(0);
        if host != 0 {
            check::invalid(errors, &path.child("hostPort"), &host.into(), names::port_number(host));
        }
        // In a template it may be missing: a pod's defaults fill it in.
        if host_network && host != 0 && host != port["containerPort"].as_i64().unwrap_or(0) {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            errors.push(Error::invalid(&path.child("hostPort"), host, detail));
        }
        check::one_of(errors, &path.child("protocol"), &port["protocol"], PROTOCOLS);
        let ip = text(port, "hostIP");
        if !ip.is_empty() {
            check::invalid(errors, &path.child("hostIP"), &ip.into(), names::ip_address(ip));
        }
    }
}

fn check_host_ports(
    errors: &mut ErrorList,
    path: &Path,
    container: &Value,
    mut taken: Option<&mut BTreeSet<String>>,
) {
    for (i, port) in items(container, "ports").iter().enumerate() {
        let number = port["hostPort"].as_i64().unwrap_or(0);
        if number == 0 {
            continue;
        }
        let claim = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
        if let Some(taken) = taken.as_deref_mut()
            && !taken.insert(claim.clone())
        {
            errors.push(Error::duplicate(&path.index(i).child("hostPort"), claim));
        }
    }
}
