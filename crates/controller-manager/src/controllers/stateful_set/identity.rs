//! What makes a StatefulSet's pod that one and no other: its name, its labels, its claims.
//!
//! **Upstream**: `pkg/controller/statefulset/stateful_set_utils.go`.

use crate::workload::{owned, pod_control};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// The label with a pod's revision.
pub(super) const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub(super) fn spec(set: &StatefulSet) -> &StatefulSetSpec {
    set.spec.as_ref().expect("a stored StatefulSet has a spec")
}

pub(super) fn name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// The ordinals that the set is to have.
pub(super) fn ordinals(set: &StatefulSet) -> std::ops::Range<i32> {
    let start = spec(set).ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    start..start + spec(set).replicas.unwrap_or(1)
}

/// The set's name and the ordinal in a pod's name.
pub(super) fn parent_and_ordinal(pod: &Pod) -> Option<(&str, i32)> {
    let (parent, ordinal) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    let digits = !ordinal.is_empty() && ordinal.bytes().all(|digit| digit.is_ascii_digit());
    Some((parent, ordinal.parse().ok().filter(|_| digits)?))
}

/// Whether a pod's name is one of the set's.
pub(super) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parent_and_ordinal(pod).is_some_and(|(parent, _)| parent == name(set))
}

/// The revision that a pod was made by.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION)).map_or("", String::as_str)
}

/// The pod of an ordinal, by a template and its revision.
pub(super) fn pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod = pod_control::pod_from_template(template, set);
    let pod_name = format!("{}-{ordinal}", name(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(pod_name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION.to_owned(), revision.to_owned());
    label(&mut pod, ordinal);
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(pod_name);
    spec.subdomain = self::spec(set).service_name.clone().filter(|service| !service.is_empty());
    let claims = claims(set, ordinal);
    let volumes = spec.volumes.take().unwrap_or_default();
    let of_claims = claims.iter().map(|(volume, claim)| Volume {
        name: volume.clone(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.metadata.name.clone().unwrap_or_default(),
            read_only: Some(false),
        }),
        ..Volume::default()
    });
    let others = volumes.into_iter().filter(|volume| !claims.iter().any(|(name, _)| *name == volume.name));
    let volumes: Vec<_> = of_claims.chain(others).collect();
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    pod
}

/// Sets the labels that say which pod it is; whether one was missing.
pub(super) fn label(pod: &mut Pod, ordinal: i32) -> bool {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let labels = pod.metadata.labels.get_or_insert_default();
    let mut changed = false;
    for (key, value) in [(POD_NAME, name), (POD_INDEX, ordinal.to_string())] {
        changed |= labels.insert(key.to_owned(), value.clone()) != Some(value);
    }
    changed
}

/// The claims of an ordinal, with the volumes that they are for.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let templates = spec(set).volume_claim_templates.iter().flatten();
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        let volume = claim.metadata.name.take().unwrap_or_default();
        claim.metadata.name = Some(format!("{volume}-{}-{ordinal}", name(set)));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.extend(spec(set).selector.match_labels.clone().unwrap_or_default());
        claim.status = None;
        (volume, claim)
    };
    templates.map(claim).collect()
}

/// Who should own the claim of an ordinal: the set if it goes with the set, the pod if it goes with the scaling.
pub(super) fn claim_owners(
    set: &StatefulSet,
    pod: Option<&Pod>,
    ordinal: i32,
    present: &[OwnerReference],
) -> Vec<OwnerReference> {
    let policy = spec(set).persistent_volume_claim_retention_policy.clone().unwrap_or_default();
    let deletes = |when: &Option<String>| when.as_deref() == Some("Delete");
    let condemned = !ordinals(set).contains(&ordinal);
    let by_pod = deletes(&policy.when_scaled) && condemned;
    let by_set = deletes(&policy.when_deleted) && !by_pod;
    let pod_name = format!("{}-{ordinal}", name(set));
    let ours = |owner: &OwnerReference| {
        (owner.kind == "StatefulSet" && owner.name == name(set))
            || (owner.kind == "Pod" && owner.name == pod_name)
    };
    let mut owners: Vec<_> = present.iter().filter(|owner| !ours(owner)).cloned().collect();
    if by_set {
        owners.push(owned::controller_reference(set));
    }
    if let Some(pod) = pod.filter(|_| by_pod) {
        owners.push(owned::controller_reference(pod));
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::build;

    fn set(policy: serde_json::Value) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "default", "uid": "u"},
            "spec": {
                "replicas": 2, "serviceName": "dbs", "selector": {"matchLabels": {"app": "db"}},
                "ordinals": {"start": 5}, "persistentVolumeClaimRetentionPolicy": policy,
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {
                    "containers": [{"name": "c"}], "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp"}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_has_its_name_its_claims_and_its_labels() {
        let set = set(json!({}));
        assert_eq!(ordinals(&set), 5..7);
        let pod = pod(&set, &spec(&set).template, "db-abc", 5);
        let labels = pod.metadata.labels.as_ref().unwrap();
        assert_eq!(labels[POD_NAME], "db-5");
        assert_eq!(labels[POD_INDEX], "5");
        assert_eq!((revision(&pod), is_member(&set, &pod)), ("db-abc", true));
        let spec = pod.spec.unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-5"), Some("dbs")));
        let volumes = spec.volumes.unwrap();
        assert_eq!(volumes.len(), 2);
        assert_eq!(volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name, "data-db-5");
        for (name, expected) in
            [("db-7", Some(("db", 7))), ("db-x", None), ("db-", None), ("a-db-1", Some(("a-db", 1)))]
        {
            assert_eq!(parent_and_ordinal(&build::pod(name).get()), expected, "{name}");
        }
    }

    #[test]
    fn claims_go_with_the_set_or_with_the_scaling_or_stay() {
        let pod = build::pod("db-9").uid("p").get();
        for (policy, ordinal, expected) in [
            (json!({"whenDeleted": "Retain", "whenScaled": "Retain"}), 5, None),
            (json!({"whenDeleted": "Delete", "whenScaled": "Retain"}), 5, Some("StatefulSet")),
            (json!({"whenDeleted": "Delete", "whenScaled": "Retain"}), 9, Some("StatefulSet")),
            (json!({"whenDeleted": "Retain", "whenScaled": "Delete"}), 5, None),
            (json!({"whenDeleted": "Retain", "whenScaled": "Delete"}), 9, Some("Pod")),
            (json!({"whenDeleted": "Delete", "whenScaled": "Delete"}), 9, Some("Pod")),
        ] {
            let owners = claim_owners(&set(policy.clone()), Some(&pod), ordinal, &[]);
            assert_eq!(owners.first().map(|owner| owner.kind.as_str()), expected, "{policy} {ordinal}");
        }
    }
}
