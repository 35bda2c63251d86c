//! DeviceClass: a kind of device that can be asked for.

use super::bounded;
use super::claim_spec::{self, MAX_CONFIGS};
use crate::registry::{Cell, Column, Strategy};
use crate::resources::{cells, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names::is_extended_resource;
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
        let (mut errors, path) = (ErrorList::new(), Path::new("spec"));
        let spec = &object["spec"];
        claim_spec::check_selectors(&mut errors, &path, spec);
        bounded::list(&mut errors, &path, (spec, "config"), MAX_CONFIGS, &mut claim_spec::check_config);
        if let Some(name) = spec["extendedResourceName"].as_str().filter(|name| !is_extended_resource(name)) {
            let detail = "must be a valid extended resource name";
            errors.push(Error::invalid(&path.child("extendedResourceName"), name, detail));
        }
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
