//! What a PodSpec may be, beyond its containers and volumes.
//!
//! **Contract**: all errors at once; defaults have been applied.
//! **Upstream**: `ValidatePodSpec`.

use super::{affinity, container, resources, volume};
use crate::resources::check;
use crate::resources::edit::{entries, is_empty, items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
/// What taints do.
pub(crate) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// All errors of a PodSpec.
pub(crate) fn check_pod_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let volumes = volume::check_volumes(errors, &path.child("volumes"), spec);
    container::check_containers(errors, path, spec, &volumes);
    check::one_of(errors, &path.child("restartPolicy"), &spec["restartPolicy"], RESTART_POLICIES);
    check::one_of(errors, &path.child("dnsPolicy"), &spec["dnsPolicy"], DNS_POLICIES);
    check_dns(errors, path, spec);
    check::not_negative(
        errors,
        &path.child("terminationGracePeriodSeconds"),
        &spec["terminationGracePeriodSeconds"],
    );
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64() {
        let messages = names::between(seconds, 1, i64::from(i32::MAX));
        check::invalid(errors, &path.child("activeDeadlineSeconds"), &seconds.into(), messages);
    }
    check::labels(errors, &path.child("nodeSelector"), spec, "nodeSelector");
    for (field, rule) in [
        ("serviceAccountName", check::subdomain as check::NameCheck),
        ("nodeName", check::subdomain),
        ("hostname", check::label),
        ("subdomain", check::label),
        ("priorityClassName", check::subdomain),
        ("runtimeClassName", check::subdomain),
    ] {
        check::optional_name(errors, &path.child(field), &spec[field], rule);
    }
    for (i, reference) in items(spec, "imagePullSecrets").iter().enumerate() {
        let path = path.child("imagePullSecrets").index(i).child("name");
        check::required_name(errors, &path, &reference["name"], check::subdomain);
    }
    for (i, toleration) in items(spec, "tolerations").iter().enumerate() {
        check_toleration(errors, &path.child("tolerations").index(i), toleration);
    }
    affinity::check_affinity(errors, &path.child("affinity"), &spec["affinity"]);
    affinity::check_spread(errors, &path.child("topologySpreadConstraints"), spec);
    check_security(errors, &path.child("securityContext"), spec);
    check_gates(errors, path, spec);
    for (i, alias) in items(spec, "hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(i);
        check::invalid(errors, &path.child("ip"), &alias["ip"], names::ip_address(text(alias, "ip")));
        for (j, host) in items(alias, "hostnames").iter().enumerate() {
            let messages = check::subdomain(host.as_str().unwrap_or(""));
            check::invalid(errors, &path.child("hostnames").index(j), host, messages);
        }
    }
    for (name, amount) in entries(spec, "overhead") {
        resources::check_amount(errors, &path.child("overhead").key(name), name, amount);
    }
}

fn check_dns(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (config, path) = (&spec["dnsConfig"], path.child("dnsConfig"));
    if spec["dnsPolicy"] == "None" && items(config, "nameservers").is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        let at = if config.is_null() { path.clone() } else { path.child("nameservers") };
        errors.push(Error::required(&at, detail));
    }
    let servers = items(config, "nameservers");
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(Error::invalid(&path.child("nameservers"), config["nameservers"].clone(), detail));
    }
    for (i, server) in servers.iter().enumerate() {
        let messages = names::ip_address(server.as_str().unwrap_or(""));
        check::invalid(errors, &path.child("nameservers").index(i), server, messages);
    }
    for (i, option) in items(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(Error::required(&path.child("options").index(i), "must not be empty"));
        }
    }
}

/// All errors of a toleration.
pub(crate) fn check_toleration(errors: &mut ErrorList, path: &Path, toleration: &Value) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    if !key.is_empty() {
        check::invalid(errors, &path.child("key"), &key.into(), names::qualified_name(key));
    } else if operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(Error::invalid(&path.child("operator"), operator, detail));
    }
    if !toleration["tolerationSeconds"].is_null() && text(toleration, "effect") != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(Error::invalid(&path.child("effect"), text(toleration, "effect"), detail));
    }
    match operator {
        "" | "Equal" => {
            let value = text(toleration, "value");
            check::invalid(errors, &path.child("operator"), &value.into(), names::label_value(value));
        }
        "Exists" => {
            if !text(toleration, "value").is_empty() {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(Error::invalid(&path.child("operator"), toleration.clone(), detail));
            }
        }
        other => errors.push(Error::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
    }
    check::one_of_if_set(errors, &path.child("effect"), &toleration["effect"], EFFECTS);
}

fn check_security(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let context = &spec["securityContext"];
    let ids = ["runAsUser", "runAsGroup", "fsGroup"];
    for field in ids {
        check_id(errors, &path.child(field), &context[field]);
    }
    for (i, group) in items(context, "supplementalGroups").iter().enumerate() {
        check_id(errors, &path.child("supplementalGroups").index(i), group);
    }
    if spec["hostPID"] == true && spec["shareProcessNamespace"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    let sysctls = items(context, "sysctls");
    for (i, sysctl) in sysctls.iter().enumerate() {
        let path = path.child("sysctls").index(i).child("name");
        let name = &sysctl["name"];
        check::required(errors, &path, name);
        if name.as_str().is_some_and(|name| !name.is_empty() && !is_sysctl(name)) {
            errors.push(Error::invalid(&path, name.clone(), SYSCTL_DETAIL));
        } else if sysctls[..i].iter().any(|other| other["name"] == *name) {
            errors.push(Error::duplicate(&path, name.clone()));
        }
    }
}

/// **Upstream**: `SysctlMaxLength`, `SysctlContainSlashFmt`.
const SYSCTL_DETAIL: &str = "must have at most 253 characters and match regex \
    ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Whether a kernel parameter may be called so.
fn is_sysctl(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let is_end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            part.bytes().all(is_inner) && is_end(part.bytes().next()) && is_end(part.bytes().next_back())
        })
}

/// A user or group id.
pub(super) fn check_id(errors: &mut ErrorList, path: &Path, id: &Value) {
    if let Some(number) = id.as_i64() {
        check::invalid(errors, path, id, names::between(number, 0, i64::from(i32::MAX)));
    }
}

fn check_gates(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let gates = items(spec, "schedulingGates");
    for (i, gate) in gates.iter().enumerate() {
        let path = path.child("schedulingGates").index(i);
        let name = text(gate, "name");
        check::invalid(errors, &path, &name.into(), names::qualified_name(name));
        if gates[..i].iter().any(|g| g["name"] == name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
    for (i, gate) in items(spec, "readinessGates").iter().enumerate() {
        let name = text(gate, "conditionType");
        let path = path.child("readinessGates").index(i).child("conditionType");
        check::invalid(errors, &path, &name.into(), names::qualified_name(name));
    }
    if !gates.is_empty() && !is_empty(&spec["nodeName"]) {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.child("nodeName"), detail));
    }
}
