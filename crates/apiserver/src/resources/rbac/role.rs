//! Role: rights within one namespace.

use crate::registry::Strategy;
use api::field::ErrorList;
use api::kind::{Resource, Scope};
use api::names;
use serde_json::Value;

/// The strategy of Roles.
pub(crate) struct Role(Resource);

impl Role {
    pub(crate) fn new() -> Self {
        Self(Resource::new(super::GROUP, "v1", "Role", "roles", "role", Scope::Namespaced))
    }
}

impl Strategy for Role {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        super::check_rules(object, self.0.scope)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}
