//! Rule sets and the changes between them, as nftables is given them.

use super::*;
use crate::services::Protocol;

fn endpoints(numbers: &[u8]) -> Vec<SocketAddrV4> {
    numbers.iter().map(|number| SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, *number), 8080)).collect()
}

fn port(inside: &[u8]) -> ServicePort {
    ServicePort {
        name: "shop/web:http".to_owned(),
        protocol: Protocol::Tcp,
        cluster_ip: Ipv4Addr::new(10, 96, 0, 9),
        port: 80,
        node_port: None,
        external_ips: Vec::new(),
        balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        affinity: None,
        inside: endpoints(inside),
        by_node: BTreeMap::new(),
        outside: endpoints(inside),
        elsewhere: !inside.is_empty(),
    }
}

fn made(port: &ServicePort) -> Objects {
    objects(std::slice::from_ref(port))
}

fn from_nothing(port: &ServicePort) -> String {
    transition("t", &Objects::default(), &made(port))
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
        external_ips: vec![Ipv4Addr::new(192, 0, 2, 7)],
        balancer_ips: vec![Ipv4Addr::new(192, 0, 2, 8)],
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
    insta::assert_snapshot!(transition("t", &before, &after), @r"
    delete element ip t endpoints { 10.96.0.9 . tcp . 80 . 0, 10.96.0.9 . tcp . 80 . 1 }
    delete element ip t hairpins { 10.1.0.1 . 10.1.0.1 }
    add element ip t endpoints { 10.96.0.9 . tcp . 80 . 0 : 10.1.0.2 . 8080, 10.96.0.9 . tcp . 80 . 1 : 10.1.0.3 . 8080 }
    add element ip t hairpins { 10.1.0.3 . 10.1.0.3 }
    ");
    assert_eq!(transition("t", &after, &after), "");
    insta::assert_snapshot!(transition("t", &after, &Objects::default()), @r"
    delete element ip t cluster-ips { 10.96.0.9 }
    delete element ip t endpoints { 10.96.0.9 . tcp . 80 . 0, 10.96.0.9 . tcp . 80 . 1 }
    delete element ip t hairpins { 10.1.0.2 . 10.1.0.2, 10.1.0.3 . 10.1.0.3 }
    delete element ip t service-ips { 10.96.0.9 . tcp . 80 }
    ");
    let sticky = |seconds| made(&ServicePort { affinity: Some(seconds), ..port(&[1]) });
    insta::assert_snapshot!(transition("t", &sticky(60), &sticky(90)), @r"
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
