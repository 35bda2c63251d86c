//! Who is who and may what, asked of a whole server.

use super::UserInfo;
use super::token::{Claims, Reference};
use crate::admission::Lookup;
use crate::server::Server;
use crate::server::testing::{Pki, call, config, exchange, memory, root, start};
use component_base::Context;
use http::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn create(server: &Arc<Server>, path: &str, object: Value) -> Value {
    let answer = call(server, root(), Method::POST, path, &[], object).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

/// A pod of an account of its own.
async fn pod(server: &Arc<Server>) {
    let account = json!({ "kind": "ServiceAccount", "apiVersion": "v1", "metadata": { "name": "robot" } });
    create(server, "/api/v1/namespaces/default/serviceaccounts", account).await;
    let pod = json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "p" },
        "spec": { "serviceAccountName": "robot", "containers": [{ "name": "c", "image": "i" }] },
    });
    create(server, "/api/v1/namespaces/default/pods", pod).await;
}

async fn token(server: &Arc<Server>, spec: Value) -> Value {
    let request = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec });
    create(server, "/api/v1/namespaces/default/serviceaccounts/robot/token", request).await
}

fn claims(token: &Value) -> Claims {
    let token = token["status"]["token"].as_str().unwrap();
    jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap()
}

#[tokio::test]
async fn a_pods_token_lives_longer_than_it_says_and_ends_with_the_pod() {
    let server = start().await;
    pod(&server).await;
    let bound = json!({ "kind": "Pod", "apiVersion": "v1", "name": "p" });
    let mounted = token(&server, json!({ "expirationSeconds": 3607, "boundObjectRef": bound })).await;
    let inside = claims(&mounted);
    assert_eq!(inside.exp - inside.iat, 365 * 24 * 60 * 60);
    assert_eq!(inside.kubernetes.warnafter, Some(inside.iat + 3607));
    let told = mounted["status"]["expirationTimestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(told.as_second(), inside.iat + 3607);
    // Others have what they asked for.
    for spec in [
        json!({ "expirationSeconds": 3600, "boundObjectRef": bound }),
        json!({ "expirationSeconds": 3607 }),
        json!({ "expirationSeconds": 3607, "boundObjectRef": bound, "audiences": ["them"] }),
    ] {
        let inside = claims(&token(&server, spec.clone()).await);
        assert_eq!(json!(inside.exp - inside.iat), spec["expirationSeconds"]);
        assert_eq!(inside.kubernetes.warnafter, None);
    }

    let bearer = format!("Bearer {}", mounted["status"]["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let who = || exchange(server.connect(UserInfo::anonymous()), Method::POST, WHOAMI, &headers, json!({}));
    let user = who().await.json()["status"]["userInfo"].clone();
    assert_eq!(user["username"], "system:serviceaccount:default:robot");
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    let path = "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0";
    assert_eq!(call(&server, root(), Method::DELETE, path, &[], Value::Null).await.code, 200);
    assert_eq!(who().await.code, 401);
}

#[tokio::test]
async fn the_use_of_a_token_of_a_secret_is_written_down() {
    let server = start().await;
    pod(&server).await;
    let account = server.registry.get("", "serviceaccounts", "default", "robot").unwrap();
    let uid = account["metadata"]["uid"].as_str().unwrap().to_owned();
    let account = Reference { name: "robot".to_owned(), uid };
    let token = server.authenticator.tokens().sign_legacy("default", &account, "kept").unwrap();
    let secret = json!({
        "kind": "Secret", "apiVersion": "v1", "type": "kubernetes.io/service-account-token",
        "metadata": { "name": "kept", "annotations": { "kubernetes.io/service-account.name": "robot" } },
        "stringData": { "token": token },
    });
    create(&server, "/api/v1/namespaces/default/secrets", secret).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let who = || exchange(server.connect(UserInfo::anonymous()), Method::POST, WHOAMI, &headers, json!({}));
    let answer = who().await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert!(!answer.headers.contains_key("warning"));
    let labels =
        || server.registry.get("", "secrets", "default", "kept").unwrap()["metadata"]["labels"].clone();
    let today = server.context.clock.now().strftime("%Y-%m-%d").to_string();
    assert_eq!(labels()["kubernetes.io/legacy-token-last-used"], today.as_str());

    let merge = [("content-type", "application/merge-patch+json")];
    let patch = async |path: &str, change: Value| {
        assert_eq!(call(&server, root(), Method::PATCH, path, &merge, change).await.code, 200, "{path}");
    };
    let referred = json!({ "secrets": [{ "name": "kept" }] });
    patch("/api/v1/namespaces/default/serviceaccounts/robot", referred).await;
    let warning = who().await.headers["warning"].to_str().unwrap().to_owned();
    assert!(warning.starts_with("299 - \"Use tokens from the TokenRequest API"), "{warning}");

    let marked = json!({ "metadata": { "labels": {
        "kubernetes.io/legacy-token-invalid-since": "2020-01-01", "kubernetes.io/legacy-token-last-used": null,
    }}});
    patch("/api/v1/namespaces/default/secrets/kept", marked).await;
    assert_eq!(who().await.code, 401);
    assert_eq!(labels()["kubernetes.io/legacy-token-last-used"], today.as_str());
    let metrics = server.context.metrics.encode_text();
    for (name, count) in [
        ("legacy_tokens", 3),
        ("legacy_manual_token_uses", 1),
        ("legacy_auto_token_uses", 1),
        ("invalid_legacy_auto_token_uses", 1),
    ] {
        assert!(metrics.contains(&format!("serviceaccount_{name}_total {count}\n")), "{name}: {metrics}");
    }
}

#[tokio::test]
async fn a_front_proxy_speaks_for_others_and_no_other_client_does() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server =
        Server::start(memory().await, Context::system(), config(&pki, Some(listener))).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca.pem().as_bytes()).unwrap()).unwrap();
    let whoami = async |(certificate, key): (String, String)| {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        let headers = [("x-remote-user", "joe"), ("x-remote-group", "dev")];
        let answer = exchange(stream, Method::POST, WHOAMI, &headers, json!({})).await;
        (answer.code, answer.json()["status"]["userInfo"]["username"].clone())
    };
    assert_eq!(whoami(pki.proxies.issue("front-proxy-client", "", &[])).await, (201, json!("joe")));
    // Another name of the proxies' authority, and clients of ours, be it with the proxy's name.
    assert_eq!(whoami(pki.proxies.issue("somebody", "", &[])).await.0, 401);
    assert_eq!(whoami(pki.issue("jane", "dev", &[])).await, (201, json!("jane")));
    let namesake = "front-proxy-client";
    assert_eq!(whoami(pki.issue(namesake, "dev", &[])).await, (201, json!(namesake)));
    // A common name that the proxies' authority vouches for is nobody of this cluster.
    assert_eq!(whoami(pki.proxies.issue("kubernetes-admin", "system:masters", &[])).await.0, 401);
    // Nor is one that nobody vouches for: that is told by the API, not by a broken handshake.
    assert_eq!(whoami(Pki::new().issue("kubernetes-admin", "system:masters", &[])).await.0, 401);
    drop(server);
}

#[tokio::test]
async fn a_review_tells_what_a_kubelet_may() {
    let server = start().await;
    let ask = async |attributes: Value| {
        let review = json!({
            "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "spec": { "user": "system:node:w", "groups": ["system:nodes"], "resourceAttributes": attributes },
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        call(&server, root(), Method::POST, path, &[], review).await
    };
    let on = |value: &str| json!({ "requirements": [{ "key": "spec.nodeName", "operator": "In", "values": [value] }] });
    let own = ask(json!({ "verb": "list", "resource": "pods", "fieldSelector": on("w") })).await.json();
    assert_eq!(own["status"]["allowed"], true);
    let others = ask(json!({ "verb": "list", "resource": "pods", "fieldSelector": on("x") })).await.json();
    assert_eq!(
        others["status"],
        json!({ "allowed": false, "reason": "can only list/watch pods with spec.nodeName field selector" })
    );
    let both = ask(json!({
        "verb": "list", "resource": "pods",
        "fieldSelector": { "rawSelector": "a=b", "requirements": [{ "key": "a", "operator": "Exists" }] },
    }))
    .await;
    assert_eq!(both.code, 422);
    assert!(both.message().contains("may not specified at the same time as requirements"), "{}", both.text);
}
