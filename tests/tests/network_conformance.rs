//! Behaviours of the official suite's group sig-network that need packets, by name. Those about objects alone are in
//! `api_conformance/network.rs`, names in `dns.rs`, a service's endpoints and ports, load and several nodes in `services/`,
//! what is reached through the API in `streaming.rs`, and what pods ask for of names in `docker_lifecycle.rs`.
//!
//! Needs a Docker engine, the images of `tests/images/build`, and the right to change nftables.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use testkit::eventually;
use tests::DEADLINE;
use tests::docker::{DockerCluster, script};
use tests::profile::free_port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

/// How long one attempt may take: packets are lost on a loaded machine, and sent again after 1, 3 and 7 s.
const WAIT: Duration = Duration::from_secs(15);
/// Whoever does not answer by then is not there.
const SILENCE: Duration = Duration::from_secs(3);
/// Connections by which affinity shows: that all of them go to one of two by chance is one in a million.
const OFTEN: usize = 20;

/// A pod that tells its name over HTTP at 8080 and 8081, and its address.
async fn server(cluster: &DockerCluster, name: &str, main: Value) -> String {
    let text = "mkdir /tmp/w; hostname > /tmp/w/index.html; httpd -p 8081 -h /tmp/w
        exec httpd -f -p 8080 -h /tmp/w";
    let mut fields = json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    main.as_object().into_iter().flatten().for_each(|(key, value)| fields[key] = value.clone());
    let mut pod = script(name, text, json!({}), fields);
    pod["metadata"]["labels"] = json!({"app": "web"});
    cluster.create(pod).await;
    let pod = cluster.until(name, |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    pod["status"]["podIP"].as_str().expect("an address").to_owned()
}

async fn serve(cluster: &DockerCluster, name: &str, spec: Value) {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    spec.as_object().into_iter().flatten().for_each(|(key, value)| service["spec"][key] = value.clone());
    cluster.create(service).await;
}

async fn read(cluster: &DockerCluster, name: &str) -> Service {
    Api::<Service>::default_namespaced(cluster.client()).get(name).await.expect("the service")
}

async fn cluster_ip(cluster: &DockerCluster, name: &str) -> String {
    read(cluster, name).await.spec.and_then(|spec| spec.cluster_ip).expect("an address")
}

/// This machine's address in the pods' network, with the service's node port.
async fn at_node(cluster: &DockerCluster, name: &str) -> String {
    let port = read(cluster, name).await.spec.and_then(|spec| spec.ports?[0].node_port).expect("a port");
    format!("{}:{port}", kubelet::machine_address())
}

/// The last line of what is answered over HTTP, or why nothing is.
async fn get(address: &str, patience: Duration) -> io::Result<String> {
    get_path(address, "/", patience).await
}

async fn get_path(address: &str, path: &str, patience: Duration) -> io::Result<String> {
    let address: SocketAddr = address.parse().expect("an address");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.lines().last().unwrap_or_default().to_owned())
    };
    tokio::time::timeout(patience, exchange).await?
}

/// What is answered over UDP.
async fn ask(address: &str) -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.ok()?;
    socket.connect(address).await.ok()?;
    let mut buffer = [0; 64];
    let exchange = async {
        socket.send(b"name?\n").await.ok()?;
        let length = socket.recv(&mut buffer).await.ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
    };
    tokio::time::timeout(SILENCE, exchange).await.ok().flatten()
}

async fn comes_to_answer(address: &str, name: &str) {
    eventually(DEADLINE, async || get(address, SILENCE).await.is_ok_and(|found| found == name)).await;
}

/// Who answers, of many.
async fn who(address: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..OFTEN {
        seen.insert(
            get(address, WAIT).await.unwrap_or_else(|error| panic!("{address} does not answer: {error}")),
        );
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn services_should_have_session_affinity_and_be_able_to_switch_it() {
    let cluster = DockerCluster::start("switch-affinity").await;
    for name in ["web-1", "web-2"] {
        server(&cluster, name, json!({})).await;
    }
    serve(&cluster, "sticky", json!({"type": "NodePort"})).await;
    let by_cluster_ip = format!("{}:80", cluster_ip(&cluster, "sticky").await);
    for address in [by_cluster_ip, at_node(&cluster, "sticky").await] {
        eventually(DEADLINE, async || {
            get(&address, SILENCE).await.is_ok_and(|name| name.starts_with("web-"))
        })
        .await;
        eventually(DEADLINE, async || who(&address).await.len() == 2).await;
        for (affinity, answering) in [("ClientIP", 1), ("None", 2)] {
            cluster.patch("v1", "Service", "sticky", json!({"spec": {"sessionAffinity": affinity}})).await;
            eventually(DEADLINE, async || who(&address).await.len() == answering).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_should_serve_several_ports_and_protocols() {
    let cluster = DockerCluster::start("ports").await;
    let pod = server(&cluster, "web-1", json!({})).await;
    let ports = json!([{"name": "one", "port": 80, "targetPort": 8080}, {"name": "two", "port": 81, "targetPort": 8081}]);
    serve(&cluster, "ports", json!({"ports": ports})).await;
    let ip = cluster_ip(&cluster, "ports").await;
    comes_to_answer(&format!("{ip}:80"), "web-1").await;
    comes_to_answer(&format!("{ip}:81"), "web-1").await;

    // The same port of two protocols, with endpoints of their own.
    let socket = UdpSocket::bind((kubelet::machine_address(), 0)).await.expect("a port");
    let near = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(b"by UDP", from).await;
        }
    });
    let both = json!([{"name": "tcp", "port": 80, "protocol": "TCP"}, {"name": "udp", "port": 80, "protocol": "UDP"}]);
    serve(&cluster, "both", json!({"selector": null, "ports": both})).await;
    for (name, address, port, protocol) in
        [("tcp", pod, 8080, "TCP"), ("udp", near.ip().to_string(), near.port(), "UDP")]
    {
        cluster
            .create(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": format!("both-{name}"), "labels": {"kubernetes.io/service-name": "both"}},
                "endpoints": [{"addresses": [address]}], "ports": [{"name": name, "port": port, "protocol": protocol}],
            }))
            .await;
    }
    let address = format!("{}:80", cluster_ip(&cluster, "both").await);
    comes_to_answer(&address, "web-1").await;
    eventually(DEADLINE, async || ask(&address).await.is_some_and(|answer| answer == "by UDP")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_should_be_able_to_change_the_type_from_external_name_and_back() {
    let cluster = DockerCluster::start("types").await;
    server(&cluster, "web-1", json!({})).await;
    serve(&cluster, "moving", json!({"type": "ExternalName", "externalName": "elsewhere.example"})).await;
    for kind in ["ClusterIP", "NodePort"] {
        let spec = json!({"spec": {"type": kind, "externalName": null}});
        cluster.patch("v1", "Service", "moving", spec).await;
        let address = format!("{}:80", cluster_ip(&cluster, "moving").await);
        comes_to_answer(&address, "web-1").await;
        if kind == "NodePort" {
            comes_to_answer(&at_node(&cluster, "moving").await, "web-1").await;
        }
        let spec =
            json!({"spec": {"type": "ExternalName", "externalName": "elsewhere.example", "clusterIP": null}});
        cluster.patch("v1", "Service", "moving", spec).await;
        eventually(DEADLINE, async || get(&address, SILENCE).await.is_err()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_ports_do_not_conflict_at_different_addresses_and_protocols() {
    let cluster = DockerCluster::start("host-ports").await;
    let (port, node) = (free_port(), kubelet::machine_address().to_string());
    for (name, address, protocol) in
        [("web-1", "127.0.0.1", "TCP"), ("web-2", node.as_str(), "TCP"), ("web-3", node.as_str(), "UDP")]
    {
        let ports =
            json!([{"containerPort": 8080, "hostPort": port, "hostIP": address, "protocol": protocol}]);
        server(&cluster, name, json!({"ports": ports})).await;
    }
    comes_to_answer(&format!("127.0.0.1:{port}"), "web-1").await;
    comes_to_answer(&format!("{node}:{port}"), "web-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networking_granular_checks_should_function_within_and_between_pods_and_nodes() {
    let cluster = DockerCluster::start("granular").await;
    // Somebody on the node's network, and two pods.
    let port = free_port().to_string();
    let mut addresses = Vec::new();
    for (name, host, port) in [("node", true, port.as_str()), ("one", false, "8080"), ("two", false, "8080")]
    {
        let main = json!({
            "image": "minik/hello:v1", "command": ["/hello"], "env": [{"name": "PORT", "value": port}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": port.parse::<u16>().expect("a port")}},
        });
        cluster.create(script(name, "", json!({"hostNetwork": host}), main)).await;
        let pod = cluster.until(name, |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
        addresses.push(format!("{}:{port}", pod["status"]["podIP"].as_str().expect("an address")));
    }
    for from in &addresses {
        for (name, to) in [("one", &addresses[1]), ("two", &addresses[2])] {
            for protocol in ["http", "udp"] {
                eventually(DEADLINE, async || {
                    let said = get_path(from, &format!("/dial?{protocol}={to}"), WAIT).await;
                    said.is_ok_and(|said| said.starts_with(&format!("Hello | Running on: {name} |")))
                })
                .await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn service_endpoints_latency_should_not_be_very_high() {
    const SERVICES: usize = 200;
    // As upstream's: half of them within this, and 99 of 100 within the other.
    let (half, most) = (Duration::from_secs(20), Duration::from_secs(50));
    let cluster = DockerCluster::start("latency").await;
    server(&cluster, "web-1", json!({})).await;
    let slices: Api<EndpointSlice> = Api::default_namespaced(cluster.client());
    let mut waited = Vec::new();
    for index in 0..SERVICES {
        let (name, began) = (format!("s{index}"), Instant::now());
        serve(&cluster, &name, json!({})).await;
        let of = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        eventually(DEADLINE, async || {
            let list = slices.list(&of).await.expect("a list").items;
            list.iter().flat_map(|slice| slice.endpoints.iter().flatten()).count() == 1
        })
        .await;
        waited.push(began.elapsed());
    }
    for index in 0..SERVICES {
        comes_to_answer(&format!("{}:80", cluster_ip(&cluster, &format!("s{index}")).await), "web-1").await;
    }
    waited.sort();
    assert!(waited[SERVICES / 2] <= half && waited[SERVICES * 99 / 100] <= most, "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_slice_should_support_multiple_endpoint_ips_and_ports_in_multiple_slices() {
    let cluster = DockerCluster::start("slices").await;
    let ports = json!([{"name": "one", "port": 80}, {"name": "two", "port": 81}]);
    serve(&cluster, "many", json!({"selector": null, "ports": ports})).await;
    for (name, one, two) in [("web-1", 8080, 8081), ("web-2", 8081, 8080)] {
        let address = server(&cluster, name, json!({})).await;
        cluster
            .create(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "many"}},
                "endpoints": [{"addresses": [address]}],
                "ports": [{"name": "one", "port": one}, {"name": "two", "port": two}],
            }))
            .await;
    }
    let ip = cluster_ip(&cluster, "many").await;
    let both: BTreeSet<String> = ["web-1".to_owned(), "web-2".to_owned()].into();
    for port in [80, 81] {
        let address = format!("{ip}:{port}");
        comes_to_answer(&address, "web-1").await;
        eventually(DEADLINE, async || who(&address).await == both).await;
    }
}
