//! Priority and fairness of a whole server.

use crate::admission::Lookup;
use crate::auth::UserInfo;
use crate::config::{Config, Options};
use crate::server::Server;
use crate::server::testing::{Pki, call, config, memory, root};
use component_base::Context;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// As many seats as a flood can take.
async fn small_server() -> Arc<Server> {
    let mut options = Options::default();
    options.set("max-requests-inflight", "20").unwrap();
    options.set("max-mutating-requests-inflight", "10").unwrap();
    let config = Config { options, ..config(&Pki::new(), None) };
    Server::start(memory().await, Context::system(), config).await.unwrap()
}

/// A request whose body does not end: it holds its seat, if it has got one.
async fn endless(server: &Arc<Server>, user: UserInfo) -> DuplexStream {
    let mut stream = server.connect(user);
    let head = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews HTTP/1.1\r\nhost: x\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

fn level(server: &Server, name: &str) -> Value {
    let level = server.registry.get(super::GROUP, super::LEVELS, "", name);
    level.map(|level| level["metadata"]["uid"].clone()).unwrap_or_default()
}

/// Long on a busy machine, and less than a request may take by itself.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_flood_from_one_client_leaves_heartbeats_and_other_clients_served() {
    let server = small_server().await;
    let lease = json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": { "name": "w" },
        "spec": { "holderIdentity": "w" },
    });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(call(&server, root(), Method::POST, leases, &[], lease).await.code, 201);

    let jane = || UserInfo::authenticated("jane", []);
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(endless(&server, jane()).await);
    }
    let path = "/api/v1/namespaces";
    let next = call(&server, jane(), Method::GET, path, &[], Value::Null);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), next).await.is_err(),
        "the flood has left seats"
    );

    let node = UserInfo::authenticated("system:node:w", ["system:nodes".to_owned()]);
    let account = UserInfo::authenticated("system:serviceaccount:a:b", ["system:serviceaccounts".to_owned()]);
    let manager = UserInfo::authenticated("system:kube-controller-manager", []);
    let beat = format!("{leases}/w");
    let merge = [("content-type", "application/merge-patch+json")];
    let renewal = json!({ "spec": { "leaseDurationSeconds": 40 } });
    let served = async {
        for _ in 0..20 {
            let answer = call(&server, node.clone(), Method::PATCH, &beat, &merge, renewal.clone()).await;
            assert_eq!(answer.code, 200, "{}", answer.text);
            assert_eq!(
                answer.headers["x-kubernetes-pf-prioritylevel-uid"],
                level(&server, "node-high").as_str().unwrap()
            );
            let answer = call(&server, account.clone(), Method::GET, "/version", &[], Value::Null).await;
            assert_eq!(answer.code, 200, "{}", answer.text);
            let answer = call(&server, manager.clone(), Method::GET, path, &[], Value::Null).await;
            assert_eq!(answer.code, 200, "{}", answer.text);
            assert_eq!(call(&server, root(), Method::GET, path, &[], Value::Null).await.code, 200);
        }
    };
    tokio::time::timeout(SOON, served).await.expect("served in time");

    // When the flood is over, whoever made it is served again.
    drop(flood);
    let next = call(&server, jane(), Method::GET, "/version", &[], Value::Null);
    assert_eq!(tokio::time::timeout(SOON, next).await.expect("served in time").code, 200);
}

#[tokio::test]
async fn what_is_beyond_a_levels_limit_is_told_to_come_again() {
    let server = small_server().await;
    let level = json!({
        "kind": "PriorityLevelConfiguration", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": { "name": "narrow" },
        "spec": { "type": "Limited", "limited": { "nominalConcurrencyShares": 1, "limitResponse": { "type": "Reject" } } },
    });
    let schema = |level: &str| {
        json!({
            "kind": "FlowSchema", "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "metadata": { "name": "jane" },
            "spec": {
                "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": 50,
                "rules": [{
                    "subjects": [{ "kind": "User", "user": { "name": "jane" } }],
                    "resourceRules": [{
                        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
                    }],
                }],
            },
        })
    };
    let path = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let create = |plural: &'static str, object: Value| {
        let (server, path) = (Arc::clone(&server), format!("{path}/{plural}"));
        async move { call(&server, root(), Method::POST, &path, &[], object).await }
    };
    assert_eq!(create("flowschemas", schema("narrow")).await.code, 201);
    let condition = async |status: &str| {
        let told = async {
            loop {
                let schema = server.registry.get(super::GROUP, super::SCHEMAS, "", "jane").unwrap();
                if schema["status"]["conditions"][0]["status"] == status {
                    return schema["status"]["conditions"][0]["message"].clone();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, told).await.unwrap()
    };
    assert_eq!(
        condition("True").await,
        "This FlowSchema references the PriorityLevelConfiguration object named \"narrow\" but there is no such object"
    );
    assert_eq!(create("prioritylevelconfigurations", level).await.code, 201);
    condition("False").await;

    let jane = || UserInfo::authenticated("jane", []);
    let _held = endless(&server, jane()).await;
    let refused = async {
        loop {
            let answer = call(&server, jane(), Method::GET, "/api/v1/pods", &[], Value::Null).await;
            if answer.code == 429 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(SOON, refused).await.unwrap();
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.message(), "Too many requests, please try again later.");
    let page = async |name: &str| {
        let path = format!("/debug/api_priority_and_fairness/{name}");
        let answer = call(&server, root(), Method::GET, &path, &[], Value::Null).await;
        assert_eq!(answer.code, 200, "{name}");
        let line = answer.text.lines().find(|line| line.starts_with("narrow,")).unwrap_or_default();
        line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let level = page("dump_priority_levels").await;
    assert_eq!(level[..6], ["narrow", "0", "false", "false", "0", "1"]);
    assert_ne!(level[7], "0", "{level:?}");
    let request = page("dump_requests?includeRequestDetails=1").await;
    assert_eq!(request[..5], ["narrow", "jane", "-1", "-1", ""]);
    assert_eq!(request[10..12], ["jane", "create"]);
    assert_eq!(request[15..17], ["authorization.k8s.io/v1", "selfsubjectaccessreviews"]);
    assert!(
        server
            .context
            .metrics
            .encode()
            .contains("apiserver_flowcontrol_rejected_requests_total{flow_schema=\"jane\"")
    );
}

#[tokio::test]
async fn mandatory_levels_cannot_be_taken_away() {
    let server = small_server().await;
    let before = level(&server, "catch-all");
    let path = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/catch-all";
    assert_eq!(call(&server, root(), Method::DELETE, path, &[], Value::Null).await.code, 200);
    let back = async {
        while matches!(level(&server, "catch-all"), uid if uid.is_null() || uid == before) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, back).await.unwrap();
}

#[tokio::test]
async fn a_watch_holds_its_seat_only_while_it_begins() {
    let server = small_server().await;
    let manager = UserInfo::authenticated("system:kube-controller-manager", []);
    let mut watches = Vec::new();
    for _ in 0..40 {
        let mut stream = server.connect(manager.clone());
        let request = "GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        tokio::time::timeout(SOON, stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        watches.push(stream);
    }
}
