//! When a pod must go because of the taints of its devices.
//!
//! **Contract**: pure.
//! **Upstream**: `claimEvictionTime` of `pkg/controller/devicetainteviction`.

use api::pod::{is_terminating, node_name};
use api::resource_claim::{allocation, is_reserved_for, tolerates};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{
    DeviceRequestAllocationResult, DeviceTaint, ResourceClaim, ResourceSlice,
};
use std::sync::Arc;

/// What is to become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Stay,
    /// It tolerates the taints of its devices until then.
    GoAt(Timestamp),
    Go,
}

/// Decides on one pod. `slices`: those of a pool, by driver and name.
pub(super) fn decide(
    pod: &Pod,
    claims: &[Arc<ResourceClaim>],
    slices: impl Fn(&str) -> Vec<Arc<ResourceSlice>>,
    now: Timestamp,
) -> Decision {
    if is_terminating(pod) || node_name(pod).is_empty() {
        return Decision::Stay;
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut go: Option<Timestamp> = None;
    for claim in claims.iter().filter(|claim| is_reserved_for(claim, uid)) {
        for result in results(claim) {
            let slices = slices(&pool(&result.driver, &result.pool));
            for taint in taints(result, &slices) {
                let Some(at) = until(result, taint, now) else { continue };
                go = Some(go.map_or(at, |go| go.min(at)));
            }
        }
    }
    match go {
        None => Decision::Stay,
        Some(at) if at <= now => Decision::Go,
        Some(at) => Decision::GoAt(at),
    }
}

/// How a pool is called here.
pub(super) fn pool(driver: &str, name: &str) -> String {
    format!("{driver}/{name}")
}

/// The devices that a claim has.
pub(super) fn results(claim: &ResourceClaim) -> &[DeviceRequestAllocationResult] {
    let devices = allocation(claim).and_then(|allocation| allocation.devices.as_ref());
    devices.and_then(|devices| devices.results.as_deref()).unwrap_or_default()
}

/// Whether a slice has a device that drives pods out.
pub(super) fn drives_out(slice: &ResourceSlice) -> bool {
    let devices = slice.spec.devices.iter().flatten();
    devices.flat_map(|device| device.taints.iter().flatten()).any(|taint| taint.effect == "NoExecute")
}

/// The taints that drive out who has this device, as the newest generation of its pool tells them.
fn taints<'a>(
    result: &DeviceRequestAllocationResult,
    slices: &'a [Arc<ResourceSlice>],
) -> impl Iterator<Item = &'a DeviceTaint> {
    let newest = slices.iter().map(|slice| slice.spec.pool.generation).max();
    let name = result.device.clone();
    let current = slices.iter().filter(move |slice| Some(slice.spec.pool.generation) == newest);
    let devices = current.flat_map(|slice| slice.spec.devices.iter().flatten());
    devices
        .filter(move |device| device.name == name)
        .flat_map(|device| device.taints.iter().flatten())
        .filter(|taint| taint.effect == "NoExecute")
}

/// Until when a taint is tolerated; nothing: for ever.
fn until(result: &DeviceRequestAllocationResult, taint: &DeviceTaint, now: Timestamp) -> Option<Timestamp> {
    let mut meant =
        result.tolerations.iter().flatten().filter(|toleration| tolerates(toleration, taint)).peekable();
    let added = taint.time_added.as_ref().map_or(now, |added| added.0);
    if meant.peek().is_none() {
        return Some(added.min(now));
    }
    let mut shortest = i64::from(i32::MAX);
    for toleration in meant {
        shortest = shortest.min(toleration.toleration_seconds?.max(0));
    }
    Some(added + SignedDuration::from_secs(shortest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::{self, at};

    fn claim(tolerations: Value, reserved_for: &str) -> Arc<ResourceClaim> {
        let result =
            json!({"request": "r", "driver": "x.io", "pool": "p", "device": "a", "tolerations": tolerations});
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": {}, "status": {
                "allocation": {"devices": {"results": [result]}},
                "reservedFor": [{"resource": "pods", "name": "p", "uid": reserved_for}]}}))
            .unwrap(),
        )
    }

    fn slice(generation: i64, device: &str, taints: Value) -> Arc<ResourceSlice> {
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": "s"}, "spec": {"driver": "x.io", "nodeName": "n",
                "pool": {"name": "p", "generation": generation, "resourceSliceCount": 1},
                "devices": [{"name": device, "taints": taints}]}}),
            )
            .unwrap(),
        )
    }

    #[test]
    fn pods_go_when_their_devices_taints_are_no_longer_tolerated() {
        let taint =
            |effect: &str| json!([{"key": "k", "effect": effect, "timeAdded": "2026-01-01T00:00:00Z"}]);
        let broken = || vec![slice(1, "a", taint("NoExecute"))];
        let bears = |seconds: Option<i64>| json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
        let pod = || build::pod("p").uid("u").on("n");
        for (name, pod, claim, slices, wanted) in [
            ("no taint", pod(), claim(json!([]), "u"), vec![slice(1, "a", json!([]))], Decision::Stay),
            ("no slice", pod(), claim(json!([]), "u"), vec![], Decision::Stay),
            ("not tolerated", pod(), claim(json!([]), "u"), broken(), Decision::Go),
            (
                "keeps away only",
                pod(),
                claim(json!([]), "u"),
                vec![slice(1, "a", taint("NoSchedule"))],
                Decision::Stay,
            ),
            (
                "another device",
                pod(),
                claim(json!([]), "u"),
                vec![slice(1, "b", taint("NoExecute"))],
                Decision::Stay,
            ),
            (
                "taken away by a newer generation",
                pod(),
                claim(json!([]), "u"),
                vec![slice(1, "a", taint("NoExecute")), slice(2, "a", json!([]))],
                Decision::Stay,
            ),
            ("tolerated for ever", pod(), claim(bears(None), "u"), broken(), Decision::Stay),
            ("tolerated for a time", pod(), claim(bears(Some(60)), "u"), broken(), Decision::GoAt(at(60))),
            ("the time is over", pod(), claim(bears(Some(10)), "u"), broken(), Decision::Go),
            ("negative is none", pod(), claim(bears(Some(-1)), "u"), broken(), Decision::Go),
            ("another pod's claim", pod(), claim(json!([]), "v"), broken(), Decision::Stay),
            ("going already", pod().deleted(at(0)), claim(json!([]), "u"), broken(), Decision::Stay),
            ("not on a node", build::pod("p").uid("u"), claim(json!([]), "u"), broken(), Decision::Stay),
        ] {
            let of_pool = |id: &str| if id == "x.io/p" { slices.clone() } else { Vec::new() };
            assert_eq!(decide(&pod.get(), &[claim], of_pool, at(20)), wanted, "{name}");
        }
    }
}
