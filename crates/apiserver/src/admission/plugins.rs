//! THE LIST: every admission plugin, in upstream's order, one file each; and which of them are on.

use super::always_pull_images::AlwaysPullImages;
use super::certificates::{
    CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest,
};
use super::chain::Step;
use super::default_storage_class::{DefaultIngressClass, DefaultStorageClass};
use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::deny_service_external_ips::DenyServiceExternalIPs;
use super::extended_resource_toleration::ExtendedResourceToleration;
use super::limit_pod_hard_anti_affinity_topology::LimitPodHardAntiAffinityTopology;
use super::limit_ranger::LimitRanger;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::node_restriction::NodeRestriction;
use super::persistent_volume_claim_resize::PersistentVolumeClaimResize;
use super::pod_resize::{NodeDeclaredFeatureValidator, PodResizeValidator};
use super::pod_security::PodSecurity;
use super::pod_topology_labels::PodTopologyLabels;
use super::priority::Priority;
use super::resource_claims::ResourceClaims;
use super::resource_quota::ResourceQuota;
use super::role_escalation::RoleEscalation;
use super::runtime_class::RuntimeClass;
use super::service_account::ServiceAccount;
use super::storage_object_in_use_protection::StorageObjectInUseProtection;
use super::taint_nodes_by_condition::TaintNodesByCondition;
use super::{Chain, Configuration, Outsider, Plugin};
use crate::auth::Authorizer;
use std::sync::Arc;

/// Plugins that run only if they are asked for. `NodeRestriction` is one of upstream's; kubeadm asks for it, and so do we.
const OFF_BY_DEFAULT: [&str; 4] = [
    "AlwaysPullImages",
    "DenyServiceExternalIPs",
    "ExtendedResourceToleration",
    "LimitPodHardAntiAffinityTopology",
];

/// Which plugins are on. **Upstream**: `--enable-admission-plugins`, `--disable-admission-plugins`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// On, besides those that are on by default.
    pub enabled: Vec<String>,
    /// Off.
    pub disabled: Vec<String>,
    /// What they are told. **Upstream**: `--admission-control-config-file`.
    pub configuration: Configuration,
}

/// The names make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There is no such plugin.
    #[error("{flag} plugin {name:?} is unknown")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// The name.
        name: String,
    },
    /// A plugin is to be on and off.
    #[error("[{0}] in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlapped(String),
}

/// The plugins of a server whose rights are told by this authorizer; `outsiders` are those that objects configure, in
/// their order.
///
/// # Errors
/// If the choice names what there is not.
pub fn chain(
    authorizer: &Arc<dyn Authorizer>,
    choice: &Choice,
    outsiders: Vec<Arc<dyn Outsider>>,
) -> Result<Chain, ChoiceError> {
    let plugins: Vec<Arc<dyn Plugin>> = vec![
        Arc::new(NamespaceLifecycle),
        Arc::new(LimitPodHardAntiAffinityTopology),
        Arc::new(LimitRanger),
        Arc::new(ServiceAccount),
        Arc::new(NodeRestriction),
        Arc::new(TaintNodesByCondition),
        Arc::new(AlwaysPullImages),
        Arc::new(PodSecurity::new(choice.configuration.pod_security.clone())),
        Arc::new(Priority),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(ExtendedResourceToleration),
        Arc::new(DefaultStorageClass),
        Arc::new(StorageObjectInUseProtection),
        Arc::new(PersistentVolumeClaimResize),
        Arc::new(RuntimeClass),
        Arc::new(CertificateApproval(Arc::clone(authorizer))),
        Arc::new(CertificateSigning(Arc::clone(authorizer))),
        Arc::new(ClusterTrustBundleAttest(Arc::clone(authorizer))),
        Arc::new(CertificateSubjectRestriction),
        Arc::new(DefaultIngressClass),
        Arc::new(DenyServiceExternalIPs),
        Arc::new(PodTopologyLabels),
        Arc::new(NodeDeclaredFeatureValidator),
        Arc::new(PodResizeValidator),
    ];
    let mut list: Vec<Step> = plugins.into_iter().map(Step::Plugin).collect();
    list.extend(outsiders.into_iter().map(Step::Outsider));
    list.push(Step::Plugin(Arc::new(ResourceQuota::new(choice.configuration.limited.clone()))));
    let flags =
        [("enable-admission-plugins", &choice.enabled), ("disable-admission-plugins", &choice.disabled)];
    for (flag, names) in flags {
        if let Some(name) = names.iter().find(|name| list.iter().all(|plugin| plugin.name() != **name)) {
            return Err(ChoiceError::Unknown { flag, name: name.clone() });
        }
    }
    let both: Vec<&str> =
        choice.enabled.iter().filter(|name| choice.disabled.contains(name)).map(String::as_str).collect();
    if !both.is_empty() {
        return Err(ChoiceError::Overlapped(both.join(" ")));
    }
    list.retain(|plugin| {
        let named = |names: &[String]| names.iter().any(|name| name == plugin.name());
        named(&choice.enabled) || !named(&choice.disabled) && !OFF_BY_DEFAULT.contains(&plugin.name())
    });
    // No plugins of upstream's: there they are layers of stores, and always on.
    let before_quota =
        list.len() - usize::from(list.last().is_some_and(|last| last.name() == "ResourceQuota"));
    list.insert(before_quota, Step::Plugin(Arc::new(RoleEscalation::new(Arc::clone(authorizer)))));
    list.insert(before_quota, Step::Plugin(Arc::new(ResourceClaims(Arc::clone(authorizer)))));
    Ok(Chain::new(list))
}
