//! The question "may they?" and its answer.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/authorization/authorizer`.

use super::UserInfo;
use super::rbac::PolicyRule;
use futures::future::{BoxFuture, FutureExt};

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
    /// API version; empty if it does not matter.
    pub version: &'a str,
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
    /// The field selector of a list, watch or collective deletion, as the request has it.
    pub field_selector: &'a str,
    /// The label selector likewise.
    pub label_selector: &'a str,
}

impl<'a> Action<'a> {
    /// An action on a resource; set the rest with struct update syntax.
    pub fn on(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            is_resource: true,
            group,
            version: "",
            resource,
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            field_selector: "",
            label_selector: "",
        }
    }

    /// An action on a path.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self { is_resource: false, path, ..Self::on(user, verb, "", "") }
    }

    /// Whether the field selector demands exactly this value of a field.
    pub fn selects(&self, field: &str, value: &str) -> bool {
        self.field_selector.split(',').any(|term| {
            let equal = term.split_once("==").or_else(|| term.split_once('='));
            equal.is_some_and(|(key, wanted)| key.trim() == field && wanted.trim() == value)
        })
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether they may.
    pub allowed: bool,
    /// Whether they may not, whatever others say. Neither: no opinion, which in the end is a refusal.
    pub denied: bool,
    /// Why, in upstream's words; may be empty.
    pub reason: String,
}

impl Decision {
    /// They may.
    pub fn allow(reason: impl Into<String>) -> Self {
        Self { allowed: true, denied: false, reason: reason.into() }
    }

    /// They may not.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self { allowed: false, denied: true, reason: reason.into() }
    }

    /// Others are to decide.
    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Self { allowed: false, denied: false, reason: reason.into() }
    }

    /// Whether it settles the matter.
    pub fn is_final(&self) -> bool {
        self.allowed || self.denied
    }
}

/// Says who may do what.
pub trait Authorizer: Send + Sync {
    /// Whether this action is allowed, as far as can be told without asking another server: for questions within a
    /// request that is already under way.
    fn authorize(&self, action: &Action<'_>) -> Decision;

    /// Whether [`Self::decide`] may know more than [`Self::authorize`].
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether this action is allowed; the question about every request.
    fn decide<'a>(&'a self, action: &'a Action<'a>) -> BoxFuture<'a, Decision> {
        std::future::ready(self.authorize(action)).boxed()
    }

    /// The rules that apply to the user in a namespace (empty: cluster-wide only).
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule>;

    /// Why [`Self::rules_for`] does not tell all that the user may do, if it does not.
    fn untold_rules(&self, _user: &UserInfo) -> Option<String> {
        None
    }
}
