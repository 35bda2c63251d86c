//! Roles that nobody holds from the start: for approving certificates, and for upstream's add-ons.
//!
//! **Upstream**: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`; names and rules are upstream's.

use super::table::{EVENTS, READ, Role, named, role, rule};

pub(super) const ADD_ONS: &[Role] = &[
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving")],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown")],
    ),
    role(
        "system:heapster",
        &[rule(READ, "", "events,namespaces,nodes,pods"), rule(READ, "extensions", "deployments")],
    ),
    role("system:kube-aggregator", &[rule(READ, "", "endpoints,services")]),
    role(
        "system:node-problem-detector",
        &[rule("get", "", "nodes"), rule("patch", "", "nodes/status"), EVENTS],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            rule("create,delete,get,list,watch", "", "persistentvolumes"),
            rule("get,list,update,watch", "", "persistentvolumeclaims"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("watch", "", "events"),
            EVENTS,
        ],
    ),
];
