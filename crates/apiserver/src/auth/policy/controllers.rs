//! The roles of controllers, each bound to a ServiceAccount of its own name in `kube-system`, and the roles in a namespace.
//!
//! **Contract**: all of upstream's, whether the controller exists here or not, so that others' can run in its place.
//! **Upstream**: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` (`controller_policy.go`, `namespace_policy.go`); names
//! and rules are upstream's.

use super::table::{EVENTS, READ, Role, named, namespaced, role, rule};

pub(super) const CONTROLLERS: &[Role] = &[
    role(
        "system:controller:attachdetach-controller",
        &[
            rule("list,watch", "", "persistentvolumeclaims,persistentvolumes"),
            rule(READ, "", "nodes"),
            rule("patch,update", "", "nodes/status"),
            rule("list,watch", "", "pods"),
            EVENTS,
            rule("create,delete,get,list,watch", "storage.k8s.io", "volumeattachments"),
            rule(READ, "storage.k8s.io", "csidrivers"),
            rule(READ, "storage.k8s.io", "csinodes"),
        ],
    ),
    role(
        "system:controller:certificate-controller",
        &[
            rule("delete,get,list,watch", "certificates.k8s.io", "certificatesigningrequests"),
            rule(
                "update",
                "certificates.k8s.io",
                "certificatesigningrequests/approval,certificatesigningrequests/status",
            ),
            named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
            named(
                "sign",
                "certificates.k8s.io",
                "signers",
                "kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
            ),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:clusterrole-aggregation-controller",
        &[rule("escalate,get,list,patch,update,watch", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    role(
        "system:controller:cronjob-controller",
        &[
            rule("get,list,update,watch", "batch", "cronjobs"),
            rule("create,delete,get,list,patch,update,watch", "batch", "jobs"),
            rule("update", "batch", "cronjobs/status"),
            rule("update", "batch", "cronjobs/finalizers"),
            rule("delete,list,watch", "", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:daemon-set-controller",
        &[
            rule(READ, "apps,extensions", "daemonsets"),
            rule("update", "apps,extensions", "daemonsets/status"),
            rule("update", "apps,extensions", "daemonsets/finalizers"),
            rule("list,watch", "", "nodes"),
            rule("create,delete,list,patch,watch", "", "pods"),
            rule("create", "", "pods/binding"),
            rule("create,delete,get,list,patch,update,watch", "apps", "controllerrevisions"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:deployment-controller",
        &[
            rule("get,list,update,watch", "apps,extensions", "deployments"),
            rule("update", "apps,extensions", "deployments/status"),
            rule("update", "apps,extensions", "deployments/finalizers"),
            rule("create,delete,get,list,patch,update,watch", "apps,extensions", "replicasets"),
            rule("get,list,update,watch", "", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:device-taint-eviction-controller",
        &[
            rule("delete,get,list,watch", "", "pods"),
            rule("patch,update", "", "pods/status"),
            rule(READ, "resource.k8s.io", "resourceclaims"),
            rule(READ, "resource.k8s.io", "resourceslices"),
            rule(READ, "resource.k8s.io", "deviceclasses"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:disruption-controller",
        &[
            rule(READ, "apps,extensions", "deployments"),
            rule(READ, "apps,extensions", "replicasets"),
            rule(READ, "", "replicationcontrollers"),
            rule(READ, "policy", "poddisruptionbudgets"),
            rule(READ, "apps", "statefulsets"),
            rule("update", "policy", "poddisruptionbudgets/status"),
            rule("patch,update", "", "pods/status"),
            rule("get", "*", "*/scale"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpoint-controller",
        &[
            rule(READ, "", "pods,services"),
            rule("create,delete,get,list,update,watch", "", "endpoints"),
            rule("create", "", "endpoints/restricted"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslice-controller",
        &[
            rule(READ, "", "nodes,pods,services"),
            rule("update", "", "services/finalizers"),
            rule("create,delete,get,list,update,watch", "discovery.k8s.io", "endpointslices"),
            rule("create", "discovery.k8s.io", "endpointslices/restricted"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslicemirroring-controller",
        &[
            rule(READ, "", "endpoints,services"),
            rule("update", "", "services/finalizers"),
            rule("update", "", "endpoints/finalizers"),
            rule("create,delete,get,list,update,watch", "discovery.k8s.io", "endpointslices"),
            rule("create", "discovery.k8s.io", "endpointslices/restricted"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:ephemeral-volume-controller",
        &[
            rule(READ, "", "pods"),
            rule("update", "", "pods/finalizers"),
            rule("create,get,list,watch", "", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:expand-controller",
        &[
            rule("get,list,patch,update,watch", "", "persistentvolumes"),
            rule("patch,update", "", "persistentvolumeclaims/status"),
            rule(READ, "", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:generic-garbage-collector",
        &[rule("delete,get,list,patch,update,watch", "*", "*"), EVENTS],
    ),
    role(
        "system:controller:horizontal-pod-autoscaler",
        &[
            rule(READ, "autoscaling", "horizontalpodautoscalers"),
            rule("update", "autoscaling", "horizontalpodautoscalers/status"),
            rule("get,update", "*", "*/scale"),
            rule("list,watch", "", "pods"),
            rule("list,watch", "metrics.k8s.io", "pods"),
            rule(READ, "custom.metrics.k8s.io", "*"),
            rule(READ, "external.metrics.k8s.io", "*"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:job-controller",
        &[
            rule("get,list,patch,update,watch", "batch", "jobs"),
            rule("update", "batch", "jobs/status"),
            rule("update", "batch", "jobs/finalizers"),
            rule("create,delete,list,patch,watch", "", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:legacy-service-account-token-cleaner",
        &[
            named("get", "", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
            rule("delete,patch", "", "secrets"),
        ],
    ),
    role(
        "system:controller:namespace-controller",
        &[
            rule("delete,get,list,watch", "", "namespaces"),
            rule("update", "", "namespaces/finalize,namespaces/status"),
            rule("delete,deletecollection,get,list,watch", "*", "*"),
        ],
    ),
    role(
        "system:controller:node-controller",
        &[
            rule("delete,get,list,patch,update,watch", "", "nodes"),
            rule("patch,update", "", "nodes/status"),
            rule("patch,update", "", "pods/status"),
            rule("delete,get,list,watch", "", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:persistent-volume-binder",
        &[
            rule("create,delete,get,list,update,watch", "", "persistentvolumes"),
            rule("update", "", "persistentvolumes/status"),
            rule("get,list,update,watch", "", "persistentvolumeclaims"),
            rule("update", "", "persistentvolumeclaims/status"),
            rule("create,delete,get,list,watch", "", "pods"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("list,watch", "", "nodes"),
            EVENTS,
            rule("watch", "", "events"),
        ],
    ),
    role(
        "system:controller:pod-garbage-collector",
        &[rule("delete,list,watch", "", "pods"), rule(READ, "", "nodes"), rule("patch", "", "pods/status")],
    ),
    role(
        "system:controller:pv-protection-controller",
        &[rule("get,list,update,watch", "", "persistentvolumes"), EVENTS],
    ),
    role(
        "system:controller:pvc-protection-controller",
        &[
            rule("get,list,update,watch", "", "persistentvolumeclaims"),
            rule("update", "", "persistentvolumeclaims/status"),
            rule(READ, "", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:replicaset-controller",
        &[
            rule("get,list,update,watch", "apps,extensions", "replicasets"),
            rule("update", "apps,extensions", "replicasets/status"),
            rule("update", "apps,extensions", "replicasets/finalizers"),
            rule("create,delete,list,patch,watch", "", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:replication-controller",
        &[
            rule("get,list,update,watch", "", "replicationcontrollers"),
            rule("update", "", "replicationcontrollers/status"),
            rule("update", "", "replicationcontrollers/finalizers"),
            rule("create,delete,list,patch,watch", "", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:resource-claim-controller",
        &[
            rule(READ, "", "pods"),
            rule("update", "", "pods/finalizers"),
            rule("create,delete,get,list,watch", "resource.k8s.io", "resourceclaims"),
            rule("patch,update", "resource.k8s.io", "resourceclaims,resourceclaims/status"),
            rule("patch,update", "", "pods/status"),
            EVENTS,
            rule("patch,update", "resource.k8s.io", "resourceclaims/binding"),
        ],
    ),
    role(
        "system:controller:resourcequota-controller",
        &[rule("list,watch", "*", "*"), rule("update", "", "resourcequotas/status"), EVENTS],
    ),
    role("system:controller:root-ca-cert-publisher", &[rule("create,update", "", "configmaps"), EVENTS]),
    role(
        "system:controller:route-controller",
        &[rule("list,watch", "", "nodes"), rule("patch", "", "nodes/status"), EVENTS],
    ),
    role(
        "system:controller:selinux-warning-controller",
        &[
            EVENTS,
            rule(READ, "", "persistentvolumes"),
            rule(READ, "", "persistentvolumeclaims"),
            rule(READ, "", "pods"),
            rule(READ, "storage.k8s.io", "csidrivers"),
        ],
    ),
    role("system:controller:service-account-controller", &[rule("create", "", "serviceaccounts"), EVENTS]),
    role("system:controller:service-ca-cert-publisher", &[rule("create,update", "", "configmaps"), EVENTS]),
    role(
        "system:controller:service-cidrs-controller",
        &[
            rule("get,list,patch,update,watch", "networking.k8s.io", "servicecidrs"),
            rule("patch,update", "networking.k8s.io", "servicecidrs/finalizers"),
            rule("patch,update", "networking.k8s.io", "servicecidrs/status"),
            rule(READ, "networking.k8s.io", "ipaddresses"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:service-controller",
        &[
            rule(READ, "", "services"),
            rule("patch,update", "", "services/status"),
            rule("list,watch", "", "nodes"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:statefulset-controller",
        &[
            rule("list,watch", "", "pods"),
            rule(READ, "apps", "statefulsets"),
            rule("update", "apps", "statefulsets/status"),
            rule("update", "apps", "statefulsets/finalizers"),
            rule("create,delete,get,patch,update", "", "pods"),
            rule("create,delete,get,list,patch,update,watch", "apps", "controllerrevisions"),
            rule("create,get,list,watch", "", "persistentvolumeclaims"),
            rule("delete,update", "", "persistentvolumeclaims"),
            rule("update", "", "pods/finalizers"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:ttl-after-finished-controller",
        &[rule("delete,get,list,watch", "batch", "jobs"), EVENTS],
    ),
    role("system:controller:ttl-controller", &[rule("list,patch,update,watch", "", "nodes"), EVENTS]),
    role(
        "system:controller:validatingadmissionpolicy-status-controller",
        &[
            rule(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            rule("get,patch,update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:volumeattributesclass-protection-controller",
        &[
            rule(READ, "", "persistentvolumeclaims"),
            rule(READ, "", "persistentvolumes"),
            rule("get,list,update,watch", "storage.k8s.io", "volumeattributesclasses"),
            EVENTS,
        ],
    ),
];
pub(super) const NAMESPACED: &[Role] = &[
    namespaced(
        "kube-public",
        "system:controller:bootstrap-signer",
        &[rule(READ, "", "configmaps"), named("update", "", "configmaps", "cluster-info"), EVENTS],
    ),
    namespaced(
        "kube-system",
        "extension-apiserver-authentication-reader",
        &[named(READ, "", "configmaps", "extension-apiserver-authentication")],
    ),
    namespaced(
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &[
            rule("create,get,list,update,watch", "coordination.k8s.io", "leases"),
            rule("create,get,list,update,watch", "coordination.k8s.io", "leasecandidates"),
        ],
    ),
    namespaced(
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &[
            rule("create,get,list,update,watch", "coordination.k8s.io", "leases"),
            rule("create,get,list,update,watch", "coordination.k8s.io", "leasecandidates"),
        ],
    ),
    namespaced("kube-system", "system:controller:bootstrap-signer", &[rule(READ, "", "secrets")]),
    namespaced(
        "kube-system",
        "system:controller:cloud-provider",
        &[rule("create,get,list,watch", "", "configmaps")],
    ),
    namespaced(
        "kube-system",
        "system:controller:token-cleaner",
        &[rule("delete,get,list,watch", "", "secrets"), EVENTS],
    ),
];
