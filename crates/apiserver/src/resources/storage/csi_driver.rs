//! CSIDriver: what a storage driver needs of the cluster.
//!
//! **Upstream**: `pkg/registry/storage/csidriver`, `ValidateCSIDriver`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

const GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const MODES: &[&str] = &["Ephemeral", "Persistent"];
/// **Upstream**: bounds of `tokenRequests[*].expirationSeconds`.
const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;

/// The strategy of CSIDrivers.
pub(crate) struct CsiDriver(Resource);

impl CsiDriver {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "CSIDriver", "csidrivers", "csidriver", scope))
    }
}

fn is(spec: &Value, field: &str) -> Cell {
    (spec[field] == true).into()
}

impl Strategy for CsiDriver {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(spec, "attachRequired", true);
        edit::set_default(spec, "podInfoOnMount", false);
        edit::set_default(spec, "storageCapacity", false);
        edit::set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if edit::is_empty(&spec["volumeLifecycleModes"]) {
            edit::set(spec, "volumeLifecycleModes", json!(["Persistent"]));
        }
        edit::set_default(spec, "requiresRepublish", false);
        edit::set_default(spec, "seLinuxMount", false);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        for field in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
            if spec[field].is_null() {
                errors.push(Error::required(&path.child(field), ""));
            }
        }
        let policy = &spec["fsGroupPolicy"];
        check::one_of_if_set(&mut errors, &path.child("fsGroupPolicy"), policy, GROUP_POLICIES);
        let requests = items(spec, "tokenRequests");
        for (i, request) in requests.iter().enumerate() {
            let path = path.child("tokenRequests").index(i);
            let audience = text(request, "audience");
            if requests[..i].iter().any(|other| text(other, "audience") == audience) {
                errors.push(Error::duplicate(&path.child("audience"), audience));
            }
            let at = path.child("expirationSeconds");
            match request["expirationSeconds"].as_i64() {
                Some(seconds) if seconds < MIN_TOKEN_SECONDS => {
                    errors.push(Error::invalid(
                        &at,
                        seconds,
                        "may not specify a duration less than 10 minutes",
                    ));
                }
                Some(seconds) if seconds > MAX_TOKEN_SECONDS => {
                    errors.push(Error::invalid(
                        &at,
                        seconds,
                        "may not specify a duration larger than 2^32 seconds",
                    ));
                }
                _ => {}
            }
        }
        for (i, mode) in items(spec, "volumeLifecycleModes").iter().enumerate() {
            if !mode.as_str().is_some_and(|mode| MODES.contains(&mode)) {
                let path = path.child("volumeLifecycleModes").index(i);
                errors.push(Error::not_supported(&path, mode.clone(), MODES));
            }
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        for field in ["attachRequired", "volumeLifecycleModes"] {
            let path = Path::new("spec").child(field);
            check::immutable(&mut errors, &path, &object["spec"][field], &old["spec"][field]);
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
                Column::new("AttachRequired", "boolean").field("spec.attachRequired"),
                Column::new("PodInfoOnMount", "boolean").field("spec.podInfoOnMount"),
                Column::new("StorageCapacity", "boolean").field("spec.storageCapacity"),
                Column::new("TokenRequests", "string").field("spec.tokenRequests"),
                Column::new("RequiresRepublish", "boolean").field("spec.requiresRepublish"),
                Column::new("Modes", "string").field("spec.volumeLifecycleModes"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let audiences: Vec<&str> = items(spec, "tokenRequests").iter().map(|r| text(r, "audience")).collect();
        let modes: Vec<&str> = items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
        let or =
            |list: Vec<&str>, other: &str| if list.is_empty() { other.into() } else { list.join(",").into() };
        vec![
            cells::name(object),
            is(spec, "attachRequired"),
            is(spec, "podInfoOnMount"),
            is(spec, "storageCapacity"),
            or(audiences, "<unset>"),
            is(spec, "requiresRepublish"),
            or(modes, cells::NONE),
            cells::age(object, now),
        ]
    }
}
