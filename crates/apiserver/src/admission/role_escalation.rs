//! Nobody grants what he does not have: writing a role or a binding needs the permissions in it.
//!
//! **Contract**: `system:masters`, holders of `escalate` (roles) or `bind` (bindings) are let through.
//! **Upstream**: `pkg/registry/rbac/*/policybased`, where this is a layer of the store.

use super::{Attributes, Operation, Plugin};
use crate::auth::rbac::{GROUP, PolicyRule, quoted};
use crate::auth::{Action, Authorizer, GROUP_MASTERS};
use api::status::{Details, Status};
use serde_json::Value;
use std::sync::Arc;

/// The plugin.
pub(super) struct RoleEscalation {
    authorizer: Arc<dyn Authorizer>,
}

impl RoleEscalation {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }

    fn allowed(&self, attributes: &Attributes<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let action = Action {
            namespace: attributes.namespace,
            name,
            ..Action::on(attributes.user, verb, GROUP, resource)
        };
        self.authorizer.authorize(&action).allowed
    }

    fn check_rules(
        &self,
        attributes: &Attributes<'_>,
        name: &str,
        rules: &[PolicyRule],
    ) -> Result<(), Status> {
        let own = self.authorizer.rules_for(attributes.user, attributes.namespace);
        let missing: Vec<PolicyRule> = rules
            .iter()
            .flat_map(PolicyRule::atoms)
            .filter(|atom| !own.iter().any(|rule| rule.covers(atom)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = compacted(missing).iter().map(ToString::to_string).collect();
        let why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            attributes.user.name,
            quoted(&attributes.user.groups),
            lines.join("\n")
        );
        Err(Status::forbidden(attributes.resource, name, &why))
    }

    fn check_role(&self, attributes: &Attributes<'_>, name: &str, role: &Value) -> Result<(), Status> {
        if self.allowed(attributes, "escalate", &attributes.resource.plural, name) {
            return Ok(());
        }
        if attributes.old.is_some_and(|old| {
            old["rules"] == role["rules"] && old["aggregationRule"] == role["aggregationRule"]
        }) {
            return Ok(());
        }
        if !role["aggregationRule"].is_null() {
            let all = || vec!["*".to_owned()];
            let full = [
                PolicyRule { groups: all(), resources: all(), verbs: all(), ..PolicyRule::default() },
                PolicyRule { paths: all(), verbs: all(), ..PolicyRule::default() },
            ];
            self.check_rules(attributes, name, &full).map_err(|_| {
                let why = "must have cluster-admin privileges to use the aggregationRule";
                Status::forbidden(attributes.resource, name, why)
            })?;
        }
        self.check_rules(attributes, name, &PolicyRule::list_from_json(&role["rules"]))
    }

    fn check_binding(&self, attributes: &Attributes<'_>, name: &str, binding: &Value) -> Result<(), Status> {
        if attributes
            .old
            .is_some_and(|old| old["roleRef"] == binding["roleRef"] && old["subjects"] == binding["subjects"])
        {
            return Ok(());
        }
        let role = binding["roleRef"]["name"].as_str().unwrap_or_default();
        let (plural, kind, namespace) = if binding["roleRef"]["kind"] == "ClusterRole" {
            ("clusterroles", "clusterrole", "")
        } else {
            ("roles", "role", attributes.namespace)
        };
        if self.allowed(attributes, "bind", plural, role) {
            return Ok(());
        }
        match attributes.lookup.get(GROUP, plural, namespace, role) {
            Some(role) => self.check_rules(attributes, name, &PolicyRule::list_from_json(&role["rules"])),
            None => {
                let mut status = Status::new(404, "NotFound", format!("{kind}.{GROUP} {role:?} not found"));
                let (name, group, kind) = (role.to_owned(), GROUP.to_owned(), kind.to_owned());
                status.details = Some(Box::new(Details { name, group, kind, ..Details::default() }));
                Err(status)
            }
        }
    }
}

impl Plugin for RoleEscalation {
    fn name(&self) -> &'static str {
        "RoleEscalation"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        let (true, Some(object)) = (writes && attributes.resource.group == GROUP, object) else {
            return Ok(());
        };
        if attributes.user.is_in(GROUP_MASTERS) {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or(attributes.name);
        match &*attributes.resource.plural {
            "roles" | "clusterroles" => self.check_role(attributes, name, object),
            "rolebindings" | "clusterrolebindings" => self.check_binding(attributes, name, object),
            _ => Ok(()),
        }
    }
}

/// Joins atoms that differ in their verbs only, in upstream's order.
fn compacted(atoms: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for atom in atoms {
        let same = |rule: &&mut PolicyRule| {
            rule.groups == atom.groups
                && rule.resources == atom.resources
                && rule.names == atom.names
                && rule.paths == atom.paths
        };
        match rules.iter_mut().find(same) {
            Some(rule) => rule.verbs.extend(atom.verbs),
            None => rules.push(atom),
        }
    }
    rules.sort();
    rules
}
