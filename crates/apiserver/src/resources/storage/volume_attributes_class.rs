//! VolumeAttributesClass: attributes that a driver can change on a living disk.
//!
//! **Upstream**: `pkg/registry/storage/volumeattributesclass`, `ValidateVolumeAttributesClass`.

use super::storage_class::{check_fixed, check_parameters};
use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::text;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of VolumeAttributesClasses.
pub(crate) struct VolumeAttributesClass(Resource);

impl VolumeAttributesClass {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("volumeattributesclasses", "volumeattributesclass");
        let scope = Scope::Cluster;
        let resource = Resource::new(super::GROUP, "v1", "VolumeAttributesClass", plural, singular, scope);
        Self(resource.short(&["vac"]))
    }
}

impl Strategy for VolumeAttributesClass {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (driver, path) = (text(object, "driverName"), Path::new("driverName"));
        if driver.is_empty() {
            errors.push(Error::required(&path, ""));
        } else {
            let messages = names::qualified_name(&driver.to_lowercase());
            check::invalid(&mut errors, &path, &driver.into(), messages);
        }
        if edit::entries(object, "parameters").next().is_none() {
            let detail = "must contain at least one key/value pair";
            errors.push(Error::required(&Path::new("parameters"), detail));
        }
        check_parameters(&mut errors, object);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        check_fixed(&mut errors, object, old, &["driverName", "parameters"]);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("DriverName", "string").field("driverName"), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), text(object, "driverName").into(), cells::age(object, now)]
    }
}
