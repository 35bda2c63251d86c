//! Policies and the packets that they let pass; and, as text, the rules of a few.

use super::super::Place;
use super::super::state::{base, transition};
use super::*;
use serde_json::{Value, json};
use std::fmt::Write as _;

fn pod(family: Family, namespace: &str, name: &str, last: u8) -> PodFacts {
    let pod = json!({
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8000 + u16::from(last)}]}]},
        "status": {
            "podIP": format!("10.1.0.{last}"), "phase": "Running",
            "podIPs": [{"ip": format!("10.1.0.{last}")}, {"ip": format!("fd00:1::{last}")}],
        },
    });
    PodFacts::of(family, &serde_json::from_value(pod).unwrap()).expect("an address")
}

fn place(family: Family) -> Place {
    Place { family, kind: family.nft(), name: "t".to_owned(), bridge: Some("br-pods".to_owned()) }
}

/// `web` and `db` in `shop`, `web` in `other`.
fn cluster(family: Family) -> Cluster {
    let labels = |name: &str| (name.to_owned(), [("name".to_owned(), name.to_owned())].into());
    Cluster {
        pods: vec![
            pod(family, "shop", "web", 1),
            pod(family, "shop", "db", 2),
            pod(family, "other", "web", 3),
        ],
        namespaces: [labels("shop"), labels("other")].into(),
    }
}

fn policy(name: &str, spec: Value) -> Arc<NetworkPolicy> {
    let policy = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    Arc::new(serde_json::from_value(policy).unwrap())
}

fn rules(family: Family, specs: &[Value]) -> State {
    let policies: Vec<_> =
        specs.iter().enumerate().map(|(number, spec)| policy(&format!("p{number}"), spec.clone())).collect();
    state(family, &policies, &cluster(family))
}

/// What happens to a new connection, by the text of the rules: a reader of what is written above, and of no more.
struct Reader<'a>(&'a State);

impl Reader<'_> {
    fn passes(&self, from: &str, to: &str, port: u16) -> bool {
        let open = |map, address: &str| match self.0.elements.get(&(map, address.to_owned())) {
            Some(verdict) => {
                self.chain(verdict.strip_prefix("goto ").unwrap(), from, to, port).unwrap_or(true)
            }
            None => true,
        };
        from == to || (open(EGRESS, from) && open(INGRESS, to))
    }

    fn chain(&self, name: &str, from: &str, to: &str, port: u16) -> Option<bool> {
        self.0.chains[name].iter().find_map(|rule| self.rule(rule, from, to, port))
    }

    fn rule(&self, rule: &str, from: &str, to: &str, port: u16) -> Option<bool> {
        let words: Vec<&str> = rule.split(' ').collect();
        let mut rest = words.as_slice();
        let has =
            |set: &str, element: &str| self.0.sets[set.strip_prefix('@').unwrap()].elements.contains(element);
        loop {
            rest = match rest {
                ["drop"] => return Some(false),
                ["accept"] => return Some(true),
                ["jump", chain] => return self.chain(chain, from, to, port),
                ["ip" | "ip6", "daddr", ".", "meta", "l4proto", ".", "th", "dport", set, rest @ ..] => {
                    if !has(set, &format!("{to} . tcp . {port}")) {
                        return None;
                    }
                    rest
                }
                ["ip" | "ip6", _, "!=", "{", rest @ ..] => {
                    let end = rest.iter().position(|word| *word == "}").unwrap();
                    let address = if words.contains(&"saddr") { from } else { to };
                    if rest[..end].iter().any(|block| within(address, block.trim_end_matches(','))) {
                        return None;
                    }
                    &rest[end + 1..]
                }
                ["ip" | "ip6", end, what, rest @ ..] => {
                    let address = if *end == "saddr" { from } else { to };
                    let matches =
                        if what.starts_with('@') { has(what, address) } else { within(address, what) };
                    if !matches {
                        return None;
                    }
                    rest
                }
                ["meta", "l4proto", protocol, rest @ ..] => {
                    if *protocol != "tcp" {
                        return None;
                    }
                    rest
                }
                [protocol, "dport", ports, rest @ ..] => {
                    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                    let range = first.parse::<u16>().unwrap()..=last.parse().unwrap();
                    if *protocol != "tcp" || !range.contains(&port) {
                        return None;
                    }
                    rest
                }
                other => panic!("unknown: {other:?}"),
            };
        }
    }
}

fn within(address: &str, block: &str) -> bool {
    let (network, bits) = block.split_once('/').unwrap();
    let number = |text: &str| match text.parse().unwrap() {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, true),
        IpAddr::V6(address) => (u128::from(address), false),
    };
    let mask = u128::MAX.checked_shl(128 - bits.parse::<u32>().unwrap()).unwrap_or(0);
    let ((address, v4), (network, network_v4)) = (number(address), number(network));
    assert_eq!(v4, network_v4, "the kernel refuses a table that compares families");
    address & mask == network & mask
}

#[test]
fn policies_let_pass_what_they_allow() {
    const WEB: &str = "10.1.0.1";
    const DB: &str = "10.1.0.2";
    const OTHER: &str = "10.1.0.3";
    const OUTSIDE: &str = "192.0.2.1";
    let db = json!({"matchLabels": {"app": "db"}});
    let select = |rules: Value| {
        let mut spec = json!({"podSelector": db});
        for (key, value) in rules.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    let from = |peer: Value| select(json!({"policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]}));
    let to = |peer: Value| select(json!({"policyTypes": ["Egress"], "egress": [{"to": [peer]}]}));
    let ports = |ports: Value| select(json!({"policyTypes": ["Ingress"], "ingress": [{"ports": ports}]}));
    let web = json!({"matchLabels": {"app": "web"}});
    let other = json!({"matchLabels": {"name": "other"}});
    let nothing = select(json!({"policyTypes": ["Ingress"]}));
    // Policies; then connections that pass, and some that do not.
    let cases = [
        ("no policy", vec![], vec![(WEB, DB, 80), (OUTSIDE, DB, 80), (DB, OUTSIDE, 80)], vec![]),
        (
            "isolated one way",
            vec![nothing.clone()],
            vec![(DB, WEB, 80), (DB, DB, 80), (WEB, OTHER, 80)],
            vec![(WEB, DB, 80), (OUTSIDE, DB, 80)],
        ),
        (
            "isolated both ways",
            vec![select(json!({"policyTypes": ["Ingress", "Egress"]}))],
            vec![(DB, DB, 80), (WEB, OUTSIDE, 80)],
            vec![(WEB, DB, 80), (DB, WEB, 80), (DB, OUTSIDE, 80)],
        ),
        (
            "types by default",
            vec![select(json!({"egress": [{"to": [{"podSelector": web}]}]}))],
            vec![(DB, WEB, 80)],
            vec![(DB, OTHER, 80), (WEB, DB, 80)],
        ),
        ("everybody", vec![select(json!({"ingress": [{}]}))], vec![(WEB, DB, 80), (OUTSIDE, DB, 80)], vec![]),
        (
            "pods of the namespace",
            vec![from(json!({"podSelector": web}))],
            vec![(WEB, DB, 80)],
            vec![(OTHER, DB, 80), (OUTSIDE, DB, 80)],
        ),
        (
            "all of a namespace",
            vec![from(json!({"namespaceSelector": other}))],
            vec![(OTHER, DB, 80)],
            vec![(WEB, DB, 80), (OUTSIDE, DB, 80)],
        ),
        (
            "both",
            vec![from(json!({"namespaceSelector": {}, "podSelector": web}))],
            vec![(WEB, DB, 80), (OTHER, DB, 80)],
            vec![(OUTSIDE, DB, 80)],
        ),
        (
            "neither",
            vec![from(json!({"namespaceSelector": other, "podSelector": db}))],
            vec![],
            vec![(WEB, DB, 80), (OTHER, DB, 80)],
        ),
        (
            "a block",
            vec![from(json!({"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}))],
            vec![(OUTSIDE, DB, 80)],
            vec![("192.0.2.200", DB, 80), (WEB, DB, 80)],
        ),
        (
            "a block of the other family",
            vec![from(json!({"ipBlock": {"cidr": "fd00::/8"}}))],
            vec![],
            vec![(OUTSIDE, DB, 80)],
        ),
        (
            "a port, several, a name, another protocol",
            vec![ports(json!([
                {"port": 80}, {"port": 90, "endPort": 92}, {"port": "http"}, {"port": 53, "protocol": "UDP"},
            ]))],
            vec![(WEB, DB, 80), (WEB, DB, 90), (WEB, DB, 92), (WEB, DB, 8002)],
            vec![(WEB, DB, 81), (WEB, DB, 93), (WEB, DB, 8001), (WEB, DB, 53)],
        ),
        (
            "a name of the peer's port",
            vec![select(json!({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]}))],
            vec![(DB, WEB, 8001), (DB, OTHER, 8003)],
            vec![(DB, WEB, 8003), (DB, WEB, 80)],
        ),
        (
            "either policy",
            vec![nothing, from(json!({"podSelector": web})), from(json!({"namespaceSelector": other}))],
            vec![(WEB, DB, 80), (OTHER, DB, 80)],
            vec![(OUTSIDE, DB, 80)],
        ),
        (
            "both ends",
            vec![
                to(json!({"podSelector": web})),
                json!({"podSelector": web, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80}]}]}),
            ],
            vec![(DB, WEB, 80)],
            vec![(DB, WEB, 81), (DB, OTHER, 80)],
        ),
    ];
    for (what, specs, pass, dropped) in cases {
        let state = rules(Family::V4, &specs);
        for (connections, expected) in [(pass, true), (dropped, false)] {
            for (from, to, port) in connections {
                let passes = Reader(&state).passes(from, to, port);
                assert_eq!(passes, expected, "{what}: {from} to {to}:{port}\n{state:#?}");
            }
        }
    }
}

#[test]
fn who_is_not_a_pod_of_the_network_is_in_no_rule() {
    let of = |spec: Value, status: Value| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status": status});
        pod["spec"]["hostNetwork"] = spec;
        PodFacts::of(Family::V4, &serde_json::from_value(pod).unwrap())
    };
    assert!(of(json!(false), json!({"podIP": "10.1.0.1"})).is_some());
    assert!(of(json!(true), json!({"podIP": "10.1.0.1"})).is_none());
    assert!(of(json!(false), json!({"podIP": "10.1.0.1", "phase": "Succeeded"})).is_none());
    assert!(of(json!(false), json!({"podIP": "fd00::1"})).is_none());
    assert!(of(json!(false), json!({})).is_none());
}

#[test]
fn a_change_costs_what_changes() {
    let spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 5432}]}]});
    let policies = [policy("p", spec)];
    let mut cluster = cluster(Family::V4);
    let first = state(Family::V4, &policies, &cluster);
    cluster.pods.push(pod(Family::V4, "shop", "web", 4));
    let second = state(Family::V4, &policies, &cluster);
    let place = place(Family::V4);
    let mut text = transition(&place, &State::default(), &first);
    for (title, from, to) in [("another peer", &first, &second), ("no policy", &second, &State::default())] {
        let _ = write!(text, "# {title}\n{}", transition(&place, from, to));
    }
    assert_eq!(transition(&place, &first, &first), "");
    insta::assert_snapshot!(text, @r"
    add set ip t ingress-peers-2437d137-shop/p/0/0 { type ipv4_addr; }
    add element ip t ingress-peers-2437d137-shop/p/0/0 { 10.1.0.1, 10.1.0.2 }
    add chain ip t ingress-fd6056fd-shop/p
    add chain ip t pods-bbe21e69-ingress-pods/ingress-fd6056fd-shop/p
    add rule ip t ingress-fd6056fd-shop/p ip saddr @ingress-peers-2437d137-shop/p/0/0 tcp dport 5432 accept
    add rule ip t pods-bbe21e69-ingress-pods/ingress-fd6056fd-shop/p jump ingress-fd6056fd-shop/p
    add rule ip t pods-bbe21e69-ingress-pods/ingress-fd6056fd-shop/p drop
    add element ip t ingress-pods { 10.1.0.2 : goto pods-bbe21e69-ingress-pods/ingress-fd6056fd-shop/p }
    add element ip t selves { 10.1.0.2 . 10.1.0.2 }
    # another peer
    add element ip t ingress-peers-2437d137-shop/p/0/0 { 10.1.0.4 }
    # no policy
    delete element ip t ingress-pods { 10.1.0.2 }
    delete element ip t selves { 10.1.0.2 . 10.1.0.2 }
    flush chain ip t ingress-fd6056fd-shop/p
    flush chain ip t pods-bbe21e69-ingress-pods/ingress-fd6056fd-shop/p
    delete chain ip t ingress-fd6056fd-shop/p
    delete chain ip t pods-bbe21e69-ingress-pods/ingress-fd6056fd-shop/p
    delete set ip t ingress-peers-2437d137-shop/p/0/0
    ");
}

#[test]
fn a_pod_is_isolated_in_both_families() {
    const WEB: &str = "fd00:1::1";
    const DB: &str = "fd00:1::2";
    const OTHER: &str = "fd00:1::3";
    const OUTSIDE: &str = "2001:db8::1";
    let ingress = |rule: Value| json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], "ingress": [rule]});
    let block =
        |cidr: &str, except: Value| ingress(json!({"from": [{"ipBlock": {"cidr": cidr, "except": except}}]}));
    for (what, spec, pass, dropped) in [
        (
            "nobody",
            json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}),
            vec![(DB, WEB, 80), (WEB, OTHER, 80)],
            vec![(WEB, DB, 80), (OUTSIDE, DB, 80)],
        ),
        (
            "a block of the other family",
            block("10.0.0.0/8", json!([])),
            vec![],
            vec![(WEB, DB, 80), (OUTSIDE, DB, 80)],
        ),
        (
            "a block",
            block("2001:db8::/32", json!(["2001:db8:1::/48"])),
            vec![(OUTSIDE, DB, 80)],
            vec![(WEB, DB, 80), ("2001:db8:1::1", DB, 80)],
        ),
        (
            "pods at a port by name",
            ingress(json!({"from": [{"podSelector": {}}], "ports": [{"port": "http"}]})),
            vec![(WEB, DB, 8002)],
            vec![(WEB, DB, 80), (OTHER, DB, 8002), (OUTSIDE, DB, 8002)],
        ),
    ] {
        let state = rules(Family::V6, &[spec]);
        for (connections, expected) in [(pass, true), (dropped, false)] {
            for (from, to, port) in connections {
                assert_eq!(
                    Reader(&state).passes(from, to, port),
                    expected,
                    "{what}: {from} to {to}:{port}\n{state:#?}"
                );
            }
        }
    }
}

#[test]
fn neighbours_are_found_whatever_policies_say() {
    let spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]});
    let (place, state) = (place(Family::V6), rules(Family::V6, &[spec]));
    insta::assert_snapshot!(base(&place) + &transition(&place, &State::default(), &state), @r#"
    add table ip6 t
    delete table ip6 t
    table ip6 t {
      map egress-pods { type ipv6_addr : verdict; }
      map ingress-pods { type ipv6_addr : verdict; }
      set selves { type ipv6_addr . ipv6_addr; }
      chain egress {
        type filter hook forward priority -12
        icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept
        iifname "br-pods" ip6 saddr fe80::/10 drop
        iifname "br-pods" ip6 daddr fe80::/10 drop
        ct state established,related accept
        ip6 saddr . ip6 daddr @selves accept
        ip6 saddr vmap @egress-pods
      }
      chain ingress {
        type filter hook forward priority -11
        icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept
        iifname "br-pods" ip6 saddr fe80::/10 drop
        iifname "br-pods" ip6 daddr fe80::/10 drop
        ct state established,related accept
        ip6 saddr . ip6 daddr @selves accept
        ip6 daddr vmap @ingress-pods
      }
    }
    add chain ip6 t egress-743dba14-shop/p0
    add chain ip6 t pods-afb73c87-egress-pods/egress-743dba14-shop/p0
    add rule ip6 t pods-afb73c87-egress-pods/egress-743dba14-shop/p0 jump egress-743dba14-shop/p0
    add rule ip6 t pods-afb73c87-egress-pods/egress-743dba14-shop/p0 drop
    add element ip6 t egress-pods { fd00:1::2 : goto pods-afb73c87-egress-pods/egress-743dba14-shop/p0 }
    add element ip6 t selves { fd00:1::2 . fd00:1::2 }
    "#);
    let within = Place { kind: "bridge", ..place };
    let link: Vec<String> =
        base(&within).lines().filter(|line| line.contains("fe80")).map(str::to_owned).collect();
    assert_eq!(link[0].trim(), "meta ibrname \"br-pods\" ip6 saddr fe80::/10 drop");
    assert_eq!(link.len(), 4);
}
