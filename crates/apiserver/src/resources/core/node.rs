//! Node: a machine that runs pods.
//!
//! **Contract**: unlike other kinds a Node may be created with its status: that is how a kubelet registers.
//! **Upstream**: `pkg/registry/core/node`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{items, text};
use crate::resources::pod_spec::EFFECTS;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::well_known::label;
use api::{meta, names};
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of Nodes.
pub(crate) struct Node(Resource);

impl Node {
    pub(crate) fn new() -> Self {
        Self(Resource::new("", "v1", "Node", "nodes", "node", Scope::Cluster).short(&["no"]))
    }
}

fn status(object: &Value) -> String {
    let ready = items(&object["status"], "conditions").iter().find(|c| c["type"] == "Ready");
    let ready = match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if object["spec"]["unschedulable"] == true { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

fn roles(object: &Value) -> Vec<String> {
    let mut roles: Vec<String> = meta::labels(object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(label::NODE_ROLE_PREFIX) {
            Some(role) => Some(role.to_owned()),
            None if key == label::NODE_ROLE => value.as_str().map(str::to_owned),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    roles
}

fn address(object: &Value, kind: &str) -> Cell {
    let found = items(&object["status"], "addresses").iter().find(|a| a["type"] == kind);
    cells::text_or_none(found.map_or(&Value::Null, |a| &a["address"]))
}

fn check_taints(errors: &mut ErrorList, spec: &Value) {
    let taints = items(spec, "taints");
    for (i, taint) in taints.iter().enumerate() {
        let path = Path::new("spec").child("taints").index(i);
        check::invalid(errors, &path.child("key"), &taint["key"], names::qualified_name(text(taint, "key")));
        let value = taint["value"].as_str().unwrap_or("");
        check::invalid(errors, &path.child("value"), &value.into(), names::label_value(value));
        check::one_of(errors, &path.child("effect"), &taint["effect"], EFFECTS);
        let same = |t: &&Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
        if taints[..i].iter().any(|t| same(&t)) {
            let mut error = Error::duplicate(&path, taint.clone());
            error.body.push_str(": taints must be unique by key and effect pair");
            errors.push(error);
        }
    }
}

impl Strategy for Node {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        edit::set_default(object, "spec", serde_json::json!({}));
        if let Some(status) = edit::child(object, "status") {
            let capacity = status["capacity"].clone();
            if !capacity.is_null() {
                edit::set_default(status, "allocatable", capacity);
            }
        }
        if let Some(spec) = edit::child(object, "spec") {
            // Two spellings of one fact.
            if let Some(cidr) = spec["podCIDR"].as_str().filter(|c| !c.is_empty()).map(str::to_owned) {
                edit::set_default(spec, "podCIDRs", vec![cidr]);
            } else if let Some(cidr) = items(spec, "podCIDRs").first().cloned() {
                edit::set(spec, "podCIDR", cidr);
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = &object["spec"];
        check_taints(&mut errors, spec);
        for (i, cidr) in items(spec, "podCIDRs").iter().enumerate() {
            let path = Path::new("spec").child("podCIDRs").index(i);
            check::invalid(&mut errors, &path, cidr, names::cidr(cidr.as_str().unwrap_or("")));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let spec = Path::new("spec");
        for (field, words) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
            let (new, old) = (&object["spec"][field], &old["spec"][field]);
            if !edit::is_empty(old) && !edit::same(new, old) {
                let detail = format!("node updates may not change {words} except from \"\" to valid");
                errors.push(Error::forbidden(&spec.child(field), &detail));
            }
        }
        errors
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![(object["spec"]["unschedulable"] == true).to_string()]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Status", "string").text("The status of the node"),
                Column::new("Roles", "string").text("The roles of the node"),
                cells::AGE,
                Column::new("Version", "string").field("status.nodeInfo.kubeletVersion"),
                Column::wide("Internal-IP", "string").field("status.addresses"),
                Column::wide("External-IP", "string").field("status.addresses"),
                Column::wide("OS-Image", "string").field("status.nodeInfo.osImage"),
                Column::wide("Kernel-Version", "string").field("status.nodeInfo.kernelVersion"),
                Column::wide("Container-Runtime", "string").field("status.nodeInfo.containerRuntimeVersion"),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let info = &object["status"]["nodeInfo"];
        let kernel = match (text(info, "kernelVersion"), text(info, "architecture")) {
            ("", _) => "<unknown>".to_owned(),
            (kernel, "") => kernel.to_owned(),
            (kernel, architecture) => format!("{kernel} ({architecture})"),
        };
        vec![
            cells::name(object),
            status(object).into(),
            cells::joined(&roles(object), ","),
            cells::age(object, now),
            text(info, "kubeletVersion").into(),
            address(object, "InternalIP"),
            address(object, "ExternalIP"),
            cells::text_or_unknown(&info["osImage"]),
            kernel.into(),
            cells::text_or_unknown(&info["containerRuntimeVersion"]),
        ]
    }
}
