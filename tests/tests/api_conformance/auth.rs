//! sig-auth: accounts, tokens, certificates, and who may what.

use super::operations::{Case, operations};
use super::wire::{MERGE, Wire};
use serde_json::{Value, json};

fn account(_: &str) -> Value {
    json!({"automountServiceAccountToken": false})
}

fn role(_: &str) -> Value {
    json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})
}

fn binding(_: &str) -> Value {
    json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]})
}

/// A request for the name `e2e-example`, made once with openssl; nobody has its key.
const REQUEST: &str = include_str!("request.pem");

fn signing_request(_: &str) -> Value {
    use base64::Engine as _;
    json!({"spec": {"request": base64::engine::general_purpose::STANDARD.encode(REQUEST),
        "signerName": "example.com/e2e", "expirationSeconds": 3600, "usages": ["digital signature", "key encipherment", "client auth"]}})
}

operations! {
    service_accounts_should_run_through_the_lifecycle_of_a_service_account:
        Case::new("v1", "ServiceAccount", "serviceaccounts", account);
    certificates_api_should_support_csr_api_operations:
        Case::new("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests", signing_request)
            .cluster_scoped()
            .status(json!({"certificate": null}));
    rbac_roles: Case::new("rbac.authorization.k8s.io/v1", "Role", "roles", role);
    rbac_cluster_roles: Case::new("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", role).cluster_scoped();
    rbac_role_bindings: Case::new("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", binding);
    rbac_cluster_role_bindings:
        Case::new("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", binding).cluster_scoped();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_api_approves_and_signs_by_its_subresources() {
    let wire = Wire::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let mut object = json!({"kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1", "metadata": {"name": "one"}});
    object["spec"] = signing_request("")["spec"].clone();
    wire.post(path, &object).await.ok();
    let approved = wire
        .update(&format!("{path}/one"), |request| {
            request["metadata"]["annotations"] = json!({"a": "b"});
        })
        .await;
    assert!(approved["status"]["conditions"].is_null());
    let mut request = wire.get(&format!("{path}/one")).await.ok();
    request["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "E2E", "message": "Set"}]);
    let approved = wire.put(&format!("{path}/one/approval"), &request).await.ok();
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_accounts_should_update_a_service_account() {
    let wire = Wire::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts";
    let object = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "sa"}});
    assert_eq!(wire.post(path, &object).await.ok()["automountServiceAccountToken"], Value::Null);
    let updated =
        wire.update(&format!("{path}/sa"), |sa| sa["automountServiceAccountToken"] = true.into()).await;
    assert_eq!(updated["automountServiceAccountToken"], true);
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_accounts_should_create_a_service_account_token_and_review_it() {
    let wire = Wire::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let object = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "sa"}});
    wire.post(accounts, &object).await.ok();
    let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"expirationSeconds": 3600}});
    let token = wire.post(&format!("{accounts}/sa/token"), &request).await.ok()["status"]["token"].clone();
    let review =
        json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}});
    let review = wire.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok();
    assert_eq!(review["status"]["authenticated"], true, "{review}");
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:sa");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subject_review_should_support_subject_review_api_operations() {
    let wire = Wire::start().await;
    let group = "/apis/authorization.k8s.io/v1";
    let attributes = json!({"verb": "list", "resource": "configmaps", "namespace": "default"});
    let spec = json!({"resourceAttributes": attributes, "user": "jane"});
    let ask = |kind: &str, spec: Value| json!({"kind": kind, "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec});
    let reviews = format!("{group}/subjectaccessreviews");
    let allowed = wire.post(&reviews, &ask("SubjectAccessReview", spec.clone())).await.ok();
    assert_eq!(allowed["status"]["allowed"], false);
    let mut local = ask("LocalSubjectAccessReview", spec);
    local["metadata"]["namespace"] = "default".into();
    let local =
        wire.post(&format!("{group}/namespaces/default/localsubjectaccessreviews"), &local).await.ok();
    assert_eq!(local["status"]["allowed"], false);
    let own = ask("SelfSubjectAccessReview", json!({"resourceAttributes": attributes}));
    let own = wire.post(&format!("{group}/selfsubjectaccessreviews"), &own).await.ok();
    assert_eq!(own["status"]["allowed"], true);
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_accounts_should_guarantee_kube_root_ca_exists_in_any_namespace() {
    let wire = Wire::start().await;
    let at = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt";
    let there = |answer: &super::wire::Answer| {
        answer.body["data"]["ca.crt"].as_str().is_some_and(|c| c.contains("BEGIN"))
    };
    wire.eventually(at, there).await;
    wire.delete(at).await.ok();
    wire.eventually(at, there).await;
    wire.patch(MERGE, at, &json!({"data": {"ca.crt": "changed"}})).await.ok();
    wire.eventually(at, there).await;
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_accounts_should_allow_opting_out_of_api_token_automount() {
    let wire = Wire::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    for (name, mounts) in [("mount", true), ("nomount", false)] {
        let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": name},
            "automountServiceAccountToken": mounts});
        wire.post(accounts, &account).await.ok();
    }
    // What the pod says counts more than what its account says.
    for (account, pod, mounted) in [
        ("mount", None, true),
        ("mount", Some(true), true),
        ("mount", Some(false), false),
        ("nomount", None, false),
        ("nomount", Some(true), true),
        ("nomount", Some(false), false),
    ] {
        let mut object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"generateName": "pod-"},
            "spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}});
        if let Some(pod) = pod {
            object["spec"]["automountServiceAccountToken"] = pod.into();
        }
        let made = wire.post("/api/v1/namespaces/default/pods", &object).await.ok();
        let mounts = &made["spec"]["containers"][0]["volumeMounts"];
        let found = mounts.as_array().into_iter().flatten();
        let found =
            found.filter(|m| m["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount").count();
        assert_eq!(found == 1, mounted, "{account} {pod:?}");
    }
    wire.stop().await;
}
