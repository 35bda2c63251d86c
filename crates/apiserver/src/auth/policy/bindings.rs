//! Who has which role from the start.
//!
//! One difference from upstream: all controllers run as `system:kube-controller-manager`, which therefore has the roles
//! of them all, through objects whose names begin with `minik:`. (`system:node` is bound to nobody: the Node authorizer
//! knows its rules.)

use super::controllers::{CONTROLLERS, NAMESPACED};

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
/// The role of whoever runs every controller.
pub(super) const ALL_CONTROLLERS: &str = "minik:controllers";
/// The built-in ingress controller and its role.
const INGRESS: &str = "minik:ingress";
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
        cluster(INGRESS, vec![User(INGRESS)]),
        cluster(MANAGER, vec![User(MANAGER)]),
        cluster("system:kube-dns", vec![ServiceAccount("kube-dns")]),
        cluster("system:kube-scheduler", vec![User("system:kube-scheduler")]),
        cluster("system:monitoring", vec![Group("system:monitoring")]),
        cluster("system:node", Vec::new()),
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
        bindings.push(cluster(controller.name, vec![account(controller.name)]));
    }
    bindings.push(cluster(ALL_CONTROLLERS, vec![User(MANAGER)]));
    for role in NAMESPACED.iter().filter(|role| role.name.starts_with(CONTROLLER_PREFIX)) {
        let own = |name: String, subject| Binding {
            namespace: role.namespace,
            ..Binding { name, ..system("", role.name, vec![subject]) }
        };
        bindings.push(own(role.name.to_owned(), account(role.name)));
        let name = role.name.strip_prefix("system:").unwrap_or(role.name);
        bindings.push(own(format!("minik:{name}"), User(MANAGER)));
    }
    bindings
}

/// The ServiceAccount of a controller, by the name of its role.
fn account(role: &'static str) -> Subject {
    ServiceAccount(role.strip_prefix(CONTROLLER_PREFIX).unwrap_or(role))
}

/// A RoleBinding in `kube-system`.
fn system(name: &str, role: &'static str, subjects: Vec<Subject>) -> Binding {
    Binding { namespace: "kube-system", name: name.to_owned(), role_kind: "Role", role, subjects }
}
