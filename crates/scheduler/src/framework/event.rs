//! What happens in a cluster that may let a pod be scheduled that could not be.
//!
//! **Upstream**: `framework.ClusterEvent` and the queueing hints of the plugins.

use super::PodInfo;
use api::k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use api::k8s_openapi::api::resource::v1::ResourceClaim;
use std::sync::Arc;

/// Something happened, with what it happened to.
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    /// A node is new.
    NodeAdded(Arc<Node>),
    /// A node changed.
    NodeUpdated {
        /// As it was.
        old: Arc<Node>,
        /// As it is.
        new: Arc<Node>,
    },
    /// A node is gone.
    NodeDeleted(Arc<Node>),
    /// A pod has come to a node.
    AssignedPodAdded(Arc<PodInfo>),
    /// A pod on a node changed.
    AssignedPodUpdated {
        /// As it was.
        old: Arc<PodInfo>,
        /// As it is.
        new: Arc<PodInfo>,
    },
    /// A pod left its node.
    AssignedPodDeleted(Arc<PodInfo>),
    /// The waiting pod itself was changed; this is how it was.
    PodUpdated(Arc<PodInfo>),
    /// A namespace's labels changed.
    NamespaceChanged,
    /// A claim is new or changed.
    ClaimChanged(Arc<PersistentVolumeClaim>),
    /// A claim for devices is new or changed.
    ResourceClaimChanged {
        /// As it was, if it was.
        old: Option<Arc<ResourceClaim>>,
        /// As it is.
        new: Arc<ResourceClaim>,
    },
    /// There are other devices, or classes of them, or some are free again.
    DevicesChanged,
    /// A volume, a class, what drivers say of a node: something that volumes depend on.
    StorageChanged,
}

impl ClusterEvent {
    /// The node, if one is new or changed in the eyes of `differs`.
    pub fn node(&self, differs: impl Fn(&Node, &Node) -> bool) -> Option<&Arc<Node>> {
        match self {
            Self::NodeAdded(node) => Some(node),
            Self::NodeUpdated { old, new } if differs(old, new) => Some(new),
            _ => None,
        }
    }

    /// The node, if one is new or has other labels.
    pub fn node_labels(&self) -> Option<&Arc<Node>> {
        self.node(|old, new| old.metadata.labels != new.metadata.labels)
    }

    /// Whether it may decide where the pod's volumes can be used.
    pub fn concerns_volumes(&self, pod: &PodInfo) -> bool {
        match self {
            Self::StorageChanged => true,
            Self::ClaimChanged(claim) => pod.mounts(claim),
            event => event.node_labels().is_some(),
        }
    }

    /// The node, if one is new or has other taints.
    pub fn node_taints(&self) -> Option<&Arc<Node>> {
        let barriers = |node: &Node| node.spec.as_ref().map(|s| (s.taints.clone(), s.unschedulable));
        self.node(|old, new| barriers(old) != barriers(new))
    }
}
