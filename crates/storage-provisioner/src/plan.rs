//! What a claim or a volume needs.

use crate::NAME;
use api::pod::parse_quantity;
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Resource;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::path::Path;

const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Keeps a volume until its folder is gone, whichever of volume and claim is deleted first.
const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// What is to be done about a claim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClaimPlan {
    Nothing,
    /// It asks for what a folder cannot be: what its event says.
    Refuse(String),
    /// It gets this volume.
    Provision(Box<PersistentVolume>),
    /// It wants its volume to be larger.
    Expand {
        volume: String,
        size: Quantity,
    },
}

/// What is to be done about a volume.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum VolumePlan {
    Nothing,
    /// It is to have these finalizers.
    Finalizers(Vec<String>),
    /// It must not be removed: what its event says.
    Refuse(String),
    /// Its folder goes, then the volume.
    Remove,
}

fn annotation<'a, K: Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    object.meta().annotations.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// The class of a claim.
pub(crate) fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(claim, BETA_CLASS).or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref())
}

/// The volume that a claim has, or that would be made for it.
pub(crate) fn volume_of(claim: &PersistentVolumeClaim) -> String {
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| made_name(claim))
}

fn made_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default())
}

/// Decides on a claim; `volume` is what has the name of [`volume_of`].
pub(crate) fn claim(
    claim: &PersistentVolumeClaim,
    class: Option<&StorageClass>,
    volume: Option<&PersistentVolume>,
    root: &Path,
) -> ClaimPlan {
    if claim.metadata.deletion_timestamp.is_some() {
        return ClaimPlan::Nothing;
    }
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    match (class, volume) {
        (_, Some(volume)) if !named.is_empty() => growth(claim, volume),
        (Some(class), None) if named.is_empty() && is_asked(claim, class) => match refusal(claim, class) {
            Some(why) => ClaimPlan::Refuse(why),
            None => ClaimPlan::Provision(Box::new(made_for(claim, class, root))),
        },
        _ => ClaimPlan::Nothing,
    }
}

/// Whether the binder has handed the claim to this provisioner, and the scheduler has chosen a node where that comes first.
fn is_asked(claim: &PersistentVolumeClaim, class: &StorageClass) -> bool {
    let asked = PROVISIONER.iter().find_map(|key| annotation(claim, key)) == Some(NAME);
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    asked && class.provisioner == NAME && (!waits || annotation(claim, SELECTED_NODE).is_some())
}

fn refusal(claim: &PersistentVolumeClaim, class: &StorageClass) -> Option<String> {
    let class_name = class.metadata.name.as_deref().unwrap_or_default();
    let options = class.mount_options.as_deref().unwrap_or_default();
    if !options.is_empty() {
        return Some(format!(
            "Mount options are not supported by the provisioner but StorageClass \"{class_name}\" has mount options [{}]",
            options.join(" ")
        ));
    }
    let spec = claim.spec.as_ref()?;
    let why = if spec.volume_mode.as_deref() == Some("Block") {
        format!("{NAME} does not support block volume provisioning")
    } else if spec.selector.is_some() {
        "claim Selector is not supported".to_owned()
    } else if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        "claim data sources are not supported".to_owned()
    } else {
        let option = class.parameters.iter().flatten().next()?.0;
        format!("invalid option \"{option}\" for provisioner {NAME}")
    };
    Some(format!("failed to provision volume with StorageClass \"{class_name}\": {why}"))
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

fn made_for(claim: &PersistentVolumeClaim, class: &StorageClass, root: &Path) -> PersistentVolume {
    let name = made_name(claim);
    let path = root.join(&name).to_string_lossy().into_owned();
    let wanted = claim.spec.clone().unwrap_or_default();
    let policy = class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned());
    let size = requested(claim).map(|size| ("storage".to_owned(), size.clone()));
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), NAME.to_owned())])),
            finalizers: (policy == "Delete").then(|| vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: wanted.access_modes,
            capacity: Some(size.into_iter().collect()),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: claim.metadata.namespace.clone(),
                name: claim.metadata.name.clone(),
                uid: claim.metadata.uid.clone(),
                resource_version: claim.metadata.resource_version.clone(),
                field_path: None,
            }),
            // A folder that is lost must not come back empty.
            host_path: Some(HostPathVolumeSource { path, type_: Some("Directory".to_owned()) }),
            node_affinity: affinity(class),
            persistent_volume_reclaim_policy: Some(policy),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: wanted.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// The nodes that the class allows; every node if it names none.
fn affinity(class: &StorageClass) -> Option<VolumeNodeAffinity> {
    let terms: Vec<NodeSelectorTerm> = class
        .allowed_topologies
        .iter()
        .flatten()
        .map(|term| {
            let labels = term.match_label_expressions.iter().flatten();
            let requirements = labels.map(|label| NodeSelectorRequirement {
                key: label.key.clone(),
                operator: "In".to_owned(),
                values: Some(label.values.clone()),
            });
            NodeSelectorTerm { match_expressions: Some(requirements.collect()), match_fields: None }
        })
        .collect();
    let is_open = terms.is_empty();
    let affinity = VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: terms }) };
    (!is_open).then_some(affinity)
}

/// A bound claim that asks for more than it has. Whether it may was decided when it was changed.
fn growth(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> ClaimPlan {
    let of = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_ref());
    let status = claim.status.as_ref();
    let is_bound = status.and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !is_bound || of != claim.metadata.uid.as_ref() || annotation(volume, PROVISIONED_BY) != Some(NAME) {
        return ClaimPlan::Nothing;
    }
    let has = status.and_then(|status| status.capacity.as_ref()?.get("storage"));
    match (requested(claim), has) {
        (Some(size), Some(has)) if parse_quantity(size).value() > parse_quantity(has).value() => {
            ClaimPlan::Expand { volume: volume_of(claim), size: size.clone() }
        }
        _ => ClaimPlan::Nothing,
    }
}

/// A volume's finalizers but for the provisioner's.
pub(crate) fn without_ours(volume: &PersistentVolume) -> Vec<String> {
    volume.metadata.finalizers.iter().flatten().filter(|present| *present != FINALIZER).cloned().collect()
}

/// Decides on a volume.
pub(crate) fn volume(volume: &PersistentVolume, root: &Path) -> VolumePlan {
    let Some(spec) = volume.spec.as_ref().filter(|_| annotation(volume, PROVISIONED_BY) == Some(NAME)) else {
        return VolumePlan::Nothing;
    };
    let held = volume.metadata.finalizers.iter().flatten().any(|present| present == FINALIZER);
    let going = volume.metadata.deletion_timestamp.is_some();
    let goes_with_claim = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    if !goes_with_claim {
        return if held { VolumePlan::Finalizers(without_ours(volume)) } else { VolumePlan::Nothing };
    }
    if !released {
        let mut finalizers = without_ours(volume);
        finalizers.push(FINALIZER.to_owned());
        return if held || going { VolumePlan::Nothing } else { VolumePlan::Finalizers(finalizers) };
    }
    if going && !held {
        return VolumePlan::Nothing;
    }
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let path = spec.host_path.as_ref().map(|source| Path::new(&source.path));
    match path {
        Some(path) if path == root.join(name) => VolumePlan::Remove,
        _ => VolumePlan::Refuse(format!("volume \"{name}\" is not a folder of {NAME}: it is left as it is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn merged(mut base: Value, more: &Value) -> Value {
        if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
            for (key, value) in more {
                let old = base.remove(key).unwrap_or_default();
                base.insert(key.clone(), if old.is_object() { merged(old, value) } else { value.clone() });
            }
        }
        base
    }

    fn a_claim(more: Value) -> PersistentVolumeClaim {
        let base = json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u", "annotations": {PROVISIONER[0]: NAME}},
            "spec": {"storageClassName": "standard", "accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": "1Gi"}}},
        });
        of(merged(base, &more))
    }

    fn a_class(more: Value) -> StorageClass {
        of(merged(json!({"metadata": {"name": "standard"}, "provisioner": NAME}), &more))
    }

    #[test]
    fn a_claim_gets_a_folder_when_the_binder_and_the_scheduler_have_spoken() {
        let waits = json!({"volumeBindingMode": "WaitForFirstConsumer"});
        let chosen = json!({"metadata": {"annotations": {SELECTED_NODE: "node"}}});
        let by = |other: &str| json!({"metadata": {"annotations": {PROVISIONER[0]: other}}});
        for (more, class, expected) in [
            (json!({}), json!({}), "provision"),
            (json!({}), waits.clone(), ""),
            (chosen, waits, "provision"),
            (by("example.com/other"), json!({}), ""),
            (json!({}), json!({"provisioner": "example.com/other"}), ""),
            (json!({"spec": {"volumeName": "v"}}), json!({}), ""),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), json!({}), ""),
            (
                json!({"spec": {"volumeMode": "Block"}}),
                json!({}),
                "minik.dev/hostpath does not support block volume provisioning",
            ),
            (json!({"spec": {"selector": {}}}), json!({}), "claim Selector is not supported"),
            (json!({}), json!({"parameters": {"x": "y"}}), "invalid option \"x\""),
            (json!({}), json!({"mountOptions": ["ro"]}), "StorageClass \"standard\" has mount options [ro]"),
        ] {
            let said = match claim(&a_claim(more.clone()), Some(&a_class(class)), None, Path::new("/v")) {
                ClaimPlan::Nothing => String::new(),
                ClaimPlan::Provision(_) => "provision".to_owned(),
                ClaimPlan::Refuse(why) => why,
                other => format!("{other:?}"),
            };
            assert!(
                said.ends_with(expected) || said.contains(expected) && !expected.is_empty(),
                "{more}: {said}"
            );
            assert_eq!(said.is_empty(), expected.is_empty(), "{more}: {said}");
        }
    }

    #[test]
    fn a_volume_is_what_its_claim_and_class_say() {
        let class = a_class(json!({"reclaimPolicy": "Retain", "allowedTopologies": [
            {"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}]}));
        let ClaimPlan::Provision(made) = claim(&a_claim(json!({})), Some(&class), None, Path::new("/v"))
        else {
            panic!("it is provisioned");
        };
        let made = serde_json::to_value(made).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": "pvc-u", "annotations": {PROVISIONED_BY: NAME}},
            "spec": {
                "accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Gi"}, "volumeMode": "Filesystem",
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "n", "name": "c", "uid": "u"},
                "hostPath": {"path": "/v/pvc-u", "type": "Directory"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}},
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "standard",
            },
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn a_bound_claim_may_grow() {
        let bound = |size: &str| {
            a_claim(
                json!({"spec": {"volumeName": "pvc-u"}, "status": {"phase": "Bound", "capacity": {"storage": size}}}),
            )
        };
        let mine = |by: &str| {
            of::<PersistentVolume>(json!({"metadata": {"name": "pvc-u", "annotations": {PROVISIONED_BY: by}},
                "spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u"}}}))
        };
        let plan = |size: &str, by: &str| claim(&bound(size), None, Some(&mine(by)), Path::new("/v"));
        let larger = ClaimPlan::Expand { volume: "pvc-u".to_owned(), size: Quantity("1Gi".to_owned()) };
        assert_eq!(plan("512Mi", NAME), larger);
        assert_eq!(plan("1024Mi", NAME), ClaimPlan::Nothing);
        assert_eq!(plan("512Mi", "example.com/other"), ClaimPlan::Nothing);
    }

    #[test]
    fn a_released_volume_goes_with_its_folder_and_no_other() {
        let ours = json!([FINALIZER]);
        let gone = json!("2026-01-01T00:00:00Z");
        for (policy, phase, finalizers, deleted, path, expected) in [
            ("Delete", "Bound", &ours, None, "/v/pvc-u", VolumePlan::Nothing),
            (
                "Delete",
                "Bound",
                &json!([]),
                None,
                "/v/pvc-u",
                VolumePlan::Finalizers(vec![FINALIZER.to_owned()]),
            ),
            ("Delete", "Released", &ours, None, "/v/pvc-u", VolumePlan::Remove),
            ("Delete", "Released", &ours, Some(&gone), "/v/pvc-u", VolumePlan::Remove),
            ("Delete", "Released", &json!(["x"]), Some(&gone), "/v/pvc-u", VolumePlan::Nothing),
            (
                "Delete",
                "Released",
                &ours,
                None,
                "/etc",
                VolumePlan::Refuse(
                    "volume \"pvc-u\" is not a folder of minik.dev/hostpath: it is left as it is".into(),
                ),
            ),
            ("Retain", "Released", &json!([]), None, "/v/pvc-u", VolumePlan::Nothing),
            ("Retain", "Bound", &ours, None, "/v/pvc-u", VolumePlan::Finalizers(vec![])),
        ] {
            let found: PersistentVolume = of(json!({
                "metadata": {"name": "pvc-u", "annotations": {PROVISIONED_BY: NAME}, "finalizers": finalizers,
                    "deletionTimestamp": deleted},
                "spec": {"persistentVolumeReclaimPolicy": policy, "hostPath": {"path": path}},
                "status": {"phase": phase},
            }));
            assert_eq!(
                volume(&found, Path::new("/v")),
                expected,
                "{policy} {phase} {finalizers} {deleted:?}"
            );
        }
    }
}
