//! The cluster's DNS with real packets, from pods and from the host.
//!
//! Needs a Docker engine, the images of `tests/images/build`, and the right to change nftables.

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::{Resolver, TokioResolver};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use serde_json::json;
use std::net::IpAddr;
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::docker::{DockerCluster, script};

/// Who asks the cluster's DNS, and keeps nothing.
fn resolver(server: IpAddr, connection: ConnectionConfig) -> TokioResolver {
    let servers = vec![NameServerConfig::new(server, true, vec![connection])];
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().cache_size = 0;
    builder.build().expect("a resolver")
}

async fn lookup(resolver: &TokioResolver, name: &str, kind: RecordType) -> Vec<String> {
    let found = resolver.lookup(name, kind).await;
    let records = found.iter().flat_map(|found| found.answers().iter().map(|record| record.data.to_string()));
    let mut records: Vec<String> = records.collect();
    records.sort();
    records
}

/// The address of a Service.
async fn address(cluster: &DockerCluster, namespace: &str, name: &str) -> IpAddr {
    eventually_some(DEADLINE, async || {
        let services: Api<Service> = Api::namespaced(cluster.client(), namespace);
        services.get_opt(name).await.expect("the API answers")?.spec?.cluster_ip?.parse().ok()
    })
    .await
}

fn web(name: &str) -> serde_json::Value {
    let text = "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w";
    let spec = json!({"hostname": name, "subdomain": "members"});
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    let mut pod = script(name, text, spec, probe);
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod
}

fn service(name: &str, spec: serde_json::Value) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_to_services_and_their_pods() {
    let cluster = DockerCluster::start("dns").await;
    for name in ["web-1", "web-2"] {
        cluster.create(web(name)).await;
    }
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let selector = json!({"app": "web"});
    cluster.create(service("web", json!({"selector": selector, "ports": ports}))).await;
    cluster
        .create(service("members", json!({"selector": selector, "ports": ports, "clusterIP": "None"})))
        .await;
    let target = "web.default.svc.cluster.local";
    cluster.create(service("alias", json!({"type": "ExternalName", "externalName": target}))).await;
    let web_ip = address(&cluster, "default", "web").await.to_string();

    // From a pod, by every form of the name: the search path makes them whole.
    let ask = "
        for name in web web.default web.default.svc Web.Default.SVC.cluster.local. alias web-1.members; do
          port=80; [ $name = web-1.members ] && port=8080
          until wget -qO- http://$name:$port/ 2>/dev/null | grep -q web-; do :; done
          echo $name answered
        done
        nslookup kubernetes.default.svc.cluster.local | grep -A1 '^Name'
        nslookup missing.default.svc.cluster.local
        echo no such name: $?
        cat /etc/resolv.conf";
    cluster.create(script("ask", ask, json!({}), json!({}))).await;
    let output = cluster.output("ask").await;
    assert_eq!(output.matches("answered").count(), 6, "{output}");
    let kubernetes = address(&cluster, "default", "kubernetes").await;
    assert!(output.contains(&kubernetes.to_string()), "{output}");
    assert!(output.contains("no such name: 1"), "{output}");
    let dns = address(&cluster, "kube-system", "kube-dns").await;
    let server = format!("nameserver {dns}\n");
    for line in
        [&server, "search default.svc.cluster.local svc.cluster.local cluster.local", "options ndots:5\n"]
    {
        assert!(output.contains(line), "{line}: {output}");
    }

    // From the host, over UDP and TCP.
    for connection in [ConnectionConfig::udp(), ConnectionConfig::tcp()] {
        let resolver = resolver(dns, connection);
        for (name, kind, expected) in [
            ("web.default.svc.cluster.local.", RecordType::A, vec![web_ip.clone()]),
            (
                "_http._tcp.web.default.svc.cluster.local.",
                RecordType::SRV,
                vec!["0 100 80 web.default.svc.cluster.local.".to_owned()],
            ),
            (
                "_http._tcp.members.default.svc.cluster.local.",
                RecordType::SRV,
                ["web-1", "web-2"]
                    .map(|pod| format!("0 50 8080 {pod}.members.default.svc.cluster.local."))
                    .into(),
            ),
        ] {
            eventually(DEADLINE, async || lookup(&resolver, name, kind).await == expected).await;
        }
        assert_eq!(lookup(&resolver, "members.default.svc.cluster.local.", RecordType::A).await.len(), 2);
        assert!(lookup(&resolver, "missing.default.svc.cluster.local.", RecordType::A).await.is_empty());
    }

    // An answer follows its service and its pods.
    let resolver = resolver(dns, ConnectionConfig::udp());
    cluster.delete("web-2", 0).await;
    let members = async || lookup(&resolver, "members.default.svc.cluster.local.", RecordType::A).await.len();
    eventually(DEADLINE, async || members().await == 1).await;
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    services.delete("web", &Default::default()).await.expect("deleted");
    eventually(DEADLINE, async || lookup(&resolver, &format!("{target}."), RecordType::A).await.is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_dns_stays() {
    let cluster = DockerCluster::start("dns-stays").await;
    let dns = address(&cluster, "kube-system", "kube-dns").await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), "kube-system");
    eventually(DEADLINE, async || slices.get_opt("kube-dns").await.expect("the API answers").is_some()).await;
    let services: Api<Service> = Api::namespaced(cluster.client(), "kube-system");
    slices.delete("kube-dns", &Default::default()).await.expect("deleted");
    services.delete("kube-dns", &Default::default()).await.expect("deleted");
    assert_eq!(address(&cluster, "kube-system", "kube-dns").await, dns);
    let resolver = resolver(dns, ConnectionConfig::udp());
    let kubernetes = address(&cluster, "default", "kubernetes").await.to_string();
    eventually(DEADLINE, async || {
        lookup(&resolver, "kubernetes.default.svc.cluster.local.", RecordType::A).await
            == [kubernetes.clone()]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_share_no_addresses() {
    let one = DockerCluster::start("dns-one").await;
    let other = DockerCluster::start("dns-other").await;
    let mut servers = Vec::new();
    for cluster in [&one, &other] {
        cluster.create(service("only", json!({"ports": [{"port": 80}]}))).await;
        let dns = address(cluster, "kube-system", "kube-dns").await;
        let own = address(cluster, "default", "only").await.to_string();
        let resolver = resolver(dns, ConnectionConfig::udp());
        let name = "only.default.svc.cluster.local.";
        eventually(DEADLINE, async || lookup(&resolver, name, RecordType::A).await == [own.clone()]).await;
        servers.push(dns);
    }
    assert_ne!(servers[0], servers[1]);
}
