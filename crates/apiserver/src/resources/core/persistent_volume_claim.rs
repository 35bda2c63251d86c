//! PersistentVolumeClaim: a wish for a disk.
//!
//! **Upstream**: `pkg/registry/core/persistentvolumeclaim`, `ValidatePersistentVolumeClaimSpec`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{is_empty, items, text};
use crate::resources::pod_spec::{canonical_amounts, parse_amount};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Access modes and how tables abbreviate them.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];
/// **Upstream**: `BetaStorageClassAnnotation`.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const FORBIDDEN: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// The strategy of PersistentVolumeClaims.
pub(crate) struct PersistentVolumeClaim(Resource);

impl PersistentVolumeClaim {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("persistentvolumeclaims", "persistentvolumeclaim");
        let scope = Scope::Namespaced;
        Self(Resource::new("", "v1", "PersistentVolumeClaim", plural, singular, scope).short(&["pvc"]))
    }
}

/// Fills the defaults of a claim, or of a template for claims.
pub(crate) fn default_claim(claim: &mut Value) {
    if let Some(status) = edit::child_or_new(claim, "status") {
        edit::set_default_text(status, "phase", "Pending");
    }
    let Some(spec) = edit::child_or_new(claim, "spec") else { return };
    edit::set_default_text(spec, "volumeMode", "Filesystem");
    for list in ["limits", "requests"] {
        if let Some(amounts) = edit::child(spec, "resources").and_then(|r| edit::child(r, list)) {
            canonical_amounts(amounts);
        }
    }
}

/// Two spellings of where the contents come from.
fn sync_data_source(spec: &mut Value) {
    if is_empty(&spec["dataSourceRef"]) && !is_empty(&spec["dataSource"]) {
        edit::copy_as(spec, "dataSource", "dataSourceRef");
    } else if is_empty(&spec["dataSource"])
        && !is_empty(&spec["dataSourceRef"])
        && text(&spec["dataSourceRef"], "namespace").is_empty()
    {
        edit::copy_as(spec, "dataSourceRef", "dataSource");
    }
}

/// All errors of `accessModes`, which must be there.
pub(super) fn check_modes(errors: &mut ErrorList, path: &Path, spec: &Value, when_empty: &str) {
    let (modes, path) = (items(spec, "accessModes"), path.child("accessModes"));
    if modes.is_empty() {
        errors.push(Error::required(&path, when_empty));
    }
    let mut known = MODES.map(|(mode, _)| mode);
    known.sort_unstable();
    for mode in modes.iter().filter(|mode| !mode.as_str().is_some_and(|m| known.contains(&m))) {
        errors.push(Error::not_supported(&path, mode.clone(), &known));
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&path, detail));
    }
}

pub(super) fn check_volume_mode(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let modes = &["Block", "Filesystem"];
    check::one_of_if_set(errors, &path.child("volumeMode"), &spec["volumeMode"], modes);
}

/// An amount that must be more than nothing.
pub(super) fn check_positive(errors: &mut ErrorList, path: &Path, amount: &Value) {
    match parse_amount(amount) {
        None => {
            let detail = api::quantity::ParseError.to_string();
            errors.push(Error::invalid(path, amount.clone(), &detail));
        }
        Some(quantity) if quantity.is_zero() || quantity.is_negative() => {
            errors.push(Error::invalid(path, quantity.to_string(), "must be greater than zero"));
        }
        Some(_) => {}
    }
}

fn check_source(errors: &mut ErrorList, path: &Path, source: &Value) {
    if !source.is_object() {
        return;
    }
    check::required(errors, &path.child("name"), &source["name"]);
    check::required(errors, &path.child("kind"), &source["kind"]);
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && !matches!(kind, "" | "PersistentVolumeClaim") {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(path, source.clone(), detail));
    }
    check::optional_name(errors, &path.child("apiGroup"), &source["apiGroup"], check::subdomain);
}

/// What may change: the size of a bound claim, the volume that it is bound to (once), the class of attributes.
fn with_old_values(object: &Value, old: &Value) -> Value {
    let (mut spec, before) = (object["spec"].clone(), &old["spec"]);
    if text(before, "volumeName").is_empty() {
        edit::copy(&mut spec, "volumeName", before);
    }
    if text(&old["status"], "phase") == "Bound"
        && let Some(resources) = edit::child(&mut spec, "resources")
        && let Some(requests) = edit::child(resources, "requests")
    {
        edit::copy(requests, "storage", &before["resources"]["requests"]);
    }
    // A class may be given to a claim that never had one.
    if before["storageClassName"].is_null() {
        edit::copy(&mut spec, "storageClassName", before);
    }
    edit::copy(&mut spec, "volumeAttributesClassName", before);
    spec
}

/// `RWO,ROX`, each once and in the order of the table.
pub(super) fn modes_cell(modes: &Value) -> Cell {
    let has = |mode: &str| modes.as_array().is_some_and(|modes| modes.iter().any(|m| m == mode));
    let short: Vec<&str> = MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    short.join(",").into()
}

/// The class of a volume or claim; an annotation of old goes first.
pub(super) fn class_of(object: &Value) -> &str {
    meta::annotation(object, CLASS_ANNOTATION).unwrap_or_else(|| text(&object["spec"], "storageClassName"))
}

pub(super) fn attributes_cell(spec: &Value) -> Cell {
    spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>").into()
}

pub(super) fn volume_mode_cell(spec: &Value) -> Cell {
    spec["volumeMode"].as_str().unwrap_or("<unset>").into()
}

impl Strategy for PersistentVolumeClaim {
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
        default_claim(object);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"phase": "Pending"}));
        if let Some(spec) = edit::child(object, "spec") {
            sync_data_source(spec);
        }
    }

    fn prepare_for_update(&self, _: &WriteContext<'_>, object: &mut Value, _: &Value) {
        if let Some(spec) = edit::child(object, "spec") {
            sync_data_source(spec);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check_modes(&mut errors, &path, spec, "at least 1 access mode is required");
        check::label_selector(&mut errors, &path.child("selector"), &spec["selector"]);
        let at = path.child("resources").key("storage");
        match &spec["resources"]["requests"]["storage"] {
            Value::Null => errors.push(Error::required(&at, "")),
            amount => check_positive(&mut errors, &at, amount),
        }
        for field in ["storageClassName", "volumeAttributesClassName"] {
            check::optional_name(&mut errors, &path.child(field), &spec[field], check::subdomain);
        }
        check_volume_mode(&mut errors, &path, spec);
        for field in ["dataSource", "dataSourceRef"] {
            check_source(&mut errors, &path.child(field), &spec[field]);
        }
        let foreign = !text(&spec["dataSourceRef"], "namespace").is_empty();
        if foreign && !is_empty(&spec["dataSource"]) {
            let detail = "may not be specified when dataSourceRef.namespace is specified";
            errors.push(Error::invalid(&path.child("dataSource"), spec["dataSource"].clone(), detail));
        } else if !foreign && !edit::same(&spec["dataSource"], &spec["dataSourceRef"]) {
            let detail = "must match dataSourceRef";
            errors.push(Error::invalid(&path.child("dataSource"), spec["dataSource"].clone(), detail));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("spec");
        if !edit::same(&with_old_values(object, old), &old["spec"]) {
            errors.push(Error::forbidden(&path, FORBIDDEN));
        }
        let size = |spec: &Value| parse_amount(&spec["resources"]["requests"]["storage"]);
        let capacity = parse_amount(&old["status"]["capacity"]["storage"]);
        if let (Some(new), Some(before)) = (size(&object["spec"]), size(&old["spec"]))
            && new < before
            && capacity.is_none_or(|capacity| new <= capacity)
        {
            let path = path.child("resources").child("requests").child("storage");
            errors.push(Error::forbidden(&path, "field can not be less than status.capacity"));
        }
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Status", "string").field("status.phase"),
                Column::new("Volume", "string").field("spec.volumeName"),
                Column::new("Capacity", "string").field("status.capacity"),
                Column::new("Access Modes", "string").field("status.accessModes"),
                Column::new("StorageClass", "string").text("StorageClass of the pvc"),
                Column::new("VolumeAttributesClass", "string").text("VolumeAttributesClass of the pvc"),
                cells::AGE,
                Column::wide("VolumeMode", "string").field("spec.volumeMode"),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let bound = !text(spec, "volumeName").is_empty();
        let terminating = meta::deletion_timestamp(object).is_some();
        let capacity = parse_amount(&status["capacity"]["storage"]).filter(|_| bound);
        vec![
            cells::name(object),
            if terminating { "Terminating" } else { text(status, "phase") }.into(),
            text(spec, "volumeName").into(),
            capacity.map(|q| q.to_string()).unwrap_or_default().into(),
            if bound { modes_cell(&status["accessModes"]) } else { "".into() },
            class_of(object).into(),
            attributes_cell(spec),
            cells::age(object, now),
            volume_mode_cell(spec),
        ]
    }
}
