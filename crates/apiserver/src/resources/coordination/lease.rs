//! Lease: a claim that its holder renews: heartbeats of nodes, leaders of components.
//!
//! **Upstream**: `pkg/registry/coordination/lease`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::{cells, check};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of Leases.
pub(crate) struct Lease(Resource);

impl Lease {
    pub(crate) fn new() -> Self {
        Self(Resource::new("coordination.k8s.io", "v1", "Lease", "leases", "lease", Scope::Namespaced))
    }
}

impl Strategy for Lease {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|s| *s <= 0) {
            let detail = "must be greater than 0";
            errors.push(Error::invalid(&path.child("leaseDurationSeconds"), seconds, detail));
        }
        check::not_negative(&mut errors, &path.child("leaseTransitions"), &spec["leaseTransitions"]);
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Holder", "string").field("spec.holderIdentity"), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let holder = object["spec"]["holderIdentity"].as_str().unwrap_or("");
        vec![cells::name(object), json!(holder), cells::age(object, now)]
    }
}
