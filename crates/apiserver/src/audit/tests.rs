//! Records of real requests.

use super::{Annotations, Origin};
use crate::auth::configuration::tests::kubeconfig;
use crate::auth::{Action, UserInfo};
use crate::config::{Config, Options};
use crate::server::Server;
use crate::server::testing::{Pki, Service, call, config, exchange, memory, root};
use component_base::Context;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  users: [system:apiserver, quiet]
- level: RequestResponse
  resources: [{resources: [configmaps]}]
  omitStages: [RequestReceived]
- level: Request
  resources: [{resources: [secrets]}]
  omitStages: [RequestReceived]
- level: Metadata
";

async fn server(folder: &TempDir) -> Arc<Server> {
    started(folder, &[("audit-log-path", &folder.path().join("audit.log").to_string_lossy())]).await
}

async fn started(folder: &TempDir, flags: &[(&str, &str)]) -> Arc<Server> {
    let policy = folder.path().join("policy.yaml");
    fs::write(&policy, POLICY).unwrap();
    let mut options = Options::default();
    options.set("audit-policy-file", &policy.to_string_lossy()).unwrap();
    flags.iter().for_each(|(flag, value)| options.set(flag, value).unwrap());
    let config = Config { options, ..config(&Pki::new(), None) };
    Server::start(memory().await, Context::system(), config).await.unwrap()
}

fn records(folder: &TempDir) -> Vec<Value> {
    let text = fs::read_to_string(folder.path().join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_record_has_as_much_as_its_level_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let map =
        json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "m" }, "data": { "a": "b" } });
    let path = "/api/v1/namespaces/default/configmaps";
    let agent = "a".repeat(1025);
    let headers = [("audit-id", "my-id"), ("user-agent", agent.as_str())];
    assert_eq!(call(&server, root(), Method::POST, path, &headers, map).await.code, 201);
    let secret = json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "s" } });
    let path = "/api/v1/namespaces/default/secrets";
    assert_eq!(call(&server, root(), Method::POST, path, &[], secret).await.code, 201);
    let path = "/api/v1/namespaces/default/secrets/s";
    assert_eq!(call(&server, root(), Method::DELETE, path, &[], Value::Null).await.code, 200);

    let records = records(&folder);
    let [map, secret, deleted] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(map["kind"], "Event");
    assert_eq!(map["apiVersion"], "audit.k8s.io/v1");
    assert_eq!(map["level"], "RequestResponse");
    assert_eq!(map["stage"], "ResponseComplete");
    assert_eq!(map["auditID"], "my-id");
    assert_eq!(map["userAgent"], format!("{}...TRUNCATED", "a".repeat(1024)));
    assert_eq!(map["requestURI"], "/api/v1/namespaces/default/configmaps");
    assert_eq!((&map["verb"], &map["user"]["username"]), (&json!("create"), &json!("root")));
    assert_eq!(
        map["objectRef"],
        json!({ "resource": "configmaps", "namespace": "default", "apiVersion": "v1", "name": "m" })
    );
    assert_eq!(map["responseStatus"], json!({ "metadata": {}, "code": 201 }));
    assert_eq!(map["requestObject"]["data"]["a"], "b");
    assert!(map["responseObject"]["metadata"]["uid"].is_string());
    assert!(map["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(map["annotations"]["authorization.k8s.io/decision"], "allow");
    assert!(map["requestReceivedTimestamp"].as_str().unwrap().len() == "2026-01-01T00:00:00.000000Z".len());

    assert_eq!(secret["level"], "Request");
    assert_eq!(secret["requestObject"]["metadata"]["name"], "s");
    assert!(secret.get("responseObject").is_none());

    // That it was done is told, though answers are not recorded at this level.
    let status = &deleted["responseStatus"];
    assert_eq!((&status["status"], &status["code"]), (&json!("Success"), &json!(200)));
    assert_eq!(status["details"]["name"], "s");
    assert!(deleted.get("responseObject").is_none());
}

#[tokio::test]
async fn refusals_and_those_whom_nobody_knows_are_recorded_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let jane = UserInfo::authenticated("jane", []);
    let path = "/api/v1/namespaces/default/secrets/s";
    let headers = [("impersonate-user", "joe")];
    assert_eq!(call(&server, jane.clone(), Method::GET, path, &[], Value::Null).await.code, 403);
    assert_eq!(call(&server, root(), Method::GET, path, &headers, Value::Null).await.code, 403);
    // The same name with other groups is somebody else.
    let headers = [("impersonate-user", "root"), ("impersonate-group", "dev")];
    assert_eq!(call(&server, root(), Method::GET, path, &headers, Value::Null).await.code, 403);
    let bad = [("authorization", "Bearer nonsense")];
    let stream = server.connect(UserInfo::anonymous());
    assert_eq!(exchange(stream, Method::GET, path, &bad, Value::Null).await.code, 401);
    let quiet = UserInfo::authenticated("quiet", []);
    assert_eq!(call(&server, quiet, Method::GET, path, &[], Value::Null).await.code, 403);

    let records = records(&folder);
    let [forbidden, impersonated, regrouped, unknown] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(forbidden["annotations"]["authorization.k8s.io/decision"], "forbid");
    let status = &forbidden["responseStatus"];
    assert_eq!(
        (&status["status"], &status["reason"], &status["code"]),
        (&json!("Failure"), &json!("Forbidden"), &json!(403))
    );
    assert_eq!(impersonated["user"]["username"], "root");
    assert_eq!(impersonated["impersonatedUser"]["username"], "joe");
    assert_eq!(regrouped["impersonatedUser"]["groups"], json!(["dev", "system:authenticated"]));
    assert_eq!(unknown["user"], json!({}));
    assert_eq!(unknown["stage"], "ResponseStarted");
    assert_eq!(
        unknown["responseStatus"],
        json!({"metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
    );
}

#[tokio::test]
async fn a_watch_is_recorded_when_it_starts_and_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let path = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1";
    assert_eq!(call(&server, root(), Method::GET, path, &[], Value::Null).await.code, 200);
    let stages: Vec<Value> = records(&folder).iter().map(|record| record["stage"].clone()).collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
    // Other requests have a first stage.
    assert_eq!(call(&server, root(), Method::GET, "/version", &[], Value::Null).await.code, 200);
    let stages: Vec<Value> = records(&folder).iter().skip(2).map(|record| record["stage"].clone()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
}

#[tokio::test]
async fn a_client_that_leaves_before_it_is_answered_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let record = |is_stream| {
        let user = UserInfo::authenticated("jane", []);
        let (action, uri) = (Action::on(&user, "get", "", "pods"), "/api/v1/pods".parse().unwrap());
        let received = server.context.clock.now();
        let headers = HeaderMap::new();
        let origin =
            Origin { audit_id: "i", uri: &uri, headers: &headers, address: None, received, is_stream };
        let audit = server.audit.as_ref().unwrap();
        audit.begin(&action, origin, &Annotations::default()).unwrap()
    };
    drop(record(false));
    drop(record(true));
    record(false).panicked("oh").await;
    let records = records(&folder);
    let told: Vec<(&str, &str)> = records
        .iter()
        .map(|record| (&record["stage"], &record["responseStatus"]["message"]))
        .map(|(stage, message)| (stage.as_str().unwrap(), message.as_str().unwrap()))
        .collect();
    let early = "Connection closed early";
    assert_eq!(
        told,
        [
            ("ResponseComplete", early),
            ("ResponseStarted", early),
            ("ResponseComplete", early),
            ("Panic", "APIServer panic'd: oh")
        ]
    );
}

#[tokio::test]
async fn what_is_far_from_the_chain_annotates_the_record_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let account = json!({ "kind": "ServiceAccount", "apiVersion": "v1", "metadata": { "name": "robot" } });
    let path = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(call(&server, root(), Method::POST, path, &[], account).await.code, 201);
    let request = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {} });
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let answer = call(&server, root(), Method::POST, path, &[], request).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let records = records(&folder);
    let issued = &records.last().unwrap()["annotations"]["authentication.kubernetes.io/issued-credential-id"];
    assert!(issued.as_str().is_some_and(|id| id.starts_with("JTI=")), "{records:?}");
    let token = answer.json()["status"]["token"].as_str().unwrap().to_owned();
    assert!(records.iter().all(|record| !record.to_string().contains(&token)));
}

/// A service that takes lists of records, and what it was sent.
async fn collector() -> (Service, UnboundedReceiver<Value>) {
    let (sender, lists) = unbounded_channel();
    let service = Service::start(|_| {
        Arc::new(move |_: &str, list| {
            let _ = sender.send(list);
            // What it answers does not matter.
            Value::Null
        })
    })
    .await;
    (service, lists)
}

#[tokio::test]
async fn a_webhook_is_sent_records_some_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (service, mut lists) = collector().await;
    let file = kubeconfig(&service, &folder);
    let flags = [
        ("audit-webhook-config-file", &*file.to_string_lossy()),
        ("audit-webhook-batch-max-size", "2"),
        ("audit-webhook-batch-max-wait", "1h"),
    ];
    let server = started(&folder, &flags).await;
    let path = "/api/v1/namespaces/default/secrets";
    for name in ["a", "b", "c"] {
        let secret = json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": name } });
        assert_eq!(call(&server, root(), Method::POST, path, &[], secret).await.code, 201);
    }
    let names = |list: &Value| -> Vec<Value> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["objectRef"]["name"].clone()).collect()
    };
    let mut next = async || {
        tokio::time::timeout(std::time::Duration::from_secs(60), lists.recv()).await.unwrap().unwrap()
    };
    let list = next().await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list["items"][0]["stage"], "ResponseComplete");
    // The third is not due for long, but the server ends.
    server.context.shutdown.trigger();
    assert_eq!(names(&next().await), ["c"]);
}

#[tokio::test]
async fn a_request_waits_for_its_record_if_it_is_to() {
    let (service, mut lists) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let file = kubeconfig(&service, &folder);
    let file = file.to_string_lossy();
    let flags = [("audit-webhook-config-file", &*file), ("audit-webhook-mode", "blocking")];
    let server = started(&folder, &flags).await;
    assert_eq!(call(&server, root(), Method::GET, "/version", &[], Value::Null).await.code, 200);
    for stage in ["RequestReceived", "ResponseComplete"] {
        let list = lists.try_recv().expect("it is there before the answer");
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(list["items"][0]["stage"], stage);
    }
}

#[tokio::test]
async fn a_request_without_a_record_fails_where_that_is_strict() {
    for (mode, code) in [("blocking", 200), ("blocking-strict", 500)] {
        let folder = tempfile::tempdir().unwrap();
        let full = [("audit-log-path", "/dev/full"), ("audit-log-mode", mode)];
        let server = started(&folder, &full).await;
        let answer = call(&server, root(), Method::GET, "/version", &[], Value::Null).await;
        assert_eq!(answer.code, code, "{}", answer.text);
    }
}
