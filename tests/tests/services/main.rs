//! Services with real packets: cluster addresses, node ports, load balancers, from the host and from pods.
//!
//! Needs a Docker engine, the images of `tests/images/build`, and the right to change nftables.

mod load;
mod nodes;
mod user;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::docker::{DockerCluster, script};
use tests::profile::Said;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const WAIT: Duration = Duration::from_secs(10);

/// A pod that says its name to whoever asks over HTTP.
fn web(name: &str) -> Value {
    let text = "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w";
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    let mut pod = script(name, text, json!({}), probe);
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod["spec"]["restartPolicy"] = "Always".into();
    pod
}

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 8088, "targetPort": 8080}]},
    });
    for (field, value) in spec.as_object().expect("fields") {
        service["spec"][field] = value.clone();
    }
    service
}

/// The last line of what is answered there, or why nothing is.
async fn get(address: &str) -> Result<String, std::io::Error> {
    get_all(address).await.map(|answer| answer.lines().last().unwrap_or_default().to_owned())
}

async fn get_all(address: &str) -> Result<String, std::io::Error> {
    let address: SocketAddr = address.parse().expect("an address");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(WAIT, exchange).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn read(cluster: &DockerCluster, name: &str) -> Service {
    Api::<Service>::default_namespaced(cluster.client()).get(name).await.expect("the service")
}

async fn cluster_ip(cluster: &DockerCluster, name: &str) -> String {
    read(cluster, name).await.spec.and_then(|spec| spec.cluster_ip).expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn services_answer_from_the_host_and_from_pods() {
    let cluster = DockerCluster::start("services").await;
    for name in ["web-1", "web-2"] {
        cluster.create(web(name)).await;
    }
    // Another program has the balancer's port on localhost for a while.
    let taken = TcpListener::bind("127.0.0.1:8087").await.expect("a port of this test's own");
    let ports = json!([{"port": 8087, "targetPort": 8080}]);
    cluster.create(service("web", json!({"type": "LoadBalancer", "ports": ports}))).await;
    let ip = cluster_ip(&cluster, "web").await;

    // From the host: both endpoints, by the cluster's address.
    let seen = Mutex::new(BTreeSet::new());
    eventually(DEADLINE, async || {
        let answered = get(&format!("{ip}:8087")).await;
        let mut seen = seen.lock().expect("nobody panicked");
        // Until the rules are there, the address leads out of this machine, and who knows what answers.
        seen.extend(answered.into_iter().filter(|name| name.starts_with("web-")));
        seen.len() == 2
    })
    .await;
    let seen = seen.into_inner().expect("nobody panicked");
    assert_eq!(seen, ["web-1".to_owned(), "web-2".to_owned()].into());
    // Refused at another port of that address.
    let refused = get(&format!("{ip}:8090")).await.expect_err("nobody is there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    cluster.event("web", "PortNotAvailable", "cannot listen on 127.0.0.1:8087: ").await;
    drop(taken);

    // By node port and load balancer, at the node's address and on localhost.
    let balancer = eventually_some(DEADLINE, async || {
        let status = read(&cluster, "web").await.status?.load_balancer?;
        status.ingress?.first()?.ip.clone()
    })
    .await;
    let node_port =
        read(&cluster, "web").await.spec.and_then(|spec| spec.ports?[0].node_port).expect("a port");
    for address in [
        format!("{balancer}:8087"),
        format!("{balancer}:{node_port}"),
        "127.0.0.1:8087".to_owned(),
        format!("127.0.0.1:{node_port}"),
    ] {
        eventually(DEADLINE, async || get(&address).await.is_ok_and(|name| seen.contains(&name))).await;
    }

    // From a pod, to others and (web-1 asks until it is answered by itself) to itself.
    let ask = format!("until wget -qO- http://{ip}:8087/ | grep -q NAME; do :; done; echo NAME answered");
    for name in ["web-1", "web-2"] {
        cluster
            .create(script(&format!("ask-{name}"), &ask.replace("NAME", name), json!({}), json!({})))
            .await;
        assert_eq!(cluster.output(&format!("ask-{name}")).await.trim(), format!("{name} answered"));
    }
    let hairpin = format!(
        "mkdir /tmp/w; hostname > /tmp/w/index.html; httpd -p 8080 -h /tmp/w;
         until wget -qO- http://{ip}:8087/ | grep -q self; do :; done; echo answered; exec sleep 1000"
    );
    let mut itself = script("self", &hairpin, json!({}), json!({}));
    itself["metadata"]["labels"] = json!({"app": "web"});
    cluster.create(itself).await;
    cluster.writes("self", "answered").await;

    // Without endpoints connections are refused; without the service nothing is left of it.
    for name in ["web-1", "web-2", "self"] {
        cluster.delete(name, 0).await;
    }
    let refused = async |address: String| {
        let error = get(&address).await.err();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    eventually(DEADLINE, async || refused(format!("{ip}:8087")).await).await;
    eventually(DEADLINE, async || refused(format!("{balancer}:{node_port}")).await).await;
    Api::<Service>::default_namespaced(cluster.client())
        .delete("web", &Default::default())
        .await
        .expect("deleted");
    eventually(DEADLINE, async || refused(format!("127.0.0.1:{node_port}")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_stay_with_their_endpoint_if_asked() {
    let cluster = DockerCluster::start("affinity").await;
    for name in ["web-1", "web-2", "web-3"] {
        cluster.create(web(name)).await;
        cluster.until(name, |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    }
    cluster.create(service("sticky", json!({"sessionAffinity": "ClientIP"}))).await;
    let ip = cluster_ip(&cluster, "sticky").await;
    let first = eventually_some(DEADLINE, async || {
        get(&format!("{ip}:8088")).await.ok().filter(|name| name.starts_with("web-"))
    })
    .await;
    for _ in 0..20 {
        assert_eq!(get(&format!("{ip}:8088")).await.expect("an answer"), first);
    }
}

/// Another machine: a network namespace with a link to this one; gone with its value.
struct Machine {
    name: String,
    /// This machine's address on the link.
    near: String,
}

impl Machine {
    fn new() -> Self {
        let id = std::process::id();
        let name = format!("minik-{id}");
        let network = |host: u32| format!("198.18.{}.{}", id / 64 % 256, id % 64 * 4 + host);
        let this = Self { near: network(1), name };
        let name = &this.name;
        let (near, far) = (format!("{}/30", network(1)), format!("{}/30", network(2)));
        for words in [
            format!("netns add {name}"),
            format!("link add {name} type veth peer name far netns {name}"),
            format!("addr add {near} dev {name}"),
            format!("link set {name} up"),
            format!("-n {name} addr add {far} dev far"),
            format!("-n {name} link set far up"),
            format!("-n {name} route add default via {}", this.near),
        ] {
            ip(&words).ok();
        }
        this
    }

    /// What is answered there to somebody on this machine.
    fn get(&self, address: &str) -> String {
        let (host, port) = address.split_once(':').expect("a port");
        let talk =
            format!("exec 3<>/dev/tcp/{host}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
        let mut command = Command::new("timeout");
        command.args(["3", "ip", "netns", "exec", &self.name, "bash", "-c", &talk]);
        let output = command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output().expect("it runs");
        Said::of(output).stdout.lines().last().unwrap_or_default().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.name));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(words: &str) -> Said {
    let mut command = Command::new("ip");
    Said::of(command.args(words.split(' ')).env("PATH", "/usr/sbin:/sbin").output().expect("ip runs"))
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_reach_services_and_their_health() {
    let cluster = DockerCluster::start("outside").await;
    cluster.create(web("web-1")).await;
    cluster.create(service("web", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}))).await;
    let spec = read(&cluster, "web").await.spec.expect("a spec");
    let node_port = spec.ports.expect("ports")[0].node_port.expect("a port");
    let health_port = spec.health_check_node_port.expect("a port");
    let machine = Machine::new();
    eventually(DEADLINE, async || machine.get(&format!("{}:{node_port}", machine.near)) == "web-1").await;
    let health = async || get_all(&format!("127.0.0.1:{health_port}")).await.unwrap_or_default();
    eventually(DEADLINE, async || health().await.contains("\"localEndpoints\": 1")).await;
    cluster.delete("web-1", 0).await;
    eventually(DEADLINE, async || health().await.starts_with("HTTP/1.0 503 ")).await;
    assert_eq!(machine.get(&format!("{}:{node_port}", machine.near)), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_over_udp_follow_their_service() {
    let cluster = DockerCluster::start("udp").await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), "kube-system");
    let near = eventually_some(DEADLINE, async || {
        let slice = slices.get_opt("kube-dns").await.expect("the API answers")?;
        Some(slice.endpoints?.first()?.addresses.first()?.clone())
    })
    .await;
    let mut ports = Vec::new();
    for name in ["one", "two"] {
        let socket = UdpSocket::bind(format!("{near}:0")).await.expect("a port");
        ports.push(socket.local_addr().expect("bound").port());
        tokio::spawn(async move {
            let mut buffer = [0; 16];
            loop {
                let (_, from) = socket.recv_from(&mut buffer).await.expect("received");
                let _ = socket.send_to(name.as_bytes(), from).await;
            }
        });
    }
    let port = |number: u16| json!([{"name": "p", "port": number, "protocol": "UDP"}]);
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "udp"},
            "spec": {"ports": [{"name": "p", "port": 9000, "protocol": "UDP"}]}}))
        .await;
    cluster
        .create(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "udp", "labels": {"kubernetes.io/service-name": "udp"}},
            "endpoints": [{"addresses": [near]}], "ports": port(ports[0])}))
        .await;
    // One client, always from the same port: one flow.
    let client = UdpSocket::bind("0.0.0.0:0").await.expect("a port");
    client.connect(format!("{}:9000", cluster_ip(&cluster, "udp").await)).await.expect("an address");
    let answered = async |by: &str| {
        let mut buffer = [0; 16];
        let exchange = async {
            client.send(b"hello").await?;
            client.recv(&mut buffer).await
        };
        let answer = tokio::time::timeout(Duration::from_millis(200), exchange).await;
        answer.is_ok_and(|length| length.is_ok_and(|length| &buffer[..length] == by.as_bytes()))
    };
    eventually(DEADLINE, async || answered("one").await).await;
    cluster.patch("discovery.k8s.io/v1", "EndpointSlice", "udp", json!({"ports": port(ports[1])})).await;
    eventually(DEADLINE, async || answered("two").await).await;
}
