//! Whether a pod may use the resource claims that it names, and whether their devices can be made ready here.
//!
//! **Contract**: pure.
//! **Not here**: plugins of drivers: none can register, so on a node with containers a pod waits for them. Pods that
//! exist on paper only need none.
//! **Upstream**: `prepareResources` of `pkg/kubelet/cm/dra/manager.go`.

use api::k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use api::k8s_openapi::api::resource::v1::ResourceClaim;
use api::resource_claim::{Named, allocation, is_for_pod, is_reserved_for, named};

/// Who makes devices ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drivers {
    /// Containers need what their drivers do.
    Needed,
    /// There is nothing that devices would be given to.
    Unneeded,
}

/// The claim that an entry means; none if there is no need for one.
///
/// # Errors
/// If it is not made yet.
pub(crate) fn claim_name<'a>(pod: &'a Pod, entry: &'a PodResourceClaim) -> Result<Option<&'a str>, String> {
    let which = named(pod, entry);
    if which == Named::NotMade {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        return Err(format!("pod \"{namespace}/{name}\": ResourceClaim not created yet"));
    }
    Ok(which.name())
}

/// Whether an entry means a claim that was made for the pod.
pub(crate) fn is_made(pod: &Pod, entry: &PodResourceClaim) -> bool {
    matches!(named(pod, entry), Named::Made(_))
}

/// Whether the pod can use a claim now, be it one that was made for it or not.
///
/// # Errors
/// Why it cannot.
pub(crate) fn prepare(
    pod: &Pod,
    is_made: bool,
    claim: &ResourceClaim,
    drivers: Drivers,
) -> Result<(), String> {
    if is_made {
        is_for_pod(pod, claim)?;
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let uid = text(&pod.metadata.uid);
    if !is_reserved_for(claim, &uid) {
        let (name, uid_of_claim) = (text(&claim.metadata.name), text(&claim.metadata.uid));
        let pod = text(&pod.metadata.name);
        return Err(format!("pod {pod} ({uid}) is not allowed to use ResourceClaim {name} ({uid_of_claim})"));
    }
    let Some(allocation) = allocation(claim) else {
        return Err(format!("ResourceClaim {}: not allocated", text(&claim.metadata.name)));
    };
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    match (drivers, results.into_iter().next()) {
        (Drivers::Needed, Some(result)) => Err(format!("DRA driver {} is not registered", result.driver)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn pods_use_claims_that_are_allocated_and_theirs() {
        let pod = |statuses: Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
                "spec": {"containers": [], "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]},
                "status": {"resourceClaimStatuses": statuses}}))
            .unwrap()
        };
        let claim = |owner: &str, status: Value| -> ResourceClaim {
            serde_json::from_value(
                json!({"metadata": {"name": "c", "namespace": "ns", "uid": "cu", "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]},
                "spec": {}, "status": status}),
            )
            .unwrap()
        };
        let new = pod(json!([]));
        let entry = |pod: &Pod| api::resource_claim::of_pod(pod)[0].clone();
        let told = claim_name(&new, &entry(&new)).map(|name| name.map(str::to_owned));
        assert_eq!(told, Err("pod \"ns/p\": ResourceClaim not created yet".to_owned()));
        let pod = pod(json!([{"name": "gpu", "resourceClaimName": "c"}]));
        assert_eq!(claim_name(&pod, &entry(&pod)), Ok(Some("c")));
        let devices = json!({"results": [{"request": "r", "driver": "x.io", "pool": "p", "device": "d"}]});
        let reserved = json!([{"resource": "pods", "name": "p", "uid": "u"}]);
        let ready = json!({"allocation": {"devices": devices}, "reservedFor": reserved});
        for (name, claim, drivers, wanted) in [
            (
                "not allocated",
                claim("u", json!({})),
                Drivers::Unneeded,
                Err("pod p (u) is not allowed to use ResourceClaim c (cu)"),
            ),
            (
                "not reserved",
                claim("u", json!({"allocation": {"devices": devices}})),
                Drivers::Unneeded,
                Err("pod p (u) is not allowed to use ResourceClaim c (cu)"),
            ),
            (
                "another pod's",
                claim("v", ready.clone()),
                Drivers::Unneeded,
                Err("ResourceClaim ns/c was not created for Pod ns/p (Pod is not owner)"),
            ),
            ("on paper", claim("u", ready.clone()), Drivers::Unneeded, Ok(())),
            ("with containers", claim("u", ready), Drivers::Needed, Err("DRA driver x.io is not registered")),
            (
                "without devices",
                claim("u", json!({"allocation": {}, "reservedFor": reserved})),
                Drivers::Needed,
                Ok(()),
            ),
        ] {
            let told = prepare(&pod, is_made(&pod, &entry(&pod)), &claim, drivers);
            assert_eq!(told, wanted.map_err(str::to_owned), "{name}");
        }
    }
}
