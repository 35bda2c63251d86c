//! APIService: who serves a version of a group.
//!
//! **Upstream**: `kube-aggregator/pkg/registry/apiservice`, `pkg/apis/apiregistration/validation`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{self, items, text};
use crate::resources::{cells, check};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::{meta, names};
use jiff::Timestamp;
use serde_json::{Value, json};

const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// The strategy of APIServices.
pub(crate) struct ApiService(Resource);

impl ApiService {
    pub(crate) fn new() -> Self {
        let group = "apiregistration.k8s.io";
        let resource = Resource::new(group, "v1", "APIService", "apiservices", "apiservice", Scope::Cluster);
        Self(resource.in_categories(&["api-extensions"]))
    }
}

fn check_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(Error::required(&path.child("group"), detail));
    }
    if !group.is_empty() {
        check::invalid(errors, &path.child("group"), &spec["group"], names::dns_subdomain(group, false));
    }
    check::invalid(errors, &path.child("version"), &version.into(), names::dns_1035_label(version, false));
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let priority = spec[field].as_i64().unwrap_or(0);
        if priority <= 0 || priority > max {
            let detail = format!("must be positive and less than {max}");
            errors.push(Error::invalid(&path.child(field), priority, &detail));
        }
    }
    let (service, bundle) = (&spec["service"], text(spec, "caBundle"));
    let insecure = spec["insecureSkipTLSVerify"] == true;
    let at = path.child("insecureSkipTLSVerify");
    if service.is_null() {
        if !bundle.is_empty() {
            // Four letters of base64 are three bytes.
            let bytes = bundle.len() / 4 * 3 - bundle.bytes().rev().take_while(|b| *b == b'=').count();
            let detail = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(&path.child("caBundle"), format!("{bytes} bytes"), detail));
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(Error::invalid(&at, true, detail));
        }
        return;
    }
    let path = path.child("service");
    for field in ["namespace", "name"] {
        check::required(errors, &path.child(field), &service[field]);
    }
    let port = service["port"].as_i64().unwrap_or(0);
    let messages = names::port_number(port);
    if !messages.is_empty() {
        let detail = format!("port is not valid: {}", messages.join(", "));
        errors.push(Error::invalid(&path.child("port"), port, &detail));
    }
    if insecure && !bundle.is_empty() {
        errors.push(Error::invalid(&at, true, "may not be true if caBundle is present"));
    }
}

impl Strategy for ApiService {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn default(&self, object: &mut Value) {
        if let Some(service) = edit::child(object, "spec").and_then(|spec| edit::child(spec, "service")) {
            edit::set_default(service, "port", 443);
        }
    }

    fn prepare_for_create(&self, context: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
        if object["spec"]["service"].is_null() {
            let available = json!({"type": "Available", "status": "True",
                "lastTransitionTime": api::time::format(context.now), "reason": "Local",
                "message": "Local APIServices are always available"});
            edit::set(object, "status", json!({"conditions": [available]}));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = &object["spec"];
        let required = format!("{}.{}", text(spec, "version"), text(spec, "group"));
        if meta::name(object) != required {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {required:?}");
            errors.push(Error::invalid(&Path::new("metadata").child("name"), meta::name(object), &detail));
        }
        check_spec(&mut errors, &Path::new("spec"), spec);
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status").child("conditions");
        for (i, condition) in items(&object["status"], "conditions").iter().enumerate() {
            let status = text(condition, "status");
            if !STATUSES.contains(&status) {
                errors.push(Error::not_supported(&path.index(i).child("status"), status, &STATUSES));
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Service", "string")
                    .text("The reference to the service that hosts this API endpoint."),
                Column::new("Available", "string").text("Whether this service is available."),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let service = match &object["spec"]["service"] {
            Value::Null => "Local".to_owned(),
            service => format!("{}/{}", text(service, "namespace"), text(service, "name")),
        };
        let available = items(&object["status"], "conditions").iter().find(|c| c["type"] == "Available");
        let available = available.map_or_else(
            || "Unknown".to_owned(),
            |condition| match (text(condition, "status"), text(condition, "reason")) {
                (status @ "True", _) | (status, "") => status.to_owned(),
                (status, reason) => format!("{status} ({reason})"),
            },
        );
        vec![cells::name(object), service.into(), available.into(), cells::age(object, now)]
    }
}
