//! A cluster with both families of addresses, with real packets: behaviours of the official suite's
//! `[Feature:IPv6DualStack]`, by name, and what services, names and policies mean over IPv6.
//!
//! Needs a Docker engine, the images of `tests/images/build`, and the right to change nftables. On a machine without IPv6 the
//! start is to refuse, and that is tested instead.

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::{Resolver, TokioResolver};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, NetworkPolicy, ServiceCIDR};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use testkit::eventually;
use tests::DEADLINE;
use tests::docker::{DockerCluster, script};
use tests::profile::Profile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Whoever does not answer by then is asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the kernel has IPv6, for bridges as well.
fn has_ipv6() -> bool {
    let on = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"))
            .is_ok_and(|text| text.trim() == "0")
    };
    Path::new("/proc/net/if_inet6").exists() && on("all") && on("default")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_both_families() {
    if !has_ipv6() {
        eprintln!("this machine has no IPv6: that the start says so is tested instead");
        let said = Profile::new("no-ipv6").start(&["--ip-family", "dual"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains("error: this machine has no IPv6: "), "{said:?}");
        return;
    }
    let mut cluster = DockerCluster::start_dual("dual").await;
    should_have_ipv4_and_ipv6_internal_node_ip_and_pod_cidrs(&cluster).await;
    let pod = should_create_pod_add_ipv6_and_ipv4_ip_to_pod_ips(&cluster).await;
    should_create_services_of_every_kind(&cluster).await;
    ranges_and_addresses_are_objects(&cluster).await;
    services_are_reached_from_pods_and_from_the_host(&cluster, pod).await;
    names_have_addresses_of_both(&cluster).await;
    policies_close_both(&cluster, pod).await;
    cluster.stop().await;
    let tables =
        std::process::Command::new("nft").args(["list", "tables"]).env("PATH", "/usr/sbin:/sbin").output();
    let tables = String::from_utf8(tables.expect("nft runs").stdout).expect("text");
    let own = format!("-dual-{}", std::process::id());
    assert!(!tables.contains(&own), "{tables}");
}

fn families<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Vec<&'static str> {
    let family = |address: &str| match address.split('/').next().expect("a part").parse() {
        Ok(IpAddr::V4(_)) => "IPv4",
        Ok(IpAddr::V6(_)) => "IPv6",
        Err(_) => "none",
    };
    addresses.into_iter().map(family).collect()
}

/// The node, and its addresses.
async fn node(cluster: &DockerCluster) -> (Node, Vec<String>) {
    let nodes: Api<Node> = Api::all(cluster.client());
    let node = nodes.get(&cluster.node().await).await.expect("the node");
    let addresses = node.status.as_ref().and_then(|status| status.addresses.clone()).expect("addresses");
    let internal = addresses.into_iter().filter(|one| one.type_ == "InternalIP").map(|one| one.address);
    (node, internal.collect())
}

async fn should_have_ipv4_and_ipv6_internal_node_ip_and_pod_cidrs(cluster: &DockerCluster) {
    let (node, internal) = node(cluster).await;
    assert_eq!(families(internal.iter().map(String::as_str)), ["IPv4", "IPv6"]);
    let cidrs = node.spec.and_then(|spec| spec.pod_cidrs).expect("blocks");
    assert_eq!(families(cidrs.iter().map(String::as_str)), ["IPv4", "IPv6"]);
}

/// A pod that answers over HTTP; its address of IPv6.
async fn should_create_pod_add_ipv6_and_ipv4_ip_to_pod_ips(cluster: &DockerCluster) -> Ipv6Addr {
    let text = "mkdir /tmp/w; hostname > /tmp/w/index.html
        echo \"$POD_IPS $HOST_IPS\"; cat /etc/hosts; exec httpd -f -p 8080 -h /tmp/w";
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let fields = json!({
        "env": [field("POD_IPS", "status.podIPs"), field("HOST_IPS", "status.hostIPs")],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    });
    cluster.create(script("web", text, json!({}), fields)).await;
    let pod = cluster.until("web", |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    let of = |field: &str| -> Vec<String> {
        let ips = pod["status"][field].as_array().expect("a list");
        ips.iter().map(|ip| ip["ip"].as_str().expect("an address").to_owned()).collect()
    };
    let (pod_ips, host_ips) = (of("podIPs"), of("hostIPs"));
    for ips in [&pod_ips, &host_ips] {
        assert_eq!(families(ips.iter().map(String::as_str)), ["IPv4", "IPv6"]);
    }
    assert_eq!(pod["status"]["podIP"], pod_ips[0].as_str());
    let log = cluster.log("web").await;
    for line in [
        format!("{} {}\n", pod_ips.join(","), host_ips.join(",")),
        format!("{}\tweb\n{}\tweb\n", pod_ips[0], pod_ips[1]),
    ] {
        assert!(log.contains(&line), "{line}: {log}");
    }
    pod_ips[1].parse().expect("an address")
}

async fn read(cluster: &DockerCluster, name: &str) -> Value {
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    json!(services.get(name).await.expect("the service"))
}

/// The addresses of a service.
async fn addresses(cluster: &DockerCluster, name: &str) -> Vec<String> {
    let service = read(cluster, name).await;
    let ips = service["spec"]["clusterIPs"].as_array().expect("a list");
    ips.iter().map(|ip| ip.as_str().expect("an address").to_owned()).collect()
}

/// Its address of IPv6.
async fn six(cluster: &DockerCluster, name: &str) -> Ipv6Addr {
    let addresses = addresses(cluster, name).await;
    addresses.iter().find_map(|address| address.parse().ok()).expect("an address of IPv6")
}

async fn should_create_services_of_every_kind(cluster: &DockerCluster) {
    for (name, spec, wanted) in [
        ("v4", json!({"ipFamilies": ["IPv4"]}), &["IPv4"][..]),
        ("v6", json!({"ipFamilies": ["IPv6"]}), &["IPv6"]),
        ("v4-v6", json!({"ipFamilyPolicy": "PreferDualStack", "type": "LoadBalancer"}), &["IPv4", "IPv6"]),
        (
            "v6-v4",
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"], "type": "NodePort"}),
            &["IPv6", "IPv4"],
        ),
        ("members", json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "None"}), &["none"]),
        ("nobody", json!({"ipFamilies": ["IPv6"], "selector": {"app": "nobody"}}), &["IPv6"]),
    ] {
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        });
        spec.as_object().into_iter().flatten().for_each(|(key, value)| service["spec"][key] = value.clone());
        cluster.create(service).await;
        let addresses = addresses(cluster, name).await;
        assert_eq!(families(addresses.iter().map(String::as_str)), wanted, "{name}");
        let slices: Api<EndpointSlice> = Api::default_namespaced(cluster.client());
        let of = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        if wanted == ["none"] {
            wanted = vec!["IPv4", "IPv6"];
        }
        eventually(DEADLINE, async || {
            let slices = slices.list(&of).await.expect("a list").items;
            let mut found: Vec<String> = slices.into_iter().map(|slice| slice.address_type).collect();
            found.sort_unstable();
            found == wanted
        })
        .await;
    }
}

/// The ranges are told, and each address of a service is.
async fn ranges_and_addresses_are_objects(cluster: &DockerCluster) {
    let ranges: Api<ServiceCIDR> = Api::all(cluster.client());
    let spec = ranges.get("kubernetes").await.expect("the range").spec.expect("a spec");
    assert_eq!(families(spec.cidrs.iter().flatten().map(String::as_str)), ["IPv4", "IPv6"]);
    let known: Api<IPAddress> = Api::all(cluster.client());
    for address in addresses(cluster, "v4-v6").await {
        let object = known.get(&address).await.expect("an object");
        let parent = object.spec.parent_ref;
        assert_eq!(parent.name, "v4-v6");
        let label = object
            .metadata
            .labels
            .and_then(|labels| labels.get("ipaddress.kubernetes.io/ip-family").cloned());
        assert_eq!(label.as_deref(), families([address.as_str()]).first().copied());
    }
}

/// What is answered over HTTP.
async fn get(at: SocketAddr) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.lines().last().unwrap_or_default().to_owned())
    };
    tokio::time::timeout(PATIENCE, exchange).await?
}

async fn comes_to_answer(address: impl Into<IpAddr>, port: u16) {
    let at = SocketAddr::new(address.into(), port);
    eventually(DEADLINE, async || get(at).await.is_ok_and(|name| name == "web")).await;
}

async fn services_are_reached_from_pods_and_from_the_host(cluster: &DockerCluster, pod: Ipv6Addr) {
    // From a pod: another pod, services by their addresses, and by names that have no others.
    let (only, both) = (six(cluster, "v6").await, six(cluster, "v4-v6").await);
    let text = format!(
        "for at in [{pod}]:8080 [{only}] [{both}] v6 v4; do
          until timeout 5 wget -qO- http://$at/ 2>/dev/null | grep -q web; do :; done
          echo $at answered
        done"
    );
    cluster.create(script("ask", &text, json!({}), json!({}))).await;
    let output = cluster.output("ask").await;
    assert_eq!(output.matches("answered").count(), 5, "{output}");

    // From the host: at the cluster's address, at the node's, and at the loopback.
    comes_to_answer(pod, 8080).await;
    comes_to_answer(only, 80).await;
    let service = read(cluster, "v6-v4").await;
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.expect("a port");
    comes_to_answer(Ipv6Addr::LOCALHOST, port).await;
    for address in node(cluster).await.1 {
        comes_to_answer(address.parse::<IpAddr>().expect("an address"), port).await;
    }
    eventually(DEADLINE, async || {
        let status = &read(cluster, "v4-v6").await["status"]["loadBalancer"]["ingress"];
        let ips = status.as_array().into_iter().flatten().filter_map(|ingress| ingress["ip"].as_str());
        families(ips.collect::<Vec<_>>()) == ["IPv4", "IPv6"]
    })
    .await;

    // Where nobody is, that is said at once.
    let nobody = SocketAddr::new(six(cluster, "nobody").await.into(), 80);
    eventually(DEADLINE, async || {
        get(nobody).await.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })
    .await;
}

/// Who asks the cluster's DNS, and keeps nothing.
fn resolver(server: IpAddr) -> TokioResolver {
    let servers = vec![NameServerConfig::new(server, true, vec![ConnectionConfig::udp()])];
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().cache_size = 0;
    builder.build().expect("a resolver")
}

async fn names_have_addresses_of_both(cluster: &DockerCluster) {
    let services: Api<Service> = Api::namespaced(cluster.client(), "kube-system");
    let dns = services.get("kube-dns").await.expect("the service").spec.and_then(|spec| spec.cluster_ip);
    let resolver = resolver(dns.and_then(|ip| ip.parse().ok()).expect("an address"));
    let [four, six]: [String; 2] = addresses(cluster, "v4-v6").await.try_into().expect("two");
    let reverse =
        hickory_resolver::proto::rr::Name::from(six.parse::<IpAddr>().expect("an address")).to_string();
    for (name, kind, expected) in [
        ("v4-v6.default.svc.cluster.local.", RecordType::A, Some(four)),
        ("v4-v6.default.svc.cluster.local.", RecordType::AAAA, Some(six)),
        ("v4.default.svc.cluster.local.", RecordType::AAAA, None),
        (reverse.as_str(), RecordType::PTR, Some("v4-v6.default.svc.cluster.local.".to_owned())),
    ] {
        eventually(DEADLINE, async || {
            let found = resolver.lookup(name, kind).await;
            let found =
                found.iter().flat_map(|found| found.answers().iter().map(|record| record.data.to_string()));
            found.collect::<Vec<_>>() == expected.iter().cloned().collect::<Vec<_>>()
        })
        .await;
    }
    for kind in [RecordType::A, RecordType::AAAA] {
        eventually(DEADLINE, async || {
            let found = resolver.lookup("members.default.svc.cluster.local.", kind).await;
            found.is_ok_and(|found| found.answers().len() == 1)
        })
        .await;
    }
}

/// A pod with this name that asks until it is answered, or until it is not.
async fn comes_to(cluster: &DockerCluster, name: &str, at: &str, open: bool) {
    let until = if open { "until" } else { "while" };
    let text = format!("{until} timeout 1 wget -qO- http://{at}/ > /tmp/x 2>&1; do :; done; echo it is so");
    cluster.create(script(name, &text, json!({}), json!({}))).await;
    cluster.writes(name, "it is so").await;
    cluster.delete(name, 0).await;
}

async fn policies_close_both(cluster: &DockerCluster, pod: Ipv6Addr) {
    let direct = format!("[{pod}]:8080");
    let policy = |spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"}, "spec": spec});
    let web = json!({"matchLabels": {"app": "web"}});
    let good = json!({"from": [{"podSelector": {"matchLabels": {"app": "good"}}}]});
    cluster.create(policy(json!({"podSelector": web, "ingress": [good]}))).await;
    comes_to(cluster, "bad", &direct, false).await;
    comes_to(cluster, "good", &direct, true).await;
    comes_to(cluster, "good", "v6", true).await;
    comes_to(cluster, "bad", "v6", false).await;
    let policies: Api<NetworkPolicy> = Api::default_namespaced(cluster.client());
    policies.delete("web", &Default::default()).await.expect("deleted");
    comes_to(cluster, "bad", &direct, true).await;
    let block = json!({"from": [{"ipBlock": {"cidr": "::/0", "except": ["fd00::/16"]}}]});
    cluster.create(policy(json!({"podSelector": web, "ingress": [block]}))).await;
    comes_to(cluster, "bad", &direct, false).await;
}
