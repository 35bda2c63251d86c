//! IPAddress: an address of the cluster's Services and what it belongs to.
//!
//! **Not here**: the claims by which Services hold their addresses; those are the store's.
//! **Upstream**: `pkg/registry/networking/ipaddress`, `ValidateIPAddress`.

use crate::admission::Companion;
use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::text;
use crate::resources::{cells, check};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::{meta, names};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;

const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const OURS: &str = "ipallocator.k8s.io";

/// The strategy of IPAddresses.
pub(crate) struct IpAddress(Resource);

impl IpAddress {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "IPAddress", "ipaddresses", "ipaddress", scope).short(&["ip"]))
    }
}

/// The object that shows which Service has an address.
pub(crate) fn of_service(ip: IpAddr, namespace: &str, name: &str) -> Companion {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let object = json!({
        "kind": "IPAddress",
        "apiVersion": format!("{}/v1", super::GROUP),
        "metadata": { "name": ip, "labels": { FAMILY: family, MANAGED_BY: OURS } },
        "spec": { "parentRef": { "group": "", "resource": "services", "namespace": namespace, "name": name } },
    });
    Companion { resource: IpAddress::new().0, object }
}

/// Whether it was made for a Service, not by a user.
pub(crate) fn is_ours(address: &Value) -> bool {
    meta::label(address, MANAGED_BY) == Some(OURS)
}

impl Strategy for IpAddress {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    /// Any address, colons and all: what else is wrong with one, `validate` says.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (name, path) = (meta::name(object), Path::new("metadata").child("name"));
        match name.parse::<IpAddr>() {
            Err(_) => check::invalid(&mut errors, &path, &name.into(), names::ip_address(name)),
            Ok(address) if address.to_string() != name => {
                let detail = format!("must be in canonical form (\"{address}\")");
                errors.push(Error::invalid(&path, name, &detail));
            }
            Ok(_) => {}
        }
        let (parent, path) = (&object["spec"]["parentRef"], Path::new("spec").child("parentRef"));
        if parent.is_object() {
            check::required(&mut errors, &path.child("resource"), &parent["resource"]);
            check::required(&mut errors, &path.child("name"), &parent["name"]);
            check::optional_name(&mut errors, &path.child("group"), &parent["group"], check::subdomain);
        } else {
            errors.push(Error::required(&path, ""));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("spec").child("parentRef");
        check::immutable(&mut errors, &path, &object["spec"]["parentRef"], &old["spec"]["parentRef"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("ParentRef", "string").field("spec.parentRef")] }
    }

    fn row(&self, object: &Value, _: Timestamp) -> Vec<Cell> {
        let parent = &object["spec"]["parentRef"];
        let mut shown = text(parent, "resource").to_owned();
        let group = text(parent, "group");
        if !group.is_empty() {
            shown = format!("{shown}.{group}");
        }
        for part in [text(parent, "namespace"), text(parent, "name")].iter().filter(|part| !part.is_empty()) {
            shown = format!("{shown}/{part}");
        }
        vec![cells::name(object), if parent.is_object() { shown.into() } else { cells::NONE.into() }]
    }
}
