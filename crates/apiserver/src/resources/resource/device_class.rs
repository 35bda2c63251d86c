//! DeviceClass: a kind of device that can be asked for.

use super::claim_spec;
use crate::registry::{Cell, Column, Strategy};
use crate::resources::{cells, edit};
use api::field::{ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of DeviceClasses.
pub(crate) struct DeviceClass(Resource);

impl DeviceClass {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "DeviceClass", "deviceclasses", "deviceclass", scope))
    }
}

impl Strategy for DeviceClass {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        edit::set_default(object, "spec", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        claim_spec::check_selectors(&mut errors, &path, &object["spec"]);
        claim_spec::check_configs(&mut errors, &path, &object["spec"]);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), cells::age(object, now)]
    }
}
