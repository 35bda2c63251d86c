//! A whole server: its chain, its identities, its subresources, over connections in memory and over TLS.

use super::testing::{Pki, call, client, config, exchange, memory, root, start};
use super::*;
use api::k8s_openapi::api::core::v1::{ConfigMap, Pod};
use futures::{StreamExt, TryStreamExt};
use http::Method;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn jane() -> UserInfo {
    UserInfo::authenticated("jane", [])
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    })
}

async fn with_account(server: &Arc<Server>) {
    let account = json!({ "metadata": { "name": "default" } });
    let path = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(call(server, root(), Method::POST, path, &[], account).await.code, 201);
}

#[tokio::test]
async fn kube_client_creates_reads_watches_and_deletes() {
    let server = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&server, root()), "default");
    let map: ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": "a" }, "data": { "k": "v" } })).unwrap();
    let created = maps.create(&PostParams::default(), &map).await.unwrap();
    let version = created.metadata.resource_version.clone().unwrap();
    assert_eq!(maps.get("a").await.unwrap(), created);
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 1);

    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let event = tokio::time::timeout(DEADLINE, events.try_next()).await.unwrap().unwrap();
    assert!(matches!(event, Some(WatchEvent::Deleted(map)) if map.metadata.name.as_deref() == Some("a")));
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn without_credentials_there_is_health_the_version_and_nothing_else() {
    let server = start().await;
    for (path, code) in [
        ("/healthz", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/readyz/ping", 403),
        ("/version", 200),
        ("/api", 403),
        ("/api/v1/pods", 403),
        ("/api/v1/namespaces/kube-public/configmaps/cluster-info", 200),
        ("/metrics", 403),
        ("/nonsense", 403),
    ] {
        let answer = call(&server, UserInfo::anonymous(), Method::GET, path, &[], Value::Null).await;
        assert_eq!(answer.code, code, "{path}: {}", answer.text);
    }
    let answer = call(&server, UserInfo::anonymous(), Method::GET, "/api/v1/pods", &[], Value::Null).await;
    assert_eq!(
        answer.message(),
        r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope"#
    );
}

#[tokio::test]
async fn who_may_not_is_told_so_in_upstreams_words() {
    let server = start().await;
    for (path, message) in [
        (
            "/api/v1/namespaces/default/pods",
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            "/api/v1/namespaces/default/pods/x/log",
            r#"pods "x" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "default""#,
        ),
        ("/metrics", r#"forbidden: User "jane" cannot get path "/metrics""#),
    ] {
        let answer = call(&server, jane(), Method::GET, path, &[], Value::Null).await;
        assert_eq!((answer.code, answer.message().as_str()), (403, message));
    }
}

#[tokio::test]
async fn every_answer_carries_its_audit_id() {
    let server = start().await;
    let answer = call(&server, jane(), Method::GET, "/version", &[("audit-id", "mine")], Value::Null).await;
    assert_eq!(answer.headers["audit-id"], "mine");
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    assert!(answer.headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    assert_eq!(answer.json()["minor"], "36");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = start().await;
    let body = json!({ "metadata": { "name": "a" }, "data": { "k": "x".repeat(3 << 20) } });
    let answer =
        call(&server, root(), Method::POST, "/api/v1/namespaces/default/configmaps", &[], body).await;
    assert_eq!((answer.code, answer.message().as_str()), (413, "Request entity too large: limit is 3145728"));
}

#[tokio::test]
async fn a_body_that_nobody_wants_does_not_cost_the_connection() {
    let server = start().await;
    let stream = hyper_util::rt::TokioIo::new(server.connect(root()));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        // More than fits into the connection's buffer, so that some is still on its way when the answer is.
        let body = http_body_util::Full::new(bytes::Bytes::from(vec![b' '; 200 << 10]));
        let request = http::Request::post("/api/v1/pods").header("host", "localhost").body(body).unwrap();
        sender.ready().await.unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 405);
    }
}

#[tokio::test]
async fn items_of_a_list_leave_out_what_the_list_says() {
    let server = start().await;
    let path = "/api/v1/namespaces";
    let list = call(&server, root(), Method::GET, path, &[], Value::Null).await.json();
    assert_eq!(list["kind"], "NamespaceList");
    let item = &list["items"][0];
    assert!(item["kind"].is_null() && item["apiVersion"].is_null(), "{item}");
    assert!(item["metadata"]["name"].is_string(), "{item}");
}

#[tokio::test]
async fn a_deletion_is_answered_as_the_kind_wants_it() {
    let server = start().await;
    for (plural, name, kind) in [("serviceaccounts", "x", "ServiceAccount"), ("configmaps", "x", "Status")] {
        let path = format!("/api/v1/namespaces/default/{plural}");
        let body = json!({"metadata": {"name": name}});
        assert_eq!(call(&server, root(), Method::POST, &path, &[], body).await.code, 201);
        let path = format!("{path}/{name}");
        let answer = call(&server, root(), Method::DELETE, &path, &[], Value::Null).await;
        assert_eq!((answer.code, &answer.json()["kind"]), (200, &json!(kind)));
    }
}

#[tokio::test]
async fn can_i_asks_the_authorizer() {
    let server = start().await;
    let review = |namespace: &str, verb: &str| {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": { "resourceAttributes": { "namespace": namespace, "verb": verb, "resource": "pods" } },
        })
    };
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = call(&server, jane(), Method::POST, path, &[], review("a", "get")).await;
    assert_eq!((answer.code, answer.json()["status"]["allowed"].clone()), (201, json!(false)));
    let answer = call(&server, root(), Method::POST, path, &[], review("a", "get")).await;
    assert_eq!(answer.json()["status"]["allowed"], true);

    // A binding counts from the moment it was made.
    let binding = json!({
        "metadata": { "name": "b" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane" }],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let made = call(&server, root(), Method::POST, bindings, &[], binding).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let answer = call(&server, jane(), Method::POST, path, &[], review("default", "list")).await;
    assert_eq!(answer.json()["status"]["allowed"], true, "{}", answer.text);
    let answer = call(&server, jane(), Method::POST, path, &[], review("default", "delete")).await;
    assert_eq!(answer.json()["status"]["allowed"], false);
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = json!({ "spec": { "namespace": "default" } });
    let answer = call(&server, jane(), Method::POST, path, &[], rules).await;
    assert!(answer.json()["status"]["resourceRules"].as_array().unwrap().len() > 5, "{}", answer.text);
}

#[tokio::test]
async fn a_service_accounts_token_is_its_identity_until_it_is_deleted() {
    let server = start().await;
    with_account(&server).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let short = json!({ "spec": { "expirationSeconds": 5 } });
    let answer = call(&server, root(), Method::POST, path, &[], short).await;
    assert_eq!(answer.code, 422);
    assert!(answer.message().contains("may not specify a duration less than 10 minutes"));

    let answer = call(&server, root(), Method::POST, path, &[], json!({ "spec": {} })).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let token = format!("Bearer {}", answer.json()["status"]["token"].as_str().unwrap());
    let headers = [("authorization", token.as_str())];
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = call(&server, UserInfo::anonymous(), Method::POST, whoami, &headers, json!({})).await;
    let user = &answer.json()["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:default", "{}", answer.text);

    let answer =
        call(&server, UserInfo::anonymous(), Method::GET, "/api/v1/nodes", &headers, Value::Null).await;
    assert_eq!(
        (answer.code, answer.message().as_str()),
        (
            403,
            r#"nodes is forbidden: User "system:serviceaccount:default:default" cannot list resource "nodes" in API group "" at the cluster scope"#
        )
    );
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    call(&server, root(), Method::DELETE, account, &[], Value::Null).await;
    let answer =
        call(&server, UserInfo::anonymous(), Method::GET, "/api/v1/nodes", &headers, Value::Null).await;
    assert_eq!(answer.code, 401);
}

#[tokio::test]
async fn a_pod_is_bound_once_and_its_log_comes_from_its_node() {
    let server = start().await;
    with_account(&server).await;
    let pods = "/api/v1/namespaces/default/pods";
    let made = call(&server, root(), Method::POST, pods, &[], pod("p")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let log = call(&server, root(), Method::GET, &format!("{pods}/p/log"), &[], Value::Null).await;
    assert_eq!(log.code, 204);

    let node = json!({ "metadata": { "name": "w" } });
    assert_eq!(call(&server, root(), Method::POST, "/api/v1/nodes", &[], node).await.code, 201);
    let binding = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "w" } });
    let path = format!("{pods}/p/binding");
    let scheduler = UserInfo::authenticated("system:kube-scheduler", []);
    let bound = call(&server, scheduler.clone(), Method::POST, &path, &[], binding.clone()).await;
    assert_eq!((bound.code, bound.json()["status"].clone()), (201, json!("Success")), "{}", bound.text);
    let again = call(&server, scheduler, Method::POST, &path, &[], binding).await;
    assert_eq!(again.code, 409);
    assert!(again.message().ends_with(r#"pod p is already assigned to node "w""#), "{}", again.text);

    let api: Api<Pod> = Api::namespaced(client(&server, root()), "default");
    let stored = api.get("p").await.unwrap();
    assert_eq!(stored.spec.unwrap().node_name.as_deref(), Some("w"));
    let log =
        call(&server, root(), Method::GET, &format!("{pods}/p/log?tailLines=3"), &[], Value::Null).await;
    assert_eq!((log.code, log.text.as_str()), (200, "w /containerLogs/default/p/c?tailLines=3"));
    let exec = call(&server, root(), Method::GET, &format!("{pods}/p/exec"), &[], Value::Null).await;
    assert_eq!(exec.message(), "Upgrade request required");
    let evicted = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "p" } });
    let answer = call(&server, root(), Method::POST, &format!("{pods}/p/eviction"), &[], evicted).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
}

#[tokio::test]
async fn a_pod_waits_a_moment_for_its_account() {
    let server = start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let alone = call(&server, root(), Method::POST, pods, &[], pod("p")).await;
    assert_eq!(alone.code, 403);
    assert_eq!(
        alone.message(),
        "pods \"p\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found"
    );
    let created = call(&server, root(), Method::POST, pods, &[], pod("p"));
    let (created, ()) = tokio::join!(created, with_account(&server));
    assert_eq!(created.code, 201, "{}", created.text);
}

#[tokio::test]
async fn our_own_components_have_the_rights_that_they_need() {
    let server = start().await;
    let scheduler = UserInfo::authenticated("system:kube-scheduler", []);
    let manager = UserInfo::authenticated("system:kube-controller-manager", []);
    let node = UserInfo::authenticated("system:node:w", ["system:nodes".to_owned()]);
    for (user, verb, group, resource, subresource, namespace) in [
        (&scheduler, "create", "", "pods", "binding", "a"),
        (&scheduler, "create", "", "events", "", "a"),
        (&manager, "delete", "", "pods", "", "a"),
        (&manager, "update", "", "namespaces", "finalize", ""),
        (&manager, "deletecollection", "", "configmaps", "", "a"),
        (&manager, "create", "", "configmaps", "", "a"),
        (&manager, "patch", "", "nodes", "status", ""),
        (&manager, "update", "coordination.k8s.io", "leases", "", "kube-system"),
        (&node, "create", "", "nodes", "", ""),
        (&node, "patch", "", "pods", "status", "a"),
        (&node, "update", "coordination.k8s.io", "leases", "", "kube-node-lease"),
    ] {
        let action = crate::auth::Action {
            subresource,
            namespace,
            name: "w",
            ..crate::auth::Action::on(user, verb, group, resource)
        };
        assert!(server.authorizer.authorize(&action).allowed, "{action:?}");
    }
    let action =
        crate::auth::Action { namespace: "a", ..crate::auth::Action::on(&node, "create", "", "secrets") };
    assert!(!server.authorizer.authorize(&action).allowed);
}

#[tokio::test]
async fn a_restart_keeps_what_people_changed_and_repairs_what_is_missing() {
    let storage = memory().await;
    let pki = Pki::new();
    let first = Server::start(Arc::clone(&storage), Context::system(), config(&pki, None)).await.unwrap();
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:basic-user";
    let mut role = call(&first, root(), Method::GET, path, &[], Value::Null).await.json();
    role["rules"] = json!([{ "apiGroups": ["x"], "resources": ["y"], "verbs": ["get"] }]);
    assert_eq!(call(&first, root(), Method::PUT, path, &[], role).await.code, 200);
    let service = "/api/v1/namespaces/default/services/kubernetes";
    let before = call(&first, root(), Method::GET, service, &[], Value::Null).await.json();
    assert_eq!(before["spec"]["clusterIP"], "10.96.0.1");
    first.context.shutdown.trigger();
    first.context.shutdown.finished().await;

    let moved = Config { advertise_port: 7443, ..config(&pki, None) };
    let second = Server::start(storage, Context::system(), moved).await.unwrap();
    let role = call(&second, root(), Method::GET, path, &[], Value::Null).await.json();
    assert_eq!(role["rules"].as_array().unwrap().len(), 3, "{role}");
    assert_eq!(role["rules"][0]["apiGroups"], json!(["x"]));
    let after = call(&second, root(), Method::GET, service, &[], Value::Null).await.json();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    let endpoints = "/api/v1/namespaces/default/endpoints/kubernetes";
    let endpoints = call(&second, root(), Method::GET, endpoints, &[], Value::Null).await.json();
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 7443, "{endpoints}");
}

#[tokio::test]
async fn shutdown_ends_watches_cleanly() {
    let server = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&server, root()), "default");
    let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    server.context.shutdown.trigger();
    let ended = async {
        while let Some(event) = events.next().await {
            event.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
    tokio::time::timeout(DEADLINE, server.context.shutdown.finished()).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_an_identity_over_tls() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server =
        Server::start(memory().await, Context::system(), config(&pki, Some(listener))).await.unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca.pem().as_bytes()).unwrap()).unwrap();
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
    };
    let (cert, key) = pki.issue("jane", "dev", &[]);
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let known = builder().with_client_auth_cert(vec![cert], key).unwrap();
    let unknown = builder().with_no_client_auth();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    for (tls, code) in [(known, 201), (unknown, 403)] {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        let answer = exchange(stream, Method::POST, path, &[], json!({})).await;
        assert_eq!(answer.code, code, "{}", answer.text);
        if code == 201 {
            let user = &answer.json()["status"]["userInfo"];
            assert_eq!(
                (&user["username"], &user["groups"]),
                (&json!("jane"), &json!(["dev", "system:authenticated"]))
            );
            let id = &user["extra"]["authentication.kubernetes.io/credential-id"][0];
            assert!(
                id.as_str().is_some_and(|id| id.starts_with("X509SHA256=") && id.len() == 11 + 64),
                "{id}"
            );
        }
    }
    drop(server);
}

#[tokio::test]
async fn a_namespace_goes_with_its_last_finalizer() {
    let server = start().await;
    let namespace = json!({ "metadata": { "name": "n" } });
    assert_eq!(call(&server, root(), Method::POST, "/api/v1/namespaces", &[], namespace).await.code, 201);
    let path = "/api/v1/namespaces/n";
    let marked = call(&server, root(), Method::DELETE, path, &[], Value::Null).await;
    assert!(marked.code < 300, "{}", marked.text);
    let mut going = call(&server, root(), Method::GET, path, &[], Value::Null).await.json();
    assert_eq!(going["status"]["phase"], "Terminating", "{going}");

    let map = json!({ "metadata": { "name": "a" } });
    let refused = call(&server, root(), Method::POST, &format!("{path}/configmaps"), &[], map).await;
    assert_eq!(refused.code, 403);
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");

    going["spec"]["finalizers"] = json!([]);
    let manager = UserInfo::authenticated("system:kube-controller-manager", []);
    let done = call(&server, manager, Method::PUT, &format!("{path}/finalize"), &[], going).await;
    assert_eq!(done.code, 200, "{}", done.text);
    assert_eq!(call(&server, root(), Method::GET, path, &[], Value::Null).await.code, 404);
    let immortal =
        call(&server, root(), Method::DELETE, "/api/v1/namespaces/default", &[], Value::Null).await;
    assert_eq!(
        (immortal.code, immortal.message().as_str()),
        (403, "namespaces \"default\" is forbidden: this namespace may not be deleted")
    );
}

/// Two subresources that misbehave.
struct Broken(&'static str);

#[async_trait::async_trait]
impl Subresource for Broken {
    fn facts(&self) -> subresources::Facts {
        subresources::Facts {
            group: "",
            version: "v1",
            plural: "pods",
            name: self.0,
            namespaced: true,
            kind: api::kind::GroupVersionKind::new("", "v1", "Pod"),
            verbs: &["get"],
        }
    }

    async fn handle(
        &self,
        _: &Arc<Server>,
        _: &crate::request::RequestInfo,
        _: &UserInfo,
        _: crate::body::Request,
    ) -> Result<crate::body::Response, api::status::Status> {
        assert_ne!(self.0, "panics", "on purpose");
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_or_hangs_is_answered_for() {
    let mut server = Arc::into_inner(start().await).unwrap();
    server
        .subresources
        .extend([Arc::new(Broken("panics")) as Arc<dyn Subresource>, Arc::new(Broken("hangs"))]);
    let server = Arc::new(server);
    for (name, code, reason) in [("panics", 500, "InternalError"), ("hangs", 504, "Timeout")] {
        let path = format!("/api/v1/namespaces/default/pods/p/{name}");
        let answer = call(&server, root(), Method::GET, &path, &[], Value::Null).await;
        assert_eq!((answer.code, answer.json()["reason"].clone()), (code, json!(reason)), "{}", answer.text);
    }
}

#[tokio::test]
async fn others_can_check_our_tokens_with_the_published_keys() {
    let server = start().await;
    with_account(&server).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let asked = json!({ "spec": { "audiences": ["vault"] } });
    let answer = call(&server, root(), Method::POST, path, &[], asked).await.json();
    let token = answer["status"]["token"].as_str().unwrap();
    let keys = call(&server, root(), Method::GET, "/openid/v1/jwks", &[], Value::Null).await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&keys.text).unwrap();
    let id = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&id).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["vault"]);
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
    assert_eq!(claims["kubernetes.io"]["serviceaccount"]["name"], "default");
    let configuration = "/.well-known/openid-configuration";
    let configuration = call(&server, root(), Method::GET, configuration, &[], Value::Null).await.json();
    assert_eq!(configuration["issuer"], claims["iss"]);

    // A token for somebody else does not open our door, and TokenReview says for whom it is.
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let answer = call(&server, UserInfo::anonymous(), Method::GET, "/version", &headers, Value::Null).await;
    assert_eq!(answer.code, 401);
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    for (audience, authenticated) in [("vault", json!(true)), ("other", Value::Null)] {
        let review = json!({ "spec": { "token": token, "audiences": [audience] } });
        let answer = call(&server, root(), Method::POST, reviews, &[], review).await.json();
        assert_eq!(answer["status"]["authenticated"], authenticated, "{answer}");
    }
}

#[tokio::test]
async fn metrics_count_requests() {
    let server = start().await;
    call(&server, root(), Method::GET, "/api/v1/nodes", &[], Value::Null).await;
    let metrics = call(&server, root(), Method::GET, "/metrics", &[], Value::Null).await.text;
    assert!(
        metrics.contains(r#"apiserver_request_total{verb="LIST",group="",version="v1",resource="nodes""#)
    );
    assert!(metrics.contains("apiserver_request_duration_seconds_bucket"));
    assert!(
        metrics.contains(r#"apiserver_current_inflight_requests{request_kind="readOnly"} 1"#),
        "{metrics}"
    );
}

/// A kubelet whose log is what the test sends.
struct Streaming(std::sync::Mutex<Option<tokio::sync::mpsc::Receiver<bytes::Bytes>>>);

#[async_trait::async_trait]
impl NodeDialer for Streaming {
    async fn dial(&self, _: &subresources::NodeTarget) -> std::io::Result<Box<dyn subresources::NodeStream>> {
        let (near, far) = tokio::io::duplex(4096);
        let lines = self.0.lock().unwrap().take().unwrap();
        let lines = std::sync::Arc::new(std::sync::Mutex::new(Some(lines)));
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |_: http::Request<hyper::body::Incoming>| {
                let lines =
                    tokio_stream::wrappers::ReceiverStream::new(lines.lock().unwrap().take().unwrap());
                let body = crate::body::stream(lines.map(Ok));
                async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
            });
            let io = hyper_util::rt::TokioIo::new(far);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
        Ok(Box::new(near))
    }
}

#[tokio::test]
async fn a_followed_log_is_streamed_and_ends_with_its_reader() {
    let (lines, receiver) = tokio::sync::mpsc::channel(4);
    let mut server = Arc::into_inner(start().await).unwrap();
    server.nodes = Arc::new(Streaming(std::sync::Mutex::new(Some(receiver))));
    let server = Arc::new(server);
    with_account(&server).await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("w");
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(call(&server, root(), Method::POST, pods, &[], bound).await.code, 201);
    let node = json!({ "metadata": { "name": "w" } });
    assert_eq!(call(&server, root(), Method::POST, "/api/v1/nodes", &[], node).await.code, 201);

    let api: Api<Pod> = Api::namespaced(client(&server, root()), "default");
    let follow = kube::api::LogParams { follow: true, ..Default::default() };
    let mut log = api.log_stream("p", &follow).await.unwrap();
    for text in ["one\n", "two\n"] {
        lines.send(bytes::Bytes::from(text)).await.unwrap();
        let mut read = vec![0; text.len()];
        let reading = futures::AsyncReadExt::read_exact(&mut log, &mut read);
        tokio::time::timeout(DEADLINE, reading).await.unwrap().unwrap();
        assert_eq!(read, text.as_bytes());
    }
    drop(log);
    tokio::time::timeout(DEADLINE, lines.closed()).await.unwrap();
}
