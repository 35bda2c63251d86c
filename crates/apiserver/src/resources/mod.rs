//! THE LIST: every built-in kind, one file each.
//!
//! Adding a kind is a file with its strategy and a row here; discovery, handlers, watch cache, tables, OpenAPI and
//! the shared suite of `registry::testing` follow from it.

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
pub(crate) mod cells;
mod certificates;
mod check;
mod coordination;
mod core;
mod discovery;
pub(crate) mod edit;
mod flowcontrol;
mod networking;
mod node;
pub(crate) mod pod_spec;
mod pod_template;
mod policy;
mod rbac;
pub(crate) mod resource;
mod scheduling;
mod storage;
mod webhook_client;

pub(crate) use self::certificates::conditions as certificate_conditions;
pub use self::core::service::{DEFAULT_SERVICE_CIDR, ServiceCidr};
pub(crate) use self::edit::is_empty;
pub(crate) use self::networking::ip_address;

use crate::registry::Strategy;
use component_base::Health;
use std::sync::Arc;

/// The strategies of all built-in kinds, Services having their addresses from the default block.
pub fn all() -> Vec<Arc<dyn Strategy>> {
    with_service_cidrs(&[DEFAULT_SERVICE_CIDR], &Health::default())
}

/// The strategies of all built-in kinds, with a block of addresses for Services for each family, that of the default family
/// first; the components are those whose health ComponentStatuses show.
pub fn with_service_cidrs(services: &[ServiceCidr], components: &Health) -> Vec<Arc<dyn Strategy>> {
    vec![
        Arc::new(core::component_status::ComponentStatus::new(components.clone())),
        Arc::new(core::config_map::ConfigMap::new()),
        Arc::new(core::endpoints::Endpoints::new()),
        Arc::new(core::event::Event::new()),
        Arc::new(core::limit_range::LimitRange::new()),
        Arc::new(core::namespace::Namespace::new()),
        Arc::new(core::node::Node::new()),
        Arc::new(core::persistent_volume::PersistentVolume::new()),
        Arc::new(core::persistent_volume_claim::PersistentVolumeClaim::new()),
        Arc::new(core::pod::Pod::new()),
        Arc::new(core::pod_template::PodTemplate::new()),
        Arc::new(core::replication_controller::ReplicationController::new()),
        Arc::new(core::resource_quota::ResourceQuota::new()),
        Arc::new(core::secret::Secret::new()),
        Arc::new(core::service::Service::new(services)),
        Arc::new(core::service_account::ServiceAccount::new()),
        Arc::new(admissionregistration::policy::Policy::mutating()),
        Arc::new(admissionregistration::policy::Policy::validating()),
        Arc::new(admissionregistration::policy_binding::PolicyBinding::mutating()),
        Arc::new(admissionregistration::policy_binding::PolicyBinding::validating()),
        Arc::new(admissionregistration::webhook_configuration::WebhookConfiguration::mutating()),
        Arc::new(admissionregistration::webhook_configuration::WebhookConfiguration::validating()),
        Arc::new(apiextensions::custom_resource_definition::CustomResourceDefinition::new()),
        Arc::new(apiregistration::api_service::ApiService::new()),
        Arc::new(apps::controller_revision::ControllerRevision::new()),
        Arc::new(apps::daemon_set::DaemonSet::new()),
        Arc::new(apps::deployment::Deployment::new()),
        Arc::new(apps::replica_set::ReplicaSet::new()),
        Arc::new(apps::stateful_set::StatefulSet::new()),
        Arc::new(autoscaling::horizontal_pod_autoscaler::HorizontalPodAutoscaler::new()),
        Arc::new(batch::cron_job::CronJob::new()),
        Arc::new(batch::job::Job::new()),
        Arc::new(certificates::certificate_signing_request::CertificateSigningRequest::new()),
        Arc::new(coordination::lease::Lease::new()),
        Arc::new(discovery::endpoint_slice::EndpointSlice::new()),
        Arc::new(flowcontrol::flow_schema::FlowSchema::new()),
        Arc::new(flowcontrol::priority_level_configuration::PriorityLevelConfiguration::new()),
        Arc::new(networking::ingress::Ingress::new()),
        Arc::new(networking::ingress_class::IngressClass::new()),
        Arc::new(networking::ip_address::IpAddress::new()),
        Arc::new(networking::network_policy::NetworkPolicy::new()),
        Arc::new(networking::service_cidr::ServiceCidr::new()),
        Arc::new(node::runtime_class::RuntimeClass::new()),
        Arc::new(policy::pod_disruption_budget::PodDisruptionBudget::new()),
        Arc::new(rbac::cluster_role::ClusterRole::new()),
        Arc::new(rbac::cluster_role_binding::ClusterRoleBinding::new()),
        Arc::new(rbac::role::Role::new()),
        Arc::new(rbac::role_binding::RoleBinding::new()),
        Arc::new(resource::device_class::DeviceClass::new()),
        Arc::new(resource::resource_claim::ResourceClaim::new()),
        Arc::new(resource::resource_claim_template::ResourceClaimTemplate::new()),
        Arc::new(resource::resource_slice::ResourceSlice::new()),
        Arc::new(scheduling::priority_class::PriorityClass::new()),
        Arc::new(storage::csi_driver::CsiDriver::new()),
        Arc::new(storage::csi_node::CsiNode::new()),
        Arc::new(storage::csi_storage_capacity::CsiStorageCapacity::new()),
        Arc::new(storage::storage_class::StorageClass::new()),
        Arc::new(storage::volume_attachment::VolumeAttachment::new()),
        Arc::new(storage::volume_attributes_class::VolumeAttributesClass::new()),
    ]
}
