//! The roles meant for people: who may see, edit and administer what, and what everybody may ask.
//!
//! **Upstream**: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`; names and rules are upstream's.

use super::table::{READ, Role, WRITE, aggregated, paths, role, rule};

pub(super) const USERS: &[Role] = &[
    aggregated("admin", "", "admin", &[]),
    role("cluster-admin", &[rule("*", "*", "*"), paths("*", "*")]),
    aggregated("edit", "admin", "edit", &[]),
    aggregated(
        "system:aggregate-to-admin",
        "admin",
        "",
        &[
            rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            rule(
                "create,delete,deletecollection,get,list,patch,update,watch",
                "rbac.authorization.k8s.io",
                "rolebindings,roles",
            ),
        ],
    ),
    aggregated(
        "system:aggregate-to-edit",
        "edit",
        "",
        &[
            rule(READ, "", "pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy"),
            rule("impersonate", "", "serviceaccounts"),
            rule(WRITE, "", "pods,pods/attach,pods/exec,pods/portforward,pods/proxy"),
            rule("create", "", "pods/eviction"),
            rule(
                WRITE,
                "",
                "configmaps,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy",
            ),
            rule("create", "", "serviceaccounts/token"),
            rule(WRITE, ",events.k8s.io", "events"),
            rule(
                WRITE,
                "apps",
                "daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale",
            ),
            rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
            rule(WRITE, "batch", "cronjobs,jobs"),
            rule(
                WRITE,
                "extensions",
                "daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale",
            ),
            rule(WRITE, "policy", "poddisruptionbudgets"),
            rule(WRITE, "networking.k8s.io", "ingresses,networkpolicies"),
            rule(
                "create,delete,deletecollection,get,list,patch,update,watch",
                "coordination.k8s.io",
                "leases",
            ),
            rule(WRITE, "resource.k8s.io", "resourceclaims,resourceclaimtemplates"),
        ],
    ),
    aggregated(
        "system:aggregate-to-view",
        "view",
        "",
        &[
            rule(
                READ,
                "",
                "configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status",
            ),
            rule(
                READ,
                "",
                "bindings,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status",
            ),
            rule(READ, "", "namespaces"),
            rule(READ, ",events.k8s.io", "events"),
            rule(READ, "discovery.k8s.io", "endpointslices"),
            rule(
                READ,
                "apps",
                "controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
            ),
            rule(READ, "autoscaling", "horizontalpodautoscalers,horizontalpodautoscalers/status"),
            rule(READ, "batch", "cronjobs,cronjobs/status,jobs,jobs/status"),
            rule(
                READ,
                "extensions",
                "daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale",
            ),
            rule(READ, "policy", "poddisruptionbudgets,poddisruptionbudgets/status"),
            rule(READ, "networking.k8s.io", "ingresses,ingresses/status,networkpolicies"),
            rule(READ, "resource.k8s.io", "resourceclaims,resourceclaims/status,resourceclaimtemplates"),
        ],
    ),
    role(
        "system:basic-user",
        &[
            rule("create", "authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews"),
            rule("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:discovery",
        &[paths(
            "get",
            "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
        )],
    ),
    role("system:public-info-viewer", &[paths("get", "/healthz,/livez,/readyz,/version,/version/")]),
    role(
        "system:service-account-issuer-discovery",
        &[paths(
            "get",
            "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
        )],
    ),
    aggregated("view", "edit", "view", &[]),
];
