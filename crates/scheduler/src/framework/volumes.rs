//! Claims, volumes and what decides on them, with the bindings that are under way.
//!
//! **Contract**: a volume that was chosen for a claim counts as the claim's until the API shows it or the attempt
//! failed.
//! **Upstream**: the assume caches of `pkg/scheduler/framework/plugins/volumebinding`.

use super::PodInfo;
use super::pod_info::ClaimUse;
use api::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use api::k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim};
use api::k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use api::volume::{BIND_COMPLETED, SELECTED_NODE, is_for};
use client::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What is to be written before a pod is bound.
#[derive(Clone, Debug)]
pub enum Preparation {
    /// A volume is given to a claim.
    Bind {
        /// The volume.
        volume: Arc<PersistentVolume>,
        /// The claim.
        claim: Arc<PersistentVolumeClaim>,
    },
    /// A claim for devices is given to the pod, with what it gets if it has nothing yet.
    Reserve {
        /// The claim.
        claim: Arc<ResourceClaim>,
        /// Its devices.
        allocation: Option<Arc<AllocationResult>>,
    },
    /// A provisioner is told for which node to make a claim's volume.
    Provision {
        /// The claim.
        claim: Arc<PersistentVolumeClaim>,
        /// The node.
        node: String,
    },
}

/// Everything about volumes.
#[derive(Debug, Default)]
pub struct Volumes {
    pub(crate) claims: HashMap<Key, Arc<PersistentVolumeClaim>>,
    pub(crate) volumes: BTreeMap<String, Arc<PersistentVolume>>,
    pub(crate) classes: BTreeMap<String, Arc<StorageClass>>,
    pub(crate) csi_nodes: HashMap<String, Arc<CSINode>>,
    pub(crate) drivers: HashMap<String, Arc<CSIDriver>>,
    pub(crate) capacities: HashMap<Key, Arc<CSIStorageCapacity>>,
    /// Volumes that are being given to a claim.
    assumed: HashMap<String, Key>,
    /// Claims whose volume is being made, and for which node.
    selected: HashMap<Key, String>,
}

impl Volumes {
    /// A pod's claim.
    pub fn claim(&self, pod: &PodInfo, claim: &ClaimUse) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&Key::new(pod.namespace(), &claim.name))
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    /// The class of this name.
    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }

    /// What drivers say of a node.
    pub fn csi_node(&self, name: &str) -> Option<&Arc<CSINode>> {
        self.csi_nodes.get(name)
    }

    /// Whether a driver says how much room it has where.
    pub fn tracks_capacity(&self, driver: &str) -> bool {
        self.drivers.get(driver).is_some_and(|driver| driver.spec.storage_capacity == Some(true))
    }

    /// How much room there is for a class, place by place.
    pub fn capacities<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a CSIStorageCapacity> {
        self.capacities.values().map(Arc::as_ref).filter(move |c| c.storage_class_name == class)
    }

    /// Volumes that a claim may get: free ones, and those meant for it.
    pub fn free_for<'a>(
        &'a self,
        claim: &'a PersistentVolumeClaim,
    ) -> impl Iterator<Item = &'a Arc<PersistentVolume>> {
        let key = Key::of(claim);
        self.volumes.values().filter(move |volume| {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            match self.assumed.get(name) {
                Some(taken) => *taken == key,
                None => {
                    volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none()) || is_for(volume, claim)
                }
            }
        })
    }

    /// The node for which a claim's volume is to be made, if that is settled.
    pub fn selected_node<'a>(&'a self, claim: &'a PersistentVolumeClaim) -> Option<&'a str> {
        let annotated = claim.metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
        annotated.or_else(|| self.selected.get(&Key::of(claim))).map(String::as_str)
    }

    /// Takes what is decided for done.
    pub(crate) fn assume(&mut self, preparations: &[Preparation]) {
        for preparation in preparations {
            match preparation {
                Preparation::Bind { volume, claim } => {
                    let name = volume.metadata.name.clone().unwrap_or_default();
                    self.assumed.insert(name, Key::of(claim.as_ref()));
                }
                Preparation::Provision { claim, node } => {
                    self.selected.insert(Key::of(claim.as_ref()), node.clone());
                }
                Preparation::Reserve { .. } => {}
            }
        }
    }

    /// It is done, or has failed: from here on the API's word counts.
    pub(crate) fn forget(&mut self, preparations: &[Preparation]) {
        for preparation in preparations {
            match preparation {
                Preparation::Bind { volume, .. } => {
                    self.assumed.remove(volume.metadata.name.as_deref().unwrap_or_default());
                }
                Preparation::Provision { claim, .. } => drop(self.selected.remove(&Key::of(claim.as_ref()))),
                Preparation::Reserve { .. } => {}
            }
        }
    }
}

/// Whether a claim has its volume for good.
pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).is_some_and(|name| !name.is_empty())
        && claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(BIND_COMPLETED))
}
