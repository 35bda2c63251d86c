//! The question "may they?" and its answer.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/authorization/authorizer`.

use super::UserInfo;
use super::rbac::PolicyRule;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Action<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// `get`, `list`, … or the lower-case HTTP method for a path.
    pub verb: &'a str,
    /// Whether it is about a resource; then `path` says nothing, else only `path` counts.
    pub is_resource: bool,
    /// API group.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name, or empty.
    pub name: &'a str,
    /// Path, for what is no resource.
    pub path: &'a str,
}

impl<'a> Action<'a> {
    /// An action on a resource; set the rest with struct update syntax.
    pub fn on(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            is_resource: true,
            group,
            resource,
            subresource: "",
            namespace: "",
            name: "",
            path: "",
        }
    }

    /// An action on a path.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self { is_resource: false, path, ..Self::on(user, verb, "", "") }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether they may.
    pub allowed: bool,
    /// Why, in upstream's words; may be empty.
    pub reason: String,
}

/// Says who may do what.
pub trait Authorizer: Send + Sync {
    /// Whether this action is allowed.
    fn authorize(&self, action: &Action<'_>) -> Decision;

    /// The rules that apply to the user in a namespace (empty: cluster-wide only).
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule>;
}
