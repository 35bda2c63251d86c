//! The whole way, over kubelets that say what the clock says.

use super::*;
use crate::server::testing::{Answer, call, root, start_with};
use crate::subresources::{NodeDialer, NodeStream, NodeTarget};
use bytes::Bytes;
use component_base::Clock;
use http::Method;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::Instant;

/// A kubelet on which a container and the node use half a core; one named `broken` does not answer.
struct HalfBusy {
    since: Instant,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl NodeDialer for HalfBusy {
    async fn dial(&self, node: &NodeTarget) -> std::io::Result<Box<dyn NodeStream>> {
        if node.name == "broken" {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(4096);
        let passed = self.since.elapsed();
        let (busy, now) = (passed.as_secs_f64() / 2.0, 1_767_225_600_000 + passed.as_millis());
        let text = format!(
            "container_cpu_usage_seconds_total{{container=\"c\",namespace=\"default\",pod=\"p\"}} {busy} {now}\n\
             container_memory_working_set_bytes{{container=\"c\",namespace=\"default\",pod=\"p\"}} 2097152 {now}\n\
             node_cpu_usage_seconds_total {busy} {now}\nnode_memory_working_set_bytes 4096 {now}\n"
        );
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                assert_eq!(request.uri().path(), "/metrics/resource");
                let answer = http::Response::new(Full::new(Bytes::from(text.clone())));
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service).await;
        });
        Ok(Box::new(near))
    }
}

async fn get(server: &Arc<Server>, path: &str, accept: &str) -> Answer {
    let path = format!("/apis/{GROUP}/{VERSION}/{path}");
    call(server, root(), Method::GET, &path, &[("accept", accept)], Value::Null).await
}

async fn create(server: &Arc<Server>, path: &str, object: Value) -> Value {
    let answer = call(server, root(), Method::POST, path, &[], object).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

async fn pod(server: &Arc<Server>, name: &str, phase: &str) {
    let pods = "/api/v1/namespaces/default/pods";
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    let mut pod = create(server, pods, pod).await;
    pod["status"] = json!({"phase": phase});
    let path = format!("{pods}/{name}/status");
    assert_eq!(call(server, root(), Method::PUT, &path, &[], pod).await.code, 200);
}

const JSON: &str = "application/json";

#[tokio::test]
async fn serves_what_nodes_and_pods_use() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server =
        start_with(Arc::new(HalfBusy { since: Clock::system().instant(), asked: asked.clone() })).await;
    for name in ["n1", "broken"] {
        let node = json!({"metadata": {"name": name, "labels": {"zone": "a"}}});
        create(&server, "/api/v1/nodes", node).await;
    }
    let account = json!({"metadata": {"name": "default"}});
    create(&server, "/api/v1/namespaces/default/serviceaccounts", account).await;
    for (name, phase) in [("p", "Running"), ("done", "Succeeded"), ("silent", "Running")] {
        pod(&server, name, phase).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0, "nobody wanted to know");

    let list = get(&server, "nodes", JSON).await.json();
    assert_eq!((&list["kind"], &list["metadata"]), (&json!("NodeMetricsList"), &json!({})));
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{items:?}");
    let keys: Vec<&String> = items[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["metadata", "timestamp", "window", "usage"]);
    assert_eq!(items[0]["metadata"]["labels"]["zone"], "a");
    assert_eq!(items[0]["usage"]["memory"], "4Ki");
    let cpu: Quantity = items[0]["usage"]["cpu"].as_str().unwrap().parse().unwrap();
    assert!((450..=550).contains(&cpu.millis()), "{cpu}");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "a rate takes two looks");

    let one = get(&server, "namespaces/default/pods/p", JSON).await.json();
    assert_eq!((&one["kind"], &one["apiVersion"]), (&json!("PodMetrics"), &json!("metrics.k8s.io/v1beta1")));
    assert_eq!(one["containers"][0]["name"], "c");
    assert_eq!(one["containers"][0]["usage"]["memory"], "2Mi");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "that was fresh enough");

    let names = |answer: Answer| {
        let items = answer.json()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("pods", vec!["p"]),
        ("pods?labelSelector=app%3Dp", vec!["p"]),
        ("namespaces/default/pods?labelSelector=app!%3Dp", vec![]),
        ("namespaces/default/pods?fieldSelector=metadata.name%3Dp", vec!["p"]),
        ("namespaces/kube-system/pods", vec![]),
        ("nodes?labelSelector=zone%3Db", vec![]),
    ] {
        assert_eq!(names(get(&server, query, JSON).await), expected, "{query}");
    }

    let table = get(&server, "pods", "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "cpu", "memory", "Window"]);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!((&cells[0], &cells[2]), (&json!("p"), &json!("2Mi")));
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "p");
    let yaml = get(&server, "nodes", "application/yaml").await;
    assert!(yaml.text.contains("kind: NodeMetricsList"), "{}", yaml.text);
}

#[tokio::test]
async fn refuses_what_it_does_not_know() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = start_with(Arc::new(HalfBusy { since: Clock::system().instant(), asked })).await;
    let account = json!({"metadata": {"name": "default"}});
    create(&server, "/api/v1/namespaces/default/serviceaccounts", account).await;
    create(&server, "/api/v1/nodes", json!({"metadata": {"name": "broken"}})).await;
    pod(&server, "silent", "Running").await;
    for (path, code, message) in [
        ("namespaces/default/pods/x", 404, "pods \"x\" not found"),
        ("namespaces/default/pods/silent", 404, "podmetrics.metrics.k8s.io \"default/silent\" not found"),
        ("nodes/x", 404, "nodes \"x\" not found"),
        ("nodes/broken", 404, "nodemetrics.metrics.k8s.io \"broken\" not found"),
        ("nodes/broken/status", 404, "the server could not find the requested resource"),
        ("namespaces/default/nodes", 404, "the server could not find the requested resource"),
        ("pods?watch=1", 405, "the server does not allow this method on the requested resource"),
        (
            "pods?fieldSelector=spec.nodeName%3Dx",
            400,
            "\"spec.nodeName\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
    ] {
        let answer = get(&server, path, JSON).await;
        assert_eq!((answer.code, answer.message().as_str()), (code, message), "{path}");
    }
}

#[tokio::test]
async fn is_discovered_and_registered() {
    let server =
        start_with(Arc::new(HalfBusy { since: Clock::system().instant(), asked: Arc::default() })).await;
    let group =
        call(&server, root(), Method::GET, &format!("/apis/{GROUP}/{VERSION}"), &[], Value::Null).await;
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    let expected = json!([resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]);
    assert_eq!(group.json()["resources"], expected);
    let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{VERSION}.{GROUP}");
    let service = call(&server, root(), Method::GET, &path, &[], Value::Null).await.json();
    let available = &service["status"]["conditions"][0];
    assert_eq!((&available["type"], &available["status"]), (&json!("Available"), &json!("True")));
}
