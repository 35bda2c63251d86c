//! The roles of this cluster's own components.
//!
//! **Not here**: controllers (`controllers`).
//! **Upstream**: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`; names and rules are upstream's.

use super::table::{EVENTS, READ, Role, named, paths, role, rule};

pub(super) const COMPONENTS: &[Role] = &[
    // No part of upstream: the built-in ingress controller.
    role(
        "minik:ingress",
        &[
            EVENTS,
            rule(READ, "", "namespaces,secrets,services"),
            rule(READ, "apiextensions.k8s.io", "customresourcedefinitions"),
            rule(READ, "gateway.networking.k8s.io", "gatewayclasses,gateways,httproutes,referencegrants"),
            rule("create", "gateway.networking.k8s.io", "gatewayclasses"),
            rule(
                "patch,update",
                "gateway.networking.k8s.io",
                "gatewayclasses/status,gateways/status,httproutes/status",
            ),
            rule(READ, "discovery.k8s.io", "endpointslices"),
            rule(READ, "networking.k8s.io", "ingresses,ingressclasses"),
            rule("create", "networking.k8s.io", "ingressclasses"),
            rule("patch,update", "networking.k8s.io", "ingresses/status"),
        ],
    ),
    role(
        "system:auth-delegator",
        &[
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            rule("create", "coordination.k8s.io", "leases"),
            named("get,update", "coordination.k8s.io", "leases", "kube-controller-manager"),
            rule("create", "", "secrets,serviceaccounts"),
            rule("delete", "", "secrets"),
            rule("get", "", "configmaps,namespaces,secrets,serviceaccounts"),
            rule("update", "", "secrets,serviceaccounts"),
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            rule("list,watch", "*", "*"),
            rule("create", "", "serviceaccounts/token"),
        ],
    ),
    role("system:kube-dns", &[rule("list,watch", "", "endpoints,services")]),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            rule("create", "coordination.k8s.io", "leases"),
            named("get,list,update,watch", "coordination.k8s.io", "leases", "kube-scheduler"),
            rule(
                "create,delete,deletecollection,get,list,patch,update,watch",
                "coordination.k8s.io",
                "leasecandidates",
            ),
            rule(READ, "", "nodes"),
            rule("delete,get,list,watch", "", "pods"),
            rule("create", "", "bindings,pods/binding"),
            rule("patch,update", "", "pods/status"),
            rule(READ, "", "replicationcontrollers,services"),
            rule(READ, "apps,extensions", "replicasets"),
            rule(READ, "apps", "statefulsets"),
            rule(READ, "policy", "poddisruptionbudgets"),
            rule(READ, "", "persistentvolumeclaims,persistentvolumes"),
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            rule(READ, "storage.k8s.io", "csinodes"),
            rule(READ, "storage.k8s.io", "volumeattachments"),
            rule(READ, "", "namespaces"),
            rule(READ, "storage.k8s.io", "csidrivers"),
            rule(READ, "storage.k8s.io", "csistoragecapacities"),
            rule(READ, "resource.k8s.io", "deviceclasses"),
            rule("get,list,patch,update,watch", "resource.k8s.io", "resourceclaims"),
            rule("get,list,patch,update,watch", "resource.k8s.io", "resourceclaims/status"),
            rule("update", "", "pods/finalizers"),
            rule(READ, "resource.k8s.io", "resourceslices"),
            rule("create,delete", "resource.k8s.io", "resourceclaims"),
            rule("patch,update", "resource.k8s.io", "resourceclaims/binding"),
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            rule(READ, "", "nodes"),
            rule("proxy", "", "nodes"),
            rule("*", "", "nodes/log,nodes/metrics,nodes/proxy,nodes/stats"),
            rule("*", "", "nodes/configz,nodes/healthz,nodes/pods"),
        ],
    ),
    role(
        "system:monitoring",
        &[
            paths(
                "get",
                "/flagz,/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*,/statusz",
            ),
            rule("get", "", "nodes/metrics"),
        ],
    ),
    role(
        "system:node",
        &[
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "localsubjectaccessreviews,subjectaccessreviews"),
            rule(READ, "", "services"),
            rule("create,get,list,watch", "", "nodes"),
            rule("patch,update", "", "nodes/status"),
            rule("patch,update", "", "nodes"),
            EVENTS,
            rule(READ, "", "pods"),
            rule("create,delete", "", "pods"),
            rule("patch,update", "", "pods/status"),
            rule("create", "", "pods/eviction"),
            rule(READ, "", "configmaps,secrets"),
            rule("get", "", "persistentvolumeclaims,persistentvolumes"),
            rule("get", "", "endpoints"),
            rule("create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests"),
            rule("create,delete,get,patch,update", "coordination.k8s.io", "leases"),
            rule("get", "storage.k8s.io", "volumeattachments"),
            rule("create", "", "serviceaccounts/token"),
            rule("get,patch,update", "", "persistentvolumeclaims/status"),
            rule(READ, "storage.k8s.io", "csidrivers"),
            rule("create,delete,get,patch,update", "storage.k8s.io", "csinodes"),
            rule(READ, "node.k8s.io", "runtimeclasses"),
            rule("get", "resource.k8s.io", "resourceclaims"),
            rule("deletecollection", "resource.k8s.io", "resourceslices"),
            rule("get", "", "serviceaccounts"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[rule("create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    role(
        "system:node-proxier",
        &[
            rule("list,watch", "", "endpoints,services"),
            rule(READ, "", "nodes"),
            EVENTS,
            rule("list,watch", "networking.k8s.io", "servicecidrs"),
            rule("list,watch", "discovery.k8s.io", "endpointslices"),
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            rule("get,list,patch,update,watch", "", "persistentvolumes"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("get,list,patch,update,watch", "", "persistentvolumeclaims"),
        ],
    ),
];
