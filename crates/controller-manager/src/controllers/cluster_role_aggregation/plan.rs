//! The rules of an aggregated role.
//!
//! **Upstream**: `syncClusterRole`.

use crate::workload::owned;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use std::sync::Arc;

/// The rules that the role should have, if it has others: those of the roles that it selects, by selector and name, each
/// rule once.
pub(super) fn rules(role: &ClusterRole, roles: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors.into_iter().flatten().map(owned::selector) {
        let parts = roles.iter().filter(|part| {
            part.metadata.name != role.metadata.name
                && owned::selects(&selector, part.metadata.labels.as_ref())
        });
        for rule in parts.flat_map(|part| part.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (rules != role.rules.clone().unwrap_or_default()).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn role(name: &str, label: &str, resources: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<Value> =
            resources.iter().map(|r| json!({"resources": [r], "verbs": ["get"]})).collect();
        let role = json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules});
        Arc::new(serde_json::from_value(role).unwrap())
    }

    #[test]
    fn an_aggregated_role_has_the_rules_of_its_parts_once() {
        let roles =
            [role("b", "x", &["pods", "nodes"]), role("c", "x", &["pods"]), role("d", "y", &["secrets"])];
        let mut whole: ClusterRole = serde_json::from_value(json!({
            "metadata": {"name": "a", "labels": {"x": "true"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "true"}}]}}))
        .unwrap();
        let found = rules(&whole, &roles).unwrap();
        let names: Vec<_> = found.iter().map(|rule| rule.resources.clone().unwrap()[0].clone()).collect();
        assert_eq!(names, ["pods", "nodes"]);
        whole.rules = Some(found);
        assert_eq!(rules(&whole, &roles), None);
        assert_eq!(rules(&roles[0], &roles), None, "it aggregates nothing");
    }
}
