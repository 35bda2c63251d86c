//! Endpoints: the addresses behind a Service, in the form that EndpointSlices replaced.
//!
//! **Upstream**: `pkg/registry/core/endpoint`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{each, items};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of Endpoints.
pub(crate) struct Endpoints(Resource);

impl Endpoints {
    pub(crate) fn new() -> Self {
        Self(Resource::new("", "v1", "Endpoints", "endpoints", "endpoints", Scope::Namespaced).short(&["ep"]))
    }
}

fn addresses(object: &Value) -> Vec<String> {
    let mut list = Vec::new();
    for subset in items(object, "subsets") {
        let ips = items(subset, "addresses").iter().map(|a| edit::text(a, "ip"));
        let ports = items(subset, "ports");
        if ports.is_empty() {
            list.extend(ips.map(str::to_owned));
            continue;
        }
        let ips: Vec<&str> = ips.collect();
        for port in ports {
            let port = port["port"].as_i64().unwrap_or(0);
            list.extend(
                ips.iter().map(|ip| {
                    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
                }),
            );
        }
    }
    list
}

impl Strategy for Endpoints {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        for subset in each(object, "subsets") {
            for port in each(subset, "ports") {
                edit::set_default_text(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for (i, subset) in items(object, "subsets").iter().enumerate() {
            let path = Path::new("subsets").index(i);
            if items(subset, "addresses").is_empty() && items(subset, "notReadyAddresses").is_empty() {
                errors.push(Error::required(&path, "must specify `addresses` or `notReadyAddresses`"));
            }
            for field in ["addresses", "notReadyAddresses"] {
                for (j, address) in items(subset, field).iter().enumerate() {
                    let path = path.child(field).index(j);
                    check::invalid(
                        &mut errors,
                        &path.child("ip"),
                        &address["ip"],
                        names::ip_address(edit::text(address, "ip")),
                    );
                    check::optional_name(
                        &mut errors,
                        &path.child("hostname"),
                        &address["hostname"],
                        check::label,
                    );
                }
            }
            let ports = items(subset, "ports");
            for (j, port) in ports.iter().enumerate() {
                let path = path.child("ports").index(j);
                if ports.len() > 1 {
                    check::required_name(&mut errors, &path.child("name"), &port["name"], check::label);
                } else {
                    check::optional_name(&mut errors, &path.child("name"), &port["name"], check::label);
                }
                let number = port["port"].as_i64().unwrap_or(0);
                check::invalid(&mut errors, &path.child("port"), &number.into(), names::port_number(number));
                let protocols = &["SCTP", "TCP", "UDP"];
                check::one_of(&mut errors, &path.child("protocol"), &port["protocol"], protocols);
            }
        }
        errors
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Endpoints", "string").field("subsets"), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let list = cells::first_three(&addresses(object), cells::NONE);
        vec![cells::name(object), list, cells::age(object, now)]
    }
}
