//! Pod: containers that share a network, the unit that is scheduled and run.
//!
//! **Contract**: deletion is graceful unless nothing runs; the kubelet finishes it with a second delete of grace 0.
//! **Upstream**: `pkg/registry/core/pod`, `pkg/apis/core/validation`.

mod table;
mod update;

use crate::registry::{Cell, Column, Deletion, Strategy, WriteContext};
use crate::resources::edit;
use crate::resources::edit::{items, text};
use crate::resources::pod_spec::{
    apply_label_keys, check_annotations, check_apparmor_agrees, check_pod_spec, default_pod_spec,
    deprecated_apparmor, sync_apparmor, sync_service_account,
};
use api::field::{Error, ErrorList, Path};
use api::k8s_openapi::api::core::v1::PodSpec;
use api::kind::{Resource, Scope};
use api::pod::QosClass;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of Pods.
pub(crate) struct Pod(Resource);

impl Pod {
    pub(crate) fn new() -> Self {
        let resource = Resource::new("", "v1", "Pod", "pods", "pod", Scope::Namespaced);
        Self(resource.short(&["po"]).in_categories(&["all"]))
    }
}

/// The class that the spec earns; a spec that cannot be read has none (and is refused elsewhere).
fn qos_class(pod: &Value) -> QosClass {
    serde_json::from_value::<PodSpec>(pod["spec"].clone())
        .map_or(QosClass::BestEffort, |spec| api::pod::qos_class(&spec))
}

/// Two spellings of the same addresses.
fn sync_addresses(status: &mut Value) {
    for (single, list) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        if !edit::is_empty(&status[list]) {
            let first = status[list][0]["ip"].clone();
            edit::set(status, single, first);
        } else if let Some(ip) = status[single].as_str().filter(|ip| !ip.is_empty()).map(str::to_owned) {
            edit::set(status, list, json!([{ "ip": ip }]));
        }
    }
}

impl Strategy for Pod {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        edit::set_default(object, "status", json!({}));
        if let Some(spec) = edit::child_or_new(object, "spec") {
            default_pod_spec(spec);
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        if let Some(spec) = edit::child(object, "spec") {
            // Admission may have set the service account or added containers.
            sync_service_account(spec);
            default_pod_spec(spec);
        }
        apply_label_keys(object);
        sync_apparmor(object);
        let mut status = json!({"phase": "Pending", "qosClass": qos_class(object).as_str()});
        if !items(&object["spec"], "schedulingGates").is_empty() {
            status["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null,
                "lastTransitionTime": null}]);
        }
        edit::set(object, "status", status);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (metadata, spec) = (Path::new("metadata"), Path::new("spec"));
        let annotations = &object["metadata"]["annotations"];
        check_annotations(&mut errors, &metadata.child("annotations"), annotations, &object["spec"]);
        check_pod_spec(&mut errors, &spec, &object["spec"]);
        check_apparmor_agrees(&mut errors, &spec, annotations, &object["spec"]);
        if !edit::is_empty(&object["spec"]["ephemeralContainers"]) {
            errors.push(Error::forbidden(&spec.child("ephemeralContainers"), "cannot be set on create"));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        update::validate(object, old)
    }

    fn prepare_for_status_update(&self, _: &WriteContext<'_>, object: &mut Value, old: &Value) {
        if let Some(status) = edit::child_or_new(object, "status") {
            edit::copy(status, "qosClass", &old["status"]);
            sync_addresses(status);
        }
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status").child("nominatedNodeName");
        let nominated = &object["status"]["nominatedNodeName"];
        crate::resources::check::optional_name(
            &mut errors,
            &path,
            nominated,
            crate::resources::check::subdomain,
        );
        let phase = |pod: &Value| text(&pod["status"], "phase").to_owned();
        let (new, old) = (phase(object), phase(old));
        let phases = &["Failed", "Pending", "Running", "Succeeded", "Unknown"];
        if new != old && !new.is_empty() && !phases.contains(&new.as_str()) {
            errors.push(Error::not_supported(&Path::new("status").child("phase"), new, phases));
        }
        errors
    }

    fn deprecations(&self, object: &Value) -> Vec<String> {
        deprecated_apparmor(object)
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for list in ["initContainers", "containers"] {
            for (i, container) in items(&object["spec"], list).iter().enumerate() {
                let env = items(container, "env");
                for (j, variable) in env.iter().enumerate() {
                    if let Some(first) = env[..j].iter().position(|v| v["name"] == variable["name"]) {
                        let (name, at) = (text(variable, "name"), format!("spec.{list}[{i}].env"));
                        warnings.push(format!(
                            "{at}[{j}]: hides previous definition of {name:?}, which may be dropped when using apply: {at}[{first}]"
                        ));
                    }
                }
            }
        }
        warnings
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn canonical_field_label<'a>(&self, label: &'a str) -> &'a str {
        if label == "spec.host" { "spec.nodeName" } else { label }
    }

    fn is_packed(&self) -> bool {
        true
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let addresses: Vec<&str> = items(status, "podIPs").iter().map(|ip| text(ip, "ip")).collect();
        vec![
            text(spec, "nodeName").to_owned(),
            text(spec, "restartPolicy").to_owned(),
            text(spec, "schedulerName").to_owned(),
            text(spec, "serviceAccountName").to_owned(),
            (spec["hostNetwork"] == true).to_string(),
            text(status, "phase").to_owned(),
            text(status, "podIP").to_owned(),
            addresses.join(","),
            text(status, "nominatedNodeName").to_owned(),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }

    fn row_conditions(&self, object: &Value) -> Vec<Value> {
        table::conditions(object)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        table::row(object, now)
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn deletion(&self, object: &Value, requested_grace: Option<i64>) -> Deletion {
        let (spec, phase) = (&object["spec"], text(&object["status"], "phase"));
        let nothing_runs = text(spec, "nodeName").is_empty() || matches!(phase, "Failed" | "Succeeded");
        let grace = requested_grace.or(spec["terminationGracePeriodSeconds"].as_i64()).unwrap_or(0);
        match grace {
            _ if nothing_runs => Deletion::Immediate,
            0 => Deletion::Immediate,
            // Upstream: a negative period means one second.
            grace => Deletion::Graceful(if grace < 0 { 1 } else { grace }),
        }
    }
}

#[cfg(test)]
mod tests;
