//! THE LIST of controllers.
//!
//! A controller is added here, as a folder beside this file, and as a role in the API server's bootstrap policy.
//! **Upstream**: `cmd/kube-controller-manager/names`.

pub mod deployment;
mod disruption;
pub mod endpoint_slice;
pub mod endpoint_slice_mirroring;
pub mod endpoints;
pub mod garbage_collector;
pub mod namespace;
pub mod node_lifecycle;
pub mod pod_garbage_collector;
pub mod replica_set;
pub mod root_ca_certificate_publisher;
pub mod service_account;
pub mod taint_eviction;

use crate::Manager;
use futures::future::BoxFuture;

/// A controller by its upstream name.
pub struct Controller {
    /// As `--controllers` spells it.
    pub name: &'static str,
    /// Runs until the manager's context ends.
    pub start: fn(Manager) -> BoxFuture<'static, ()>,
}

/// All controllers.
pub const CONTROLLERS: &[Controller] = &[
    Controller { name: namespace::NAME, start: |manager| Box::pin(namespace::run(manager)) },
    Controller { name: service_account::NAME, start: |manager| Box::pin(service_account::run(manager)) },
    Controller {
        name: root_ca_certificate_publisher::NAME,
        start: |manager| Box::pin(root_ca_certificate_publisher::run(manager)),
    },
    Controller {
        name: pod_garbage_collector::NAME,
        start: |manager| Box::pin(pod_garbage_collector::run(manager)),
    },
    Controller { name: node_lifecycle::NAME, start: |manager| Box::pin(node_lifecycle::run(manager)) },
    Controller {
        name: replica_set::REPLICA_SET,
        start: |manager| Box::pin(replica_set::run_replica_sets(manager)),
    },
    Controller {
        name: replica_set::REPLICATION_CONTROLLER,
        start: |manager| Box::pin(replica_set::run_replication_controllers(manager)),
    },
    Controller { name: endpoints::NAME, start: |manager| Box::pin(endpoints::run(manager)) },
    Controller { name: endpoint_slice::NAME, start: |manager| Box::pin(endpoint_slice::run(manager)) },
    Controller {
        name: endpoint_slice_mirroring::NAME,
        start: |manager| Box::pin(endpoint_slice_mirroring::run(manager)),
    },
    Controller { name: garbage_collector::NAME, start: |manager| Box::pin(garbage_collector::run(manager)) },
    Controller { name: deployment::NAME, start: |manager| Box::pin(deployment::run(manager)) },
    Controller { name: taint_eviction::NAME, start: |manager| Box::pin(taint_eviction::run(manager)) },
];
