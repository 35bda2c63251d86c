//! The kernel's rules for services, as nftables has them: what a service needs, and what turns one state into another.
//!
//! A packet's destination is looked up in a map (`service-ips`, `node-ports`), which costs the same for one service as for
//! ten thousand, and leads to a chain that all services with as many endpoints share: its rule takes one of them, by number,
//! from another map (`endpoints`, `node-endpoints`). So most services are elements of maps and nothing else, which is what
//! the kernel changes fastest. A port with session affinity has a chain an endpoint, which remembers its clients in a set.
//!
//! A transaction is atomic, a packet's way through the rules is not: each look-up of it sees the elements of its own moment,
//! but all of them the chains of the moment when the packet came. One that is on its way during a change may be led by the
//! state before to where there is nothing after, or by the state after to a chain that is empty before, and would be refused.
//! So what came out of the rules without an endpoint is led through them once more, by a hook that begins anew.
//!
//! **Contract**: pure; one text is one transaction.
//! **Upstream**: `pkg/proxy/nftables/proxier.go`.

use crate::family::Family;
use crate::places;
use crate::services::ServicePort;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

/// The longest name that we give; the kernel takes 255.
const NAME_LENGTH: usize = 120;

/// Ports with more endpoints have chains of their own.
const SPREAD_MOST: usize = 100;

/// A map or set and a key in it.
pub type Element = (Cow<'static, str>, String);

/// What is under a key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: the key is a member of a set.
    Member,
    /// What becomes of a packet.
    Verdict(String),
    /// Endpoints, each under the key with its number: as many elements, which are one thing.
    Endpoints(Vec<SocketAddr>),
}

/// Where connections come in.
#[derive(Clone, Copy)]
enum Front {
    /// At the port of the service.
    Address(IpAddr),
    /// At this port of any address of the machine.
    Node(u16),
}

/// What is in the table for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Chains and their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Sets of clients and how long a client stays in them, in seconds.
    pub sets: BTreeMap<String, u32>,
    /// Elements of the maps and sets that all services share.
    pub elements: BTreeMap<Element, Value>,
}

/// What the table of a family is made for.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// Its family.
    pub family: Family,
    /// The addresses that services have: those that none has lead nowhere.
    pub services: &'a str,
    /// Sets of pods' addresses.
    pub pods: &'a [String],
    /// Addresses whose packets to others get this machine's, where the engine does not see to it.
    pub masqueraded: Option<&'a str>,
    /// Whether connections to endpoints get this machine's address as source.
    pub masquerade_all: bool,
}

/// The table without any service; whatever a table of this name had is gone.
pub fn base(table: &str, base: &Base<'_>) -> String {
    let Base { family, services, pods, masqueraded, masquerade_all } = *base;
    let (ip, address, within) = (family.nft(), family.nft_type(), family.nft_within());
    let pods: String = pods.iter().map(|set| format!("  set {set} {{ type {address}; }}\n")).collect();
    let masqueraded = masqueraded
        .map_or_else(String::new, |pods| format!("    {ip} saddr {pods} {ip} daddr != {pods} masquerade\n"));
    // Without br_netfilter the answer of a pod on the same bridge would not pass us on its way back.
    let masquerade_all = if masquerade_all { "ct status dnat masquerade" } else { "" };
    let spread = |name: &str, key: &str, map: &str| -> String {
        let chain = |number| {
            format!(
                "  chain {name}-{number} {{ dnat {ip} to {key} . numgen random mod {number} map @{map}; }}\n"
            )
        };
        (1..=SPREAD_MOST).map(chain).collect()
    };
    let at_address = spread("spread", &format!("{ip} daddr . meta l4proto . th dport"), "endpoints");
    let at_node = spread("node-spread", "meta l4proto . th dport", "node-endpoints");
    format!(
        "{}table {ip} {table} {{
  map service-ips {{ type {address} . inet_proto . inet_service : verdict; }}
  map node-ports {{ type inet_proto . inet_service : verdict; }}
  map no-endpoint-services {{ type {address} . inet_proto . inet_service : verdict; }}
  map no-endpoint-node-ports {{ type inet_proto . inet_service : verdict; }}
  map endpoints {{ typeof {ip} daddr . meta l4proto . th dport . numgen random mod 1 : {ip} daddr . th dport; }}
  map node-endpoints {{ typeof meta l4proto . th dport . numgen random mod 1 : {ip} daddr . th dport; }}
  set cluster-ips {{ type {address}; }}
  set hairpins {{ type {address} . {address}; }}
{pods}{at_address}{at_node}  chain refused {{ reject; }}
  chain services {{
    {ip} daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local {ip} daddr != {within} meta l4proto . th dport vmap @node-ports
  }}
  chain no-endpoints {{
    {ip} daddr . meta l4proto . th dport vmap @no-endpoint-services
    fib daddr type local {ip} daddr != {within} meta l4proto . th dport vmap @no-endpoint-node-ports
    {ip} daddr @cluster-ips goto refused
    {ip} daddr {services} drop
  }}
  chain prerouting {{ type nat hook prerouting priority -110; jump services; }}
  chain prerouting-again {{ type nat hook prerouting priority -109; jump services; }}
  chain output {{ type nat hook output priority -110; jump services; }}
  chain output-again {{ type nat hook output priority -109; jump services; }}
  chain postrouting {{
    type nat hook postrouting priority 90
    {ip} saddr . {ip} daddr @hairpins masquerade
{masqueraded}    {masquerade_all}
  }}
  chain filter-input {{ type filter hook input priority -10; ct state new jump no-endpoints; }}
  chain filter-forward {{ type filter hook forward priority -10; ct state new jump no-endpoints; }}
  chain filter-output {{ type filter hook output priority -10; ct state new jump no-endpoints; }}
}}
",
        removal(ip, table)
    )
}

/// Addresses of IPv4 that an engine gives pods although the cluster has none: they lead nowhere.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The pods' block of them.
    pub pods: String,
    /// Whether packets within a bridge pass no rules of the family.
    pub bridged: bool,
}

/// Tables that lead these addresses nowhere, neither from pod to pod nor out; whatever tables of this name had is gone. This
/// machine and the pods reach each other, by which an engine publishes ports, and names can be asked for, which its own server
/// does from within a pod.
pub(crate) fn closed(table: &str, closed: &Closed) -> String {
    let Closed { pods, bridged } = closed;
    let mut text = format!(
        "{}table ip {table} {{
  chain closed {{
    type filter hook forward priority -200
    meta l4proto {{ tcp, udp }} th dport 53 accept
    ip saddr {pods} ct state new reject with icmp type net-unreachable
  }}
}}
",
        removal("ip", table)
    );
    if *bridged {
        let _ = write!(
            text,
            "{}table bridge {table} {{
  chain closed {{ type filter hook forward priority -200; ip saddr {pods} ip daddr {pods} drop; }}
}}
",
            removal("bridge", table)
        );
    }
    text
}

/// Takes away what [`closed`] makes.
pub(crate) fn opened(table: &str, closed: &Closed) -> String {
    let within = if closed.bridged { removal("bridge", table) } else { String::new() };
    removal("ip", table) + &within
}

/// Takes a table away, if there is one.
pub fn removal(family: &str, table: &str) -> String {
    format!("add table {family} {table}\ndelete table {family} {table}\n")
}

/// What the table of a family needs for the ports of a service, which are of that family.
pub fn objects<'a>(ports: impl IntoIterator<Item = &'a ServicePort>) -> Objects {
    let mut objects = Objects::default();
    ports.into_iter().for_each(|port| objects.port(port));
    objects
}

impl Objects {
    fn port(&mut self, port: &ServicePort) {
        self.elements.insert(("cluster-ips".into(), port.cluster_ip.to_string()), Value::Member);
        for pod in &port.here {
            self.elements.insert(("hairpins".into(), format!("{pod} . {pod}")), Value::Member);
        }
        let mut inside = self.led("service", port, &port.inside, Front::Address(port.cluster_ip));
        if let Some(verdict) = inside.as_mut().filter(|_| !port.by_node.is_empty()) {
            *verdict = self.by_node(port, verdict);
        }
        self.address(port, port.cluster_ip, inside);

        let same = port.outside == port.inside && port.by_node.is_empty();
        let purpose = if same { "service" } else { "external" };
        for address in &port.external_ips {
            let verdict = self.led(purpose, port, &port.outside, Front::Address(*address));
            self.address(port, *address, verdict);
        }
        if let Some(node_port) = port.node_port {
            let key = format!("{} . {node_port}", port.protocol.as_str());
            let (map, verdict) = match self.led(purpose, port, &port.outside, Front::Node(node_port)) {
                Some(verdict) => ("node-ports", verdict),
                None => ("no-endpoint-node-ports", refusal(port)),
            };
            self.elements.insert((map.into(), key), Value::Verdict(verdict));
        }
        for address in &port.balancer_ips {
            let verdict = self.led(purpose, port, &port.outside, Front::Address(*address));
            let allowed = match verdict {
                Some(verdict) if !port.source_ranges.is_empty() => {
                    let firewall = name("firewall", port, None);
                    let (ranges, ip) = (port.source_ranges.join(", "), port.family().nft());
                    let rules = vec![format!("{ip} saddr {{ {ranges} }} {verdict}"), "drop".to_owned()];
                    self.chains.insert(firewall.clone(), rules);
                    Some(goto(&firewall))
                }
                other => other,
            };
            self.address(port, *address, allowed);
        }
    }

    /// Pods of some nodes are led elsewhere before a verdict for all others; where there is nothing for them, nowhere.
    fn by_node(&mut self, port: &ServicePort, otherwise: &str) -> String {
        let (mut rules, ip) = (Vec::new(), port.family().nft());
        for (node, endpoints) in &port.by_node {
            let own = format!("service@{node}");
            let verdict =
                self.balanced(&own, port, endpoints).map_or("drop".to_owned(), |chain| goto(&chain));
            rules.push(format!("{ip} saddr @{} {verdict}", places::set(node)));
        }
        rules.push(otherwise.to_owned());
        let chain = name("places", port, None);
        self.chains.insert(chain.clone(), rules);
        goto(&chain)
    }

    /// What leads connections at a place to endpoints; nothing if there are none.
    fn led(
        &mut self,
        purpose: &str,
        port: &ServicePort,
        endpoints: &[SocketAddr],
        at: Front,
    ) -> Option<String> {
        if endpoints.is_empty() || port.affinity.is_some() || endpoints.len() > SPREAD_MOST {
            return self.balanced(purpose, port, endpoints).as_deref().map(goto);
        }
        let protocol = port.protocol.as_str();
        let (map, chain, key) = match at {
            Front::Address(address) => {
                ("endpoints", "spread", format!("{address} . {protocol} . {}", port.port))
            }
            Front::Node(number) => ("node-endpoints", "node-spread", format!("{protocol} . {number}")),
        };
        self.elements.insert((map.into(), key), Value::Endpoints(endpoints.to_vec()));
        Some(format!("goto {chain}-{}", endpoints.len()))
    }

    /// Where a connection to an address goes, or what becomes of it if there is nowhere to go.
    fn address(&mut self, port: &ServicePort, address: IpAddr, verdict: Option<String>) {
        let key = format!("{address} . {} . {}", port.protocol.as_str(), port.port);
        let (map, verdict) = match verdict {
            Some(verdict) => ("service-ips", verdict),
            None => ("no-endpoint-services", refusal(port)),
        };
        self.elements.insert((map.into(), key), Value::Verdict(verdict));
    }

    /// The chain that chooses one of the endpoints; none if there are none.
    fn balanced(&mut self, purpose: &str, port: &ServicePort, endpoints: &[SocketAddr]) -> Option<String> {
        if endpoints.is_empty() {
            return None;
        }
        let chain = name(purpose, port, None);
        let rules = match port.affinity {
            None => {
                let targets = numbered(
                    endpoints.iter().map(|endpoint| format!("{} . {}", endpoint.ip(), endpoint.port())),
                );
                let (protocol, number, ip) = (port.protocol.as_str(), endpoints.len(), port.family().nft());
                vec![format!(
                    "meta l4proto {protocol} dnat {ip} to numgen random mod {number} map {{ {targets} }}"
                )]
            }
            Some(seconds) => self.sticky(port, endpoints, seconds),
        };
        self.chains.insert(chain.clone(), rules);
        Some(chain)
    }

    /// A chain and a set of clients an endpoint; clients go where they went, others anywhere.
    fn sticky(&mut self, port: &ServicePort, endpoints: &[SocketAddr], seconds: u32) -> Vec<String> {
        let chain = |endpoint: &SocketAddr| name("endpoint", port, Some(endpoint));
        let (mut rules, ip) = (Vec::new(), port.family().nft());
        for endpoint in endpoints {
            let (chain, clients) = (chain(endpoint), name("clients", port, Some(endpoint)));
            rules.push(format!("{ip} saddr @{clients} goto {chain}"));
            let remember = format!("update @{clients} {{ {ip} saddr }}");
            let send = format!("meta l4proto {} dnat to {endpoint}", port.protocol.as_str());
            self.chains.insert(chain, vec![remember, send]);
            self.sets.insert(clients, seconds);
        }
        let targets = numbered(endpoints.iter().map(|endpoint| goto(&chain(endpoint))));
        rules.push(format!("numgen random mod {} vmap {{ {targets} }}", endpoints.len()));
        rules
    }
}

fn goto(chain: &str) -> String {
    format!("goto {chain}")
}

/// For a service without usable endpoints: nothing is there, or it is elsewhere and not for us.
fn refusal(port: &ServicePort) -> String {
    if port.elsewhere { "drop".to_owned() } else { goto("refused") }
}

fn numbered(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<String> = texts.enumerate().map(|(number, text)| format!("{number} : {text}")).collect();
    texts.join(", ")
}

/// The name of something of a port, which people recognise.
fn name(purpose: &str, port: &ServicePort, endpoint: Option<&SocketAddr>) -> String {
    let protocol = port.protocol.as_str();
    let (purpose, node) = purpose.split_once('@').unwrap_or((purpose, ""));
    let mut full = format!("{}/{protocol}", port.name);
    if !node.is_empty() {
        let _ = write!(full, "/{node}");
    }
    if let Some(endpoint) = endpoint {
        let _ = write!(full, "/{endpoint}");
    }
    named(purpose, &full)
}

/// A name that the kernel takes, of a purpose and anything.
pub(crate) fn named(purpose: &str, full: &str) -> String {
    let hash = Sha256::digest(full.as_bytes());
    let mut name = format!("{purpose}-");
    for byte in hash.iter().take(4) {
        let _ = write!(name, "{byte:02x}");
    }
    name.push('-');
    name.extend(full.chars().map(|c| if c.is_ascii_alphanumeric() || "-/.".contains(c) { c } else { '/' }));
    name.truncate(NAME_LENGTH);
    name
}

/// The transaction from one state of some services to another; nothing to do is an empty text.
///
/// What refers comes after what is referred to, and goes before it.
pub fn transition(family: Family, table: &str, old: &Objects, new: &Objects) -> String {
    let (at, address) = (format!("{} {table}", family.nft()), family.nft_type());
    let mut text = String::new();
    let mut line = |command: String| {
        text.push_str(&command);
        text.push('\n');
    };
    for (map, keys) in differences(&old.elements, &new.elements, false) {
        line(format!("delete element {at} {map} {{ {keys} }}"));
    }
    for (set, seconds) in new.sets.iter().filter(|(set, seconds)| old.sets.get(*set) != Some(seconds)) {
        if old.sets.contains_key(set) {
            // Its references go first, with the rules of the chains that are written anew below.
            users(old, set).for_each(|chain| line(format!("flush chain {at} {chain}")));
            line(format!("delete set {at} {set}"));
        }
        line(format!("add set {at} {set} {{ type {address}; flags dynamic,timeout; timeout {seconds}s; }}"));
    }
    let remade: BTreeSet<&String> = new
        .sets
        .iter()
        .filter(|(set, seconds)| old.sets.get(*set).is_some_and(|old| old != *seconds))
        .map(|(set, _)| set)
        .collect();
    let changed = |chain: &String, rules: &Vec<String>| {
        old.chains.get(chain) != Some(rules)
            || remade.iter().any(|set| rules.iter().any(|rule| rule.contains(&format!("@{set} "))))
    };
    let written: Vec<_> = new.chains.iter().filter(|(chain, rules)| changed(chain, rules)).collect();
    for (chain, _) in &written {
        line(format!("add chain {at} {chain}"));
        if old.chains.contains_key(*chain) {
            line(format!("flush chain {at} {chain}"));
        }
    }
    for (chain, rules) in &written {
        rules.iter().for_each(|rule| line(format!("add rule {at} {chain} {rule}")));
    }
    for (map, elements) in differences(&new.elements, &old.elements, true) {
        line(format!("add element {at} {map} {{ {elements} }}"));
    }
    let gone: Vec<_> = old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)).collect();
    gone.iter().for_each(|chain| line(format!("flush chain {at} {chain}")));
    gone.iter().for_each(|chain| line(format!("delete chain {at} {chain}")));
    for set in old.sets.keys().filter(|set| !new.sets.contains_key(*set)) {
        line(format!("delete set {at} {set}"));
    }
    text
}

/// The elements of each map that are so only in the first of two states, with what is under their keys or without: one command
/// for many costs little more than for one.
fn differences<'a>(
    elements: &'a BTreeMap<Element, Value>,
    others: &BTreeMap<Element, Value>,
    whole: bool,
) -> BTreeMap<&'a str, String> {
    let mut maps: BTreeMap<&str, String> = BTreeMap::new();
    for (element @ (map, key), value) in elements {
        let other = others.get(element);
        if other == Some(value) {
            continue;
        }
        let text = maps.entry(map).or_default();
        let mut next = |key: fmt::Arguments<'_>, value: Option<fmt::Arguments<'_>>| {
            let separator = if text.is_empty() { "" } else { ", " };
            // A text grows without an error.
            let _ = match value.filter(|_| whole) {
                Some(value) => write!(text, "{separator}{key} : {value}"),
                None => write!(text, "{separator}{key}"),
            };
        };
        match (value, other) {
            (Value::Member, _) => next(format_args!("{key}"), None),
            (Value::Verdict(verdict), _) => next(format_args!("{key}"), Some(format_args!("{verdict}"))),
            (Value::Endpoints(endpoints), other) => {
                let others = if let Some(Value::Endpoints(others)) = other { others.as_slice() } else { &[] };
                for (number, endpoint) in endpoints.iter().enumerate() {
                    if others.get(number) != Some(endpoint) {
                        let (ip, port) = (endpoint.ip(), endpoint.port());
                        next(format_args!("{key} . {number}"), Some(format_args!("{ip} . {port}")));
                    }
                }
            }
        }
    }
    maps.retain(|_, text| !text.is_empty());
    maps
}

/// The chains whose rules name a set.
fn users<'a>(objects: &'a Objects, set: &'a str) -> impl Iterator<Item = &'a String> {
    let named = format!("@{set} ");
    let uses = move |rules: &[String]| rules.iter().any(|rule| rule.contains(&named));
    objects.chains.iter().filter(move |(_, rules)| uses(rules)).map(|(chain, _)| chain)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
