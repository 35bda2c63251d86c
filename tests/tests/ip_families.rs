//! Clusters with both families of addresses, and with IPv6 alone, with real packets: behaviours of the official suite's
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
use kube::api::{ListParams, PostParams};
use minik::IpFamily;
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::docker::{DockerCluster, docker, script};
use tests::profile::{Profile, free_port};
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

/// Whether a start with this flag is refused, as it must be on a machine without IPv6.
fn is_refused(family: &str) -> bool {
    if has_ipv6() {
        return false;
    }
    let said = Profile::new("no-ipv6").start(&["--ip-family", family]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("error: this machine has no IPv6: "), "{said:?}");
    true
}

/// No rules have a name with this part.
fn no_rules(of: &str) {
    let tables = Command::new("nft").args(["list", "tables"]).env("PATH", "/usr/sbin:/sbin").output();
    let tables = String::from_utf8(tables.expect("nft runs").stdout).expect("text");
    assert!(!tables.contains(of), "{tables}");
}

/// A cluster, and its families in their order.
struct Stack {
    cluster: DockerCluster,
    families: &'static [&'static str],
}

impl std::ops::Deref for Stack {
    type Target = DockerCluster;

    fn deref(&self) -> &DockerCluster {
        &self.cluster
    }
}

impl Stack {
    fn has(&self, family: &str) -> bool {
        self.families.contains(&family)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_both_families() {
    if !is_refused("dual") {
        behaves("dual", IpFamily::Dual, &["IPv4", "IPv6"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_ipv6_alone() {
    if !is_refused("ipv6") {
        behaves("only-v6", IpFamily::Ipv6, &["IPv6"]).await;
    }
}

async fn behaves(test: &str, family: IpFamily, families: &'static [&'static str]) {
    let mut stack = Stack { cluster: DockerCluster::start_in(test, family).await, families };
    should_have_internal_node_ips_and_pod_cidrs(&stack).await;
    let pod = should_create_pod_and_add_its_ips_to_pod_ips(&stack).await;
    should_create_services_of_every_kind(&stack).await;
    ranges_and_addresses_are_objects(&stack).await;
    services_are_reached_from_pods_and_from_the_host(&stack, pod).await;
    names_have_addresses_of_all(&stack).await;
    policies_close_all(&stack, pod).await;
    what_an_engine_gives_besides_leads_nowhere(&stack).await;
    stack.cluster.stop().await;
    no_rules(&format!("-{test}-{}", std::process::id()));
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

async fn should_have_internal_node_ips_and_pod_cidrs(stack: &Stack) {
    let (node, internal) = node(stack).await;
    assert_eq!(families(internal.iter().map(String::as_str)), stack.families);
    let cidrs = node.spec.and_then(|spec| spec.pod_cidrs).expect("blocks");
    assert_eq!(families(cidrs.iter().map(String::as_str)), stack.families);
}

/// A pod that answers over HTTP; its address of IPv6.
async fn should_create_pod_and_add_its_ips_to_pod_ips(cluster: &Stack) -> Ipv6Addr {
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
        assert_eq!(families(ips.iter().map(String::as_str)), cluster.families);
    }
    assert_eq!(pod["status"]["podIP"], pod_ips[0].as_str());
    let log = cluster.log("web").await;
    let hosts: String = pod_ips.iter().map(|ip| format!("{ip}\tweb\n")).collect();
    for line in [format!("{} {}\n", pod_ips.join(","), host_ips.join(",")), hosts] {
        assert!(log.contains(&line), "{line}: {log}");
    }
    assert_eq!(log.matches("\tweb\n").count(), pod_ips.len(), "{log}");
    pod_ips.last().and_then(|ip| ip.parse().ok()).expect("an address")
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

async fn should_create_services_of_every_kind(cluster: &Stack) {
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    for (name, spec, wanted) in [
        ("v4", json!({"ipFamilies": ["IPv4"]}), &["IPv4"][..]),
        ("v6", json!({"ipFamilies": ["IPv6"]}), &["IPv6"]),
        ("balanced", json!({"ipFamilyPolicy": "PreferDualStack", "type": "LoadBalancer"}), &["IPv4", "IPv6"]),
        (
            "v6-v4",
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"], "type": "NodePort"}),
            &["IPv6", "IPv4"],
        ),
        (
            "required",
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}),
            &["IPv6", "IPv4"],
        ),
        ("members", json!({"ipFamilyPolicy": "PreferDualStack", "clusterIP": "None"}), &["none"]),
        ("nobody", json!({"ipFamilies": ["IPv6"], "selector": {"app": "nobody"}}), &["IPv6"]),
    ] {
        // Balanced ports are everybody's.
        let port = if name == "balanced" { free_port() } else { 80 };
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": port, "targetPort": 8080}]},
        });
        spec.as_object().into_iter().flatten().for_each(|(key, value)| service["spec"][key] = value.clone());
        let made = serde_json::from_value(service).expect("a service");
        let made = services.create(&PostParams::default(), &made).await;
        let asked = spec["ipFamilies"].as_array().into_iter().flatten();
        let absent = asked.filter_map(Value::as_str).any(|family| !cluster.has(family));
        if absent || (spec["ipFamilyPolicy"] == "RequireDualStack" && cluster.families.len() < 2) {
            let why = made.expect_err("it is refused").to_string();
            let unknown = why.contains("Invalid value: \"IPv4\": not configured on this cluster");
            let single = why.contains("this cluster is not configured for dual-stack services");
            assert!(unknown || single, "{name}: {why}");
            continue;
        }
        made.expect("the API takes it");
        let addresses = addresses(cluster, name).await;
        let wanted: Vec<_> =
            wanted.iter().copied().filter(|family| *family == "none" || cluster.has(family)).collect();
        assert_eq!(families(addresses.iter().map(String::as_str)), wanted, "{name}");
        let slices: Api<EndpointSlice> = Api::default_namespaced(cluster.client());
        let of = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let mut wanted = if wanted == ["none"] { cluster.families.to_vec() } else { wanted };
        wanted.sort_unstable();
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
async fn ranges_and_addresses_are_objects(cluster: &Stack) {
    let ranges: Api<ServiceCIDR> = Api::all(cluster.client());
    let spec = ranges.get("kubernetes").await.expect("the range").spec.expect("a spec");
    assert_eq!(families(spec.cidrs.iter().flatten().map(String::as_str)), cluster.families);
    let known: Api<IPAddress> = Api::all(cluster.client());
    for address in addresses(cluster, "balanced").await {
        let object = known.get(&address).await.expect("an object");
        let parent = object.spec.parent_ref;
        assert_eq!(parent.name, "balanced");
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

/// A field of a service's first port.
async fn port(cluster: &DockerCluster, name: &str, field: &str) -> u16 {
    let service = read(cluster, name).await;
    let port = service["spec"]["ports"][0][field].as_u64();
    port.and_then(|port| u16::try_from(port).ok()).expect("a port")
}

async fn services_are_reached_from_pods_and_from_the_host(cluster: &Stack, pod: Ipv6Addr) {
    // From a pod: another pod, services by their addresses, and by names, of which some have no others.
    let (only, all) = (six(cluster, "v6").await, six(cluster, "balanced").await);
    let balanced = port(cluster, "balanced", "port").await;
    let mut places = vec![format!("[{pod}]:8080"), format!("[{only}]"), format!("[{all}]:{balanced}")];
    places.push("v6".to_owned());
    places.extend(cluster.has("IPv4").then(|| "v4".to_owned()));
    let text = format!(
        "for at in {}; do
          until timeout 5 wget -qO- http://$at/ 2>/dev/null | grep -q web; do :; done
          echo $at answered
        done
        cat /etc/resolv.conf; nslookup {only}",
        places.join(" ")
    );
    cluster.create(script("ask", &text, json!({}), json!({}))).await;
    let output = cluster.output("ask").await;
    assert_eq!(output.matches("answered").count(), places.len(), "{output}");
    let server = format!("nameserver {}\n", name_server(cluster).await);
    for part in [&server, "name = v6.default.svc.cluster.local"] {
        assert!(output.contains(part), "{part}: {output}");
    }

    // From the host: at the cluster's address, at the node's, and at the loopback.
    comes_to_answer(pod, 8080).await;
    comes_to_answer(only, 80).await;
    let balancers = eventually_some(DEADLINE, async || {
        let status = &read(cluster, "balanced").await["status"]["loadBalancer"]["ingress"];
        let ips = status.as_array().into_iter().flatten().filter_map(|ingress| ingress["ip"].as_str());
        let ips: Vec<String> = ips.map(str::to_owned).collect();
        (families(ips.iter().map(String::as_str)) == cluster.families).then_some(ips)
    })
    .await;
    let node_port = port(cluster, "v6-v4", "nodePort").await;
    for (addresses, port) in [(node(cluster).await.1, node_port), (balancers, balanced)] {
        let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().expect("an address"));
        let localhost = [IpAddr::from(Ipv6Addr::LOCALHOST), Ipv4Addr::LOCALHOST.into()];
        for address in addresses.chain(localhost) {
            comes_to_answer(address, port).await;
        }
    }

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

/// The cluster's name server.
async fn name_server(cluster: &DockerCluster) -> IpAddr {
    let services: Api<Service> = Api::namespaced(cluster.client(), "kube-system");
    let dns = services.get("kube-dns").await.expect("the service").spec.and_then(|spec| spec.cluster_ip);
    dns.and_then(|ip| ip.parse().ok()).expect("an address")
}

async fn names_have_addresses_of_all(cluster: &Stack) {
    let resolver = resolver(name_server(cluster).await);
    let all = addresses(cluster, "balanced").await;
    let of = |family: &str| all.iter().find(|address| families([address.as_str()]) == [family]).cloned();
    let six = of("IPv6").expect("an address");
    let reverse =
        hickory_resolver::proto::rr::Name::from(six.parse::<IpAddr>().expect("an address")).to_string();
    for (name, kind, expected) in [
        ("balanced.default.svc.cluster.local.", RecordType::A, of("IPv4")),
        ("balanced.default.svc.cluster.local.", RecordType::AAAA, Some(six)),
        ("v6.default.svc.cluster.local.", RecordType::A, None),
        (reverse.as_str(), RecordType::PTR, Some("balanced.default.svc.cluster.local.".to_owned())),
    ] {
        eventually(DEADLINE, async || {
            let found = resolver.lookup(name, kind).await;
            // What exists without such a record is not what does not exist.
            let exists = found.as_ref().err().is_none_or(|error| !error.is_nx_domain());
            let found =
                found.iter().flat_map(|found| found.answers().iter().map(|record| record.data.to_string()));
            exists && found.collect::<Vec<_>>() == expected.iter().cloned().collect::<Vec<_>>()
        })
        .await;
    }
    for (kind, family) in [(RecordType::A, "IPv4"), (RecordType::AAAA, "IPv6")] {
        eventually(DEADLINE, async || {
            let found = resolver.lookup("members.default.svc.cluster.local.", kind).await;
            found.map_or(0, |found| found.answers().len()) == usize::from(cluster.has(family))
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

async fn policies_close_all(cluster: &DockerCluster, pod: Ipv6Addr) {
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

/// Old engines give pods addresses of IPv4 in any case: no pod reaches another by them.
async fn what_an_engine_gives_besides_leads_nowhere(cluster: &Stack) {
    let sandboxes = cluster.running().into_iter().filter(|name| name.starts_with("k8s_POD_web_"));
    let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = sandboxes.map(|name| docker(&["inspect", "--format", template, &name])).next();
    let Some(address) = address.map(|address| address.trim().to_owned()).filter(|one| !one.is_empty()) else {
        return;
    };
    let policies: Api<NetworkPolicy> = Api::default_namespaced(cluster.client());
    policies.delete("web", &Default::default()).await.expect("deleted");
    comes_to(cluster, "beside", &format!("{address}:8080"), cluster.has("IPv4")).await;
}

/// What the API server says to a pod, and a pod to the host, by the real program.
#[test]
fn a_profile_has_ipv6_alone() {
    if is_refused("ipv6") {
        return;
    }
    let profile = Profile::new("only-v6-profile");
    let (mapped, host_port, node_port) = (free_port(), free_port(), 32_000 + free_port() % 700);
    profile.start(&["--ip-family", "ipv6", "--ports", &format!("{mapped}:{node_port}")]).ok();
    // Its clients are this machine's.
    let host = json!({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]});
    let fields = json!({
        "ports": [{"containerPort": 8080, "hostPort": host_port}],
        "volumeMounts": [{"name": "host", "mountPath": "/host", "readOnly": true}],
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
    });
    let text = "mkdir /tmp/w; hostname > /tmp/w/index.html; echo it serves; exec httpd -f -p 8080 -h /tmp/w";
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": node_port}]},
    });
    let path = profile.home().join("web.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [tests::docker::service("web", text, host, fields), service]});
    std::fs::write(&path, list.to_string()).expect("written");
    profile.kctl(&["apply", "-f", path.to_str().expect("letters")]).ok();
    profile.kctl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]).ok();
    assert_eq!(profile.kctl(&["logs", "web"]).ok(), "it serves\n");
    let ask = format!(
        "chroot /host curl -gsS --cacert {} https://[$KUBERNETES_SERVICE_HOST]:443/version",
        profile.dir().join("pki/ca.crt").display()
    );
    let said = profile.kctl(&["exec", "web", "--", "sh", "-c", &ask]).ok();
    assert!(said.contains("gitVersion"), "{said}");

    let node: Ipv6Addr = profile.minik(&["ip"]).ok().trim().parse().expect("an address");
    let url = profile.minik(&["service", "web", "--url"]).ok();
    assert_eq!(url.trim(), format!("http://[{node}]:{node_port}"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        comes_to_answer(node, node_port).await;
        comes_to_answer(Ipv6Addr::LOCALHOST, host_port).await;
        comes_to_answer(Ipv4Addr::LOCALHOST, mapped).await;
    });

    // The family is kept, and what is on the bridge now is not in the way of the next start.
    profile.minik(&["stop"]).ok();
    let other = profile.start(&["--ip-family", "ipv4"]);
    assert!(other.stderr.contains("have addresses of IPv6"), "{other:?}");
    profile.start(&[]).ok();
    profile.kctl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]).ok();
    runtime.block_on(comes_to_answer(node, node_port));
    profile.minik(&["delete"]).ok();
    no_rules(&profile.name);
    let label = format!("label=minik.profile={}", profile.name);
    assert_eq!(docker(&["network", "ls", "--quiet", "--filter", &label]), "");
}
