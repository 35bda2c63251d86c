//! Extenders of the scheduler: servers in the test's process that filter, prioritize, bind and choose victims.

use base64::Engine;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use minik::Cluster;
use scheduler::Configuration;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use testkit::{eventually, eventually_some};
use tests::tls_server::{Handler, TlsServer, answer};
use tests::workloads::{create, ready, untainted};

/// The clock is the machine's: requests go over sockets.
const PATIENCE: Duration = Duration::from_secs(60);
const GPU: &str = "example.com/gpu";

/// What an extender was asked: verb and arguments.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// An extender that answers by verb, and what it was asked.
async fn extender(decide: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> (TlsServer, Asked) {
    let asked = Asked::default();
    let (kept, decide) = (asked.clone(), Arc::new(decide));
    let handler: Handler = Arc::new(move |request| {
        let (kept, decide) = (kept.clone(), decide.clone());
        Box::pin(async move {
            let verb = request.uri().path().trim_start_matches("/extender/").to_owned();
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let arguments: Value = serde_json::from_slice(&body).expect("arguments");
            let said = decide(&verb, &arguments);
            kept.lock().expect("nobody panicked").push((verb, arguments));
            answer(200, &said)
        })
    });
    (TlsServer::start(&["localhost"], None, handler).await, asked)
}

fn asked(asked: &Asked, verb: &str) -> Vec<Value> {
    let all = asked.lock().expect("nobody panicked");
    all.iter().filter(|(of, _)| of == verb).map(|(_, arguments)| arguments.clone()).collect()
}

/// The configuration of one extender.
fn configuration(extender: &Value) -> Configuration {
    let file = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "extenders": [extender],
    });
    Configuration::parse(&file.to_string()).expect("a configuration")
}

/// Where a server is, and who vouches for it.
fn at(server: &TlsServer) -> Value {
    let ca = base64::engine::general_purpose::STANDARD.encode(&server.ca);
    json!({"urlPrefix": format!("https://localhost:{}/extender/", server.port), "enableHTTPS": true,
        "tlsConfig": {"caData": ca}})
}

fn with(mut extender: Value, fields: Value) -> Value {
    extender.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
    extender
}

async fn cluster(nodes: u32, configuration: Configuration) -> Cluster {
    let builder = Cluster::builder().nodes(0).simulated_nodes(nodes).scheduler(configuration);
    let cluster = builder.start().await.expect("it starts");
    ready(&cluster, nodes as usize).await;
    untainted(&cluster).await;
    cluster
}

fn pod(name: &str, requests: Value, more: Value) -> Value {
    let resources = json!({"requests": requests, "limits": requests});
    let container = json!({"name": "main", "image": "app", "resources": resources});
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": with(spec, more)})
}

async fn bound(cluster: &Cluster, name: &str) -> String {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    eventually_some(PATIENCE, async || {
        pods.get(name).await.expect("a pod").spec?.node_name.filter(|node| !node.is_empty())
    })
    .await
}

async fn node_names(cluster: &Cluster) -> Vec<String> {
    let nodes: Api<Node> = Api::all(cluster.client());
    let mut names: Vec<_> =
        nodes.list(&ListParams::default()).await.expect("nodes").iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}

/// The names in arguments of an extender that knows the nodes.
fn named(arguments: &Value) -> Vec<String> {
    let names = arguments["NodeNames"].as_array().expect("names");
    let mut names: Vec<_> = names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_extender_filters_prioritizes_and_binds() {
    let client: Arc<OnceLock<kube::Client>> = Arc::default();
    let binding = client.clone();
    let (server, told) = extender(move |verb, arguments| match verb {
        "filter" => {
            let mut names = named(arguments);
            let first = names.remove(0);
            json!({"NodeNames": names, "FailedNodes": {first: "the first is not for us"}})
        }
        "prioritize" => {
            let names = named(arguments);
            let last = names.last().expect("a node");
            let score = |name: &String| json!({"Host": name, "Score": if name == last { 10 } else { 0 }});
            names.iter().map(score).collect()
        }
        "bind" => {
            let (client, arguments) = (binding.get().expect("a client").clone(), arguments.clone());
            tokio::spawn(async move {
                let pods: Api<Pod> = Api::default_namespaced(client);
                let name = arguments["PodName"].as_str().expect("a name");
                let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": arguments["Node"]}});
                let bound = pods.create_subresource("binding", name, &PostParams::default(), &binding).await;
                let _: Value = bound.expect("bound");
            });
            json!({})
        }
        verb => json!({"Error": format!("{verb} was not to be asked")}),
    })
    .await;
    let verbs = json!({"filterVerb": "filter", "prioritizeVerb": "prioritize", "weight": 100, "bindVerb": "bind",
        "nodeCacheCapable": true});
    let cluster = cluster(3, configuration(&with(at(&server), verbs))).await;
    assert!(client.set(cluster.client()).is_ok());
    let nodes = node_names(&cluster).await;
    create::<Pod>(&cluster, pod("p", json!({}), json!({}))).await;
    assert_eq!(bound(&cluster, "p").await, nodes[2]);
    assert_eq!(named(&asked(&told, "filter")[0]), nodes);
    assert_eq!(asked(&told, "filter")[0]["Pod"]["metadata"]["name"], "p");
    assert_eq!(named(&asked(&told, "prioritize")[0]), nodes[1..], "only what the filter has left");
    let binding = &asked(&told, "bind")[0];
    assert_eq!((&binding["PodName"], &binding["Node"]), (&json!("p"), &json!(nodes[2])));
    cluster.stop().await;
}

#[tokio::test]
async fn what_an_extender_rejects_is_said_and_its_failure_counts_unless_it_is_ignorable() {
    let (server, told) = extender(|_, arguments| {
        let items = arguments["Nodes"]["items"].as_array().expect("whole nodes");
        let name = |node: &Value| node["metadata"]["name"].as_str().expect("a name").to_owned();
        let failed: serde_json::Map<_, _> =
            items.iter().map(|node| (name(node), json!("no licence"))).collect();
        json!({"nodes": {"items": []}, "failedAndUnresolvableNodes": failed})
    })
    .await;
    // It manages a resource that the scheduler leaves alone: no node has any.
    let managed =
        json!({"filterVerb": "filter", "managedResources": [{"name": GPU, "ignoredByScheduler": true}]});
    let condition = async |cluster: &Cluster, reason: &str, text: &str| {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        eventually(PATIENCE, async || {
            let pod = pods.get("gpu").await.expect("a pod");
            let condition = api::pod::condition(&pod, "PodScheduled");
            condition.is_some_and(|condition| {
                condition.reason.as_deref() == Some(reason)
                    && condition.message.as_deref().is_some_and(|message| message.contains(text))
            })
        })
        .await;
    };
    let refusing = cluster(2, configuration(&with(at(&server), managed.clone()))).await;
    create::<Pod>(&refusing, pod("plain", json!({}), json!({}))).await;
    bound(&refusing, "plain").await;
    assert!(asked(&told, "filter").is_empty(), "it has no interest in that pod");
    create::<Pod>(&refusing, pod("gpu", json!({GPU: "1"}), json!({}))).await;
    condition(&refusing, "Unschedulable", "0/2 nodes are available: 2 no licence.").await;
    refusing.stop().await;

    // Nobody listens there any more.
    let gone = with(at(&server), managed);
    drop(server);
    let failing = cluster(1, configuration(&gone)).await;
    create::<Pod>(&failing, pod("gpu", json!({GPU: "1"}), json!({}))).await;
    condition(&failing, "SchedulerError", "/extender/filter").await;
    failing.stop().await;
    let ignoring = cluster(1, configuration(&with(gone, json!({"ignorable": true})))).await;
    create::<Pod>(&ignoring, pod("gpu", json!({GPU: "1"}), json!({}))).await;
    bound(&ignoring, "gpu").await;
    ignoring.stop().await;
}

#[tokio::test]
async fn an_extender_chooses_among_victims() {
    let (server, told) = extender(|_, arguments| {
        let nodes = arguments["NodeNameToVictims"].as_object().expect("victims by node");
        let (name, victims) = nodes.iter().max_by_key(|(name, _)| (*name).clone()).expect("a node");
        let pods: Vec<Value> = victims["Pods"]
            .as_array()
            .expect("pods")
            .iter()
            .map(|pod| json!({"UID": pod["metadata"]["uid"]}))
            .collect();
        json!({"NodeNameToMetaVictims": {name: {"Pods": pods, "NumPDBViolations": 0}}})
    })
    .await;
    let cluster = cluster(2, configuration(&with(at(&server), json!({"preemptVerb": "preempt"})))).await;
    let class: PriorityClass =
        serde_json::from_value(json!({"metadata": {"name": "high"}, "value": 1000})).expect("a class");
    Api::all(cluster.client()).create(&PostParams::default(), &class).await.expect("created");
    let nodes: Api<Node> = Api::all(cluster.client());
    let all = nodes.list(&ListParams::default()).await.expect("nodes").items;
    let cpu = all[0].status.as_ref().and_then(|status| status.allocatable.as_ref()?.get("cpu").cloned());
    let cpu: i64 = cpu.expect("it has CPU").0.parse().expect("whole CPUs");
    for name in ["low-a", "low-b"] {
        create::<Pod>(&cluster, pod(name, json!({"cpu": cpu.to_string()}), json!({}))).await;
    }
    let places = [bound(&cluster, "low-a").await, bound(&cluster, "low-b").await];
    let last = places.iter().max().expect("two");
    create::<Pod>(&cluster, pod("high", json!({"cpu": "1"}), json!({"priorityClassName": "high"}))).await;
    assert_eq!(&bound(&cluster, "high").await, last);
    let first = asked(&told, "preempt").into_iter().next().expect("it was asked");
    assert_eq!(first["NodeNameToVictims"].as_object().map(serde_json::Map::len), Some(2));
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let left = pods.list(&ListParams::default()).await.expect("pods").items;
    let low: Vec<_> = left.iter().filter(|pod| pod.name_any().starts_with("low")).collect();
    assert_eq!(low.len(), 1);
    cluster.stop().await;
}
