//! ResourceSlice: some devices of a driver, and where they are.
//!
//! **Not here**: what a device may be (`device`).
//! **Upstream**: `validateResourceSliceSpec`, `pkg/registry/resource/resourceslice`.

use super::{bounded, device, names};
use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::Value;

/// **Upstream**: `ResourceSliceMaxDevices`, `ResourceSliceMaxDevicesWithAdvancedFeatures`.
const MAX_DEVICES: usize = 128;
const MAX_ADVANCED_DEVICES: usize = 64;
/// **Upstream**: `ResourceSliceMaxCounterSets`.
const MAX_COUNTER_SETS: usize = 8;

/// The strategy of ResourceSlices.
pub(crate) struct ResourceSlice(Resource);

impl ResourceSlice {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "ResourceSlice", "resourceslices", "resourceslice", scope))
    }
}

/// What of a request is not for a client to say: when taints come, and what is switched off.
fn prepare(slice: &mut Value, old: Option<&Value>, now: Timestamp) {
    let devices = old.map(|old| items(&old["spec"], "devices")).unwrap_or_default();
    let (in_use, now) = (devices.iter().any(device::uses_disabled), api::time::format(now));
    let Some(spec) = edit::child(slice, "spec") else { return };
    for device in edit::each(spec, "devices") {
        device::date_taints(device, &now);
        device::drop_disabled(device, in_use);
    }
}

fn check_pool(errors: &mut ErrorList, path: &Path, pool: &Value) {
    names::pool(errors, &path.child("name"), text(pool, "name"));
    let [slices, generation] =
        ["resourceSliceCount", "generation"].map(|field| pool[field].as_i64().unwrap_or(0));
    if slices <= 0 {
        let path = path.child("resourceSliceCount");
        errors.push(Error::invalid(&path, slices, "must be greater than zero"));
    }
    if generation < 0 {
        let path = path.child("generation");
        errors.push(Error::invalid(&path, generation, "must be greater than or equal to zero"));
    }
}

/// All errors of where the devices are; `true`: each says so itself.
fn check_place(errors: &mut ErrorList, path: &Path, spec: &Value) -> bool {
    let mut set =
        device::check_place(errors, path, spec, "must be either unset or set to a non-empty string");
    let terms = &spec["nodeSelector"]["nodeSelectorTerms"];
    if spec["nodeSelector"].is_object() && terms.as_array().map_or(0, Vec::len) != 1 {
        let path = path.child("nodeSelector").child("nodeSelectorTerms");
        errors.push(Error::invalid(&path, terms.clone(), "must have exactly one node selector term"));
    }
    let flag = ("perDeviceNodeSelection", "`perDeviceNodeSelection`");
    device::check_flag(errors, path, spec, flag, &mut set);
    let detail =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        1 => {}
        0 => errors.push(Error::required(path, detail)),
        _ => {
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(Error::invalid(path, format!("{{{}}}", set.join(", ")), &detail));
        }
    }
    spec["perDeviceNodeSelection"] == true
}

/// All errors of a slice. `old`: how it was.
fn check_slice(object: &Value, old: Option<&Value>) -> ErrorList {
    let (mut errors, path) = (ErrorList::new(), Path::new("spec"));
    let (spec, before) = (&object["spec"], old.map(|old| &old["spec"]));
    names::driver(&mut errors, &path, spec);
    check_pool(&mut errors, &path.child("pool"), &spec["pool"]);
    if let Some(before) = before {
        let at = path.child("pool").child("name");
        check::immutable(&mut errors, &at, &spec["pool"]["name"], &before["pool"]["name"]);
        for field in ["driver", "nodeName"] {
            check::immutable(&mut errors, &path.child(field), &spec[field], &before[field]);
        }
    }
    let own_place = check_place(&mut errors, &path, spec);
    if spec["sharedCounters"].is_array() && spec["devices"].is_array() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(Error::invalid(&path, "", detail));
    }
    let is_advanced = items(spec, "devices").iter().any(device::is_advanced);
    let max = if is_advanced { MAX_ADVANCED_DEVICES } else { MAX_DEVICES };
    let known = before.map(|before| items(before, "devices")).unwrap_or_default();
    let (list, key) = ((spec, "devices"), bounded::by_name);
    bounded::set(&mut errors, &path, list, max, key, &mut |errors, path, device| {
        let before = known.iter().find(|known| known["name"] == device["name"]);
        device::check_device(errors, path, device, before, own_place);
    });
    let list = (spec, "sharedCounters");
    bounded::set(&mut errors, &path, list, MAX_COUNTER_SETS, key, &mut |errors, path, set| {
        device::check_counters(errors, path, set, "name");
    });
    errors
}

impl Strategy for ResourceSlice {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, context: &WriteContext<'_>, object: &mut Value) {
        prepare(object, None, context.now);
    }

    fn prepare_for_update(&self, context: &WriteContext<'_>, object: &mut Value, old: &Value) {
        prepare(object, Some(old), context.now);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        check_slice(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        check_slice(object, Some(old))
    }

    fn warnings(&self, object: &Value, _: Option<&Value>) -> Vec<String> {
        let driver = text(&object["spec"], "driver");
        if !driver.chars().any(char::is_uppercase) {
            return Vec::new();
        }
        vec![format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        )]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        let spec = &object["spec"];
        vec![text(spec, "nodeName").to_owned(), text(spec, "driver").to_owned()]
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Node", "string").field("spec.nodeName"),
                Column::new("Driver", "string").field("spec.driver"),
                Column::new("Pool", "string").field("spec.pool.name"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let node = match text(spec, "nodeName") {
            "" if spec["allNodes"] == true => "<all>",
            "" => "<unset>",
            name => name,
        };
        vec![
            cells::name(object),
            node.into(),
            text(spec, "driver").into(),
            text(&spec["pool"], "name").into(),
            cells::age(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(change: &[(&str, Value)], old: Option<&Value>) -> Vec<String> {
        let mut spec =
            json!({"driver": "x.io", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}});
        for (field, value) in change {
            spec[*field] = value.clone();
        }
        check_slice(&json!({"spec": spec}), old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_slice_is_refused_with_all_that_is_wrong_with_it() {
        let place =
            "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        let devices = |count: usize, more: Value| -> Value {
            let device = |i| {
                let mut device = json!({"name": format!("d{i}")});
                for (field, value) in more.as_object().unwrap() {
                    device[field] = value.clone();
                }
                device
            };
            (0..count).map(device).collect()
        };
        let counters = json!({"c": {"value": "1"}});
        for (name, change, wanted) in [
            ("as it should be", vec![], vec![]),
            ("as many as can be", vec![("devices", devices(128, json!({})))], vec![]),
            (
                "too many",
                vec![("devices", devices(129, json!({})))],
                vec!["spec.devices: Too many: 129: must have at most 128 items".to_owned()],
            ),
            (
                "too many with taints",
                vec![("devices", devices(65, json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})))],
                vec!["spec.devices: Too many: 65: must have at most 64 items".to_owned()],
            ),
            (
                "a pool",
                vec![("pool", json!({"name": "a//b", "generation": -1}))],
                vec![
                    "spec.pool.name: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned(),
                    "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero".to_owned(),
                    "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero".to_owned(),
                ],
            ),
            (
                "nowhere",
                vec![("nodeName", Value::Null), ("allNodes", json!(false))],
                vec![
                    "spec.allNodes: Invalid value: false: must be either unset or set to true".to_owned(),
                    format!("spec: Required value: {place}"),
                ],
            ),
            (
                "in two places",
                vec![("perDeviceNodeSelection", json!(true))],
                vec![format!(
                    "spec: Invalid value: \"{{`nodeName`, `perDeviceNodeSelection`}}\": {place}, but multiple fields are set"
                )],
            ),
            (
                "two terms",
                vec![("nodeName", Value::Null), ("nodeSelector", json!({"nodeSelectorTerms": [{}, {}]}))],
                vec!["spec.nodeSelector.nodeSelectorTerms: Invalid value: [{},{}]: must have exactly one node selector term".to_owned()],
            ),
            (
                "devices and counters",
                vec![
                    ("devices", json!([{"name": "d"}, {"name": "d"}, {"name": ""}])),
                    ("sharedCounters", json!([{"name": "s", "counters": counters}, {"name": "s", "counters": {}}])),
                ],
                vec![
                    "spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed".to_owned(),
                    "spec.devices[2].name: Invalid value: \"\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')".to_owned(),
                    "spec.devices[1]: Duplicate value: \"d\"".to_owned(),
                    "spec.sharedCounters[1].counters: Required value".to_owned(),
                    "spec.sharedCounters[1]: Duplicate value: \"s\"".to_owned(),
                ],
            ),
        ] {
            assert_eq!(told(&change, None), wanted, "{name}");
        }
    }

    #[test]
    fn whose_a_slice_is_does_not_change_and_what_is_as_before_is_not_judged() {
        let device = json!([{"name": "d", "taints": [{"key": "k", "effect": "Old"}]}]);
        let old = json!({"spec": {"driver": "y.io", "nodeName": "m", "devices": device,
            "pool": {"name": "q", "resourceSliceCount": 1}}});
        let immutable =
            |field: &str, value: &str| format!("spec.{field}: Invalid value: {value:?}: field is immutable");
        assert_eq!(
            told(&[("devices", device.clone())], Some(&old)),
            [immutable("pool.name", "p"), immutable("driver", "x.io"), immutable("nodeName", "n")]
        );
    }
}
