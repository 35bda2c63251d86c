//! What a container of a pod may be.
//!
//! **Upstream**: `validateContainers`, `validateInitContainers`, `validateContainerCommon`.

use super::{environment, probe, resources, volume};
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
            if init {
                check_init(errors, &path, container);
            } else if let Some(policy) = container["restartPolicy"].as_str() {
                check::one_of_if_set(errors, &path.child("restartPolicy"), &policy.into(), RESTARTS);
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
    environment::check_environment(errors, path, container);
    volume::check_mounts(errors, &path.child("volumeMounts"), container, volumes);
    resources::check_resources(errors, &path.child("resources"), &container["resources"]);
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
            probe::check_handler(errors, &path.child("lifecycle").child(hook), handler);
        }
    }
    check_security(errors, &path.child("securityContext"), &container["securityContext"]);
}

/// An init container that is no sidecar has nothing to probe.
fn check_init(errors: &mut ErrorList, path: &Path, container: &Value) {
    if container["restartPolicy"] == "Always" {
        return;
    }
    if let Some(policy) = container["restartPolicy"].as_str() {
        check::one_of_if_set(errors, &path.child("restartPolicy"), &policy.into(), RESTARTS);
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
        if host_network && host != port["containerPort"].as_i64().unwrap_or(0) {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            let number = port["containerPort"].clone();
            errors.push(Error::invalid(&path.child("containerPort"), number, detail));
        }
        check::one_of(errors, &path.child("protocol"), &port["protocol"], PROTOCOLS);
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

fn check_security(errors: &mut ErrorList, path: &Path, context: &Value) {
    for field in ["runAsUser", "runAsGroup"] {
        super::validation::check_id(errors, &path.child(field), &context[field]);
    }
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, context.clone(), detail));
        }
        let admin = items(&context["capabilities"], "add").iter().any(|c| c == "CAP_SYS_ADMIN");
        if admin {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, context.clone(), detail));
        }
    }
}
