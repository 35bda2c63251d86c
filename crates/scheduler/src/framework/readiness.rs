//! Whether a claim's devices are ready for a pod to be bound: the conditions that devices ask for (`bindingConditions`),
//! as far as their drivers have met them.
//!
//! **Contract**: pure.
//! **Upstream**: `isClaimReadyForBinding`, `isClaimTimeout` of the DynamicResources plugin.

use api::k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, DeviceRequestAllocationResult, ResourceClaim,
};
use api::resource_claim::allocation;
use jiff::{SignedDuration, Timestamp};

/// How long drivers may take. **Upstream**: `DynamicResourcesArgs.bindingTimeout`.
pub(crate) const BINDING_TIMEOUT: SignedDuration = SignedDuration::from_secs(600);

fn results(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let devices = allocation(claim).and_then(|allocation| allocation.devices.as_ref());
    devices.into_iter().flat_map(|devices| devices.results.iter().flatten())
}

fn conditions(result: &DeviceRequestAllocationResult) -> &[String] {
    result.binding_conditions.as_deref().unwrap_or_default()
}

/// Whether a claim has devices that ask for conditions.
pub(crate) fn has_conditions(claim: &ResourceClaim) -> bool {
    results(claim).any(|result| !conditions(result).is_empty())
}

fn reported<'a>(
    claim: &'a ResourceClaim,
    result: &DeviceRequestAllocationResult,
) -> Option<&'a AllocatedDeviceStatus> {
    let all = claim.status.as_ref().and_then(|status| status.devices.as_deref()).unwrap_or_default();
    let named = |device: &&AllocatedDeviceStatus| {
        (&device.driver, &device.pool, &device.device) == (&result.driver, &result.pool, &result.device)
    };
    all.iter().find(named)
}

/// Whether all conditions are met.
///
/// # Errors
/// If they never will be, in upstream's words.
pub(crate) fn is_ready(claim: &ResourceClaim) -> Result<bool, String> {
    if allocation(claim).is_none() {
        return Ok(false);
    }
    for result in results(claim).filter(|result| !conditions(result).is_empty()) {
        let Some(device) = reported(claim, result) else { return Ok(false) };
        let known = device.conditions.as_deref().unwrap_or_default();
        let is_true = |name: &String| {
            known.iter().find(|condition| condition.type_ == *name && condition.status == "True")
        };
        if let Some(failed) = result.binding_failure_conditions.iter().flatten().find_map(is_true) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let (reason, message) = (&failed.reason, &failed.message);
            return Err(format!("claim {name} binding failed: reason={reason}, message={message:?}"));
        }
        if !conditions(result).iter().all(|name| is_true(name).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// When drivers have had their time; nothing if nobody waits for them.
pub(crate) fn deadline(claim: &ResourceClaim) -> Option<Timestamp> {
    let since = allocation(claim).filter(|_| has_conditions(claim))?.allocation_timestamp.as_ref()?.0;
    since.checked_add(BINDING_TIMEOUT).ok()
}

/// Whether other devices are to be tried.
pub(crate) fn is_hopeless(claim: &ResourceClaim, now: Timestamp) -> bool {
    match is_ready(claim) {
        Ok(true) => false,
        Ok(false) => deadline(claim).is_some_and(|deadline| deadline < now),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(devices: Value) -> ResourceClaim {
        let result = json!({"request": "r", "driver": "x.io", "pool": "p", "device": "d",
            "bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]});
        let plain = json!({"request": "s", "driver": "x.io", "pool": "p", "device": "e"});
        let allocation =
            json!({"allocationTimestamp": "2026-01-01T00:00:00Z", "devices": {"results": [plain, result]}});
        serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": {},
            "status": {"allocation": allocation, "devices": devices}}))
        .unwrap()
    }

    #[test]
    fn devices_are_ready_when_all_their_conditions_are_met() {
        let condition = |name: &str, status: &str| {
            json!({"type": name, "status": status, "reason": "Because", "message": "so \"it\" is",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let report = |device: &str, conditions: Value| json!([{"driver": "x.io", "pool": "p", "device": device, "conditions": conditions}]);
        let early = "2026-01-01T00:10:00Z".parse().unwrap();
        let late = "2026-01-01T00:10:01Z".parse().unwrap();
        let failed = "claim c binding failed: reason=Because, message=\"so \\\"it\\\" is\"";
        for (name, devices, ready) in [
            ("nothing is said", json!([]), Ok(false)),
            ("of another device", report("e", json!([condition("Attached", "True")])), Ok(false)),
            ("not yet", report("d", json!([condition("Attached", "False")])), Ok(false)),
            ("met", report("d", json!([condition("Attached", "True")])), Ok(true)),
            (
                "met, and nothing failed",
                report("d", json!([condition("Attached", "True"), condition("Broken", "False")])),
                Ok(true),
            ),
            (
                "failed",
                report("d", json!([condition("Attached", "True"), condition("Broken", "True")])),
                Err(failed.to_owned()),
            ),
        ] {
            let claim = claim(devices);
            assert_eq!(is_ready(&claim), ready, "{name}");
            assert_eq!(is_hopeless(&claim, early), ready.is_err(), "{name}");
            assert_eq!(is_hopeless(&claim, late), ready != Ok(true), "{name}");
        }
        let plain: ResourceClaim = serde_json::from_value(
            json!({"metadata": {}, "spec": {}, "status": {"allocation": {"devices": {}}}}),
        )
        .unwrap();
        assert_eq!((is_ready(&plain), has_conditions(&plain)), (Ok(true), false));
    }
}
