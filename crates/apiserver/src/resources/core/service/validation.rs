//! What a Service may be.
//!
//! **Upstream**: `ValidateService`, `ValidateServiceUpdate`.

use super::allocate::{ServiceCidr, is_node_port};
use super::{families, has_node_ports, is_external_name, kind};
use crate::resources::check;
use crate::resources::edit::{is_empty, items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::{Value, json};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// All errors of a Service; `old` is what it was.
pub(super) fn validate(service: &Value, old: Option<&Value>, cidrs: &[ServiceCidr]) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let headless = spec["clusterIP"] == "None";
    check::one_of(&mut errors, &path.child("type"), &spec["type"], TYPES);
    if is_external_name(service) {
        let name = text(spec, "externalName").trim_end_matches('.');
        if name.is_empty() {
            errors.push(Error::required(&path.child("externalName"), ""));
        } else {
            check::invalid(
                &mut errors,
                &path.child("externalName"),
                &name.into(),
                names::dns_subdomain(&name.to_lowercase(), false),
            );
        }
        if !is_empty(&spec["clusterIP"]) {
            let detail = "may not be set for ExternalName services";
            errors.push(Error::forbidden(&path.child("clusterIPs"), detail));
        }
    } else if items(spec, "ports").is_empty() && !headless {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    if kind(service) == "LoadBalancer" && headless {
        let detail = "may not be set to 'None' for LoadBalancer services";
        errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", detail));
    }
    if kind(service) == "NodePort" && headless {
        let detail = "may not be set to 'None' for NodePort services";
        errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", detail));
    }
    check_ports(&mut errors, service);
    check::labels(&mut errors, &path.child("selector"), spec, "selector");
    check::one_of(
        &mut errors,
        &path.child("sessionAffinity"),
        &spec["sessionAffinity"],
        &["ClientIP", "None"],
    );
    let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if let Some(seconds) = timeout.as_i64().filter(|s| !(1..=86400).contains(s)) {
        let path = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
        errors.push(Error::invalid(&path, seconds, "must be greater than 0 and less than 86400"));
    }
    for (i, address) in items(spec, "externalIPs").iter().enumerate() {
        let path = path.child("externalIPs").index(i);
        check::invalid(&mut errors, &path, address, names::ip_address(address.as_str().unwrap_or("")));
    }
    for field in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        check::one_of_if_set(&mut errors, &path.child(field), &spec[field], &["Cluster", "Local"]);
    }
    if !is_external_name(service) {
        let old = old.filter(|old| !is_external_name(old)).map(|old| &old["spec"]);
        errors.extend(families::errors(cidrs, spec, old));
        errors.extend(old.map(|old| families::update_errors(spec, old)).unwrap_or_default());
    }
    errors
}

fn check_ports(errors: &mut ErrorList, service: &Value) {
    let ports = items(&service["spec"], "ports");
    for (i, port) in ports.iter().enumerate() {
        let path = Path::new("spec").child("ports").index(i);
        check_port(errors, &path, port, ports.len() > 1, service);
        let name = text(port, "name");
        if !name.is_empty() && ports[..i].iter().any(|p| p["name"] == name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if ports[..i].iter().any(|p| p["protocol"] == port["protocol"] && p["port"] == port["port"]) {
            // Upstream prints its internal form of the two fields that make the key.
            let key = json!({"Name": "", "Protocol": port["protocol"], "AppProtocol": null, "Port": port["port"],
                "TargetPort": 0, "NodePort": 0});
            errors.push(Error::duplicate(&path, key));
        }
        let node_port = port["nodePort"].as_i64().unwrap_or(0);
        let clash = |p: &Value| p["nodePort"] == port["nodePort"] && p["protocol"] == port["protocol"];
        if node_port != 0 && ports[..i].iter().any(clash) {
            errors.push(Error::duplicate(&path.child("nodePort"), node_port));
        }
    }
}

fn check_port(errors: &mut ErrorList, path: &Path, port: &Value, named: bool, service: &Value) {
    if named {
        check::required_name(errors, &path.child("name"), &port["name"], check::label);
    } else {
        check::optional_name(errors, &path.child("name"), &port["name"], check::label);
    }
    let number = port["port"].as_i64().unwrap_or(0);
    check::invalid(errors, &path.child("port"), &number.into(), names::port_number(number));
    check::one_of(errors, &path.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
    if !is_empty(&port["targetPort"]) {
        check::port_or_name(errors, &path.child("targetPort"), &port["targetPort"]);
    }
    check::optional_name(errors, &path.child("appProtocol"), &port["appProtocol"], names::qualified_name);
    let node_port = port["nodePort"].as_i64().unwrap_or(0);
    if node_port == 0 {
        return;
    }
    let path = path.child("nodePort");
    if !has_node_ports(service) && kind(service) != "LoadBalancer" {
        let detail = format!("may not be used when `type` is '{}'", kind(service));
        errors.push(Error::forbidden(&path, &detail));
    } else if !is_node_port(node_port) {
        let detail = "provided port is not in the valid range. The range of valid ports is 30000-32767";
        errors.push(Error::invalid(&path, node_port, detail));
    }
}
