//! Service: a stable address for a set of pods.
//!
//! **Contract**: addresses and node ports are chosen at random when the object is prepared and claimed by
//! `reservations` in the transaction that writes it; a collision makes the store prepare it again.
//! **Upstream**: `pkg/registry/core/service`, `pkg/apis/core/validation`.

mod allocate;
mod families;
mod table;
mod validation;

pub use allocate::{DEFAULT_SERVICE_CIDR, ServiceCidr};

use crate::registry::{Cell, Column, Reservation, Strategy, WriteContext};
use crate::resources::edit;
use crate::resources::edit::{each, text};
use api::field::ErrorList;
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of Services.
pub(crate) struct Service {
    resource: Resource,
    /// One a family; the first is that of Services which name none.
    cidrs: Vec<ServiceCidr>,
}

impl Service {
    pub(crate) fn new(cidrs: &[ServiceCidr]) -> Self {
        let resource = Resource::new("", "v1", "Service", "services", "service", Scope::Namespaced);
        Self { resource: resource.short(&["svc"]).in_categories(&["all"]), cidrs: cidrs.to_vec() }
    }
}

fn kind(service: &Value) -> &str {
    text(&service["spec"], "type")
}

fn is_external_name(service: &Value) -> bool {
    kind(service) == "ExternalName"
}

/// Whether the Service opens a port on every node.
fn has_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn default_ports(spec: &mut Value) {
    for port in each(spec, "ports") {
        edit::set_default_text(port, "protocol", "TCP");
        if edit::is_empty(&port["targetPort"]) {
            edit::copy_as(port, "port", "targetPort");
        }
    }
}

impl Strategy for Service {
    fn resource(&self) -> &Resource {
        &self.resource
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    /// Relaxed from RFC 1035 to RFC 1123 labels in 1.36 (`RelaxedServiceNameValidation`).
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }

    fn default(&self, object: &mut Value) {
        edit::set_default(object, "status", json!({"loadBalancer": {}}));
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default_text(spec, "sessionAffinity", "None");
        match text(spec, "sessionAffinity") {
            "None" => {
                edit::remove(spec, "sessionAffinityConfig");
            }
            "ClientIP" => {
                let config = edit::child_or_new(spec, "sessionAffinityConfig");
                if let Some(client) = config.and_then(|c| edit::child_or_new(c, "clientIP")) {
                    edit::set_default(client, "timeoutSeconds", 10800);
                }
            }
            _ => {}
        }
        edit::set_default_text(spec, "type", "ClusterIP");
        default_ports(spec);
        let kind = text(spec, "type").to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || !edit::is_empty(&spec["externalIPs"]) {
            edit::set_default_text(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind != "ExternalName" {
            edit::set_default_text(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            edit::set_default(spec, "allocateLoadBalancerNodePorts", true);
        }
    }

    fn prepare_for_create(&self, context: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"loadBalancer": {}}));
        allocate::fill(&self.cidrs, context.rng, object, None);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validation::validate(object, None, &self.cidrs)
    }

    fn prepare_for_update(&self, context: &WriteContext<'_>, object: &mut Value, old: &Value) {
        allocate::keep(object, old);
        allocate::fill(&self.cidrs, context.rng, object, Some(old));
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        validation::validate(object, Some(old), &self.cidrs)
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        ["clusterIP", "type"].map(|field| text(&object["spec"], field).to_owned()).into()
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        table::row(object, now)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn reservations(&self, object: &Value) -> Vec<Reservation> {
        allocate::reservations(object)
    }
}

#[cfg(test)]
mod tests;
