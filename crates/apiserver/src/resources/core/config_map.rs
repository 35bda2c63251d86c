//! ConfigMap: configuration as keys and values.
//!
//! **Upstream**: `pkg/registry/core/configmap`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::entries;
use crate::resources::{cells, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::Value;

/// The most bytes that the values of one object may have: 1 MiB.
pub(crate) const MAX_DATA: usize = 1024 * 1024;

const IMMUTABLE_SET: &str = "field is immutable when `immutable` is set";

/// The strategy of ConfigMaps.
pub(crate) struct ConfigMap(Resource);

impl ConfigMap {
    pub(crate) fn new() -> Self {
        Self(
            Resource::new("", "v1", "ConfigMap", "configmaps", "configmap", Scope::Namespaced).short(&["cm"]),
        )
    }
}

/// What an immutable ConfigMap or Secret refuses.
pub(crate) fn check_immutable(errors: &mut ErrorList, object: &Value, old: &Value, fields: &[&str]) {
    if old["immutable"] != true {
        return;
    }
    if object["immutable"] != true {
        errors.push(Error::forbidden(&Path::new("immutable"), IMMUTABLE_SET));
    }
    for field in fields {
        if !edit::same(&object[field], &old[field]) {
            errors.push(Error::forbidden(&Path::new(field), IMMUTABLE_SET));
        }
    }
}

impl Strategy for ConfigMap {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut size = 0;
        for field in ["data", "binaryData"] {
            for (key, value) in entries(object, field) {
                let path = Path::new(field).key(key);
                for message in names::config_map_key(key) {
                    errors.push(Error::invalid(&path, key.as_str(), &message));
                }
                if field == "data" && !object["binaryData"][key].is_null() {
                    errors.push(Error::invalid(
                        &path,
                        key.as_str(),
                        "duplicate of key present in binaryData",
                    ));
                }
                let length = value.as_str().map_or(0, str::len);
                size += if field == "data" { length } else { length / 4 * 3 };
            }
        }
        if size > MAX_DATA {
            errors.push(Error::too_long(&Path::new("[]"), MAX_DATA));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check_immutable(&mut errors, object, old, &["data", "binaryData"]);
        errors.extend(self.validate(object));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Data", "string").field("data"), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let count = entries(object, "data").count() + entries(object, "binaryData").count();
        vec![cells::name(object), count.into(), cells::age(object, now)]
    }
}
