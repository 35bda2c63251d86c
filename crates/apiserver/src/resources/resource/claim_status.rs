//! What came of a claim: who uses it, its devices, and what drivers say of them.
//!
//! **Not here**: who may write which part (`admission::claims`).
//! **Upstream**: `validateResourceClaimStatusUpdate`, `dropDeallocatedStatusDevices`.

use super::claim_spec::{self, MAX_CONFIGS};
use super::{binding, bounded, names, taints};
use crate::resources::edit::{each, items, text};
use crate::resources::pod_spec::check_node_selector;
use crate::resources::{check, edit};
use api::field::{Error, ErrorList, Path};
use api::names::interface_address;
use api::resource_claim::{ALLOCATION_RESULTS_MAX, RESERVED_FOR_MAX};
use serde_json::{Value, json};

/// **Upstream**: `AllocatedDeviceStatusMaxConditions`, `AllocatedDeviceStatusDataMaxLength`.
const MAX_CONDITIONS: usize = 8;
const MAX_DATA: usize = 10 * 1024;
/// **Upstream**: `NetworkDeviceDataMaxIPs`, `NetworkDeviceDataInterfaceNameMaxLength`,
/// `NetworkDeviceDataHardwareAddressMaxLength`.
const MAX_IPS: usize = 16;
const MAX_INTERFACE: usize = 256;
const MAX_HARDWARE: usize = 128;
const SOURCES: &[&str] = &["FromClaim", "FromClass"];

/// What tells a device, or a share of one, from all others.
fn identity(device: &Value) -> Value {
    let part = |field| text(device, field);
    json!({"Driver": part("driver"), "Pool": part("pool"), "Device": part("device"), "ShareID": part("shareID")})
}

fn results(status: &Value) -> &[Value] {
    items(&status["allocation"]["devices"], "results")
}

/// Whether both are the same device, whoever has which share of it.
fn is_same_device(one: &Value, other: &Value) -> bool {
    ["driver", "pool", "device"].into_iter().all(|field| text(one, field) == text(other, field))
}

/// Whether a change takes a device back.
pub(crate) fn is_deallocated(device: &Value, status: &Value, old: &Value) -> bool {
    let has = |status| results(status).iter().any(|result| is_same_device(result, device));
    has(old) && !has(status)
}

/// What drivers have said of devices goes with the devices.
pub(super) fn drop_deallocated(status: &mut Value, old: &Value) {
    let now = status.clone();
    if let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) {
        devices.retain(|device| !is_deallocated(device, &now, old));
        if devices.is_empty() {
            edit::remove(status, "devices");
        }
    }
}

/// Fills the defaults of a claim's status.
pub(super) fn default_status(status: &mut Value) {
    let Some(allocation) = edit::child(status, "allocation") else { return };
    let Some(devices) = edit::child(allocation, "devices") else { return };
    each(devices, "results").for_each(claim_spec::default_tolerations);
}

fn check_consumer(errors: &mut ErrorList, path: &Path, consumer: &Value) {
    for field in ["resource", "name", "uid"] {
        check::required(errors, &path.child(field), &consumer[field]);
    }
}

fn check_network(errors: &mut ErrorList, path: &Path, network: &Value) {
    for (field, max) in [("interfaceName", MAX_INTERFACE), ("hardwareAddress", MAX_HARDWARE)] {
        if text(network, field).len() > max {
            errors.push(Error::too_long(&path.child(field), max));
        }
    }
    let key = bounded::itself;
    bounded::set(errors, path, (network, "ips"), MAX_IPS, key, &mut |errors, path, address| {
        check::invalid(errors, path, address, interface_address(address.as_str().unwrap_or_default()));
    });
}

fn check_device(errors: &mut ErrorList, path: &Path, device: &Value, allocated: &[Value]) {
    names::device(errors, path, device);
    names::share(errors, path, device);
    let identity = identity(device);
    if !allocated.contains(&identity) {
        errors.push(Error::invalid(path, identity, "must be an allocated device in the claim"));
    }
    let (conditions, at) = (items(device, "conditions"), path.child("conditions"));
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&at, conditions.len(), MAX_CONDITIONS));
    }
    check::conditions(errors, &at, conditions);
    if !device["data"].is_null() {
        claim_spec::check_raw(errors, &path.child("data"), &device["data"], MAX_DATA);
    }
    check_network(errors, &path.child("networkData"), &device["networkData"]);
}

fn check_result(errors: &mut ErrorList, path: &Path, claim: &Value, result: &Value) {
    claim_spec::check_reference(errors, &path.child("request"), claim, text(result, "request"));
    names::device(errors, path, result);
    binding::check(errors, path, result);
    taints::check_tolerations(errors, path, result);
    names::share(errors, path, result);
}

fn check_allocation(errors: &mut ErrorList, path: &Path, claim: &Value, allocation: &Value) {
    let (devices, at) = (&allocation["devices"], path.child("devices"));
    let list = (devices, "results");
    bounded::list(errors, &at, list, ALLOCATION_RESULTS_MAX, &mut |errors, path, result| {
        check_result(errors, path, claim, result);
    });
    // Of the classes, and of the claim.
    bounded::list(errors, &at, (devices, "config"), 2 * MAX_CONFIGS, &mut |errors, path, config| {
        check::one_of(errors, &path.child("source"), &config["source"], SOURCES);
        claim_spec::check_references(errors, path, claim, config);
        claim_spec::check_config(errors, path, config);
    });
    check_node_selector(errors, &path.child("nodeSelector"), &allocation["nodeSelector"]);
}

/// All errors of a claim whose status changes.
pub(super) fn check_update(object: &Value, old: &Value) -> ErrorList {
    let (mut errors, path) = (ErrorList::new(), Path::new("status"));
    let (claim, status, before) = (&object["spec"], &object["status"], &old["status"]);
    let (allocation, allocated) = (&status["allocation"], &before["allocation"]);
    let (list, uid): (_, fn(&Value) -> Value) =
        ((status, "reservedFor"), |consumer| text(consumer, "uid").into());
    bounded::set(&mut errors, &path, list, RESERVED_FOR_MAX, uid, &mut check_consumer);
    let known: Vec<Value> = results(status).iter().map(identity).collect();
    let list = (status, "devices");
    bounded::set(&mut errors, &path, list, usize::MAX, identity, &mut |errors, path, device| {
        check_device(errors, path, device, &known);
    });
    let (reserved, at) = (items(status, "reservedFor"), path.child("reservedFor"));
    if !reserved.is_empty() && allocation.is_null() {
        errors.push(Error::forbidden(&at, "may not be specified when `allocated` is not set"));
    } else if !object["metadata"]["deletionTimestamp"].is_null()
        && reserved.iter().any(|consumer| !items(before, "reservedFor").contains(consumer))
    {
        let detail =
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(Error::forbidden(&at, detail));
    }
    let at = path.child("allocation");
    match (allocation.is_null(), allocated.is_null()) {
        (true, _) => {}
        (false, false) => check::immutable(&mut errors, &at, allocation, allocated),
        (false, true) => check_allocation(&mut errors, &at, claim, allocation),
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(status: Value) -> Value {
        json!({"metadata": {}, "status": status,
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}})
    }

    fn allocation(more: Value) -> Value {
        let mut result = json!({"request": "r", "driver": "x.io", "pool": "p", "device": "d"});
        for (field, value) in more.as_object().unwrap() {
            result[field] = value.clone();
        }
        json!({"devices": {"results": [result]}})
    }

    #[test]
    fn a_status_is_refused_with_all_that_is_wrong_with_it() {
        let consumer = |uid: usize| json!({"resource": "pods", "name": "p", "uid": format!("u{uid}")});
        let device = json!({"driver": "x.io", "pool": "p", "device": "d"});
        let ready = json!({"type": "Ready", "status": "True", "reason": "Ok", "lastTransitionTime": "2024-01-01T00:00:00Z"});
        let with = |mut device: Value, field: &str, value: Value| {
            device[field] = value;
            device
        };
        let given = allocation(json!({}));
        for (name, old, new, wanted) in [
            ("an allocation", json!({}), json!({"allocation": given, "reservedFor": [consumer(1)]}), vec![]),
            ("taken back", json!({"allocation": given}), json!({}), vec![]),
            (
                "another one",
                json!({"allocation": given}),
                json!({"allocation": allocation(json!({"device": "e"}))}),
                vec![
                    "status.allocation: Invalid value: {\"devices\":{\"results\":[{\"request\":\"r\",\"driver\":\"x.io\",\"pool\":\"p\",\"device\":\"e\"}]}}: field is immutable",
                ],
            ),
            (
                "reserved without devices",
                json!({}),
                json!({"reservedFor": [consumer(1)]}),
                vec!["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
            ),
            (
                "reserved for too many",
                json!({"allocation": given}),
                json!({"allocation": given, "reservedFor": (0..257).map(consumer).collect::<Vec<_>>()}),
                vec!["status.reservedFor: Too many: 257: must have at most 256 items"],
            ),
            (
                "reserved twice, and for nobody",
                json!({"allocation": given}),
                json!({"allocation": given, "reservedFor": [consumer(1), consumer(1), {}]}),
                vec![
                    "status.reservedFor[2].resource: Required value",
                    "status.reservedFor[2].name: Required value",
                    "status.reservedFor[2].uid: Required value",
                    "status.reservedFor[1]: Duplicate value: \"u1\"",
                ],
            ),
            (
                "bad results",
                json!({}),
                json!({"allocation": allocation(json!({"request": "s", "pool": "", "shareID": "1",
                    "bindingConditions": ["a", "a"], "bindingFailureConditions": ["a"]}))}),
                vec![
                    "status.allocation.devices.results[0].request: Invalid value: \"s\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
                    "status.allocation.devices.results[0].pool: Required value",
                    "status.allocation.devices.results[0].bindingConditions[1]: Duplicate value: \"a\"",
                    "status.allocation.devices.results[0].bindingFailureConditions[0]: Invalid value: \"a\": bindingFailureConditions must not overlap with bindingConditions",
                    "status.allocation.devices.results[0].shareID: Invalid value: \"1\": error validating uid: invalid UUID length: 1",
                ],
            ),
            (
                "failures without conditions",
                json!({}),
                json!({"allocation": allocation(json!({"bindingFailureConditions": ["a"]}))}),
                vec![
                    "status.allocation.devices.results[0].bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions",
                ],
            ),
            (
                "configuration from nowhere",
                json!({}),
                json!({"allocation": {"devices": {"config": [{"source": "x", "opaque": {"driver": "x.io", "parameters": {}}}]}}}),
                vec![
                    "status.allocation.devices.config[0].source: Unsupported value: \"x\": supported values: \"FromClaim\", \"FromClass\"",
                ],
            ),
            (
                "what a driver says",
                json!({"allocation": given}),
                json!({"allocation": given, "devices": [with(device.clone(), "conditions", json!([ready]))]}),
                vec![],
            ),
            (
                "what a driver says of another's device",
                json!({"allocation": given}),
                json!({"allocation": given, "devices": [with(device.clone(), "device", json!("e"))]}),
                vec![
                    "status.devices[0]: Invalid value: {\"Driver\":\"x.io\",\"Pool\":\"p\",\"Device\":\"e\",\"ShareID\":\"\"}: must be an allocated device in the claim",
                ],
            ),
            (
                "what a driver must not say",
                json!({"allocation": given}),
                json!({"allocation": given, "devices": [
                    with(device.clone(), "conditions", json!([ready, {"type": "Ready", "status": "x", "reason": "a b"}])),
                    with(with(device.clone(), "data", json!([])), "networkData", json!({"ips": ["1.2.3.4"]}))]}),
                vec![
                    "status.devices[0].conditions[1].type: Duplicate value: \"Ready\"",
                    "status.devices[0].conditions[1].status: Unsupported value: \"x\": supported values: \"False\", \"True\", \"Unknown\"",
                    "status.devices[0].conditions[1].lastTransitionTime: Required value",
                    "status.devices[0].conditions[1].reason: Invalid value: \"a b\": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
                    "status.devices[1].data: Invalid value: \"<value omitted>\": must be a valid JSON object",
                    "status.devices[1].networkData.ips[0]: Invalid value: \"1.2.3.4\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
                    "status.devices[1]: Duplicate value: {\"Driver\":\"x.io\",\"Pool\":\"p\",\"Device\":\"d\",\"ShareID\":\"\"}",
                ],
            ),
        ] {
            let told: Vec<_> =
                check_update(&claim(new), &claim(old)).iter().map(ToString::to_string).collect();
            assert_eq!(told, wanted, "{name}");
        }
    }

    #[test]
    fn a_claim_that_is_deleted_gets_no_more_users() {
        let given = allocation(json!({}));
        let user = |uid: &str| json!({"resource": "pods", "name": "p", "uid": uid});
        let old = claim(json!({"allocation": given, "reservedFor": [user("a"), user("b")]}));
        let told = |reserved: Value| {
            let mut new = claim(json!({"allocation": given, "reservedFor": reserved}));
            new["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
            check_update(&new, &old).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(told(json!([user("a")])).is_empty());
        assert_eq!(
            told(json!([user("c")])),
            [
                "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            ]
        );
    }

    #[test]
    fn what_is_said_of_devices_goes_with_them() {
        let device = |name: &str| json!({"driver": "x.io", "pool": "p", "device": name});
        let old = json!({"allocation": {"devices": {"results": [device("a")]}}, "devices": [device("a")]});
        let mut new = json!({"devices": [device("a"), device("b")]});
        drop_deallocated(&mut new, &old);
        assert_eq!(
            new,
            json!({"devices": [device("b")]}),
            "what was never there is for validation to refuse"
        );
        let mut same = old.clone();
        drop_deallocated(&mut same, &old);
        assert_eq!(same, old);
        let mut none = json!({"devices": [device("a")]});
        drop_deallocated(&mut none, &old);
        assert_eq!(none, json!({}));
    }
}
