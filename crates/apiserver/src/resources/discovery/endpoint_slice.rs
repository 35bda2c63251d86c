//! EndpointSlice: some of the addresses behind a Service.
//!
//! **Upstream**: `pkg/registry/discovery/endpointslice`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{each, items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

/// **Upstream**: `maxEndpoints`, `maxAddresses`, `maxPorts`.
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20000;

/// What tables say of `addressType`: the words of its first version.
const ADDRESS_TYPE: &str = "addressType specifies the type of address carried by this EndpointSlice. All \
    addresses in this slice must be the same type. This field is immutable after creation. The following \
    address types are currently supported: * IPv4: Represents an IPv4 Address. * IPv6: Represents an IPv6 \
    Address. * FQDN: Represents a Fully Qualified Domain Name.";
/// What tables say of `ports`.
const PORTS: &str = "ports specifies the list of network ports exposed by each endpoint in this slice. \
    Each port must have a unique name. When ports is empty, it indicates that there are no defined ports. \
    When a port is defined with a nil port value, it indicates \"all ports\". Each slice may include a \
    maximum of 100 ports.";
/// The strategy of EndpointSlices.
pub(crate) struct EndpointSlice(Resource);

impl EndpointSlice {
    pub(crate) fn new() -> Self {
        let scope = Scope::Namespaced;
        Self(Resource::new(
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            "endpointslices",
            "endpointslice",
            scope,
        ))
    }
}

fn check_address(errors: &mut ErrorList, path: &Path, kind: &str, value: &Value) {
    let address = value.as_str().unwrap_or("");
    let parsed = address.parse::<std::net::IpAddr>().ok();
    match kind {
        "IPv4" | "IPv6" if parsed.is_none() => {
            check::invalid(errors, path, value, names::ip_address(address))
        }
        "IPv4" if parsed.is_some_and(|a| !a.is_ipv4()) => {
            errors.push(Error::invalid(path, address, "must be an IPv4 address"));
        }
        "IPv6" if parsed.is_some_and(|a| !a.is_ipv6()) => {
            errors.push(Error::invalid(path, address, "must be an IPv6 address"));
        }
        "FQDN" => check::invalid(errors, path, value, check::subdomain(address)),
        _ => {}
    }
}

fn check_endpoints(errors: &mut ErrorList, object: &Value) {
    let (endpoints, path) = (items(object, "endpoints"), Path::new("endpoints"));
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(Error::too_many(&path, endpoints.len(), MAX_ENDPOINTS));
        return;
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(i);
        let addresses = items(endpoint, "addresses");
        if addresses.is_empty() {
            errors.push(Error::required(&path.child("addresses"), "must contain at least 1 address"));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(Error::too_many(&path.child("addresses"), addresses.len(), MAX_ADDRESSES));
        }
        for (j, address) in addresses.iter().enumerate() {
            check_address(errors, &path.child("addresses").index(j), text(object, "addressType"), address);
        }
        check::optional_name(errors, &path.child("nodeName"), &endpoint["nodeName"], check::subdomain);
        check::optional_name(errors, &path.child("hostname"), &endpoint["hostname"], check::label);
    }
}

fn check_ports(errors: &mut ErrorList, object: &Value) {
    let (ports, path) = (items(object, "ports"), Path::new("ports"));
    if ports.len() > MAX_PORTS {
        errors.push(Error::too_many(&path, ports.len(), MAX_PORTS));
        return;
    }
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        if ports[..i].iter().any(|p| p["name"] == port["name"]) {
            errors.push(Error::duplicate(&path.child("name"), text(port, "name")));
        }
        check::optional_name(errors, &path.child("name"), &port["name"], check::label);
        let protocols = &["SCTP", "TCP", "UDP"];
        check::one_of(errors, &path.child("protocol"), &port["protocol"], protocols);
        if let Some(number) = port["port"].as_i64() {
            check::invalid(errors, &path.child("port"), &number.into(), names::port_number(number));
        }
    }
}

impl Strategy for EndpointSlice {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        for port in each(object, "ports") {
            edit::set_default(port, "name", "");
            edit::set_default_text(port, "protocol", "TCP");
        }
        edit::set_default(object, "endpoints", Value::Null);
        edit::set_default(object, "ports", Value::Null);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let kinds = &["FQDN", "IPv4", "IPv6"];
        check::one_of(&mut errors, &Path::new("addressType"), &object["addressType"], kinds);
        check_endpoints(&mut errors, object);
        check_ports(&mut errors, object);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("addressType");
        check::immutable(&mut errors, &path, &object["addressType"], &old["addressType"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("AddressType", "string").text(ADDRESS_TYPE),
                Column::new("Ports", "string").text(PORTS),
                Column::new("Endpoints", "string").field("endpoints"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let ports: Vec<String> = items(object, "ports")
            .iter()
            .map(|p| match (p["port"].as_i64(), text(p, "name")) {
                (Some(number), _) => number.to_string(),
                (None, "") => "*".to_owned(),
                (None, name) => name.to_owned(),
            })
            .collect();
        let addresses: Vec<String> = items(object, "endpoints")
            .iter()
            .flat_map(|e| items(e, "addresses"))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        vec![
            cells::name(object),
            json!(text(object, "addressType")),
            cells::first_three(&ports, "<unset>"),
            cells::first_three(&addresses, "<unset>"),
            cells::age(object, now),
        ]
    }
}
