//! Which claims a pod needs, and what is to become of a claim.
//!
//! **Contract**: pure.
//! **Upstream**: `pkg/controller/resourceclaim`.

use crate::workload::owned;
use api::pod::{is_terminal, is_terminating, node_name};
use api::resource_claim::{
    FINALIZER, Named, POD_CLAIM_NAME, allocation, can_be_reserved, is_for_pod, is_reserved_for, named, of_pod,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use kube::api::ObjectMeta;
use std::sync::Arc;

/// Letters of a generated name's beginning, so that five more and a hyphen fit.
const MAX_BASE: usize = 57;

/// Whether it is certain that none of its containers runs or will run.
pub(super) fn is_done(pod: &Pod) -> bool {
    is_terminal(pod) || (is_terminating(pod) && node_name(pod).is_empty())
}

/// What a pod lacks.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PodPlan {
    /// Claims to make: the entry's name, and the template's.
    pub(super) make: Vec<(String, String)>,
    /// Claims that are made, and not yet told of in the pod's status: the entry's name, and the claim's.
    pub(super) record: Vec<(String, String)>,
    /// Claims that were allocated, to be used by the pod as well.
    pub(super) reserve: Vec<String>,
}

/// Decides on one pod. `owned`: the claims that were made for it.
pub(super) fn of_a_pod(
    pod: &Pod,
    claim: impl Fn(&str) -> Option<Arc<ResourceClaim>>,
    owned: &[Arc<ResourceClaim>],
) -> PodPlan {
    let mut plan = PodPlan::default();
    if is_terminating(pod) || is_done(pod) {
        return plan;
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    for entry in of_pod(pod) {
        let which = named(pod, entry);
        let known = which.name().and_then(&claim);
        let is_there = known.as_ref().is_some_and(|claim| is_for_pod(pod, claim).is_ok());
        if let Some(template) = &entry.resource_claim_template_name
            && which != Named::Unneeded
            && !is_there
        {
            let meant = |claim: &&Arc<ResourceClaim>| {
                let annotations = claim.metadata.annotations.as_ref();
                annotations.and_then(|all| all.get(POD_CLAIM_NAME)) == Some(&entry.name)
                    && claim.metadata.deletion_timestamp.is_none()
            };
            match owned.iter().find(meant).and_then(|claim| claim.metadata.name.clone()) {
                Some(name) => plan.record.push((entry.name.clone(), name)),
                None => plan.make.push((entry.name.clone(), template.clone())),
            }
            continue;
        }
        // Whoever has a node was not, or not only, the scheduler's.
        if !node_name(pod).is_empty()
            && let Some(claim) = known
            && allocation(&claim).is_some()
            && !is_reserved_for(&claim, uid)
            && can_be_reserved(&claim)
        {
            plan.reserve.extend(claim.metadata.name.clone());
        }
    }
    plan
}

/// The claim for an entry of a pod.
pub(super) fn made(pod: &Pod, entry: &str, template: &ResourceClaimTemplate) -> ResourceClaim {
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM_NAME.to_owned(), entry.to_owned());
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(base(pod.metadata.name.as_deref().unwrap_or_default(), entry)),
            namespace: pod.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owned::controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// How a claim's name begins: what is too long is cut from both parts alike.
fn base(pod: &str, entry: &str) -> String {
    let whole = format!("{pod}-{entry}-");
    if whole.len() <= MAX_BASE {
        return whole;
    }
    let cut = |part: &str| part.chars().take(part.len() * MAX_BASE / whole.len()).collect::<String>();
    format!("{}-{}", cut(pod), cut(entry))
}

/// What is to become of a claim.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ClaimPlan {
    /// Who uses it from now on, if somebody does no longer.
    pub(super) reserved_for: Option<Vec<ResourceClaimConsumerReference>>,
    /// It loses its devices.
    pub(super) deallocate: bool,
    /// It loses its finalizer.
    pub(super) let_go: bool,
    /// It is not needed any more.
    pub(super) delete: bool,
}

/// Decides on one claim. `uses`: whether a consumer still does. `owner`: the pod that it was made for, as far as there is
/// one of this name.
pub(super) fn of_a_claim(
    claim: &ResourceClaim,
    uses: impl Fn(&ResourceClaimConsumerReference) -> bool,
    owner: Option<&Pod>,
) -> ClaimPlan {
    let reserved =
        claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default();
    let valid: Vec<_> = reserved.iter().filter(|consumer| uses(consumer)).cloned().collect();
    let mut plan = ClaimPlan::default();
    let is_leaving = claim.metadata.deletion_timestamp.is_some();
    let has_finalizer = claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    if valid.is_empty() {
        let was_used = !reserved.is_empty();
        plan.deallocate = has_finalizer && (was_used || is_leaving) && allocation(claim).is_some();
        plan.let_go =
            has_finalizer && (is_leaving || (was_used && (plan.deallocate || allocation(claim).is_none())));
        let made_for = owned::controller_of(claim).filter(|owner| owner.kind == "Pod");
        plan.delete = !is_leaving
            && made_for.zip(owner).is_some_and(|(reference, pod)| {
                pod.metadata.uid.as_deref() != Some(&reference.uid) || is_done(pod)
            });
    }
    if valid.len() < reserved.len() {
        plan.reserved_for = Some(valid);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::{self, at};

    fn claim(name: &str, fields: Value) -> Arc<ResourceClaim> {
        let mut claim = json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {}});
        for (field, value) in fields.as_object().unwrap() {
            if field == "metadata" {
                claim["metadata"].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            } else {
                claim[field] = value.clone();
            }
        }
        Arc::new(serde_json::from_value(claim).unwrap())
    }

    fn made_for(uid: &str) -> Value {
        json!({"annotations": {POD_CLAIM_NAME: "gpu"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}]})
    }

    fn pod(change: impl FnOnce(&mut Pod)) -> Pod {
        let entries = json!([{"name": "gpu", "resourceClaimTemplateName": "t"}, {"name": "own", "resourceClaimName": "c"}]);
        let pod = build::pod("p").namespace("default").uid("u");
        let pod = pod.with(|pod| {
            pod.spec.as_mut().unwrap().resource_claims = Some(serde_json::from_value(entries).unwrap());
        });
        pod.with(change).get()
    }

    fn recorded(pod: &mut Pod, name: &str) {
        let status = json!([{"name": "gpu", "resourceClaimName": name}]);
        pod.status.get_or_insert_default().resource_claim_statuses =
            Some(serde_json::from_value(status).unwrap());
    }

    #[test]
    fn pods_get_the_claims_that_they_lack() {
        let owned = || claim("p-gpu-x", json!({"metadata": made_for("u")}));
        let of_others = || claim("p-gpu-x", json!({"metadata": made_for("v")}));
        let make = || PodPlan { make: vec![("gpu".into(), "t".into())], ..PodPlan::default() };
        let record = || PodPlan { record: vec![("gpu".into(), "p-gpu-x".into())], ..PodPlan::default() };
        let nothing = PodPlan::default;
        for (name, pod, claims, wanted) in [
            ("no claim yet", pod(|_| {}), vec![], make()),
            ("made, and not told of", pod(|_| {}), vec![owned()], record()),
            ("made and told of", pod(|pod| recorded(pod, "p-gpu-x")), vec![owned()], nothing()),
            ("told of and gone", pod(|pod| recorded(pod, "p-gpu-x")), vec![], make()),
            ("another pod's", pod(|pod| recorded(pod, "p-gpu-x")), vec![of_others()], make()),
            (
                "being deleted",
                pod(|pod| {
                    pod.metadata.deletion_timestamp =
                        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap()
                }),
                vec![],
                nothing(),
            ),
            (
                "finished",
                pod(|pod| pod.status.get_or_insert_default().phase = Some("Succeeded".to_owned())),
                vec![],
                nothing(),
            ),
        ] {
            let find = |name: &str| claims.iter().find(|c| c.metadata.name.as_deref() == Some(name)).cloned();
            let own: Vec<_> = claims
                .iter()
                .filter(|claim| owned::is_controlled_by(claim.as_ref(), Some("u")))
                .cloned()
                .collect();
            assert_eq!(of_a_pod(&pod, find, &own), wanted, "{name}");
        }
    }

    #[test]
    fn pods_with_a_node_use_claims_that_are_allocated() {
        let allocated = claim("c", json!({"status": {"allocation": {}}}));
        let used = json!({"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
        for (name, node, claim, wanted) in [
            ("the scheduler's business", "", allocated.clone(), vec![]),
            ("on a node", "n", allocated, vec!["c".to_owned()]),
            ("not allocated", "n", claim("c", json!({})), vec![]),
            ("used already", "n", claim("c", json!({"status": used})), vec![]),
        ] {
            let pod = pod(|pod| {
                let spec = pod.spec.as_mut().unwrap();
                spec.node_name = Some(node.to_owned());
                spec.resource_claims.as_mut().unwrap().remove(0);
            });
            assert_eq!(of_a_pod(&pod, |_| Some(claim.clone()), &[]).reserve, wanted, "{name}");
        }
    }

    #[test]
    fn claims_lose_what_nobody_uses() {
        let finalizers = json!([FINALIZER]);
        let used =
            || json!({"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
        let idle = || json!({"allocation": {}});
        let deleted = json!({"finalizers": finalizers, "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let mut template = made_for("u");
        template["finalizers"] = finalizers.clone();
        let kept = json!({"finalizers": finalizers});
        let running = || pod(|_| {});
        let done = || pod(|pod| pod.status.get_or_insert_default().phase = Some("Failed".to_owned()));
        let other = || build::pod("p").namespace("default").uid("v").get();
        // Used still; who is there of the owner's name; what becomes of it: reservations change, deallocated, let go, deleted.
        for (name, meta, status, uses, owner, wanted) in [
            ("in use", &kept, used(), true, None, (false, false, false, false)),
            ("no longer in use", &kept, used(), false, None, (true, true, true, false)),
            ("never used", &kept, idle(), false, None, (false, false, false, false)),
            ("never used, deleted", &deleted, idle(), false, None, (false, true, true, false)),
            ("in use, deleted", &deleted, used(), true, None, (false, false, false, false)),
            ("without devices, deleted", &deleted, json!({}), false, None, (false, false, true, false)),
            ("the pod runs", &template, used(), true, Some(running()), (false, false, false, false)),
            ("the pod has ended", &template, used(), false, Some(done()), (true, true, true, true)),
            (
                "another pod of this name",
                &template,
                idle(),
                false,
                Some(other()),
                (false, false, false, true),
            ),
            ("the pod waits", &template, json!({}), false, Some(running()), (false, false, false, false)),
            (
                "the pod is gone: the garbage collector's",
                &template,
                json!({}),
                false,
                None,
                (false, false, false, false),
            ),
        ] {
            let claim = claim("c", json!({"metadata": meta, "status": status}));
            let plan = of_a_claim(&claim, |_| uses, owner.as_ref());
            let found = (plan.reserved_for.is_some(), plan.deallocate, plan.let_go, plan.delete);
            assert_eq!(found, wanted, "{name}");
        }
    }

    #[test]
    fn claims_are_the_pods_and_named_for_it() {
        let template = json!({"metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"a": "b"},
            "annotations": {"c": "d"}}, "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "x"}}]}}}});
        let template: ResourceClaimTemplate = serde_json::from_value(template).unwrap();
        let claim = made(&pod(|_| {}), "gpu", &template);
        assert_eq!(claim.metadata.generate_name.as_deref(), Some("p-gpu-"));
        assert_eq!(claim.metadata.annotations.as_ref().unwrap()[POD_CLAIM_NAME], "gpu");
        assert_eq!(claim.metadata.labels.as_ref().unwrap()["a"], "b");
        assert!(owned::is_controlled_by(&claim, Some("u")));
        assert_eq!(claim.spec, template.spec.spec);
        let long = base(&"p".repeat(80), &"e".repeat(20));
        assert_eq!((long.len(), long.ends_with("-eeeeeeeeeee")), (56, true), "{long}");
    }

    #[test]
    fn a_pod_that_was_deleted_before_it_had_a_node_is_done() {
        for (name, pod, wanted) in [
            ("it may run", build::pod("p"), false),
            ("it has ended", build::pod("p").phase("Succeeded"), true),
            ("deleted in time", build::pod("p").deleted(at(0)), true),
            ("deleted while it runs", build::pod("p").on("n").deleted(at(0)), false),
        ] {
            assert_eq!(is_done(&pod.get()), wanted, "{name}");
        }
    }
}
