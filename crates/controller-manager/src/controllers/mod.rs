//! THE LIST of controllers.
//!
//! A controller is added here, as a folder beside this file, and as a role in the API server's bootstrap policy.
//! **Upstream**: `cmd/kube-controller-manager/names`.

pub mod certificates;
pub mod cluster_role_aggregation;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod device_taint_eviction;
pub mod disruption;
pub mod endpoint_slice;
pub mod endpoint_slice_mirroring;
pub mod endpoints;
pub mod ephemeral_volume;
pub mod garbage_collector;
pub mod horizontal_pod_autoscaler;
pub mod job;
pub mod legacy_service_account_token_cleaner;
pub mod namespace;
pub mod node_lifecycle;
pub mod persistent_volume;
pub mod pod_garbage_collector;
pub mod replica_set;
pub mod resource_claim;
pub mod resource_quota;
pub mod root_ca_certificate_publisher;
pub mod service_account;
pub mod service_account_token;
pub mod service_load_balancer;
pub mod stateful_set;
pub mod storage_protection;
pub mod taint_eviction;
pub mod ttl;
pub mod ttl_after_finished;

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
        name: service_account_token::NAME,
        start: |manager| Box::pin(service_account_token::run(manager)),
    },
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
    Controller { name: daemon_set::NAME, start: |manager| Box::pin(daemon_set::run(manager)) },
    Controller { name: stateful_set::NAME, start: |manager| Box::pin(stateful_set::run(manager)) },
    Controller { name: job::NAME, start: |manager| Box::pin(job::run(manager)) },
    Controller { name: cron_job::NAME, start: |manager| Box::pin(cron_job::run(manager)) },
    Controller {
        name: ttl_after_finished::NAME,
        start: |manager| Box::pin(ttl_after_finished::run(manager)),
    },
    Controller { name: persistent_volume::NAME, start: |manager| Box::pin(persistent_volume::run(manager)) },
    Controller { name: ephemeral_volume::NAME, start: |manager| Box::pin(ephemeral_volume::run(manager)) },
    Controller { name: resource_claim::NAME, start: |manager| Box::pin(resource_claim::run(manager)) },
    Controller {
        name: device_taint_eviction::NAME,
        start: |manager| Box::pin(device_taint_eviction::run(manager)),
    },
    Controller { name: ttl::NAME, start: |manager| Box::pin(ttl::run(manager)) },
    Controller {
        name: horizontal_pod_autoscaler::NAME,
        start: |manager| Box::pin(horizontal_pod_autoscaler::run(manager)),
    },
    Controller { name: endpoints::NAME, start: |manager| Box::pin(endpoints::run(manager)) },
    Controller { name: endpoint_slice::NAME, start: |manager| Box::pin(endpoint_slice::run(manager)) },
    Controller {
        name: endpoint_slice_mirroring::NAME,
        start: |manager| Box::pin(endpoint_slice_mirroring::run(manager)),
    },
    Controller { name: garbage_collector::NAME, start: |manager| Box::pin(garbage_collector::run(manager)) },
    Controller { name: deployment::NAME, start: |manager| Box::pin(deployment::run(manager)) },
    Controller { name: resource_quota::NAME, start: |manager| Box::pin(resource_quota::run(manager)) },
    Controller { name: disruption::NAME, start: |manager| Box::pin(disruption::run(manager)) },
    Controller {
        name: storage_protection::CLAIMS,
        start: |manager| Box::pin(storage_protection::run_claims(manager)),
    },
    Controller {
        name: storage_protection::VOLUMES,
        start: |manager| Box::pin(storage_protection::run_volumes(manager)),
    },
    Controller {
        name: storage_protection::CLASSES,
        start: |manager| Box::pin(storage_protection::run_classes(manager)),
    },
    Controller {
        name: cluster_role_aggregation::NAME,
        start: |manager| Box::pin(cluster_role_aggregation::run(manager)),
    },
    Controller { name: certificates::SIGNING, start: |manager| Box::pin(certificates::run_signing(manager)) },
    Controller {
        name: certificates::APPROVING,
        start: |manager| Box::pin(certificates::run_approving(manager)),
    },
    Controller { name: certificates::CLEANER, start: |manager| Box::pin(certificates::run_cleaner(manager)) },
    Controller {
        name: service_load_balancer::NAME,
        start: |manager| Box::pin(service_load_balancer::run(manager)),
    },
    Controller {
        name: legacy_service_account_token_cleaner::NAME,
        start: |manager| Box::pin(legacy_service_account_token_cleaner::run(manager)),
    },
    Controller { name: taint_eviction::NAME, start: |manager| Box::pin(taint_eviction::run(manager)) },
];
