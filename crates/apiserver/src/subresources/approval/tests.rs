//! Views of stored objects, through a whole server.

use crate::auth::UserInfo;
use crate::server::testing::{call, root, start};
use http::Method;
use serde_json::json;

const MERGE: &[(&str, &str)] = &[("content-type", "application/merge-patch+json")];

#[tokio::test]
async fn scale_is_read_patched_and_replaced() {
    let server = start().await;
    let labels = json!({"app": "a"});
    let pods = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": labels}, "template": pods}});
    let base = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(call(&server, root(), Method::POST, base, &[], deployment).await.code, 201);
    let path = format!("{base}/d/scale");
    let scale = call(&server, root(), Method::GET, &path, &[], json!(null)).await.json();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    assert_eq!(scale["status"]["selector"], "app=a");

    let patch = json!({"spec": {"replicas": 3}});
    let patched = call(&server, root(), Method::PATCH, &path, MERGE, patch).await;
    assert_eq!((patched.code, &patched.json()["spec"]["replicas"]), (200, &json!(3)));
    let stored = call(&server, root(), Method::GET, &format!("{base}/d"), &[], json!(null)).await.json();
    assert_eq!((&stored["spec"]["replicas"], &stored["metadata"]["generation"]), (&json!(3), &json!(2)));

    let stale = call(&server, root(), Method::PUT, &path, &[], scale.clone()).await;
    assert_eq!(stale.code, 409);
    let negative = json!({"spec": {"replicas": -1}});
    assert_eq!(call(&server, root(), Method::PATCH, &path, MERGE, negative).await.code, 422);
}

#[tokio::test]
async fn a_request_is_approved_once_and_remembers_who_asked() {
    let server = start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "c"}, "spec": {"usages": ["client auth"], "username": "somebody-else",
        "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K",
        "signerName": "kubernetes.io/kube-apiserver-client"}});
    let user: UserInfo = root();
    let created = call(&server, user.clone(), Method::POST, path, &[], request).await;
    assert_eq!((created.code, &created.json()["spec"]["username"]), (201, &json!(user.name)));
    let condition = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True"}]}});
    let status = format!("{path}/c/status");
    let sneaked = call(&server, root(), Method::PATCH, &status, MERGE, condition("Approved")).await;
    assert!(sneaked.json()["status"]["conditions"].is_null(), "{}", sneaked.text);
    let approval = format!("{path}/c/approval");
    let approved = call(&server, root(), Method::PATCH, &approval, MERGE, condition("Approved")).await;
    assert_eq!(approved.json()["status"]["conditions"][0]["type"], "Approved", "{}", approved.text);
    let denied = call(&server, root(), Method::PATCH, &approval, MERGE, condition("Denied")).await;
    assert_eq!(denied.code, 422, "{}", denied.text);
}
