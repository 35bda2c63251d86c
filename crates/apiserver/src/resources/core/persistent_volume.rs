//! PersistentVolume: a disk of the cluster.
//!
//! **Upstream**: `pkg/registry/core/persistentvolume`, `ValidatePersistentVolumeSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::core::persistent_volume_claim as claims;
use crate::resources::edit::{entries, is_empty, text};
use crate::resources::pod_spec::{canonical_amounts, check_node_selector, parse_amount};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
/// The fields of a spec that say where the disk is. **Upstream**: `PersistentVolumeSource`.
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// The strategy of PersistentVolumes.
pub(crate) struct PersistentVolume(Resource);

impl PersistentVolume {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("persistentvolumes", "persistentvolume");
        Self(Resource::new("", "v1", "PersistentVolume", plural, singular, Scope::Cluster).short(&["pv"]))
    }
}

fn check_capacity(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (capacity, path) = (&spec["capacity"], path.child("capacity"));
    let amounts: Vec<(&String, &Value)> = entries(spec, "capacity").collect();
    if amounts.is_empty() {
        errors.push(Error::required(&path, ""));
    } else if capacity["storage"].is_null() || amounts.len() > 1 {
        errors.push(Error::not_supported(&path, capacity.clone(), &["storage"]));
    }
    for (name, amount) in amounts {
        claims::check_positive(errors, &path.key(name), amount);
    }
}

fn check_source(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let mut found = SOURCES.iter().filter(|source| !spec[**source].is_null());
    let Some(source) = found.next() else {
        errors.push(Error::required(path, "must specify a volume type"));
        return;
    };
    for other in found {
        errors.push(Error::forbidden(&path.child(other), "may not specify more than 1 volume type"));
    }
    let (body, at) = (&spec[*source], path.child(source));
    match *source {
        "hostPath" | "local" => {
            let place = text(body, "path");
            if place.is_empty() {
                errors.push(Error::required(&at.child("path"), ""));
            } else if place.split('/').any(|part| part == "..") {
                errors.push(Error::invalid(&at.child("path"), place, "must not contain '..'"));
            }
            if *source == "local" && is_empty(&spec["nodeAffinity"]) {
                errors.push(Error::required(
                    &path.child("nodeAffinity"),
                    "Local volume requires node affinity",
                ));
            }
            if *source == "hostPath" && place == "/" && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
                let detail = "may not be 'Recycle' for a hostPath mount of '/'";
                errors.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
            }
        }
        "nfs" => {
            check::required(errors, &at.child("server"), &body["server"]);
            if check::required(errors, &at.child("path"), &body["path"])
                && !text(body, "path").starts_with('/')
            {
                let detail = "must be an absolute path";
                errors.push(Error::invalid(&at.child("path"), text(body, "path"), detail));
            }
        }
        "csi" => {
            check::required(errors, &at.child("driver"), &body["driver"]);
            check::required(errors, &at.child("volumeHandle"), &body["volumeHandle"]);
        }
        _ => {}
    }
}

fn phase_cell(volume: &Value) -> Cell {
    if meta::deletion_timestamp(volume).is_some() {
        return "Terminating".into();
    }
    text(&volume["status"], "phase").into()
}

impl Strategy for PersistentVolume {
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
        if let Some(status) = edit::child_or_new(object, "status") {
            edit::set_default_text(status, "phase", "Pending");
        }
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        edit::set_default_text(spec, "volumeMode", "Filesystem");
        if let Some(capacity) = edit::child(spec, "capacity") {
            canonical_amounts(capacity);
        }
        if let Some(path) = edit::child(spec, "hostPath") {
            edit::set_default(path, "type", "");
        }
    }

    fn prepare_for_create(&self, context: &WriteContext<'_>, object: &mut Value) {
        let since = api::time::format(context.now);
        edit::set(object, "status", json!({"phase": "Pending", "lastPhaseTransitionTime": since}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        claims::check_modes(&mut errors, &path, spec, "");
        check_capacity(&mut errors, &path, spec);
        let reclaim = "persistentVolumeReclaimPolicy";
        check::one_of_if_set(&mut errors, &path.child(reclaim), &spec[reclaim], POLICIES);
        let affinity = path.child("nodeAffinity").child("required");
        check_node_selector(&mut errors, &affinity, &spec["nodeAffinity"]["required"]);
        check_source(&mut errors, &path, spec);
        for field in ["storageClassName", "volumeAttributesClassName"] {
            check::optional_name(&mut errors, &path.child(field), &spec[field], check::subdomain);
        }
        claims::check_volume_mode(&mut errors, &path, spec);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (spec, before, path) = (&object["spec"], &old["spec"], Path::new("spec"));
        if SOURCES.iter().any(|source| !edit::same(&spec[*source], &before[*source])) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(Error::forbidden(&path.child("persistentvolumesource"), detail));
        }
        check::immutable(&mut errors, &path.child("volumeMode"), &spec["volumeMode"], &before["volumeMode"]);
        if !is_empty(&before["nodeAffinity"]) {
            let path = path.child("nodeAffinity");
            check::immutable(&mut errors, &path, &spec["nodeAffinity"], &before["nodeAffinity"]);
        }
        errors
    }

    fn prepare_for_status_update(&self, context: &WriteContext<'_>, object: &mut Value, old: &Value) {
        let given = &object["status"]["lastPhaseTransitionTime"];
        let untouched = given.is_null() || *given == old["status"]["lastPhaseTransitionTime"];
        if object["status"]["phase"] != old["status"]["phase"]
            && untouched
            && let Some(status) = edit::child_or_new(object, "status")
        {
            edit::set(status, "lastPhaseTransitionTime", api::time::format(context.now));
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Capacity", "string").field("spec.capacity"),
                Column::new("Access Modes", "string").field("spec.accessModes"),
                Column::new("Reclaim Policy", "string").field("spec.persistentVolumeReclaimPolicy"),
                Column::new("Status", "string").field("status.phase"),
                Column::new("Claim", "string").field("spec.claimRef"),
                Column::new("StorageClass", "string").text("StorageClass of the pv"),
                Column::new("VolumeAttributesClass", "string").text("VolumeAttributesClass of the pv"),
                Column::new("Reason", "string").field("status.reason"),
                cells::AGE,
                Column::wide("VolumeMode", "string").field("spec.volumeMode"),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, claim) = (&object["spec"], &object["spec"]["claimRef"]);
        let bound = if claim.is_object() {
            format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
        } else {
            String::new()
        };
        vec![
            cells::name(object),
            parse_amount(&spec["capacity"]["storage"]).map(|q| q.to_string()).unwrap_or_default().into(),
            claims::modes_cell(&spec["accessModes"]),
            text(spec, "persistentVolumeReclaimPolicy").into(),
            phase_cell(object),
            bound.into(),
            claims::class_of(object).into(),
            claims::attributes_cell(spec),
            text(&object["status"], "reason").into(),
            cells::age(object, now),
            claims::volume_mode_cell(spec),
        ]
    }
}
