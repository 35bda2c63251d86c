//! ResourceSlice: some devices of a driver, and where they are.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{is_empty, items, text};
use crate::resources::pod_spec::check_node_selector;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::Value;

/// **Upstream**: `ResourceSliceMaxDevices`.
const MAX_DEVICES: usize = 128;

/// The strategy of ResourceSlices.
pub(crate) struct ResourceSlice(Resource);

impl ResourceSlice {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "ResourceSlice", "resourceslices", "resourceslice", scope))
    }
}

/// A taint is as old as the request that brings it (`SetDefaults_DeviceTaint`).
fn date_taints(slice: &mut Value, now: Timestamp) {
    let Some(spec) = edit::child(slice, "spec") else { return };
    for device in edit::each(spec, "devices") {
        for taint in edit::each(device, "taints") {
            edit::set_default_text(taint, "timeAdded", &api::time::format(now));
        }
    }
}

impl Strategy for ResourceSlice {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, context: &WriteContext<'_>, object: &mut Value) {
        date_taints(object, context.now);
    }

    fn prepare_for_update(&self, context: &WriteContext<'_>, object: &mut Value, _: &Value) {
        date_taints(object, context.now);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check::required_name(&mut errors, &path.child("driver"), &spec["driver"], check::subdomain);
        let (pool, at) = (&spec["pool"], path.child("pool"));
        check::required(&mut errors, &at.child("name"), &pool["name"]);
        check::not_negative(&mut errors, &at.child("generation"), &pool["generation"]);
        let slices = pool["resourceSliceCount"].as_i64().unwrap_or(0);
        if slices <= 0 {
            errors.push(Error::invalid(&at.child("resourceSliceCount"), slices, "must be greater than zero"));
        }
        check::optional_name(&mut errors, &path.child("nodeName"), &spec["nodeName"], check::subdomain);
        check_node_selector(&mut errors, &path.child("nodeSelector"), &spec["nodeSelector"]);
        let places = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
        let set = places.iter().filter(|field| !spec[**field].is_null() && !is_empty(&spec[**field])).count();
        if set == 0 {
            let detail =
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
            errors.push(Error::required(&path, detail));
        } else if set > 1 {
            let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set";
            errors.push(Error::invalid(&path, Value::Null, detail));
        }
        let (devices, at) = (items(spec, "devices"), path.child("devices"));
        if devices.len() > MAX_DEVICES {
            errors.push(Error::too_many(&at, devices.len(), MAX_DEVICES));
        }
        for (i, device) in devices.iter().enumerate() {
            let path = at.index(i).child("name");
            check::required_name(&mut errors, &path, &device["name"], check::label);
            if devices[..i].iter().any(|other| other["name"] == device["name"]) {
                errors.push(Error::duplicate(&path, text(device, "name")));
            }
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (new, before, path) = (&object["spec"], &old["spec"], Path::new("spec"));
        check::immutable(&mut errors, &path.child("driver"), &new["driver"], &before["driver"]);
        let at = path.child("pool").child("name");
        check::immutable(&mut errors, &at, &new["pool"]["name"], &before["pool"]["name"]);
        for field in ["nodeName", "nodeSelector", "allNodes"] {
            check::immutable(&mut errors, &path.child(field), &new[field], &before[field]);
        }
        errors
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
