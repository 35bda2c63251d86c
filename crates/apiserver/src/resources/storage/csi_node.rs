//! CSINode: the storage drivers of a node.
//!
//! **Upstream**: `pkg/registry/storage/csinode`, `ValidateCSINode`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::Value;

/// **Upstream**: `csiNodeIDMaxLength`.
const MAX_ID: usize = 192;

/// The strategy of CSINodes.
pub(crate) struct CsiNode(Resource);

impl CsiNode {
    pub(crate) fn new() -> Self {
        Self(Resource::new(super::GROUP, "v1", "CSINode", "csinodes", "csinode", Scope::Cluster))
    }
}

impl Strategy for CsiNode {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (drivers, path) = (items(&object["spec"], "drivers"), Path::new("spec").child("drivers"));
        for (i, driver) in drivers.iter().enumerate() {
            let path = path.index(i);
            check::required_name(&mut errors, &path.child("name"), &driver["name"], check::subdomain);
            if drivers[..i].iter().any(|other| other["name"] == driver["name"]) {
                errors.push(Error::duplicate(&path.child("name"), text(driver, "name")));
            }
            let (id, at) = (text(driver, "nodeID"), path.child("nodeID"));
            if id.is_empty() {
                errors.push(Error::required(&at, ""));
            } else if id.len() > MAX_ID {
                errors.push(Error::invalid(&at, id, "must be 192 characters or less"));
            }
            let count = &driver["allocatable"]["count"];
            check::not_negative(&mut errors, &path.child("allocatable").child("count"), count);
            let keys = items(driver, "topologyKeys");
            for (j, key) in keys.iter().enumerate() {
                let at = path.child("topologyKeys");
                if keys[..j].contains(key) {
                    errors.push(Error::duplicate(&at, key.clone()));
                }
                check::invalid(&mut errors, &at, key, names::qualified_name(key.as_str().unwrap_or("")));
            }
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("spec").child("drivers");
        for driver in items(&object["spec"], "drivers") {
            let before = items(&old["spec"], "drivers").iter().find(|other| other["name"] == driver["name"]);
            let mut fixed = driver.clone();
            if let Some(before) = before {
                edit::copy(&mut fixed, "allocatable", before);
            }
            if before.is_some_and(|before| !edit::same(&fixed, before)) {
                errors.push(Error::invalid(&path, driver.clone(), check::IMMUTABLE));
            }
        }
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
                Column::new("Drivers", "integer")
                    .text("Drivers indicates the number of CSI drivers registered on the node"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let drivers = items(&object["spec"], "drivers").len();
        vec![cells::name(object), drivers.into(), cells::age(object, now)]
    }
}
