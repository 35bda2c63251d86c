//! ClusterRole: rights in the whole cluster; with an aggregation rule, those of other roles.

use crate::registry::Strategy;
use crate::resources::check;
use crate::resources::edit::items;
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use serde_json::Value;

/// The strategy of ClusterRoles.
pub(crate) struct ClusterRole(Resource);

impl ClusterRole {
    pub(crate) fn new() -> Self {
        Self(Resource::new(super::GROUP, "v1", "ClusterRole", "clusterroles", "clusterrole", Scope::Cluster))
    }
}

impl Strategy for ClusterRole {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = super::check_rules(object, self.0.scope);
        let aggregation = &object["aggregationRule"];
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let selectors = items(aggregation, "clusterRoleSelectors");
        if aggregation.is_object() && selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(Error::required(&path, detail));
        }
        for (i, selector) in selectors.iter().enumerate() {
            check::label_selector(&mut errors, &path.index(i), selector);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}
