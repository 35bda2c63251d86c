//! Rule sets and the changes between them, as nftables is given them.

use super::*;
use crate::services::Protocol;

fn endpoints(numbers: &[u8]) -> Vec<SocketAddr> {
    numbers.iter().map(|number| SocketAddr::from(([10, 1, 0, *number], 8080))).collect()
}

fn port(inside: &[u8]) -> ServicePort {
    ServicePort {
        name: "shop/web:http".to_owned(),
        protocol: Protocol::Tcp,
        cluster_ip: [10, 96, 0, 9].into(),
        port: 80,
        node_port: None,
        external_ips: Vec::new(),
        balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        affinity: None,
        inside: endpoints(inside),
        by_node: BTreeMap::new(),
        outside: endpoints(inside),
        here: endpoints(inside).iter().map(SocketAddr::ip).collect(),
        elsewhere: !inside.is_empty(),
    }
}

fn made(port: &ServicePort) -> Objects {
    objects(std::slice::from_ref(port))
}

fn from_nothing(port: &ServicePort) -> String {
    transition(Family::V4, "t", &Objects::default(), &made(port))
}

#[test]
fn a_service_with_endpoints_is_elements_and_nothing_else() {
    insta::assert_snapshot!(from_nothing(&port(&[1, 2])), @r"
    add element ip t cluster-ips { 10.96.0.9 }
    add element ip t endpoints { 10.96.0.9 . tcp . 80 . 0 : 10.1.0.1 . 8080, 10.96.0.9 . tcp . 80 . 1 : 10.1.0.2 . 8080 }
    add element ip t hairpins { 10.1.0.1 . 10.1.0.1, 10.1.0.2 . 10.1.0.2 }
    add element ip t service-ips { 10.96.0.9 . tcp . 80 : goto spread-2 }
    ");
}

#[test]
fn connections_to_nothing_are_refused_and_to_elsewhere_dropped() {
    insta::assert_snapshot!(from_nothing(&ServicePort { node_port: Some(30080), ..port(&[]) }), @r"
    add element ip t cluster-ips { 10.96.0.9 }
    add element ip t no-endpoint-node-ports { tcp . 30080 : goto refused }
    add element ip t no-endpoint-services { 10.96.0.9 . tcp . 80 : goto refused }
    ");
    insta::assert_snapshot!(from_nothing(&ServicePort { elsewhere: true, ..port(&[]) }), @r"
    add element ip t cluster-ips { 10.96.0.9 }
    add element ip t no-endpoint-services { 10.96.0.9 . tcp . 80 : drop }
    ");
}

#[test]
fn other_addresses_lead_to_the_endpoints_for_outside() {
    let balancer = ServicePort {
        node_port: Some(30080),
        external_ips: vec![[192, 0, 2, 7].into()],
        balancer_ips: vec![[192, 0, 2, 8].into()],
        source_ranges: vec!["198.51.100.0/24".to_owned()],
        outside: endpoints(&[1]),
        ..port(&[1, 2])
    };
    insta::assert_snapshot!(from_nothing(&balancer), @r"
    add chain ip t firewall-8d8253c0-shop/web/http/tcp
    add rule ip t firewall-8d8253c0-shop/web/http/tcp ip saddr { 198.51.100.0/24 } goto spread-1
    add rule ip t firewall-8d8253c0-shop/web/http/tcp drop
    add element ip t cluster-ips { 10.96.0.9 }
    add element ip t endpoints { 10.96.0.9 . tcp . 80 . 0 : 10.1.0.1 . 8080, 10.96.0.9 . tcp . 80 . 1 : 10.1.0.2 . 8080, 192.0.2.7 . tcp . 80 . 0 : 10.1.0.1 . 8080, 192.0.2.8 . tcp . 80 . 0 : 10.1.0.1 . 8080 }
    add element ip t hairpins { 10.1.0.1 . 10.1.0.1, 10.1.0.2 . 10.1.0.2 }
    add element ip t node-endpoints { tcp . 30080 . 0 : 10.1.0.1 . 8080 }
    add element ip t node-ports { tcp . 30080 : goto node-spread-1 }
    add element ip t service-ips { 10.96.0.9 . tcp . 80 : goto spread-2, 192.0.2.7 . tcp . 80 : goto spread-1, 192.0.2.8 . tcp . 80 : goto firewall-8d8253c0-shop/web/http/tcp }
    ");
}

#[test]
fn pods_of_some_nodes_are_led_elsewhere() {
    let by_node = [("m02".to_owned(), endpoints(&[2])), ("m03".to_owned(), Vec::new())].into();
    insta::assert_snapshot!(from_nothing(&ServicePort { by_node, ..port(&[1, 2]) }), @r"
    add chain ip t places-8d8253c0-shop/web/http/tcp
    add chain ip t service-4af8fb16-shop/web/http/tcp/m02
    add rule ip t places-8d8253c0-shop/web/http/tcp ip saddr @pods-207d517b-m02 goto service-4af8fb16-shop/web/http/tcp/m02
    add rule ip t places-8d8253c0-shop/web/http/tcp ip saddr @pods-8d2b302a-m03 drop
    add rule ip t places-8d8253c0-shop/web/http/tcp goto spread-2
    add rule ip t service-4af8fb16-shop/web/http/tcp/m02 meta l4proto tcp dnat ip to numgen random mod 1 map { 0 : 10.1.0.2 . 8080 }
    add element ip t cluster-ips { 10.96.0.9 }
    add element ip t endpoints { 10.96.0.9 . tcp . 80 . 0 : 10.1.0.1 . 8080, 10.96.0.9 . tcp . 80 . 1 : 10.1.0.2 . 8080 }
    add element ip t hairpins { 10.1.0.1 . 10.1.0.1, 10.1.0.2 . 10.1.0.2 }
    add element ip t service-ips { 10.96.0.9 . tcp . 80 : goto places-8d8253c0-shop/web/http/tcp }
    ");
}

#[test]
fn clients_stay_with_their_endpoint() {
    insta::assert_snapshot!(from_nothing(&ServicePort { affinity: Some(60), ..port(&[1]) }), @r"
    add set ip t clients-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 { type ipv4_addr; flags dynamic,timeout; timeout 60s; }
    add chain ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080
    add chain ip t service-8d8253c0-shop/web/http/tcp
    add rule ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 update @clients-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 { ip saddr }
    add rule ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 meta l4proto tcp dnat to 10.1.0.1:8080
    add rule ip t service-8d8253c0-shop/web/http/tcp ip saddr @clients-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 goto endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080
    add rule ip t service-8d8253c0-shop/web/http/tcp numgen random mod 1 vmap { 0 : goto endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 }
    add element ip t cluster-ips { 10.96.0.9 }
    add element ip t hairpins { 10.1.0.1 . 10.1.0.1 }
    add element ip t service-ips { 10.96.0.9 . tcp . 80 : goto service-8d8253c0-shop/web/http/tcp }
    ");
}

#[test]
fn a_change_costs_what_changed() {
    let (before, after) = (made(&port(&[1, 2])), made(&port(&[2, 3])));
    insta::assert_snapshot!(transition(Family::V4, "t", &before, &after), @r"
    delete element ip t endpoints { 10.96.0.9 . tcp . 80 . 0, 10.96.0.9 . tcp . 80 . 1 }
    delete element ip t hairpins { 10.1.0.1 . 10.1.0.1 }
    add element ip t endpoints { 10.96.0.9 . tcp . 80 . 0 : 10.1.0.2 . 8080, 10.96.0.9 . tcp . 80 . 1 : 10.1.0.3 . 8080 }
    add element ip t hairpins { 10.1.0.3 . 10.1.0.3 }
    ");
    assert_eq!(transition(Family::V4, "t", &after, &after), "");
    insta::assert_snapshot!(transition(Family::V4, "t", &after, &Objects::default()), @r"
    delete element ip t cluster-ips { 10.96.0.9 }
    delete element ip t endpoints { 10.96.0.9 . tcp . 80 . 0, 10.96.0.9 . tcp . 80 . 1 }
    delete element ip t hairpins { 10.1.0.2 . 10.1.0.2, 10.1.0.3 . 10.1.0.3 }
    delete element ip t service-ips { 10.96.0.9 . tcp . 80 }
    ");
    let sticky = |seconds| made(&ServicePort { affinity: Some(seconds), ..port(&[1]) });
    insta::assert_snapshot!(transition(Family::V4, "t", &sticky(60), &sticky(90)), @r"
    flush chain ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080
    flush chain ip t service-8d8253c0-shop/web/http/tcp
    delete set ip t clients-601eb2ea-shop/web/http/tcp/10.1.0.1/8080
    add set ip t clients-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 { type ipv4_addr; flags dynamic,timeout; timeout 90s; }
    add chain ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080
    flush chain ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080
    add chain ip t service-8d8253c0-shop/web/http/tcp
    flush chain ip t service-8d8253c0-shop/web/http/tcp
    add rule ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 update @clients-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 { ip saddr }
    add rule ip t endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 meta l4proto tcp dnat to 10.1.0.1:8080
    add rule ip t service-8d8253c0-shop/web/http/tcp ip saddr @clients-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 goto endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080
    add rule ip t service-8d8253c0-shop/web/http/tcp numgen random mod 1 vmap { 0 : goto endpoint-601eb2ea-shop/web/http/tcp/10.1.0.1/8080 }
    ");
}

#[test]
fn names_are_short_and_unlike_each_other() {
    let of = |text: &str| name("service", &ServicePort { name: text.to_owned(), ..port(&[]) }, None);
    let long = "n".repeat(63);
    let first = of(&format!("{long}/{long}:a"));
    assert!(first.len() <= NAME_LENGTH && first != of(&format!("{long}/{long}:b")), "{first}");
    assert_eq!(of("a/b:c_d"), of("a/b:c_d"));
}

/// The same service with addresses of IPv6.
fn six(port: ServicePort) -> ServicePort {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            IpAddr::from(format!("fd00::{}", address.octets()[3]).parse::<std::net::Ipv6Addr>().unwrap())
        }
        other => other,
    };
    let endpoints = |all: Vec<SocketAddr>| {
        all.into_iter().map(|at| SocketAddr::new(address(at.ip()), at.port())).collect()
    };
    ServicePort {
        cluster_ip: "fd00:10:96::9".parse().unwrap(),
        external_ips: port.external_ips.into_iter().map(address).collect(),
        inside: endpoints(port.inside),
        outside: endpoints(port.outside),
        here: port.here.into_iter().map(address).collect(),
        ..port
    }
}

#[test]
fn a_family_has_a_table_of_its_own() {
    let made = Base {
        family: Family::V6,
        services: "fd00:10:96::/112",
        pods: &["pods-m02".to_owned()],
        masqueraded: Some("fd00:10:244::/64"),
        masquerade_all: true,
    };
    let text = base("t", &made);
    let spread: Vec<&str> = text.lines().filter(|line| line.contains("spread-1 ")).collect();
    let other: Vec<&str> = text.lines().filter(|line| !line.contains("spread-")).collect();
    insta::assert_snapshot!(other.join("\n"), @r"
    add table ip6 t
    delete table ip6 t
    table ip6 t {
      map service-ips { type ipv6_addr . inet_proto . inet_service : verdict; }
      map node-ports { type inet_proto . inet_service : verdict; }
      map no-endpoint-services { type ipv6_addr . inet_proto . inet_service : verdict; }
      map no-endpoint-node-ports { type inet_proto . inet_service : verdict; }
      map endpoints { typeof ip6 daddr . meta l4proto . th dport . numgen random mod 1 : ip6 daddr . th dport; }
      map node-endpoints { typeof meta l4proto . th dport . numgen random mod 1 : ip6 daddr . th dport; }
      set cluster-ips { type ipv6_addr; }
      set hairpins { type ipv6_addr . ipv6_addr; }
      set pods-m02 { type ipv6_addr; }
      chain refused { reject; }
      chain services {
        ip6 daddr . meta l4proto . th dport vmap @service-ips
        fib daddr type local ip6 daddr != { ::1, fe80::/10 } meta l4proto . th dport vmap @node-ports
      }
      chain no-endpoints {
        ip6 daddr . meta l4proto . th dport vmap @no-endpoint-services
        fib daddr type local ip6 daddr != { ::1, fe80::/10 } meta l4proto . th dport vmap @no-endpoint-node-ports
        ip6 daddr @cluster-ips goto refused
        ip6 daddr fd00:10:96::/112 drop
      }
      chain prerouting { type nat hook prerouting priority -110; jump services; }
      chain prerouting-again { type nat hook prerouting priority -109; jump services; }
      chain output { type nat hook output priority -110; jump services; }
      chain output-again { type nat hook output priority -109; jump services; }
      chain postrouting {
        type nat hook postrouting priority 90
        ip6 saddr . ip6 daddr @hairpins masquerade
        ip6 saddr fd00:10:244::/64 ip6 daddr != fd00:10:244::/64 masquerade
        ct status dnat masquerade
      }
      chain filter-input { type filter hook input priority -10; ct state new jump no-endpoints; }
      chain filter-forward { type filter hook forward priority -10; ct state new jump no-endpoints; }
      chain filter-output { type filter hook output priority -10; ct state new jump no-endpoints; }
    }
    ");
    insta::assert_snapshot!(spread.join("\n"), @r"
    chain spread-1 { dnat ip6 to ip6 daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints; }
    chain node-spread-1 { dnat ip6 to meta l4proto . th dport . numgen random mod 1 map @node-endpoints; }
    ");
}

#[test]
fn a_service_of_the_other_family_has_the_same_rules() {
    let port =
        ServicePort { node_port: Some(30080), external_ips: vec![[192, 0, 2, 7].into()], ..port(&[1, 2]) };
    let of = |port: &ServicePort| transition(Family::V6, "t", &Objects::default(), &made(port));
    insta::assert_snapshot!(of(&six(port.clone())), @r"
    add element ip6 t cluster-ips { fd00:10:96::9 }
    add element ip6 t endpoints { fd00:10:96::9 . tcp . 80 . 0 : fd00::1 . 8080, fd00:10:96::9 . tcp . 80 . 1 : fd00::2 . 8080, fd00::7 . tcp . 80 . 0 : fd00::1 . 8080, fd00::7 . tcp . 80 . 1 : fd00::2 . 8080 }
    add element ip6 t hairpins { fd00::1 . fd00::1, fd00::2 . fd00::2 }
    add element ip6 t node-endpoints { tcp . 30080 . 0 : fd00::1 . 8080, tcp . 30080 . 1 : fd00::2 . 8080 }
    add element ip6 t node-ports { tcp . 30080 : goto node-spread-2 }
    add element ip6 t service-ips { fd00:10:96::9 . tcp . 80 : goto spread-2, fd00::7 . tcp . 80 : goto spread-2 }
    ");
    insta::assert_snapshot!(of(&ServicePort { affinity: Some(60), node_port: None, external_ips: Vec::new(), ..six(port) }), @r"
    add set ip6 t clients-762c8d07-shop/web/http/tcp//fd00//2//8080 { type ipv6_addr; flags dynamic,timeout; timeout 60s; }
    add set ip6 t clients-956ccf12-shop/web/http/tcp//fd00//1//8080 { type ipv6_addr; flags dynamic,timeout; timeout 60s; }
    add chain ip6 t endpoint-762c8d07-shop/web/http/tcp//fd00//2//8080
    add chain ip6 t endpoint-956ccf12-shop/web/http/tcp//fd00//1//8080
    add chain ip6 t service-8d8253c0-shop/web/http/tcp
    add rule ip6 t endpoint-762c8d07-shop/web/http/tcp//fd00//2//8080 update @clients-762c8d07-shop/web/http/tcp//fd00//2//8080 { ip6 saddr }
    add rule ip6 t endpoint-762c8d07-shop/web/http/tcp//fd00//2//8080 meta l4proto tcp dnat to [fd00::2]:8080
    add rule ip6 t endpoint-956ccf12-shop/web/http/tcp//fd00//1//8080 update @clients-956ccf12-shop/web/http/tcp//fd00//1//8080 { ip6 saddr }
    add rule ip6 t endpoint-956ccf12-shop/web/http/tcp//fd00//1//8080 meta l4proto tcp dnat to [fd00::1]:8080
    add rule ip6 t service-8d8253c0-shop/web/http/tcp ip6 saddr @clients-956ccf12-shop/web/http/tcp//fd00//1//8080 goto endpoint-956ccf12-shop/web/http/tcp//fd00//1//8080
    add rule ip6 t service-8d8253c0-shop/web/http/tcp ip6 saddr @clients-762c8d07-shop/web/http/tcp//fd00//2//8080 goto endpoint-762c8d07-shop/web/http/tcp//fd00//2//8080
    add rule ip6 t service-8d8253c0-shop/web/http/tcp numgen random mod 2 vmap { 0 : goto endpoint-956ccf12-shop/web/http/tcp//fd00//1//8080, 1 : goto endpoint-762c8d07-shop/web/http/tcp//fd00//2//8080 }
    add element ip6 t cluster-ips { fd00:10:96::9 }
    add element ip6 t hairpins { fd00::1 . fd00::1, fd00::2 . fd00::2 }
    add element ip6 t service-ips { fd00:10:96::9 . tcp . 80 : goto service-8d8253c0-shop/web/http/tcp }
    ");
}

#[test]
fn what_pods_have_of_ipv4_is_closed_where_the_cluster_has_none() {
    let closed = |bridged| closed("t", &Closed { pods: "172.18.0.0/16".to_owned(), bridged });
    insta::assert_snapshot!(closed(true), @r"
    add table ip t
    delete table ip t
    table ip t {
      chain closed {
        type filter hook forward priority -200
        meta l4proto { tcp, udp } th dport 53 accept
        ip saddr 172.18.0.0/16 ct state new reject with icmp type net-unreachable
      }
    }
    add table bridge t
    delete table bridge t
    table bridge t {
      chain closed { type filter hook forward priority -200; ip saddr 172.18.0.0/16 ip daddr 172.18.0.0/16 drop; }
    }
    ");
    assert!(closed(true).starts_with(&closed(false)) && !closed(false).contains("bridge"));
}
