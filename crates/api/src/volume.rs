//! Which volume suits a claim, and which node can use a volume.
//!
//! **Upstream**: `component-helpers/storage/volume`, `pkg/controller/volume/persistentvolume`.

use crate::pod::parse_quantity;
use crate::scheduling::node_selector_matches;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};

/// The annotation by which a claim names its class in old manifests.
pub const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The annotation by which the scheduler tells for which node a volume is to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The annotation of a claim whose binding is complete.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The annotation of what a controller, not the user, has bound.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The provisioner of classes whose volumes nobody makes.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// The class that a claim asks for; none if it leaves that open.
pub fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotated = claim.metadata.annotations.as_ref().and_then(|all| all.get(BETA_CLASS));
    annotated.or_else(|| claim.spec.as_ref()?.storage_class_name.as_ref()).map(String::as_str)
}

/// How much a volume holds, in bytes.
pub fn capacity(volume: &PersistentVolume) -> i64 {
    let amounts = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    amounts.and_then(|amounts| amounts.get("storage")).map_or(0, |amount| parse_quantity(amount).value())
}

/// How much a claim asks for, in bytes.
pub fn requested(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let size = resources.and_then(|resources| resources.requests.as_ref()?.get("storage"));
    size.map_or(0, |size| parse_quantity(size).value())
}

/// Whether a volume is for this claim, already or by somebody's wish.
pub fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()).is_some_and(|of| {
        of.name == claim.metadata.name
            && of.namespace == claim.metadata.namespace
            && (of.uid.is_none() || of.uid == claim.metadata.uid)
    })
}

/// Whether a volume can be used on a node.
pub fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|required| {
        required.node_selector_terms.is_empty() || node_selector_matches(required, node)
    })
}

/// Why a volume will not do for a claim.
pub fn misfit(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<&'static str> {
    let (wanted, has) = (claim.spec.as_ref()?, volume.spec.as_ref()?);
    if requested(claim) > capacity(volume) {
        return Some("requested PV is too small");
    }
    if class_of(claim).unwrap_or_default() != has.storage_class_name.as_deref().unwrap_or_default() {
        return Some("storageClassName does not match");
    }
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    if mode(&wanted.volume_mode) != mode(&has.volume_mode) {
        return Some("incompatible volumeMode");
    }
    let modes = has.access_modes.as_deref().unwrap_or_default();
    let all = wanted.access_modes.iter().flatten().all(|mode| modes.contains(mode));
    (!all).then_some("incompatible accessMode")
}
