//! Configured authentication and authorization against real servers over TLS.

use crate::auth::{GROUP_AUTHENTICATED, UserInfo};
use crate::config::{Config, Options};
use crate::server::Server;
use crate::server::testing::{Answer, Pki, Service, call, config, exchange, memory, root};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component_base::Context;
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// A kubeconfig that leads to a service.
pub(crate) fn kubeconfig(service: &Service, folder: &TempDir) -> PathBuf {
    let path = folder.path().join("webhook.kubeconfig");
    let ca = STANDARD.encode(service.pki.ca.pem());
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "s", "cluster": { "server": service.url, "certificate-authority-data": ca } }],
        "users": [{ "name": "u", "user": { "token": "secret" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "s", "user": "u" } }],
    });
    fs::write(&path, text.to_string()).unwrap();
    path
}

async fn server(options: Options) -> Arc<Server> {
    let config = Config { options, ..config(&Pki::new(), None) };
    Server::start(memory().await, Context::system(), config).await.unwrap()
}

/// Who the server thinks sends this token.
async fn whoami(server: &Arc<Server>, token: &str) -> Answer {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let authorization = format!("Bearer {token}");
    let body = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
    let headers = [("authorization", authorization.as_str())];
    exchange(server.connect(UserInfo::anonymous()), Method::POST, path, &headers, body).await
}

/// An issuer with its keys, and how it signs.
async fn issuer() -> (Service, impl Fn(&Value) -> String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let signing = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("k1".to_owned());
    let issuer = Service::start(|url| {
        let url = url.to_owned();
        Arc::new(move |path: &str, _| match path {
            "/.well-known/openid-configuration" => {
                json!({ "issuer": url, "jwks_uri": format!("{url}/keys") })
            }
            _ => json!({ "keys": [jwk] }),
        })
    })
    .await;
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) };
    (issuer, move |claims: &Value| jsonwebtoken::encode(&header, claims, &signing).unwrap())
}

#[tokio::test]
async fn an_issuers_token_names_its_user_and_others_are_refused() {
    let (issuer, sign) = issuer().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authentication.yaml");
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": { "enabled": true, "conditions": [{ "path": "/livez" }] },
        "jwt": [{
            "issuer": { "url": issuer.url, "audiences": ["us"], "certificateAuthority": issuer.pki.ca.pem() },
            "claimValidationRules": [{ "claim": "team", "requiredValue": "a" }],
            "claimMappings": {
                "username": { "claim": "sub", "prefix": "oidc:" },
                "groups": { "claim": "roles", "prefix": "oidc:" },
                "uid": { "claim": "id" },
            },
        }],
    });
    fs::write(&file, configuration.to_string()).unwrap();
    let mut options = Options::default();
    options.set("authentication-config", &file.to_string_lossy()).unwrap();
    let server = server(options).await;

    let now = server.context.clock.now().as_second();
    let claims = json!({
        "iss": issuer.url, "aud": "us", "sub": "jane", "roles": ["dev", "ops"], "id": "7", "team": "a",
        "exp": now + 60,
    });
    let answer = whoami(&server, &sign(&claims)).await;
    let user = &answer.json()["status"]["userInfo"];
    assert_eq!(user["username"], "oidc:jane", "{}", answer.text);
    assert_eq!(user["uid"], "7");
    assert_eq!(user["groups"], json!(["oidc:dev", "oidc:ops", GROUP_AUTHENTICATED]));
    whoami(&server, &sign(&claims)).await;
    assert_eq!(issuer.asked(), 2, "discovery and keys, once");

    for (claim, value) in [
        ("exp", json!(now - 1)),
        ("aud", json!("them")),
        ("team", json!("b")),
        ("sub", Value::Null),
        ("iss", json!("x")),
    ] {
        let mut other = claims.clone();
        other[claim] = value;
        assert_eq!(whoami(&server, &sign(&other)).await.code, 401, "{claim}");
    }
    let stranger = rcgen::KeyPair::generate().unwrap();
    let stranger = EncodingKey::from_ec_pem(stranger.serialize_pem().as_bytes()).unwrap();
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) };
    let forged = jsonwebtoken::encode(&header, &claims, &stranger).unwrap();
    assert_eq!(whoami(&server, &forged).await.code, 401);

    // Nobody in particular may come for this path and no other.
    let get = |path: &'static str| {
        exchange(server.connect(UserInfo::anonymous()), Method::GET, path, &[], Value::Null)
    };
    assert_eq!(get("/livez").await.code, 200);
    assert_eq!(get("/healthz").await.code, 401);
}

#[tokio::test]
async fn expressions_say_who_presents_a_token() {
    let (issuer, sign) = issuer().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authentication.yaml");
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": { "url": issuer.url, "audiences": ["us"], "certificateAuthority": issuer.pki.ca.pem() },
            "claimValidationRules": [{ "expression": "claims.exp - claims.iat <= 3600", "message": "lives too long" }],
            "claimMappings": {
                "username": { "expression": "claims.sub + ':' + claims.tenant.name" },
                "groups": { "expression": "claims.roles.map(role, 'oidc:' + role)" },
                "uid": { "expression": "claims.id" },
                "extra": [
                    { "key": "example.com/tenant", "valueExpression": "claims.tenant.name" },
                    { "key": "example.com/none", "valueExpression": "''" },
                ],
            },
            "userValidationRules": [{ "expression": "!user.username.startsWith('system:')", "message": "reserved" }],
        }],
    });
    fs::write(&file, configuration.to_string()).unwrap();
    let mut options = Options::default();
    options.set("authentication-config", &file.to_string_lossy()).unwrap();
    let server = server(options).await;
    let now = server.context.clock.now().as_second();
    let claims = json!({
        "iss": issuer.url, "aud": "us", "sub": "jane", "roles": ["dev"], "id": "7", "tenant": { "name": "a" },
        "iat": now, "exp": now + 60,
    });
    let answer = whoami(&server, &sign(&claims)).await;
    let user = &answer.json()["status"]["userInfo"];
    assert_eq!(user["username"], "jane:a", "{}", answer.text);
    assert_eq!(user["uid"], "7");
    assert_eq!(user["groups"], json!(["oidc:dev", GROUP_AUTHENTICATED]));
    assert_eq!(user["extra"], json!({ "example.com/tenant": ["a"] }));
    for (claim, value) in [
        ("iat", json!(now - 7200)),
        ("sub", json!("system:admin")),
        ("roles", json!(7)),
        ("id", json!(7)),
        ("tenant", json!({})),
    ] {
        let mut other = claims.clone();
        other[claim] = value;
        assert_eq!(whoami(&server, &sign(&other)).await.code, 401, "{claim}");
    }
}

#[tokio::test]
async fn a_token_webhook_is_asked_once_for_a_token() {
    let service = Service::start(|_| {
        Arc::new(|_: &str, review: Value| {
            let good = review["spec"]["token"] == "good";
            let user = json!({ "username": "jane", "uid": "1", "groups": ["dev"], "extra": { "k": ["v"] } });
            json!({ "status": { "authenticated": good, "user": user, "error": if good { "" } else { "who?" } } })
        })
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    let config = kubeconfig(&service, &folder);
    options.set("authentication-token-webhook-config-file", &config.to_string_lossy()).unwrap();
    let server = server(options).await;
    for _ in 0..3 {
        let answer = whoami(&server, "good").await.json();
        let user = &answer["status"]["userInfo"];
        assert_eq!((&user["username"], &user["groups"][0]), (&json!("jane"), &json!("dev")));
        assert_eq!(user["extra"]["k"], json!(["v"]));
    }
    assert_eq!(service.asked(), 1);
    assert_eq!(whoami(&server, "bad").await.code, 401);
    // Whoever asks about the token is told why.
    let review = json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": { "token": "bad" } });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = call(&server, root(), Method::POST, path, &[], review).await.json();
    assert_eq!(answer["status"]["error"], "[invalid bearer token, who?]");
}

#[tokio::test]
async fn an_authorization_webhook_allows_refuses_and_leaves_to_others() {
    let service = Service::start(|_| {
        Arc::new(|_: &str, review: Value| {
            let about = &review["spec"]["resourceAttributes"];
            json!({ "status": match (about["resource"].as_str(), about["fieldSelector"]["requirements"][0]["key"].as_str()) {
                (Some("secrets"), _) => json!({ "allowed": false, "denied": true, "reason": "never" }),
                (Some("configmaps"), _) => json!({ "allowed": true }),
                (Some("pods"), Some("spec.nodeName")) => json!({ "allowed": true }),
                _ => json!({ "allowed": false, "reason": "not mine" }),
            } })
        })
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorization.yaml");
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": [
            { "type": "Webhook", "name": "remote", "webhook": {
                "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
                "matchConditionSubjectAccessReviewVersion": "v1",
                "matchConditions": [{
                    "expression": "!has(request.resourceAttributes) || request.resourceAttributes.resource != 'nodes'",
                }],
                "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": kubeconfig(&service, &folder) },
            } },
            { "type": "RBAC", "name": "rbac" },
        ],
    });
    fs::write(&file, configuration.to_string()).unwrap();
    let mut options = Options::default();
    options.set("authorization-config", &file.to_string_lossy()).unwrap();
    let server = server(options).await;
    let jane = || UserInfo::authenticated("jane", []);
    let get = |path: &'static str| call(&server, jane(), Method::GET, path, &[], Value::Null);
    assert_eq!(get("/api/v1/configmaps").await.code, 200);
    assert_eq!(get("/api/v1/configmaps").await.code, 200);
    assert_eq!(service.asked(), 1);
    let refused = get("/api/v1/secrets").await;
    assert_eq!(refused.code, 403);
    assert!(refused.message().ends_with("at the cluster scope: never"), "{}", refused.text);
    assert_eq!(get("/api/v1/pods?fieldSelector=spec.nodeName%3Dx").await.code, 200);
    assert!(get("/api/v1/pods").await.message().ends_with("not mine"));
    let asked = service.asked();
    assert!(get("/api/v1/nodes").await.message().ends_with("at the cluster scope"));
    assert_eq!(service.asked(), asked, "a condition does not hold");
    // RBAC still has its say, and the cluster's masters are not asked about.
    assert_eq!(get("/api").await.code, 200);
    let asked = service.asked();
    assert_eq!(call(&server, root(), Method::GET, "/api/v1/secrets", &[], Value::Null).await.code, 200);
    assert_eq!(service.asked(), asked);
    let rules = json!({
        "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": { "namespace": "a" },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = call(&server, jane(), Method::POST, path, &[], rules).await.json();
    assert_eq!(answer["status"]["incomplete"], true);
    assert_eq!(
        answer["status"]["evaluationError"],
        "webhook authorizer does not support user rule resolution"
    );
}

#[tokio::test]
async fn configurations_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |flag: &str, text: &str| {
        let file = folder.path().join("file.yaml");
        fs::write(&file, text).unwrap();
        let mut options = Options::default();
        options.set(flag, &file.to_string_lossy()).unwrap();
        let config = Config { options, ..config(&Pki::new(), None) };
        Server::start(memory().await, Context::system(), config).await.unwrap_err().to_string()
    };
    let v1 = "apiVersion: apiserver.config.k8s.io/v1\n";
    for (flag, text, why) in [
        (
            "authentication-config",
            "kind: Pod\napiVersion: v1".to_owned(),
            "expected AuthenticationConfiguration",
        ),
        (
            "authentication-config",
            format!("{v1}kind: AuthenticationConfiguration\nnonsense: 1"),
            "unknown field `nonsense`",
        ),
        (
            "authentication-config",
            format!(
                "{v1}kind: AuthenticationConfiguration\njwt:\n- issuer: {{url: 'http://x', audiences: [a]}}\n  \
                 claimMappings: {{username: {{claim: sub, prefix: ''}}}}"
            ),
            "jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https",
        ),
        (
            "authentication-config",
            format!(
                "{v1}kind: AuthenticationConfiguration\njwt:\n- issuer: {{url: 'https://x', audiences: [a]}}\n  \
                 claimMappings: {{username: {{expression: claims.sub +}}}}"
            ),
            "jwt[0].claimMappings.username.expression: Invalid value: \"claims.sub +\": compilation failed: ERROR",
        ),
        (
            "authentication-config",
            format!(
                "{v1}kind: AuthenticationConfiguration\njwt:\n- issuer: {{url: 'https://x', audiences: [a]}}\n  \
                 claimMappings: {{username: {{expression: claims.email}}}}"
            ),
            "claims.email_verified must be used",
        ),
        (
            "authorization-config",
            format!(
                "{v1}kind: AuthorizationConfiguration\nauthorizers:\n- type: Webhook\n  name: x\n  webhook:\n    \
                 timeout: 3s\n    subjectAccessReviewVersion: v1\n    matchConditionSubjectAccessReviewVersion: v1\n    \
                 failurePolicy: Deny\n    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: /none}}\n    \
                 matchConditions: [{{expression: nothing}}]"
            ),
            "authorizers[0].matchConditions[0].expression: Invalid value: \"nothing\": compilation failed: ERROR",
        ),
        (
            "authorization-config",
            format!("{v1}kind: AuthorizationConfiguration\nauthorizers: []"),
            "at least one authorization mode must be defined",
        ),
        (
            "authorization-config",
            format!("{v1}kind: AuthorizationConfiguration\nauthorizers: [{{type: ABAC, name: x}}]"),
            "authorizers[0].type: Unsupported value: \"ABAC\"",
        ),
        ("token-auth-file", "abc".to_owned(), "expected at least 3 columns"),
    ] {
        let error = refused(flag, &text).await;
        assert!(error.contains(why), "{error}");
    }
}

/// Waits until a request of jane's has this code.
async fn answered(server: &Arc<Server>, path: &'static str, code: u16) {
    testkit::eventually(DEADLINE, || async {
        let jane = UserInfo::authenticated("jane", []);
        call(server, jane, Method::GET, path, &[], Value::Null).await.code == code
    })
    .await;
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_and_one_that_makes_no_sense_is_not() {
    let (issuer, sign) = issuer().await;
    let service = Service::start(|_| {
        Arc::new(
            |_: &str, _: Value| json!({ "status": { "allowed": false, "denied": true, "reason": "no" } }),
        )
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (who, may) = (folder.path().join("authentication.yaml"), folder.path().join("authorization.yaml"));
    let v1 = "apiserver.config.k8s.io/v1";
    let authentication = |jwt: Value| {
        json!({ "apiVersion": v1, "kind": "AuthenticationConfiguration", "jwt": jwt }).to_string()
    };
    let authorization = |authorizers: Value| {
        json!({ "apiVersion": v1, "kind": "AuthorizationConfiguration", "authorizers": authorizers })
            .to_string()
    };
    let allow = json!({ "type": "AlwaysAllow", "name": "alwaysallow" });
    fs::write(&who, authentication(json!([]))).unwrap();
    fs::write(&may, authorization(json!([allow]))).unwrap();
    let mut options = Options::default();
    options.set("authentication-config", &who.to_string_lossy()).unwrap();
    options.set("authorization-config", &may.to_string_lossy()).unwrap();
    let server = server(options).await;
    let now = server.context.clock.now().as_second();
    let token = sign(&json!({ "iss": issuer.url, "aud": "us", "sub": "jane", "exp": now + 60 }));
    assert_eq!(whoami(&server, &token).await.code, 401);
    let jwt = json!([{
        "issuer": { "url": issuer.url, "audiences": ["us"], "certificateAuthority": issuer.pki.ca.pem() },
        "claimMappings": { "username": { "claim": "sub", "prefix": "" } },
    }]);
    fs::write(&who, authentication(jwt)).unwrap();
    testkit::eventually(DEADLINE, || async { whoami(&server, &token).await.code == 201 }).await;

    let path = "/api/v1/secrets";
    answered(&server, path, 200).await;
    let webhook = json!({ "type": "Webhook", "name": "w", "webhook": {
        "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
        "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": kubeconfig(&service, &folder) },
    } });
    fs::write(&may, authorization(json!([webhook, allow]))).unwrap();
    answered(&server, path, 403).await;
    let reloads = |what: &str, status: &str| {
        let name = format!("apiserver_{what}_config_controller_automatic_reloads_total{{status=\"{status}\"");
        let text = server.context.metrics.encode_text();
        let line = text.lines().find(|line| line.starts_with(&name)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u32>().ok())).unwrap_or(0)
    };
    assert!(reloads("authentication", "success") > 0 && reloads("authorization", "success") > 0);
    // An authorizer that is built in must stay; then the webhook stays as well.
    let failures = reloads("authorization", "failure");
    fs::write(&may, authorization(json!([webhook]))).unwrap();
    testkit::eventually(DEADLINE, || async { reloads("authorization", "failure") > failures }).await;
    answered(&server, path, 403).await;
    fs::write(&may, authorization(json!([allow]))).unwrap();
    answered(&server, path, 200).await;
}
