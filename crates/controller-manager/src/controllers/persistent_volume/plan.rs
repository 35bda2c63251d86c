//! Which volume a claim gets, and in which phase volumes and claims are.
//!
//! **Upstream**: `pkg/controller/volume/persistentvolume` (`pv_controller.go`, `index.go`),
//! `component-helpers/storage/volume`.

use crate::workload::owned;
pub(super) use api::volume::{BIND_COMPLETED, BOUND_BY_CONTROLLER};
use api::volume::{NO_PROVISIONER, SELECTED_NODE, capacity, class_of, is_for, misfit, reaches};
use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;
use std::sync::Arc;

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The annotations that tell a provisioner to work, the older one second.
pub(super) const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// Something to tell: whether it is a warning, reason, message.
pub(super) type Told = (bool, &'static str, String);

/// What is to become of a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClaimPlan {
    /// It waits.
    Pending(Option<Told>),
    /// It gets the default class.
    SetClass(String),
    /// A provisioner is to make its volume.
    Provision(String),
    /// It gets this volume.
    Bind(Arc<PersistentVolume>),
    /// It had a volume.
    Lost(&'static str, &'static str),
}

/// What is to become of a volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum VolumePlan {
    /// It is in this phase.
    Phase(&'static str),
    /// Its claim is gone: it is released, and then goes, stays, or cannot go.
    Release(Option<Told>),
    /// Its claim took another: it is free again.
    Unbind,
}

/// What is known beside the object.
pub(super) struct View<'a> {
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    pub(super) classes: &'a [Arc<StorageClass>],
    pub(super) node: &'a dyn Fn(&str) -> Option<Arc<Node>>,
}

pub(super) fn annotation<'a, K: Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    object.meta().annotations.as_ref()?.get(key).map(String::as_str)
}

fn name<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// The volume that a claim names.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

pub(super) fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Decides on a claim.
pub(super) fn claim(claim: &PersistentVolumeClaim, view: &View<'_>) -> ClaimPlan {
    let named = volume_name(claim);
    let volume = view.volumes.iter().find(|volume| name(volume.as_ref()) == named);
    if annotation(claim, BIND_COMPLETED).is_some() {
        return match volume {
            _ if named.is_empty() => ClaimPlan::Lost(
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            ),
            None => ClaimPlan::Lost(
                "ClaimLost",
                "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            ),
            Some(volume) if claim_ref(volume).is_none() || is_for(volume, claim) => {
                ClaimPlan::Bind(volume.clone())
            }
            Some(_) => ClaimPlan::Lost(
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            ),
        };
    }
    if named.is_empty() {
        return choose(claim, view);
    }
    match volume {
        Some(volume) if claim_ref(volume).is_none() => match misfit(claim, volume) {
            None => ClaimPlan::Bind(volume.clone()),
            Some(why) => {
                let told = format!("Cannot bind to requested volume \"{named}\": {why}");
                ClaimPlan::Pending(Some((true, "VolumeMismatch", told)))
            }
        },
        Some(volume) if is_for(volume, claim) => ClaimPlan::Bind(volume.clone()),
        Some(_) => {
            let told = format!("volume \"{named}\" already bound to a different claim.");
            ClaimPlan::Pending(Some((true, "FailedBinding", told)))
        }
        None => ClaimPlan::Pending(None),
    }
}

/// A claim that names no volume.
fn choose(claim: &PersistentVolumeClaim, view: &View<'_>) -> ClaimPlan {
    if class_of(claim).is_none()
        && let Some(default) = default_class(view.classes)
    {
        return ClaimPlan::SetClass(default.to_owned());
    }
    let class_name = class_of(claim).unwrap_or_default();
    let class = view.classes.iter().find(|class| name(class.as_ref()) == class_name);
    let waits = class
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
        && annotation(claim, SELECTED_NODE).is_none();
    if let Some(volume) = best(claim, waits, view) {
        return ClaimPlan::Bind(volume);
    }
    let normal = |reason, message: String| ClaimPlan::Pending(Some((false, reason, message)));
    match class {
        _ if waits => normal(
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding".to_owned(),
        ),
        None if class_name.is_empty() => normal(
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set".to_owned(),
        ),
        None => {
            let told = format!("storageclass.storage.k8s.io \"{class_name}\" not found");
            ClaimPlan::Pending(Some((true, "ProvisioningFailed", told)))
        }
        Some(class) if class.provisioner == NO_PROVISIONER => {
            let told = format!("no volume plugin matched name: {NO_PROVISIONER}");
            ClaimPlan::Pending(Some((true, "ProvisioningFailed", told)))
        }
        Some(class) => ClaimPlan::Provision(class.provisioner.clone()),
    }
}

/// The newest of the default classes.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<&str> {
    let default = |class: &&Arc<StorageClass>| {
        DEFAULT_CLASS.iter().any(|key| annotation(class.as_ref(), key) == Some("true"))
    };
    let newest = classes.iter().filter(default).max_by_key(|class| {
        let created = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, std::cmp::Reverse(name(class.as_ref()).to_owned()))
    });
    newest.map(|class| name(class.as_ref()))
}

/// The volume meant for a claim, or else the smallest that does. While a claim waits for its pod only the former.
fn best(claim: &PersistentVolumeClaim, waits: bool, view: &View<'_>) -> Option<Arc<PersistentVolume>> {
    let fits = |volume: &&Arc<PersistentVolume>| {
        volume.metadata.deletion_timestamp.is_none() && misfit(claim, volume).is_none()
    };
    let fitting: Vec<_> = view.volumes.iter().filter(fits).collect();
    if let Some(meant) = fitting.iter().find(|volume| is_for(volume, claim)) {
        return Some((*meant).clone());
    }
    if waits {
        return None;
    }
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()).map(owned::selector);
    let node = annotation(claim, SELECTED_NODE).and_then(|node| (view.node)(node));
    let free = fitting.into_iter().filter(|volume| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        claim_ref(volume).is_none()
            && phase == Some("Available")
            && selector
                .as_ref()
                .is_none_or(|selector| owned::selects(selector, volume.metadata.labels.as_ref()))
            && node.as_ref().is_none_or(|node| reaches(volume, node))
    });
    free.min_by_key(|volume| (capacity(volume), name(volume.as_ref()).to_owned())).cloned()
}

/// Decides on a volume; `claim` is what has the name of its claim.
pub(super) fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> VolumePlan {
    let Some(of) = claim_ref(volume) else { return VolumePlan::Phase("Available") };
    if of.uid.is_none() {
        return VolumePlan::Phase("Available");
    }
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(claim) = claim.filter(|claim| claim.metadata.uid == of.uid) else {
        return if phase == Some("Failed") {
            VolumePlan::Phase("Failed")
        } else {
            VolumePlan::Release(reclaim(volume))
        };
    };
    let named = volume_name(claim);
    if named == name(volume) {
        return VolumePlan::Phase("Bound");
    }
    if named.is_empty() {
        // The claim's turn: it will be bound, or was meant to be.
        return VolumePlan::Phase(if phase == Some("Bound") { "Bound" } else { "Available" });
    }
    if annotation(volume, BOUND_BY_CONTROLLER).is_some() && annotation(volume, PROVISIONED_BY).is_none() {
        return VolumePlan::Unbind;
    }
    VolumePlan::Release(reclaim(volume))
}

/// What to tell when a released volume is to go, and nobody here can delete it.
fn reclaim(volume: &PersistentVolume) -> Option<Told> {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    // Whoever provisioned it deletes it.
    if policy != Some("Delete") || annotation(volume, PROVISIONED_BY).is_some() {
        return None;
    }
    let told = format!(
        "error getting deleter volume plugin for volume \"{}\": no deletable volume plugin matched",
        name(volume)
    );
    Some((true, "VolumeFailedDelete", told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn make_claim(spec: Value, annotations: Value) -> PersistentVolumeClaim {
        let mut all = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "5Gi"}}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "default", "uid": "cu", "annotations": annotations}, "spec": all,
        }))
        .unwrap()
    }

    fn make_volume(name: &str, size: &str, more: Value) -> Arc<PersistentVolume> {
        let mut spec =
            json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let volume = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "Available"}});
        Arc::new(serde_json::from_value(volume).unwrap())
    }

    fn class(name: &str, mode: &str, default: bool, provisioner: &str) -> Arc<StorageClass> {
        let class = json!({
            "metadata": {"name": name, "annotations": {DEFAULT_CLASS[0]: default.to_string()}},
            "provisioner": provisioner, "volumeBindingMode": mode,
        });
        Arc::new(serde_json::from_value(class).unwrap())
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_does() {
        let mine = json!({"claimRef": {"namespace": "default", "name": "c"}});
        let taken = json!({"claimRef": {"namespace": "default", "name": "other", "uid": "x"}});
        let volumes = [
            make_volume("small", "1Gi", json!({})),
            make_volume("large", "50Gi", json!({})),
            make_volume("right", "10Gi", json!({})),
            make_volume("taken", "5Gi", taken),
            make_volume("classy", "5Gi", json!({"storageClassName": "fast"})),
            make_volume("block", "5Gi", json!({"volumeMode": "Block"})),
        ];
        let classes = [
            class("slow", "Immediate", false, "example.com/p"),
            class("late", "WaitForFirstConsumer", false, "p"),
        ];
        let told = |spec: Value, volumes: &[Arc<PersistentVolume>]| {
            let view = View { volumes, classes: &classes, node: &|_| None };
            match claim(&make_claim(spec, json!({})), &view) {
                ClaimPlan::Bind(volume) => format!("bind {}", name(volume.as_ref())),
                ClaimPlan::Pending(told) => told.map_or("wait", |told| told.1).to_owned(),
                ClaimPlan::Provision(by) => format!("provision {by}"),
                other => format!("{other:?}"),
            }
        };
        let mut prebound = volumes.to_vec();
        prebound.push(make_volume("mine", "90Gi", mine));
        assert_eq!(told(json!({}), &volumes), "bind right");
        assert_eq!(told(json!({}), &prebound), "bind mine");
        assert_eq!(told(json!({"storageClassName": "fast"}), &volumes), "bind classy");
        assert_eq!(told(json!({"accessModes": ["ReadWriteMany"]}), &volumes), "FailedBinding");
        assert_eq!(told(json!({"storageClassName": "slow"}), &volumes), "provision example.com/p");
        assert_eq!(told(json!({"storageClassName": "late"}), &volumes), "WaitForFirstConsumer");
        assert_eq!(told(json!({"storageClassName": "none"}), &volumes), "ProvisioningFailed");
        assert_eq!(told(json!({"volumeName": "large"}), &volumes), "bind large");
        assert_eq!(told(json!({"volumeName": "small"}), &volumes), "VolumeMismatch");
        assert_eq!(told(json!({"volumeName": "taken"}), &volumes), "FailedBinding");
        assert_eq!(told(json!({"volumeName": "nowhere"}), &volumes), "wait");
    }

    #[test]
    fn a_claim_without_a_class_gets_the_default_and_a_bound_one_may_lose_its_volume() {
        let classes = [class("a", "Immediate", true, "p"), class("b", "Immediate", false, "p")];
        let view = View { volumes: &[], classes: &classes, node: &|_| None };
        let open = make_claim(json!({"storageClassName": null}), json!({}));
        assert_eq!(claim(&open, &view), ClaimPlan::SetClass("a".to_owned()));
        let bound = make_claim(json!({"volumeName": "v"}), json!({BIND_COMPLETED: "yes"}));
        assert!(matches!(claim(&bound, &view), ClaimPlan::Lost("ClaimLost", _)));
    }

    #[test]
    fn a_volume_follows_its_claim() {
        let bound = |annotations: Value, policy: &str| {
            let volume = json!({
                "metadata": {"name": "v", "annotations": annotations}, "status": {"phase": "Bound"},
                "spec": {"persistentVolumeReclaimPolicy": policy, "claimRef": {"namespace": "default", "name": "c", "uid": "cu"}},
            });
            serde_json::from_value::<PersistentVolume>(volume).unwrap()
        };
        let (mine, other) = (
            make_claim(json!({"volumeName": "v"}), json!({})),
            make_claim(json!({"volumeName": "w"}), json!({})),
        );
        let plain = bound(json!({}), "Retain");
        assert_eq!(volume(&plain, Some(&mine)), VolumePlan::Phase("Bound"));
        assert_eq!(volume(&plain, None), VolumePlan::Release(None));
        assert_eq!(
            volume(&bound(json!({BOUND_BY_CONTROLLER: "yes"}), "Retain"), Some(&other)),
            VolumePlan::Unbind
        );
        assert!(matches!(volume(&bound(json!({}), "Delete"), None), VolumePlan::Release(Some(_))));
        assert_eq!(volume(&bound(json!({PROVISIONED_BY: "p"}), "Delete"), None), VolumePlan::Release(None));
    }
}
