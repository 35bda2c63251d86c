//! Who uses what, and what becomes of the finalizer.

use crate::workload::owned;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::ObjectMeta;

/// What is to be done with an object's finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Protect,
    LetGo,
}

pub(super) fn change(meta: &ObjectMeta, finalizer: &str, is_used: impl FnOnce() -> bool) -> Change {
    let is_protected = meta.finalizers.iter().flatten().any(|present| present == finalizer);
    match (meta.deletion_timestamp.is_some(), is_protected) {
        (false, false) => Change::Protect,
        (true, true) if !is_used() => Change::LetGo,
        _ => Change::Nothing,
    }
}

/// The claims that a pod may use, as `namespace/name`: those that it names, and those of its ephemeral volumes.
pub(super) fn claims_of(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    names(pod).map(|(name, _)| format!("{namespace}/{name}")).collect()
}

fn names(pod: &Pod) -> impl Iterator<Item = (String, Ephemeral)> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| {
        if let Some(claim) = &volume.persistent_volume_claim {
            return Some((claim.claim_name.clone(), Ephemeral::No));
        }
        volume.ephemeral.as_ref().map(|_| (format!("{pod_name}-{}", volume.name), Ephemeral::Yes))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ephemeral {
    Yes,
    No,
}

/// Whether a pod uses a claim: only once it has a node, since no kubelet starts a pod whose claim is going.
pub(super) fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    if api::pod::node_name(pod).is_empty() || pod.metadata.namespace != claim.metadata.namespace {
        return false;
    }
    names(pod).any(|(name, ephemeral)| {
        Some(&name) == claim.metadata.name.as_ref()
            && (ephemeral == Ephemeral::No || owned::is_controlled_by(claim, pod.metadata.uid.as_deref()))
    })
}

/// Whether a volume belongs to a claim.
pub(super) fn is_bound(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// The VolumeAttributesClasses that a claim has, had, or is to have.
pub(super) fn classes_of_claim(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let target = status.and_then(|status| status.modify_volume_status.as_ref());
    let target = target.and_then(|target| target.target_volume_attributes_class_name.as_deref());
    [wanted, current, target].into_iter().flatten()
}

/// The VolumeAttributesClass of a volume.
pub(super) fn class_of_volume(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::build::{self, at};

    #[test]
    fn a_finalizer_comes_at_once_and_goes_with_the_last_user() {
        for (going, protected, used, wanted) in [
            (false, false, true, Change::Protect),
            (false, true, false, Change::Nothing),
            (true, true, true, Change::Nothing),
            (true, true, false, Change::LetGo),
            (true, false, false, Change::Nothing),
        ] {
            let mut object = build::pod("x");
            if going {
                object = object.deleted(at(0));
            }
            if protected {
                object = object.finalizer("f");
            }
            assert_eq!(change(&object.get().metadata, "f", || used), wanted, "{going} {protected} {used}");
        }
    }

    #[test]
    fn a_pod_uses_claims_once_it_has_a_node() {
        let claim = |name: &str, owner: Option<&str>| -> PersistentVolumeClaim {
            let owners: Vec<_> = owner
                .map(|uid| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}))
                .into_iter()
                .collect();
            serde_json::from_value(
                json!({"metadata": {"name": name, "namespace": "default", "ownerReferences": owners}}),
            )
            .unwrap()
        };
        let pod = |node: &str| {
            build::pod("p").uid("u").on(node).with(|pod| {
                let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "a"}}, {"name": "e", "ephemeral": {}}]);
                pod.spec.as_mut().unwrap().volumes = Some(serde_json::from_value(volumes).unwrap());
            })
        };
        let (waiting, placed) = (pod("").get(), pod("n").get());
        assert_eq!(claims_of(&placed), ["default/a", "default/p-e"]);
        assert!(!uses(&waiting, &claim("a", None)));
        assert!(uses(&placed, &claim("a", None)));
        assert!(uses(&placed, &claim("p-e", Some("u"))));
        assert!(!uses(&placed, &claim("p-e", Some("other"))), "somebody else's of the same name");
    }
}
