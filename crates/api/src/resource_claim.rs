//! Which resource claims a pod uses, and who may use a claim.
//!
//! **Not here**: which devices a claim gets (the scheduler), and who makes claims for pods (a controller).
//! **Upstream**: `k8s.io/dynamic-resource-allocation/resourceclaim`.

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceTaint, DeviceToleration, ResourceClaim, ResourceClaimConsumerReference,
};

/// Keeps an allocated claim until it is deallocated. **Upstream**: `resourceapi.Finalizer`.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// Tells of a claim for which entry of a pod's `spec.resourceClaims` it was made.
pub const POD_CLAIM_NAME: &str = "resource.kubernetes.io/pod-claim-name";

/// Marks the claim that the scheduler has made for a pod's extended resources.
/// **Upstream**: `ExtendedResourceClaimAnnotation`.
pub const EXTENDED_CLAIM: &str = "resource.kubernetes.io/extended-resource-claim";

/// A class is an extended resource by this and its name. **Upstream**: `ResourceDeviceClassPrefix`.
pub const CLASS_RESOURCE: &str = "deviceclass.resource.kubernetes.io/";

/// How many may use a claim at a time. **Upstream**: `ResourceClaimReservedForMaxSize`.
pub const RESERVED_FOR_MAX: usize = 256;

/// The devices that one allocation can have. **Upstream**: `AllocationResultsMaxSize`.
pub const ALLOCATION_RESULTS_MAX: usize = 32;

/// The claim that an entry of a pod means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// The user's own.
    Own(&'a str),
    /// One that was made for this pod.
    Made(&'a str),
    /// One that has yet to be made.
    NotMade,
    /// None: it was found that there is no need for one.
    Unneeded,
}

impl<'a> Named<'a> {
    /// The claim's name, if it has one.
    pub fn name(self) -> Option<&'a str> {
        match self {
            Self::Own(name) | Self::Made(name) => Some(name),
            Self::NotMade | Self::Unneeded => None,
        }
    }
}

/// The claims that a pod refers to.
pub fn of_pod(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

/// The claim that was made for a pod's extended resources.
pub fn extended_claim(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?.extended_resource_claim_status.as_ref()?;
    Some(status.resource_claim_name.as_str())
}

/// Which claim one of them is.
pub fn named<'a>(pod: &'a Pod, entry: &'a PodResourceClaim) -> Named<'a> {
    if let Some(name) = &entry.resource_claim_name {
        return Named::Own(name);
    }
    let statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    match statuses.filter(|status| status.name == entry.name).map(|s| s.resource_claim_name.as_deref()).next()
    {
        None => Named::NotMade,
        Some(None) => Named::Unneeded,
        Some(Some(name)) => Named::Made(name),
    }
}

/// Whether a claim was made for this pod.
///
/// # Errors
/// That it was not, in upstream's words.
pub fn is_for_pod(pod: &Pod, claim: &ResourceClaim) -> Result<(), String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.controller == Some(true));
    if claim.metadata.namespace == pod.metadata.namespace
        && owners.any(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
    {
        return Ok(());
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Err(format!(
        "ResourceClaim {}/{} was not created for Pod {}/{} (Pod is not owner)",
        text(&claim.metadata.namespace),
        text(&claim.metadata.name),
        text(&pod.metadata.namespace),
        text(&pod.metadata.name)
    ))
}

/// What was allocated for a claim.
pub fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

/// A pod as one of those that use a claim.
pub fn consumer(pod: &Pod) -> ResourceClaimConsumerReference {
    ResourceClaimConsumerReference {
        api_group: None,
        name: pod.metadata.name.clone().unwrap_or_default(),
        resource: "pods".to_owned(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    }
}

/// Whether a pod is among those that use the claim.
pub fn is_reserved_for(claim: &ResourceClaim, pod_uid: &str) -> bool {
    let reserved = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    reserved.into_iter().any(|consumer| consumer.uid == pod_uid)
}

/// Whether one more may use the claim.
pub fn can_be_reserved(claim: &ResourceClaim) -> bool {
    let reserved = claim.status.as_ref().and_then(|status| status.reserved_for.as_ref()).map_or(0, Vec::len);
    reserved < RESERVED_FOR_MAX
}

/// Whether a toleration is meant for a device's taint.
pub fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let any = |wanted: &Option<String>, value: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == value)
    };
    let value = match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        Some(_) => false,
    };
    any(&toleration.effect, &taint.effect) && any(&toleration.key, &taint.key) && value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pods_entries_name_claims() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [], "resourceClaims": [
                {"name": "own", "resourceClaimName": "c"}, {"name": "made", "resourceClaimTemplateName": "t"},
                {"name": "new", "resourceClaimTemplateName": "t"}, {"name": "none", "resourceClaimTemplateName": "t"}]},
            "status": {"resourceClaimStatuses": [{"name": "made", "resourceClaimName": "p-made-x"}, {"name": "none"}]}
        }))
        .unwrap();
        let named: Vec<_> = of_pod(&pod).iter().map(|entry| named(&pod, entry)).collect();
        assert_eq!(named, [Named::Own("c"), Named::Made("p-made-x"), Named::NotMade, Named::Unneeded]);
    }

    #[test]
    fn tolerations_of_devices_cover_taints() {
        let taint: DeviceTaint =
            serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoExecute"})).unwrap();
        let covers = |toleration: Value| tolerates(&serde_json::from_value(toleration).unwrap(), &taint);
        for (toleration, wanted) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), true),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "k"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), false),
        ] {
            assert_eq!(covers(toleration.clone()), wanted, "{toleration}");
        }
    }
}
