//! NetworkPolicies with real packets, between pods on one bridge.
//!
//! Needs a Docker engine, the images of `tests/images/build`, and the right to change nftables.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tests::docker::{DockerCluster, script};
use tokio::net::TcpStream;

/// A pod that answers at 8080 and 8081, and its address.
async fn server(cluster: &DockerCluster, name: &str) -> String {
    let text = "mkdir /tmp/w; echo hello > /tmp/w/index.html; httpd -p 8081 -h /tmp/w; exec httpd -f -p 8080 -h /tmp/w";
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "ports": [{"name": "http", "containerPort": 8080}]});
    cluster.create(script(name, text, json!({}), probe)).await;
    let pod = cluster.until(name, |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    pod["status"]["podIP"].as_str().expect("an address").to_owned()
}

/// Whether a pod with this label comes to have (or not to have) an answer there. It asks until it is so: that its own
/// address is known, or a policy of it, may be later than its start.
async fn comes_to(cluster: &DockerCluster, role: &str, at: &str, open: bool) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let name = format!("{role}-{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let until = if open { "until" } else { "while" };
    let text = format!("{until} timeout 1 wget -qO- http://{at}/ > /tmp/x 2>&1; do :; done; echo it is so");
    let mut pod = script(&name, &text, json!({}), json!({}));
    pod["metadata"]["labels"] = json!({"role": role});
    cluster.create(pod).await;
    cluster.writes(&name, "it is so").await;
    cluster.delete(&name, 0).await;
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_reach_what_policies_allow() {
    let mut cluster = DockerCluster::start("policies").await;
    let web = server(&cluster, "web").await;
    let db = server(&cluster, "db").await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}))
        .await;
    comes_to(&cluster, "bad", &format!("{web}:8080"), true).await;

    // Who may reach the web server, and at which port: directly, and by its service.
    let good = json!({"matchLabels": {"role": "good"}});
    let web_pods = json!({"matchLabels": {"app": "web"}});
    let ingress = json!([{"from": [{"podSelector": good}], "ports": [{"port": "http"}]}]);
    cluster.create(policy("web", json!({"podSelector": web_pods, "ingress": ingress}))).await;
    comes_to(&cluster, "bad", &format!("{web}:8080"), false).await;
    comes_to(&cluster, "good", &format!("{web}:8080"), true).await;
    comes_to(&cluster, "good", &format!("{web}:8081"), false).await;
    comes_to(&cluster, "good", "web", true).await;
    comes_to(&cluster, "bad", "web", false).await;
    // Others are as they were, and so is the node.
    comes_to(&cluster, "bad", &format!("{db}:8080"), true).await;
    let address: SocketAddr = format!("{web}:8081").parse().expect("an address");
    TcpStream::connect(address).await.expect("probes come from the node");

    // What a pod may reach; names are answered by the node.
    let egress = json!([{"to": [{"podSelector": web_pods}]}]);
    let spec = json!({"podSelector": good, "policyTypes": ["Egress"], "egress": egress});
    cluster.create(policy("good", spec)).await;
    comes_to(&cluster, "good", &format!("{db}:8080"), false).await;
    comes_to(&cluster, "good", "web", true).await;

    // Without policies everything is open again.
    let policies: Api<NetworkPolicy> = Api::default_namespaced(cluster.client());
    for name in ["web", "good"] {
        policies.delete(name, &Default::default()).await.expect("deleted");
    }
    comes_to(&cluster, "bad", &format!("{web}:8080"), true).await;
    comes_to(&cluster, "good", &format!("{db}:8080"), true).await;
    cluster.stop().await;
    assert_eq!(tables(), "");
}

/// What tables of this process's clusters there are.
fn tables() -> String {
    let output =
        std::process::Command::new("nft").args(["list", "tables"]).env("PATH", "/usr/sbin:/sbin").output();
    let text = String::from_utf8(output.expect("nft runs").stdout).expect("text");
    let own = format!("-{}", std::process::id());
    text.lines().filter(|line| line.contains(&own)).collect::<Vec<_>>().join("\n")
}
