//! The RBAC authorizer, over the watch cache.
//!
//! **Contract**: a role or binding counts from the moment its write is acknowledged: each question compares the
//! generation of the four resources with that of the compiled tables, and recompiles the table that is behind.
//! `system:masters` may do everything.
//! **Not here**: which roles exist at the start (`policy`), who may write roles (`escalation`).
//! **Upstream**: `plugin/pkg/auth/authorizer/rbac`.

mod index;
mod rule;
mod source;
#[cfg(test)]
mod tests;

pub use rule::{PolicyRule, quoted};

use super::{Action, Authorizer, Decision, GROUP_MASTERS, UserInfo};
use index::{Bindings, Grant, Roles, SubjectKey};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Where roles and bindings are read.
pub trait PolicySource: Send + Sync {
    /// A number that changes with every change of any object of this resource.
    fn generation(&self, plural: &str) -> u64;
    /// All objects of this resource.
    fn objects(&self, plural: &str) -> Vec<Arc<Value>>;
}

/// One compiled table and the generation that it was made from.
struct Compiled<T>(Mutex<(Option<u64>, Arc<T>)>);

impl<T: Default> Default for Compiled<T> {
    fn default() -> Self {
        Self(Mutex::new((None, Arc::default())))
    }
}

impl<T> Compiled<T> {
    fn get(
        &self,
        source: &dyn PolicySource,
        plural: &str,
        compile: impl FnOnce(&[Arc<Value>]) -> T,
    ) -> Arc<T> {
        // Read before the objects: a change in between leads to one more compilation, never to one too few.
        let generation = Some(source.generation(plural));
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.0 != generation {
            *table = (generation, Arc::new(compile(&source.objects(plural))));
        }
        Arc::clone(&table.1)
    }
}

/// The authorizer.
pub struct Rbac {
    source: Arc<dyn PolicySource>,
    cluster_roles: Compiled<Roles>,
    roles: Compiled<Roles>,
    cluster_bindings: Compiled<Bindings>,
    bindings: Compiled<Bindings>,
}

impl Rbac {
    /// An authorizer over these roles and bindings.
    pub fn new(source: Arc<dyn PolicySource>) -> Self {
        Self {
            source,
            cluster_roles: Compiled::default(),
            roles: Compiled::default(),
            cluster_bindings: Compiled::default(),
            bindings: Compiled::default(),
        }
    }

    /// Calls `visit` with every rule that applies to the user in the namespace until it returns true, cluster-wide
    /// bindings first. Returns the roles that bindings name but that do not exist.
    fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        visit: &mut dyn FnMut(&Grant, &'static str, &PolicyRule) -> bool,
    ) -> Vec<String> {
        let subjects: Vec<SubjectKey> = std::iter::once(SubjectKey::User(user.name.clone()))
            .chain(user.groups.iter().cloned().map(SubjectKey::Group))
            .collect();
        let source = &*self.source;
        let cluster_roles = self.cluster_roles.get(source, "clusterroles", Roles::compile);
        let mut missing = Vec::new();

        let cluster = self.cluster_bindings.get(source, "clusterrolebindings", Bindings::compile);
        for grant in cluster.grants("", &subjects) {
            let Some(rules) = cluster_roles.get("", &grant.role) else {
                missing.push(not_found("clusterrole", &grant.role));
                continue;
            };
            if rules.iter().any(|rule| visit(grant, "ClusterRoleBinding", rule)) {
                return missing;
            }
        }
        if namespace.is_empty() {
            return missing;
        }
        let roles = self.roles.get(source, "roles", Roles::compile);
        let bindings = self.bindings.get(source, "rolebindings", Bindings::compile);
        for grant in bindings.grants(namespace, &subjects) {
            let (rules, kind) = if grant.cluster_role {
                (cluster_roles.get("", &grant.role), "clusterrole")
            } else {
                (roles.get(namespace, &grant.role), "role")
            };
            let Some(rules) = rules else {
                missing.push(not_found(kind, &grant.role));
                continue;
            };
            if rules.iter().any(|rule| visit(grant, "RoleBinding", rule)) {
                return missing;
            }
        }
        missing
    }
}

fn not_found(kind: &str, name: &str) -> String {
    format!("{kind}.{GROUP} {name:?} not found")
}

impl Authorizer for Rbac {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        if action.user.is_in(GROUP_MASTERS) {
            return Decision::allow("");
        }
        let mut reason = None;
        let missing = self.visit(action.user, action.namespace, &mut |grant, binding_kind, rule| {
            if !rule.allows(action) {
                return false;
            }
            let role_kind = if grant.cluster_role { "ClusterRole" } else { "Role" };
            reason = Some(format!(
                "RBAC: allowed by {binding_kind} {:?} of {role_kind} {:?} to {}",
                grant.binding, grant.role, grant.subject
            ));
            true
        });
        match reason {
            Some(reason) => Decision::allow(reason),
            None if missing.is_empty() => Decision::default(),
            None if missing.len() == 1 => Decision::no_opinion(format!("RBAC: {}", missing[0])),
            None => Decision::no_opinion(format!("RBAC: [{}]", missing.join(", "))),
        }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule> {
        let mut rules = Vec::new();
        self.visit(user, namespace, &mut |_, _, rule| {
            rules.push(rule.clone());
            false
        });
        rules
    }
}
