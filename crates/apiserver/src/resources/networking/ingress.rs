//! Ingress: which Service answers for which host and path.
//!
//! **Upstream**: `pkg/registry/networking/ingress`, `ValidateIngressCreate`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{is_empty, items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::{meta, names};
use jiff::Timestamp;
use serde_json::{Value, json};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_SUFFIXES: [&str; 2] = ["/..", "/."];

/// The strategy of Ingresses.
pub(crate) struct Ingress(Resource);

impl Ingress {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        Self(Resource::new(super::GROUP, "v1", "Ingress", "ingresses", "ingress", scope).short(&["ing"]))
    }
}

/// A host, perhaps with a wildcard in front.
fn check_host(errors: &mut ErrorList, path: &Path, host: &str) {
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(Error::invalid(path, host, "must be a DNS name, not an IP address"));
        return;
    }
    if host.contains('*') {
        if !host.strip_prefix("*.").is_some_and(|rest| check::subdomain(rest).is_empty()) {
            let detail = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
            errors.push(Error::invalid(path, host, detail));
        }
        return;
    }
    check::invalid(errors, path, &host.into(), check::subdomain(host));
}

fn check_backend(errors: &mut ErrorList, path: &Path, backend: &Value) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            errors.push(Error::invalid(path, "", "cannot set both resource and service backends"))
        }
        (false, false) => errors.push(Error::invalid(path, "", "resource or service backend is required")),
        (false, true) => {
            let path = path.child("resource");
            check::required(errors, &path.child("kind"), &resource["kind"]);
            check::required(errors, &path.child("name"), &resource["name"]);
            check::optional_name(errors, &path.child("apiGroup"), &resource["apiGroup"], check::subdomain);
        }
        (true, false) => {
            let path = path.child("service");
            check::required_name(errors, &path.child("name"), &service["name"], check::label);
            let (port, at) = (&service["port"], path.child("port"));
            let (name, number) = (text(port, "name"), port["number"].as_i64().unwrap_or(0));
            match (name, number) {
                ("", 0) => errors.push(Error::required(&path, "port name or number is required")),
                ("", number) => {
                    check::invalid(errors, &at.child("number"), &number.into(), names::port_number(number));
                }
                (name, 0) => check::invalid(errors, &at.child("name"), &name.into(), names::port_name(name)),
                _ => errors.push(Error::invalid(&path, "", "cannot set both port name & port number")),
            }
        }
    }
}

fn check_http_path(errors: &mut ErrorList, path: &Path, item: &Value) {
    let (kind, value, at) = (text(item, "pathType"), text(item, "path"), path.child("path"));
    match kind {
        "" => errors.push(Error::required(&path.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                errors.push(Error::invalid(&at, value, "must be an absolute path"));
            }
            for bad in BAD_SEQUENCES.iter().filter(|bad| value.contains(**bad)) {
                errors.push(Error::invalid(&at, value, &format!("must not contain '{bad}'")));
            }
            for bad in BAD_SUFFIXES.iter().filter(|bad| value.ends_with(**bad)) {
                errors.push(Error::invalid(&at, value, &format!("cannot end with '{bad}'")));
            }
        }
        "ImplementationSpecific" => {
            if !value.is_empty() && !value.starts_with('/') {
                errors.push(Error::invalid(&at, value, "must be an absolute path"));
            }
        }
        other => errors.push(Error::not_supported(&path.child("pathType"), other, PATH_TYPES)),
    }
    check_backend(errors, &path.child("backend"), &item["backend"]);
}

fn address(ingress: &Value) -> Cell {
    let points: Vec<&str> = items(&ingress["status"]["loadBalancer"], "ingress")
        .iter()
        .map(|i| if text(i, "ip").is_empty() { text(i, "hostname") } else { text(i, "ip") })
        .filter(|point| !point.is_empty())
        .collect();
    points.join(",").into()
}

impl Strategy for Ingress {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"loadBalancer": {}}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let annotation = meta::annotation(object, CLASS_ANNOTATION);
        if let Some(class) = annotation.filter(|_| !spec["ingressClassName"].is_null()) {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            errors.push(Error::invalid(&path, class, "can not be set when the class field is also set"));
        }
        let rules = items(spec, "rules");
        if rules.is_empty() && spec["defaultBackend"].is_null() {
            let detail = "either `defaultBackend` or `rules` must be specified";
            errors.push(Error::invalid(&path, json!(rules), detail));
        }
        if spec["defaultBackend"].is_object() {
            check_backend(&mut errors, &path.child("defaultBackend"), &spec["defaultBackend"]);
        }
        for (i, rule) in rules.iter().enumerate() {
            let path = path.child("rules").index(i);
            if !text(rule, "host").is_empty() {
                check_host(&mut errors, &path.child("host"), text(rule, "host"));
            }
            let (http, path) = (&rule["http"], path.child("http").child("paths"));
            if http.is_object() && items(http, "paths").is_empty() {
                errors.push(Error::required(&path, ""));
            }
            for (j, item) in items(http, "paths").iter().enumerate() {
                check_http_path(&mut errors, &path.index(j), item);
            }
        }
        for (i, tls) in items(spec, "tls").iter().enumerate() {
            let path = path.child("tls").index(i);
            for (j, host) in items(tls, "hosts").iter().enumerate() {
                check_host(&mut errors, &path.child("hosts").index(j), host.as_str().unwrap_or(""));
            }
            check::optional_name(
                &mut errors,
                &path.child("secretName"),
                &tls["secretName"],
                check::subdomain,
            );
        }
        let class = "ingressClassName";
        if let Some(name) = spec[class].as_str() {
            check::invalid(&mut errors, &path.child(class), &spec[class], check::subdomain(name));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Class", "string").text(
                    "The name of the IngressClass resource that should be used for additional configuration",
                ),
                Column::new("Hosts", "string")
                    .text("Hosts that incoming requests are matched against before the ingress rule"),
                Column::new("Address", "string")
                    .text("Address is a list containing ingress points for the load-balancer"),
                Column::new("Ports", "string").text("Ports of TLS configurations that open"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let class = spec["ingressClassName"].as_str().or_else(|| meta::annotation(object, CLASS_ANNOTATION));
        let hosts: Vec<String> = items(spec, "rules")
            .iter()
            .map(|rule| text(rule, "host").to_owned())
            .filter(|host| !host.is_empty())
            .collect();
        vec![
            cells::name(object),
            class.unwrap_or(cells::NONE).into(),
            cells::first_three(&hosts, "*"),
            address(object),
            if is_empty(&spec["tls"]) { "80" } else { "80, 443" }.into(),
            cells::age(object, now),
        ]
    }
}
