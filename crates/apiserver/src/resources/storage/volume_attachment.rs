//! VolumeAttachment: a disk is to be at a node.
//!
//! **Upstream**: `pkg/registry/storage/volumeattachment`, `ValidateVolumeAttachment`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::text;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of VolumeAttachments.
pub(crate) struct VolumeAttachment(Resource);

impl VolumeAttachment {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("volumeattachments", "volumeattachment");
        Self(Resource::new(super::GROUP, "v1", "VolumeAttachment", plural, singular, Scope::Cluster))
    }
}

impl Strategy for VolumeAttachment {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"attached": false}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (attacher, at) = (text(spec, "attacher"), path.child("attacher"));
        if attacher.is_empty() {
            errors.push(Error::required(&at, ""));
        } else {
            let messages = names::qualified_name(&attacher.to_lowercase());
            check::invalid(&mut errors, &at, &attacher.into(), messages);
        }
        let (source, at) = (&spec["source"], path.child("source"));
        let (inline, name) = (!source["inlineVolumeSpec"].is_null(), &source["persistentVolumeName"]);
        match (inline, name.is_null()) {
            (false, true) => {
                let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.push(Error::required(&at, detail));
            }
            (true, false) => {
                let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.push(Error::forbidden(&at, detail));
            }
            (false, false) => {
                let messages = check::subdomain(name.as_str().unwrap_or(""));
                check::invalid(&mut errors, &at.child("persistentVolumeName"), name, messages);
            }
            (true, true) => {}
        }
        check::required_name(&mut errors, &path.child("nodeName"), &spec["nodeName"], check::subdomain);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        check::immutable(&mut errors, &Path::new("spec"), &object["spec"], &old["spec"]);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column { format: "name", ..Column::new("Attacher", "string") }.field("spec.attacher"),
                Column::new("PV", "string").field("spec.source.persistentVolumeName"),
                Column::new("Node", "string").field("spec.nodeName"),
                Column::new("Attached", "boolean").field("status.attached"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        vec![
            cells::name(object),
            text(spec, "attacher").into(),
            text(&spec["source"], "persistentVolumeName").into(),
            text(spec, "nodeName").into(),
            (object["status"]["attached"] == true).into(),
            cells::age(object, now),
        ]
    }
}
