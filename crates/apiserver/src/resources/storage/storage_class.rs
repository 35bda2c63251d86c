//! StorageClass: a kind of disk that can be asked for.
//!
//! **Upstream**: `pkg/registry/storage/storageclass`, `ValidateStorageClass`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{entries, items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::{meta, names};
use jiff::Timestamp;
use serde_json::Value;

const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// **Upstream**: `maxProvisionerParameterSize`, `maxProvisionerParameterLen`.
const MAX_PARAMETERS_SIZE: usize = 256 << 10;
const MAX_PARAMETERS: usize = 512;

/// The strategy of StorageClasses.
pub(crate) struct StorageClass(Resource);

impl StorageClass {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("storageclasses", "storageclass");
        let resource = Resource::new(super::GROUP, "v1", "StorageClass", plural, singular, Scope::Cluster);
        Self(resource.short(&["sc"]))
    }
}

/// All errors of a driver's parameters.
pub(super) fn check_parameters(errors: &mut ErrorList, object: &Value) {
    let path = Path::new("parameters");
    let (mut size, mut count) = (0, 0);
    for (key, value) in entries(object, "parameters") {
        if key.is_empty() {
            errors.push(Error::invalid(&path, key.as_str(), "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
        count += 1;
    }
    if count > MAX_PARAMETERS {
        errors.push(Error::too_long(&path, MAX_PARAMETERS));
    }
    if size > MAX_PARAMETERS_SIZE {
        errors.push(Error::too_long(&path, MAX_PARAMETERS_SIZE));
    }
}

/// Fields that may not change, with upstream's own word for it.
pub(super) fn check_fixed(errors: &mut ErrorList, new: &Value, old: &Value, fields: &[&str]) {
    for field in fields {
        if !edit::same(&new[*field], &old[*field]) {
            let detail = format!("updates to {field} are forbidden.");
            errors.push(Error::forbidden(&Path::new(field), &detail));
        }
    }
}

impl Strategy for StorageClass {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        edit::set_default(object, "reclaimPolicy", "Delete");
        edit::set_default(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (provisioner, path) = (text(object, "provisioner"), Path::new("provisioner"));
        if provisioner.is_empty() {
            errors.push(Error::required(&path, ""));
        } else {
            let messages = names::qualified_name(&provisioner.to_lowercase());
            check::invalid(&mut errors, &path, &provisioner.into(), messages);
        }
        check_parameters(&mut errors, object);
        let (field, modes) = ("reclaimPolicy", &["Delete", "Retain"]);
        check::one_of_if_set(&mut errors, &Path::new(field), &object[field], modes);
        let (field, modes) = ("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]);
        check::one_of(&mut errors, &Path::new(field), &object[field], modes);
        for (i, term) in items(object, "allowedTopologies").iter().enumerate() {
            for (j, expression) in items(term, "matchLabelExpressions").iter().enumerate() {
                let path = Path::new("allowedTopologies").index(i).child("matchLabelExpressions").index(j);
                let key = text(expression, "key");
                check::invalid(&mut errors, &path.child("key"), &key.into(), names::qualified_name(key));
                if items(expression, "values").is_empty() {
                    errors.push(Error::required(&path.child("values"), ""));
                }
            }
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        check_fixed(&mut errors, object, old, &["parameters", "provisioner", "reclaimPolicy"]);
        let field = "volumeBindingMode";
        check::immutable(&mut errors, &Path::new(field), &object[field], &old[field]);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Provisioner", "string").field("provisioner"),
                Column::new("ReclaimPolicy", "string").field("reclaimPolicy"),
                Column::new("VolumeBindingMode", "string").field("volumeBindingMode"),
                Column::new("AllowVolumeExpansion", "string").field("allowVolumeExpansion"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let default = DEFAULT_ANNOTATIONS.iter().any(|a| meta::annotation(object, a) == Some("true"));
        let mark = if default { " (default)" } else { "" };
        let or = |field: &str, other: &'static str| object[field].as_str().unwrap_or(other).to_owned();
        vec![
            format!("{}{mark}", meta::name(object)).into(),
            text(object, "provisioner").into(),
            or("reclaimPolicy", "Delete").into(),
            or("volumeBindingMode", "Immediate").into(),
            (object["allowVolumeExpansion"] == true).into(),
            cells::age(object, now),
        ]
    }
}
