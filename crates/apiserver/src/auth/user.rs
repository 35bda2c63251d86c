//! An authenticated identity.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/authentication/user`.

use std::collections::BTreeMap;

/// Everybody who authenticated is in this group.
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
/// Everybody who did not is in this one.
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
/// Its members may do everything, whatever RBAC says.
pub const GROUP_MASTERS: &str = "system:masters";
/// The name of who did not authenticate.
pub const ANONYMOUS: &str = "system:anonymous";

/// Name, groups and extras of whoever sends a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// `system:kube-scheduler`, `system:serviceaccount:ns:name`, `jane`.
    pub name: String,
    /// Stable identity, if the authenticator knows one.
    pub uid: String,
    /// Groups, without order.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// An authenticated user with these groups (and [`GROUP_AUTHENTICATED`]).
    pub fn authenticated(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|g| g == GROUP_AUTHENTICATED) {
            groups.push(GROUP_AUTHENTICATED.to_owned());
        }
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// Whoever did not authenticate.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![GROUP_UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// Whether the user is in this group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
