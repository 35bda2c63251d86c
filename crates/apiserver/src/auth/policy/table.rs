//! The form in which roles are written down: comma-separated lists, one line a rule.

use crate::auth::rbac::PolicyRule;

pub(super) const READ: &str = "get,list,watch";
pub(super) const WRITE: &str = "create,delete,deletecollection,patch,update";

/// Writing events, in either of their groups.
pub(super) const EVENTS: Rule = rule("create,patch,update", ",events.k8s.io", "events");

/// One rule.
pub(super) struct Rule {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    paths: &'static str,
}

/// On resources.
pub(super) const fn rule(verbs: &'static str, groups: &'static str, resources: &'static str) -> Rule {
    Rule { verbs, groups, resources, names: "", paths: "" }
}

/// On named objects.
pub(super) const fn named(
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
) -> Rule {
    Rule { verbs, groups, resources, names, paths: "" }
}

/// On paths.
pub(super) const fn paths(verbs: &'static str, paths: &'static str) -> Rule {
    Rule { verbs, groups: "", resources: "", names: "", paths }
}

impl Rule {
    pub(super) fn compile(&self) -> PolicyRule {
        let list = |text: &str| -> Vec<String> {
            if text.is_empty() { Vec::new() } else { text.split(',').map(str::to_owned).collect() }
        };
        let groups = if self.resources.is_empty() {
            Vec::new()
        } else {
            self.groups.split(',').map(str::to_owned).collect()
        };
        PolicyRule {
            groups,
            resources: list(self.resources),
            names: list(self.names),
            paths: list(self.paths),
            verbs: list(self.verbs),
        }
    }
}

/// One Role or ClusterRole.
pub(super) struct Role {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// Its rules are part of the roles that collect this.
    pub(super) aggregate_to: &'static str,
    /// Its rules are those of the roles that are meant for this.
    pub(super) aggregate_from: &'static str,
    pub(super) rules: &'static [Rule],
}

/// A ClusterRole.
pub(super) const fn role(name: &'static str, rules: &'static [Rule]) -> Role {
    Role { namespace: "", name, aggregate_to: "", aggregate_from: "", rules }
}

/// A Role.
pub(super) const fn namespaced(namespace: &'static str, name: &'static str, rules: &'static [Rule]) -> Role {
    Role { namespace, ..role(name, rules) }
}

/// A ClusterRole that takes part in aggregation.
pub(super) const fn aggregated(
    name: &'static str,
    aggregate_to: &'static str,
    aggregate_from: &'static str,
    rules: &'static [Rule],
) -> Role {
    Role { aggregate_to, aggregate_from, ..role(name, rules) }
}
