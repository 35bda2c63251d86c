//! Who has which role from the start.
//!
//! Two differences from upstream, both because of how this cluster's components authenticate: the node role is bound to
//! `system:nodes` (upstream leaves that to the node authorizer), and the roles of controllers are bound to
//! `system:kube-controller-manager` too, which runs them all under its own name.

use super::components::CONTROLLERS;

/// One binding.
pub(super) struct Binding {
    pub(super) namespace: &'static str,
    pub(super) name: String,
    pub(super) role_kind: &'static str,
    pub(super) role: &'static str,
    pub(super) subjects: Vec<Subject>,
}

/// Whom it binds.
pub(super) enum Subject {
    User(&'static str),
    Group(&'static str),
    /// In `kube-system`.
    ServiceAccount(&'static str),
}

use Subject::{Group, ServiceAccount, User};

const CONTROLLER_PREFIX: &str = "system:controller:";
const MANAGER: &str = "system:kube-controller-manager";

fn cluster(role: &'static str, subjects: Vec<Subject>) -> Binding {
    Binding { namespace: "", name: role.to_owned(), role_kind: "ClusterRole", role, subjects }
}

/// All bindings.
pub(super) fn all() -> Vec<Binding> {
    let mut bindings = vec![
        cluster("cluster-admin", vec![Group("system:masters")]),
        cluster("system:basic-user", vec![Group("system:authenticated")]),
        cluster("system:discovery", vec![Group("system:authenticated")]),
        cluster(MANAGER, vec![User(MANAGER)]),
        cluster("system:kube-dns", vec![ServiceAccount("kube-dns")]),
        cluster("system:kube-scheduler", vec![User("system:kube-scheduler")]),
        cluster("system:monitoring", vec![Group("system:monitoring")]),
        cluster("system:node", vec![Group("system:nodes")]),
        cluster("system:node-proxier", vec![User("system:kube-proxy")]),
        cluster(
            "system:public-info-viewer",
            vec![Group("system:authenticated"), Group("system:unauthenticated")],
        ),
        cluster("system:service-account-issuer-discovery", vec![Group("system:serviceaccounts")]),
        cluster("system:volume-scheduler", vec![User("system:kube-scheduler")]),
        system(
            "system::extension-apiserver-authentication-reader",
            "extension-apiserver-authentication-reader",
            vec![User(MANAGER), User("system:kube-scheduler")],
        ),
        system(
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
            vec![
                User(MANAGER),
                ServiceAccount("kube-controller-manager"),
                ServiceAccount("leader-election-controller"),
            ],
        ),
        system(
            "system::leader-locking-kube-scheduler",
            "system::leader-locking-kube-scheduler",
            vec![User("system:kube-scheduler"), ServiceAccount("kube-scheduler")],
        ),
    ];
    for controller in CONTROLLERS {
        let name = controller.name.strip_prefix(CONTROLLER_PREFIX).unwrap_or(controller.name);
        bindings.push(cluster(controller.name, vec![ServiceAccount(name)]));
        let own = cluster(controller.name, vec![User(MANAGER)]);
        bindings.push(Binding { name: format!("minik:controller:{name}"), ..own });
    }
    bindings
}

/// A RoleBinding in `kube-system`.
fn system(name: &str, role: &'static str, subjects: Vec<Subject>) -> Binding {
    Binding { namespace: "kube-system", name: name.to_owned(), role_kind: "Role", role, subjects }
}
