//! The descriptions of ingresses and their classes, of address ranges and of addresses.

use serde_json::Value;
use std::collections::BTreeSet;

use super::service::endpoints;
use super::workloads::{described, recorded};
use super::{Describe, annotations, items, labels, text};
use crate::connection::{JSON, with_query};
use crate::report::Error;

/// An ingress' text.
pub(super) async fn ingress(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let namespace = text(metadata, "namespace");
    let mut out = format!("Name:\t{}\n", text(metadata, "name"));
    out += &labels("Labels", &metadata["labels"]);
    out += &format!("Namespace:\t{namespace}\n");
    out += &format!("Address:\t{}\n", addresses(&object["status"]["loadBalancer"]));
    out += &format!("Ingress Class:\t{}\n", spec["ingressClassName"].as_str().unwrap_or("<none>"));
    let default = match &spec["defaultBackend"] {
        Value::Null => "<default>".to_owned(),
        one => backend(describe, namespace, one).await?,
    };
    out += &format!("Default backend:\t{default}\n");
    let tls = items(spec, "tls");
    if !tls.is_empty() {
        out += "TLS:\n";
        for one in tls {
            let hosts: Vec<&str> = items(one, "hosts").iter().filter_map(Value::as_str).collect();
            out += &match text(one, "secretName") {
                "" => format!("  SNI routes {}\n", hosts.join(",")),
                secret => format!("  {secret} terminates {}\n", hosts.join(",")),
            };
        }
    }
    out += "Rules:\n  Host\tPath\tBackends\n  ----\t----\t--------\n";
    let mut any = false;
    for rule in items(spec, "rules").iter().filter(|rule| rule["http"].is_object()) {
        any = true;
        let host = text(rule, "host");
        out += &format!("  {}\t\n", if host.is_empty() { "*" } else { host });
        for path in items(&rule["http"], "paths") {
            let backend = backend(describe, namespace, &path["backend"]).await?;
            out += &format!("    \t{} \t{backend}\n", text(path, "path"));
        }
    }
    if !any {
        out += &format!("  *\t*\t{default}\n");
    }
    out += &annotations(&metadata["annotations"]);
    Ok(out + &recorded(describe, object).await)
}

/// The addresses that lead to an ingress, each once.
fn addresses(status: &Value) -> String {
    let all = items(status, "ingress").iter().map(|one| match text(one, "ip") {
        "" => text(one, "hostname"),
        ip => ip,
    });
    let all: BTreeSet<&str> = all.filter(|one| !one.is_empty()).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

/// `web:80 (10.0.0.1:8080)`: a service with its endpoints; or another object.
async fn backend(describe: &Describe<'_>, namespace: &str, backend: &Value) -> Result<String, Error> {
    let service = &backend["service"];
    if !service.is_object() {
        let resource = &backend["resource"];
        let (kind, name) = (text(resource, "kind"), text(resource, "name"));
        let group = resource["apiGroup"].as_str().unwrap_or("<none>");
        return Ok(match resource.is_object() {
            true => format!("APIGroup: {group}, Kind: {kind}, Name: {name}"),
            false => String::new(),
        });
    }
    let (name, port) = (text(service, "name"), &service["port"]);
    let shown = match port["number"].as_i64() {
        Some(number) => format!("{name}:{number}"),
        None => format!("{name}:{}", text(port, "name")),
    };
    let slices = with_query(
        &format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
        &[("labelSelector", format!("kubernetes.io/service-name={name}"))],
    );
    let connection = describe.context.connection().await?;
    let found = match connection.get(&slices, JSON).await {
        Ok(slices) => {
            let service = format!("/api/v1/namespaces/{namespace}/services/{name}");
            connection.get(&service, JSON).await.map(|service| (slices, service))
        }
        Err(error) => Err(error),
    };
    Ok(match found {
        Ok((slices, service)) => {
            let meant = |one: &&Value| match port["number"].as_i64() {
                Some(number) => one["port"] == number,
                None => text(one, "name") == text(port, "name"),
            };
            let of = items(&service["spec"], "ports").iter().rfind(meant);
            let endpoints = endpoints(items(&slices, "items"), of.map_or("", |of| text(of, "name")));
            format!("{shown} ({endpoints})")
        }
        Err(error) => format!("{shown} (<error: {error}>)"),
    })
}

/// An ingress class' text.
pub(super) async fn ingress_class(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let mut out = head(object);
    out += &format!("Controller:\t{}\n", text(&object["spec"], "controller"));
    let parameters = &object["spec"]["parameters"];
    if parameters.is_object() {
        out += "Parameters:\n";
        if let Some(group) = parameters["apiGroup"].as_str() {
            out += &format!("  APIGroup:\t{group}\n");
        }
        out += &format!("  Kind:\t{}\n  Name:\t{}\n", text(parameters, "kind"), text(parameters, "name"));
    }
    Ok(out + &recorded(describe, object).await)
}

/// The text of a range of services' addresses.
pub(super) async fn service_cidr(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let ranges: Vec<&str> = items(&object["spec"], "cidrs").iter().filter_map(Value::as_str).collect();
    let mut out = head(object);
    out += &format!("CIDRs:\t{}\n", ranges.join(", "));
    let conditions = super::conditions(describe, &object["status"]);
    if !conditions.is_empty() {
        out += &format!("Status:\n{conditions}");
    }
    Ok(out + &recorded(describe, object).await)
}

/// The text of an address that is taken.
pub(super) async fn ip_address(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let mut out = head(object);
    let parent = &object["spec"]["parentRef"];
    if parent.is_object() {
        out += "Parent Reference:\n";
        for (title, field) in
            [("Group", "group"), ("Resource", "resource"), ("Namespace", "namespace"), ("Name", "name")]
        {
            out += &format!("  {title}:\t{}\n", text(parent, field));
        }
    }
    Ok(out + &recorded(describe, object).await)
}

fn head(object: &Value) -> String {
    format!("Name:\t{}\n{}", text(&object["metadata"], "name"), described(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_sorted_and_told_once() {
        let status = json!({"ingress": [{"ip": "10.0.0.2"}, {"hostname": "a.example"}, {"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}, {}]});
        assert_eq!(addresses(&status), "10.0.0.1,10.0.0.2,a.example");
    }
}
