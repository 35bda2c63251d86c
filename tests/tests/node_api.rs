//! The node's own API through the API server, in a whole cluster in this process: streams by kube-rs and by every
//! protocol there is, and what a node says of itself.

use futures::StreamExt;
use http::{Method, Request, StatusCode};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams, AttachedProcess, ListParams};
use kube::client::Body;
use minik::Cluster;
use serde_json::Value;
use streaming::port_forward::{self, Forwarded, Forwarder};
use streaming::remote_command::{self, Options, Outcome};
use streaming::upgrade::{Connected, Offer, Transport};
use streaming::{logs, websocket};
use tests::{DEADLINE, create_pod, pod, pod_reaches, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Served {
    cluster: Cluster,
    client: kube::Client,
    node: String,
}

/// A cluster with a pod `box` that answers on port 8080.
async fn served() -> Served {
    let cluster = Cluster::builder().start().await.expect("it starts");
    cluster.nodes_ready(1, DEADLINE).await.expect("its node is Ready");
    let client = cluster.client();
    create_pod(&client, pod("box", "busybox", &["steps", "out=ready", "serve=8080", "forever"])).await;
    pod_reaches(&client, "box", "Running").await;
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await.expect("a list");
    let node = nodes.items[0].metadata.name.clone().expect("a name");
    Served { cluster, client, node }
}

impl Served {
    /// Asks the node through the API server.
    async fn node(&self, path: &str) -> String {
        raw::text(&self.client, &format!("/api/v1/nodes/{}/proxy/{path}", self.node)).await
    }

    async fn node_json(&self, path: &str) -> Value {
        serde_json::from_str(&self.node(path).await).expect("JSON")
    }

    /// Upgrades a connection to the pod, or gives the answer's code and text.
    async fn upgrade(
        &self,
        transport: Transport,
        protocols: &[&str],
        path: &str,
    ) -> Result<Connected, (StatusCode, String)> {
        let offer = Offer::new(transport, protocols, [7; 16]);
        let uri = format!("/api/v1/namespaces/default/pods/{path}");
        let mut request =
            Request::builder().method(offer.method()).uri(uri).body(Body::empty()).expect("a request");
        offer.apply(request.headers_mut());
        let response = self.client.send(request).await.expect("an answer");
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let bytes = response.into_body().collect_bytes().await.expect("a body");
            return Err((status, String::from_utf8_lossy(&bytes).into_owned()));
        }
        Ok(offer.connected(response).await.expect("an upgrade"))
    }
}

async fn text(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut text = String::new();
    stream.expect("asked for").read_to_string(&mut text).await.expect("text");
    text
}

async fn status(process: &mut AttachedProcess) -> Status {
    process.take_status().expect("the first to ask").await.expect("a status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_rs_executes_attaches_and_forwards() {
    let served = served().await;
    let pods: Api<Pod> = Api::default_namespaced(served.client.clone());

    let command = ["steps", "out=hello", "err=oops", "exit=3"];
    let mut process = pods.exec("box", command, &AttachParams::default()).await.expect("executed");
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let (stdout, stderr, status_of) = tokio::join!(text(stdout), text(stderr), status(&mut process));
    assert_eq!((stdout.as_str(), stderr.as_str()), ("hello\n", "oops\n"));
    assert_eq!(status_of.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status_of.details.and_then(|details| details.causes).unwrap_or_default();
    assert_eq!(causes[0].message.as_deref(), Some("3"));

    let parameters = AttachParams::default().stdin(true).stderr(false);
    let mut process = pods.exec("box", ["cat"], &parameters).await.expect("executed");
    let mut stdin = process.stdin().expect("input");
    stdin.write_all(b"echoed").await.expect("written");
    stdin.shutdown().await.expect("shut down");
    drop(stdin);
    let stdout = process.stdout();
    let (stdout, status_of) = tokio::join!(text(stdout), status(&mut process));
    assert_eq!((stdout.as_str(), status_of.status.as_deref()), ("echoed", Some("Success")));

    let mut process =
        pods.exec("box", ["no-such-command"], &AttachParams::default()).await.expect("upgraded");
    let message = status(&mut process).await.message.unwrap_or_default();
    assert!(
        message.starts_with("Internal error occurred: error executing command in container: "),
        "{message}"
    );

    create_pod(&served.client, pod("late", "busybox", &["steps", "sleep=1500", "out=late", "exit=0"])).await;
    pod_reaches(&served.client, "late", "Running").await;
    // Who comes too late for its first run attaches to the next.
    let stdout = testkit::eventually_some(DEADLINE, async || {
        let mut process = pods.attach("late", &AttachParams::default()).await.ok()?;
        let stdout = process.stdout();
        let (stdout, status_of) = tokio::join!(text(stdout), status(&mut process));
        (status_of.status.as_deref() == Some("Success")).then_some(stdout).filter(|text| !text.is_empty())
    });
    assert_eq!(stdout.await, "late\n");

    let mut forwarder = pods.portforward("box", &[8080, 81]).await.expect("forwarded");
    let mut stream = forwarder.take_stream(8080).expect("the first to ask");
    stream.write_all(b"ping").await.expect("written");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"ping");
    let error = forwarder.take_error(81).expect("the first to ask").await.unwrap_or_default();
    assert!(error.starts_with("error forwarding port 81 to pod box_default"), "{error}");
    assert!(error.contains("connection refused"), "{error}");
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_protocol_reaches_the_node() {
    let served = served().await;
    let path =
        "box/exec?command=steps&command=out%3Done&command=copy&command=exit%3D5&stdin=true&stdout=true";
    let options = Options { stdin: true, stdout: true, ..Options::default() };
    let websocket = remote_command::WEBSOCKET_PROTOCOLS.map(|name| (Transport::WebSocket, name));
    let spdy = remote_command::SPDY_PROTOCOLS.map(|name| (Transport::Spdy, name));
    for (transport, protocol) in websocket.into_iter().chain(spdy) {
        let case = format!("{transport:?} {protocol:?}");
        let names: &[&str] = if protocol.is_empty() { &[] } else { &[protocol] };
        let connected =
            served.upgrade(transport, names, path).await.unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert_eq!(connected.protocol, protocol);
        let mut client = remote_command::connect(connected, &options).await.expect("streams");
        let (mut stdin, mut stdout) =
            (client.stdin.take().expect("input"), client.stdout.take().expect("output"));
        stdin.write_all(b"two\n").await.expect("written");
        let mut lines = [0; 8];
        stdout.read_exact(&mut lines).await.expect("output");
        assert_eq!(&lines, b"one\ntwo\n", "{case}");
        // Older protocols over WebSocket end the input with the connection only.
        if transport == Transport::Spdy || protocol.starts_with("v5") {
            stdin.shutdown().await.expect("shut down");
            let outcome =
                tokio::time::timeout(DEADLINE, client.outcome).await.expect("in time").expect("an outcome");
            let expected = match protocol {
                "v5.channel.k8s.io" | "v4.channel.k8s.io" => Outcome::Exit(5),
                _ => Outcome::failure(
                    "command terminated with non-zero exit code: error executing command, exit code 5",
                ),
            };
            assert_eq!(outcome, expected, "{case}");
        }
    }
    for (transport, protocol) in
        [(Transport::Spdy, port_forward::PROTOCOL), (Transport::WebSocket, port_forward::TUNNEL_PROTOCOL)]
    {
        let connected = served.upgrade(transport, &[protocol], "box/portforward").await.expect("upgraded");
        let forwarder = Forwarder::new(connected).await.expect("a forwarder");
        let Forwarded { mut data, error } = forwarder.open(8080).await.expect("opened");
        data.write_all(b"ping").await.expect("written");
        data.shutdown().await.expect("half closed");
        assert_eq!(text(Some(data)).await, "ping");
        assert_eq!(error.await.expect("an end"), "");
        let Forwarded { error, .. } = forwarder.open(81).await.expect("opened");
        assert!(error.await.expect("text").contains("connection refused"));
    }
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_over_websocket() {
    let served = served().await;
    for (protocol, expected) in [("binary.k8s.io", "ready\n"), ("base64.binary.k8s.io", "cmVhZHkK")] {
        assert!(logs::PROTOCOLS.contains(&protocol));
        let connected = served.upgrade(Transport::WebSocket, &[protocol], "box/log?container=main").await;
        let mut socket = websocket::client(connected.expect("upgraded").io).await;
        let mut got = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
            assert_eq!(message.is_text(), protocol.starts_with("base64"));
            got.extend(message.into_data());
        }
        assert_eq!(String::from_utf8_lossy(&got), expected, "{protocol}");
    }
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_answers() {
    let served = served().await;
    let spdy =
        async |path: &str, protocol: &str| match served.upgrade(Transport::Spdy, &[protocol], path).await {
            Ok(_) => panic!("{path}: upgraded"),
            Err((status, message)) => (status.as_u16(), message),
        };
    let (status, message) = spdy("box/exec?command=x&stdout=true", "v9.channel.k8s.io").await;
    assert_eq!(status, 403);
    assert!(
        message.contains("client supports [v9.channel.k8s.io], server accepts [v5.channel.k8s.io"),
        "{message}"
    );
    let (status, message) = spdy("box/exec?command=x", "v4.channel.k8s.io").await;
    assert_eq!(status, 400);
    assert!(message.contains("you must specify at least 1 of stdin, stdout, stderr"), "{message}");
    create_pod(&served.client, pod("done", "busybox", &["true"])).await;
    pod_reaches(&served.client, "done", "Running").await;
    pod_has_ended(&served.client, "done").await;
    let (status, message) = spdy("done/exec?command=x&stdout=true", "v4.channel.k8s.io").await;
    assert_eq!(status, 500);
    assert!(message.contains("container not found (\"main\")"), "{message}");
    served.cluster.stop().await;
}

/// Waits until the pod's container has ended at least once.
async fn pod_has_ended(client: &kube::Client, name: &str) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let ended = async || {
        let pod = pods.get(name).await.expect("the pod");
        let status = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        status.iter().any(|status| status.state.as_ref().is_some_and(|state| state.running.is_none()))
    };
    testkit::eventually(DEADLINE, ended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_of_itself() {
    let served = served().await;
    assert_eq!(served.node("healthz").await, "ok");
    assert_eq!(served.node_json("pods").await["items"][0]["metadata"]["name"], "box");
    let running = served.node_json("runningpods/").await;
    assert_eq!(running["items"][0]["spec"]["containers"][0]["name"], "main");
    let configuration = served.node_json("configz").await;
    assert_eq!(configuration["kubeletconfig"]["maxPods"], 110);
    let summary = served.node_json("stats/summary").await;
    assert_eq!(summary["node"]["nodeName"], served.node.as_str());
    assert_eq!(summary["pods"][0]["podRef"]["name"], "box");
    let container = &summary["pods"][0]["containers"][0];
    assert_eq!(container["name"], "main");
    assert!(
        container["memory"]["workingSetBytes"].is_u64() && container["startTime"].is_string(),
        "{container}"
    );
    for (path, line) in [
        ("metrics", "kubelet_running_pods 1"),
        (
            "metrics/resource",
            "container_memory_working_set_bytes{container=\"main\",namespace=\"default\",pod=\"box\"} 0 ",
        ),
        ("metrics/resource", "resource_scrape_error 0"),
        ("metrics/cadvisor", "machine_cpu_cores 32"),
        (
            "metrics/cadvisor",
            "container_network_receive_bytes_total{interface=\"eth0\",namespace=\"default\",pod=\"box\"} 0 ",
        ),
    ] {
        let text = served.node(path).await;
        assert!(text.lines().any(|found| found.starts_with(line)), "{path} has no {line}:\n{text}");
    }
    served.node("metrics/probes").await;
    let run = |method: Method, path: &str| {
        let uri = format!("/api/v1/nodes/{}/proxy/{path}", served.node);
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).expect("a request");
        let client = served.client.clone();
        async move {
            let response = client.send(request).await.expect("an answer");
            let status = response.status().as_u16();
            let bytes = response.into_body().collect_bytes().await.expect("a body");
            (status, String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    assert_eq!(
        run(Method::POST, "run/default/box/main?cmd=echo+hi+there").await,
        (200, "hi there\n".to_owned())
    );
    let (status, message) = run(Method::POST, "run/default/box/main?cmd=false").await;
    assert_eq!((status, message.contains("exited with 1")), (500, true), "{message}");
    assert_eq!(run(Method::GET, "no/such/path").await.0, 404);
    assert_eq!(run(Method::DELETE, "pods").await.0, 405);
    served.cluster.stop().await;
}
