//! THE LIST: every built-in kind, one file each.
//!
//! Adding a kind is a file with its strategy and a row here; discovery, handlers, watch cache, tables, OpenAPI and
//! the shared suite of `registry::testing` follow from it.

mod cells;
mod check;
mod coordination;
mod core;
mod discovery;
mod edit;
mod pod_spec;
mod rbac;
mod scheduling;

pub use self::core::service::{DEFAULT_SERVICE_CIDR, ServiceCidr};

use crate::registry::Strategy;
use std::sync::Arc;

/// The strategies of all built-in kinds, Services having their addresses from the default block.
pub fn all() -> Vec<Arc<dyn Strategy>> {
    with_service_cidr(DEFAULT_SERVICE_CIDR)
}

/// The strategies of all built-in kinds.
pub fn with_service_cidr(services: ServiceCidr) -> Vec<Arc<dyn Strategy>> {
    vec![
        Arc::new(core::config_map::ConfigMap::new()),
        Arc::new(core::endpoints::Endpoints::new()),
        Arc::new(core::event::Event::new()),
        Arc::new(core::namespace::Namespace::new()),
        Arc::new(core::node::Node::new()),
        Arc::new(core::pod::Pod::new()),
        Arc::new(core::secret::Secret::new()),
        Arc::new(core::service::Service::new(services)),
        Arc::new(core::service_account::ServiceAccount::new()),
        Arc::new(coordination::lease::Lease::new()),
        Arc::new(discovery::endpoint_slice::EndpointSlice::new()),
        Arc::new(rbac::cluster_role::ClusterRole::new()),
        Arc::new(rbac::cluster_role_binding::ClusterRoleBinding::new()),
        Arc::new(rbac::role::Role::new()),
        Arc::new(rbac::role_binding::RoleBinding::new()),
        Arc::new(scheduling::priority_class::PriorityClass::new()),
    ]
}
