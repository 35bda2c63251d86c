//! One device of a slice: what it is, what it takes of its pool, and where it is.
//!
//! **Upstream**: `validateDevice`.

use super::{binding, bounded, names, request_policy, taints};
use crate::resources::edit::{each, entries, is_empty, items, same, text};
use crate::resources::pod_spec::check_node_selector;
use crate::resources::{check, edit};
use api::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

/// **Upstream**: `ResourceSliceMaxAttributesAndCapacitiesPerDevice`, `DeviceAttributeMaxValueLength`.
const MAX_ENTRIES: usize = 32;
const MAX_TEXT: usize = 64;
/// **Upstream**: `DeviceTaintsMaxLength`, `ResourceSliceMaxDeviceCounterConsumptionsPerDevice`.
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;
/// **Upstream**: `ResourceSliceMaxCountersPerCounterSet`, `ResourceSliceMaxCountersPerDeviceCounterConsumption`.
const MAX_COUNTERS: usize = 32;

/// Attributes of which there are several values: `DRAListTypeAttributes` is off.
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
/// `DRANodeAllocatableResources` is off.
const MAPPINGS: &str = "nodeAllocatableResourceMappings";

/// Fields of gates that are off: as upstream does, what they say is dropped, unless the object has used them before.
pub(super) fn drop_disabled(device: &mut Value, in_use: bool) {
    if in_use {
        return;
    }
    edit::remove(device, MAPPINGS);
    let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
    for attribute in attributes.into_iter().flat_map(Map::values_mut) {
        for field in LISTS {
            edit::remove(attribute, field);
        }
    }
}

/// Whether a device has what a gate that is off would drop.
pub(super) fn uses_disabled(device: &Value) -> bool {
    !is_empty(&device[MAPPINGS])
        || entries(device, "attributes")
            .any(|(_, attribute)| LISTS.iter().any(|list| !attribute[*list].is_null()))
}

/// Whether slices with such a device may have half as many.
pub(super) fn is_advanced(device: &Value) -> bool {
    !items(device, "taints").is_empty() || !items(device, "consumesCounters").is_empty()
}

/// A taint is as old as the request that brings it (`SetDefaults_DeviceTaint`).
pub(super) fn date_taints(device: &mut Value, now: &str) {
    each(device, "taints").for_each(|taint| edit::set_default_text(taint, "timeAdded", now));
}

/// Whether a text is a version as semver.org 2.0.0 has it.
fn is_version(text: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
    let letters = |part: &str| part.bytes().any(|b| !b.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(number)
        && before
            .is_none_or(|before| before.split('.').all(|part| number(part) || word(part) && letters(part)))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn check_attribute(errors: &mut ErrorList, path: &Path, attribute: &Value) {
    for field in ["string", "version"] {
        let (path, Some(value)) = (path.child(field), attribute[field].as_str()) else { continue };
        if field == "version" && !is_version(value) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(Error::invalid(&path, value, detail));
        }
        if value.len() > MAX_TEXT {
            errors.push(Error::too_long(&path, MAX_TEXT));
        }
    }
    let kinds = ["int", "bool", "string", "version"].iter().chain(&LISTS);
    match kinds.filter(|kind| !attribute[**kind].is_null()).count() {
        1 => {}
        0 => errors.push(Error::invalid(path, "", "exactly one value must be specified")),
        _ => errors.push(Error::invalid(path, attribute.clone(), "exactly one value must be specified")),
    }
}

fn check_capacity(errors: &mut ErrorList, path: &Path, capacity: &Value) {
    if capacity["requestPolicy"].is_object() {
        let detail = "allowMultipleAllocations must be true";
        errors.push(Error::forbidden(&path.child("requestPolicy"), detail));
    }
}

/// All errors of the counters of a set, which a field names.
pub(super) fn check_counters(errors: &mut ErrorList, path: &Path, holder: &Value, name: &str) {
    names::required_label(errors, path, holder, name);
    if entries(holder, "counters").next().is_none() {
        errors.push(Error::required(&path.child("counters"), ""));
    }
    let (map, bounds) = ((holder, "counters"), (MAX_COUNTERS, names::MAX_LABEL));
    bounded::map(errors, path, map, bounds, names::label, &mut |_, _, _| {});
}

/// All errors of where something is; the names of the fields that say so.
pub(super) fn check_place(
    errors: &mut ErrorList,
    path: &Path,
    holder: &Value,
    empty: &str,
) -> Vec<&'static str> {
    let mut set = Vec::new();
    match holder["nodeName"].as_str() {
        None => {}
        Some("") => errors.push(Error::invalid(&path.child("nodeName"), "", empty)),
        Some(name) => {
            set.push("`nodeName`");
            check::invalid(errors, &path.child("nodeName"), &name.into(), check::subdomain(name));
        }
    }
    if holder["nodeSelector"].is_object() {
        set.push("`nodeSelector`");
        check_node_selector(errors, &path.child("nodeSelector"), &holder["nodeSelector"]);
    }
    check_flag(errors, path, holder, ("allNodes", "`allNodes`"), &mut set);
    set
}

/// A choice that is made or not said at all.
pub(super) fn check_flag(
    errors: &mut ErrorList,
    path: &Path,
    holder: &Value,
    (field, shown): (&str, &'static str),
    set: &mut Vec<&'static str>,
) {
    match holder[field].as_bool() {
        None => {}
        Some(true) => set.push(shown),
        Some(false) => {
            errors.push(Error::invalid(&path.child(field), false, "must be either unset or set to true"));
        }
    }
}

fn check_own_place(errors: &mut ErrorList, path: &Path, device: &Value) {
    let set = check_place(errors, path, device, "must not be empty");
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match set.len() {
        1 => {}
        0 => errors.push(Error::required(path, detail)),
        _ => errors.push(Error::invalid(path, format!("{{{}}}", set.join(", ")), detail)),
    }
}

/// All errors of a device. `old`: how it was; `own_place`: whether it says itself where it is.
pub(super) fn check_device(
    errors: &mut ErrorList,
    path: &Path,
    device: &Value,
    old: Option<&Value>,
    own_place: bool,
) {
    let is_as_before = |field: &str| old.is_some_and(|old| same(&old[field], &device[field]));
    names::label(errors, &path.child("name"), text(device, "name"));
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > MAX_ENTRIES {
        let detail = format!("the total number of attributes and capacities must not exceed {MAX_ENTRIES}");
        errors.push(Error::invalid(path, count, &detail));
    }
    let (map, bounds) = ((device, "attributes"), (usize::MAX, names::MAX_QUALIFIED));
    bounded::map(errors, path, map, bounds, names::qualified, &mut check_attribute);
    if !is_as_before("capacity") {
        let is_shared = device["allowMultipleAllocations"] == true;
        let map = (device, "capacity");
        bounded::map(errors, path, map, bounds, names::qualified, &mut |errors, path, capacity| {
            if is_shared {
                request_policy::check(errors, path, capacity);
            } else {
                check_capacity(errors, path, capacity);
            }
        });
    }
    if !is_as_before("taints") {
        bounded::list(errors, path, (device, "taints"), MAX_TAINTS, &mut taints::check_taint);
    }
    let list = (device, "consumesCounters");
    let set = |consumption: &Value| text(consumption, "counterSet").into();
    bounded::set(errors, path, list, MAX_CONSUMPTIONS, set, &mut |errors, path, consumption| {
        check_counters(errors, path, consumption, "counterSet");
    });
    if own_place {
        check_own_place(errors, path, device);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|field| !device[*field].is_null()) {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(Error::invalid(path, Value::Null, detail));
    }
    binding::check(errors, path, device);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_those_of_semver() {
        for (text, wanted) in [
            ("1.2.3", true),
            ("0.0.0", true),
            ("1.2.3-alpha.1+build.007", true),
            ("1.2.3-0a", true),
            ("1.2", false),
            ("01.2.3", false),
            ("1.2.3-01", false),
            ("1.2.3-", false),
            ("1.2.3+", false),
            ("v1.2.3", false),
        ] {
            assert_eq!(is_version(text), wanted, "{text}");
        }
    }

    fn told(device: Value, own_place: bool) -> Vec<String> {
        let mut errors = ErrorList::new();
        check_device(&mut errors, &Path::new("d"), &device, None, own_place);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_device_is_refused_with_all_that_is_wrong_with_it() {
        let many: serde_json::Map<String, Value> =
            (0..33).map(|i| (format!("a{i}"), json!({"int": i}))).collect();
        let place = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        for (name, device, own_place, wanted) in [
            ("plain", json!({"name": "d"}), false, vec![]),
            (
                "too many attributes",
                json!({"name": "d", "attributes": many}),
                false,
                vec!["d: Invalid value: 33: the total number of attributes and capacities must not exceed 32".to_owned()],
            ),
            (
                "attributes",
                json!({"name": "d", "attributes": {"a": {}, "b": {"int": 1, "bool": true}, "c/": {"version": "1"}}}),
                false,
                vec![
                    "d.attributes[a]: Invalid value: \"\": exactly one value must be specified".to_owned(),
                    "d.attributes[b]: Invalid value: {\"int\":1,\"bool\":true}: exactly one value must be specified".to_owned(),
                    "d.attributes: Invalid value: \"\": the name must not be empty".to_owned(),
                    "d.attributes[c/].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0".to_owned(),
                ],
            ),
            (
                "a policy for one",
                json!({"name": "d", "capacity": {"memory": {"value": "1", "requestPolicy": {}}}}),
                false,
                vec!["d.capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true".to_owned()],
            ),
            (
                "taints",
                json!({"name": "d", "taints": [{"key": "k"}, {"key": "k", "effect": "x"}]}),
                false,
                vec![
                    "d.taints[0].effect: Required value".to_owned(),
                    "d.taints[1].effect: Unsupported value: \"x\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"".to_owned(),
                ],
            ),
            (
                "counters",
                json!({"name": "d", "consumesCounters": [{"counterSet": "s", "counters": {"c": {"value": "1"}}}, {"counterSet": "s"}]}),
                false,
                vec![
                    "d.consumesCounters[1].counters: Required value".to_owned(),
                    "d.consumesCounters[1]: Duplicate value: \"s\"".to_owned(),
                ],
            ),
            (
                "a place that it must not have",
                json!({"name": "d", "allNodes": true}),
                false,
                vec!["d: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec".to_owned()],
            ),
            ("its own place", json!({"name": "d", "nodeName": "n"}), true, vec![]),
            ("no place", json!({"name": "d"}), true, vec![format!("d: Required value: {place}")]),
            (
                "two places",
                json!({"name": "d", "nodeName": "n", "allNodes": true}),
                true,
                vec![format!("d: Invalid value: \"{{`nodeName`, `allNodes`}}\": {place}")],
            ),
        ] {
            assert_eq!(told(device, own_place), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_switched_off_is_dropped() {
        let full =
            json!({"name": "d", "attributes": {"a": {"ints": [1]}, "b": {"int": 1}}, MAPPINGS: {"cpu": {}}});
        assert!(uses_disabled(&json!({"attributes": {"a": {"ints": [1]}}})));
        let mut device = full.clone();
        drop_disabled(&mut device, false);
        assert_eq!(device, json!({"name": "d", "attributes": {"a": {}, "b": {"int": 1}}}));
        assert!(!uses_disabled(&device));
        let mut device = full.clone();
        drop_disabled(&mut device, true);
        assert_eq!(device, full);
    }
}
