//! ClusterRoleBinding: grants a cluster role's rights everywhere.

use crate::registry::{Cell, Column, Strategy};
use api::field::ErrorList;
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::Value;

/// What tables say of `roleRef`: the words of its first version.
const ROLE: &str = "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be \
    resolved, the Authorizer must return an error.";
/// What they say of the subjects.
const SUBJECTS: [&str; 3] = [
    "Users in the clusterRoleBinding",
    "Groups in the clusterRoleBinding",
    "ServiceAccounts in the clusterRoleBinding",
];

/// The strategy of ClusterRoleBindings.
pub(crate) struct ClusterRoleBinding(Resource);

impl ClusterRoleBinding {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(
            super::GROUP,
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            "clusterrolebinding",
            scope,
        ))
    }
}

impl Strategy for ClusterRoleBinding {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn default(&self, object: &mut Value) {
        super::default_binding(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        super::check_binding(object, self.0.scope)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        super::check_binding_update(object, old, self.0.scope)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &super::binding_columns(ROLE, SUBJECTS) }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        super::binding_row(object, now)
    }
}
