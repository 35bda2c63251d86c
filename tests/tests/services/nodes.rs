//! Services and pods of a profile with several nodes: everybody reaches everybody, and policies tell their places apart.

use super::{cluster_ip, service, web};
use serde_json::json;
use tests::docker::{DockerCluster, script};

/// Lines of shell: `ask ADDRESS` gives what is answered there.
const ASK: &str = "ask() { timeout 10 wget -qO- http://$1/; }\n";

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_two_nodes_reach_each_other_and_are_told_apart() {
    let cluster = DockerCluster::start_nodes("places", 2).await;
    let nodes = cluster.nodes().await;
    let mut addresses = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let name = format!("web-{index}");
        let mut pod = web(&name);
        pod["spec"]["nodeName"] = node.as_str().into();
        cluster.create(pod).await;
        let pod = cluster.until(&name, |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
        addresses.push(pod["status"]["podIP"].as_str().expect("an address").to_owned());
    }
    for (name, spec) in [
        ("any", json!({})),
        ("local", json!({"internalTrafficPolicy": "Local"})),
        ("near", json!({"trafficDistribution": "PreferSameNode"})),
    ] {
        cluster.create(service(name, spec)).await;
    }
    let any = cluster_ip(&cluster, "any").await;
    let (local, near) = (cluster_ip(&cluster, "local").await, cluster_ip(&cluster, "near").await);
    for (index, node) in nodes.iter().enumerate() {
        let (other, address) = (1 - index, &addresses[1 - index]);
        // Its own address may be known to the rules a moment after its start: until then it is anywhere.
        let text = format!(
            "{ASK}
             until [ \"$(ask {address}:8080)\" = web-{other} ]; do :; done; echo the pod
             for name in 0 1; do until [ \"$(ask {any}:8088)\" = web-$name ]; do :; done; done; echo any
             all() {{ for i in 1 2 3 4 5 6 7 8 9 10 11 12; do ask $1 || return 1; done; }}
             until [ \"$(all {local}:8088 | sort -u)\" = web-{index} ]; do :; done; echo local
             until [ \"$(all {near}:8088 | sort -u)\" = web-{index} ]; do :; done; echo near"
        );
        let asker = format!("asks-{index}");
        cluster.create(script(&asker, &text, json!({"nodeName": node}), json!({}))).await;
        assert_eq!(cluster.output(&asker).await, "the pod\nany\nlocal\nnear\n");
    }
    // Where a node has no endpoint, Local leads nowhere, and nearness to the other.
    cluster.delete("web-1", 0).await;
    let text = format!(
        "{ASK}
         until [ \"$(ask {near}:8088)\" = web-0 ]; do :; done
         while timeout 3 wget -qO- http://{local}:8088/ > /tmp/x 2>&1; do :; done; echo as it should be"
    );
    cluster.create(script("far", &text, json!({"nodeName": nodes[1]}), json!({}))).await;
    assert_eq!(cluster.output("far").await, "as it should be\n");
}
