//! What a PodSpec may be, beyond its containers and volumes.
//!
//! **Contract**: all errors at once; defaults have been applied.
//! **Upstream**: `ValidatePodSpec`.

use super::{affinity, container, resources, security, volume};
use crate::resources::check;
use crate::resources::edit::{entries, is_empty, items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
/// `HOST_NAME_MAX` of Linux.
const HOSTNAME_MAX: usize = 64;
const DNS_SEARCHES_MAX: usize = 32;
const DNS_SEARCH_CHARS_MAX: usize = 2048;
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
    security::check_pod(errors, path, spec);
    check_gates(errors, path, spec);
    check_hostname_override(errors, &path.child("hostnameOverride"), spec);
    if spec["os"].is_object() {
        check::one_of(errors, &path.child("os").child("name"), &spec["os"]["name"], &["linux", "windows"]);
    }
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

/// **Upstream**: `validatePodHostName`.
fn check_hostname_override(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let Some(name) = spec["hostnameOverride"].as_str() else { return };
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec[field] == true {
            let detail = format!("may not be specified when {field} is true");
            errors.push(Error::forbidden(path, &detail));
        }
    }
    if name.len() > HOSTNAME_MAX {
        errors.push(Error::too_long(path, HOSTNAME_MAX));
    }
    check::invalid(errors, path, &spec["hostnameOverride"], check::subdomain(name));
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
    let searches: Vec<&str> = items(config, "searches").iter().filter_map(Value::as_str).collect();
    let (searches_path, whole) = (path.child("searches"), &config["searches"]);
    if searches.len() > DNS_SEARCHES_MAX {
        let detail = format!("must not have more than {DNS_SEARCHES_MAX} search paths");
        errors.push(Error::invalid(&searches_path, whole.clone(), &detail));
    }
    if searches.join(" ").len() > DNS_SEARCH_CHARS_MAX {
        let detail = format!(
            "must not have more than {DNS_SEARCH_CHARS_MAX} characters (including spaces) in the search list"
        );
        errors.push(Error::invalid(&searches_path, whole.clone(), &detail));
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
