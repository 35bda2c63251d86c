//! Services with real packets: cluster addresses, node ports, load balancers, from the host and from pods.
//!
//! Needs a Docker engine, the images of `tests/images/build`, and the right to change nftables.

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::docker::{DockerCluster, script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(3);

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

/// What is answered there, or why nothing is.
async fn get(address: &str) -> Result<String, std::io::Error> {
    let address: SocketAddr = address.parse().expect("an address");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.lines().last().unwrap_or_default().to_owned())
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
    cluster.create(service("web", json!({"type": "LoadBalancer"}))).await;
    let ip = cluster_ip(&cluster, "web").await;

    // From the host: both endpoints, by the cluster's address.
    let seen = Mutex::new(BTreeSet::new());
    eventually(DEADLINE, async || {
        let answered = get(&format!("{ip}:8088")).await;
        let mut seen = seen.lock().expect("nobody panicked");
        // Until the rules are there, the address leads out of this machine, and who knows what answers.
        seen.extend(answered.into_iter().filter(|name| name.starts_with("web-")));
        seen.len() == 2
    })
    .await;
    let seen = seen.into_inner().expect("nobody panicked");
    assert_eq!(seen, ["web-1".to_owned(), "web-2".to_owned()].into());
    // Refused at another port of that address.
    let refused = get(&format!("{ip}:8089")).await.expect_err("nobody is there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    // By node port and load balancer, at the node's address and on localhost.
    let balancer = eventually_some(DEADLINE, async || {
        let status = read(&cluster, "web").await.status?.load_balancer?;
        status.ingress?.first()?.ip.clone()
    })
    .await;
    let node_port =
        read(&cluster, "web").await.spec.and_then(|spec| spec.ports?[0].node_port).expect("a port");
    for address in [
        format!("{balancer}:8088"),
        format!("{balancer}:{node_port}"),
        "127.0.0.1:8088".to_owned(),
        format!("127.0.0.1:{node_port}"),
    ] {
        eventually(DEADLINE, async || get(&address).await.is_ok_and(|name| seen.contains(&name))).await;
    }

    // From a pod, to others and (web-1 asks until it is answered by itself) to itself.
    let ask = format!("until wget -qO- http://{ip}:8088/ | grep -q NAME; do :; done; echo NAME answered");
    for name in ["web-1", "web-2"] {
        cluster
            .create(script(&format!("ask-{name}"), &ask.replace("NAME", name), json!({}), json!({})))
            .await;
        assert_eq!(cluster.output(&format!("ask-{name}")).await.trim(), format!("{name} answered"));
    }
    let hairpin = format!(
        "mkdir /tmp/w; hostname > /tmp/w/index.html; httpd -p 8080 -h /tmp/w;
         until wget -qO- http://{ip}:8088/ | grep -q self; do :; done; echo answered; exec sleep 1000"
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
    eventually(DEADLINE, async || refused(format!("{ip}:8088")).await).await;
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
