//! CSIStorageCapacity: how much room a class has in a part of the cluster.
//!
//! **Upstream**: `pkg/registry/storage/csistoragecapacity`, `ValidateCSIStorageCapacity`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::text;
use crate::resources::pod_spec::parse_amount;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of CSIStorageCapacities.
pub(crate) struct CsiStorageCapacity(Resource);

impl CsiStorageCapacity {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("csistoragecapacities", "csistoragecapacity");
        let scope = Scope::Namespaced;
        Self(Resource::new(super::GROUP, "v1", "CSIStorageCapacity", plural, singular, scope))
    }
}

impl Strategy for CsiStorageCapacity {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        for field in ["capacity", "maximumVolumeSize"] {
            if let Some(quantity) = parse_amount(&object[field]) {
                edit::set(object, field, quantity.to_string());
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let class = text(object, "storageClassName");
        let messages = check::subdomain(class);
        check::invalid(&mut errors, &Path::new("storageClassName"), &class.into(), messages);
        for field in ["capacity", "maximumVolumeSize"] {
            if let Some(quantity) = parse_amount(&object[field]).filter(|q| q.is_negative()) {
                errors.push(Error::invalid(&Path::new(field), quantity.to_string(), check::NOT_NEGATIVE));
            }
        }
        check::label_selector(&mut errors, &Path::new("nodeTopology"), &object["nodeTopology"]);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        for field in ["nodeTopology", "storageClassName"] {
            check::immutable(&mut errors, &Path::new(field), &object[field], &old[field]);
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
                Column::new("StorageClassName", "string").field("storageClassName"),
                Column::new("Capacity", "string").field("capacity"),
            ]
        }
    }

    fn row(&self, object: &Value, _: Timestamp) -> Vec<Cell> {
        let capacity = parse_amount(&object["capacity"]);
        vec![
            cells::name(object),
            text(object, "storageClassName").into(),
            capacity.map_or_else(|| "<unset>".to_owned(), |quantity| quantity.to_string()).into(),
        ]
    }
}
