//! Addresses and ports for Services: choosing, keeping, claiming.
//!
//! **Contract**: choices come from the dynamic band, so that users can give static ones from the lower band with little
//! risk of a collision.
//! **Upstream**: `pkg/registry/core/service/{ipallocator,portallocator}`, `storage/alloc.go`.

use super::families;
use super::{has_node_ports, is_external_name};
use crate::registry::Reservation;
use crate::resources::edit::{each, items, text};
use crate::resources::{edit, ip_address};
use api::meta;
use component_base::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses that Services get theirs from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceCidr {
    network: IpAddr,
    prefix: u8,
}

/// 10.96.0.0/12, what kubeadm takes.
pub const DEFAULT_SERVICE_CIDR: ServiceCidr =
    ServiceCidr { network: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), prefix: 12 };

/// **Upstream**: `--service-node-port-range`, 30000-32767.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;
/// How many node ports at the lower end are for static use.
const STATIC_NODE_PORTS: u64 = 86;

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl ServiceCidr {
    /// The block of this prefix that the address lies in; one with two addresses to give away at least.
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        match address {
            IpAddr::V4(address) => {
                let prefix = prefix.min(30);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Self { network: Ipv4Addr::from(u32::from(address) & mask).into(), prefix }
            }
            IpAddr::V6(address) => {
                let prefix = prefix.min(126);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Self { network: Ipv6Addr::from(u128::from(address) & mask).into(), prefix }
            }
        }
    }

    /// `IPv4` or `IPv6`.
    pub fn family(self) -> &'static str {
        families::of(self.network)
    }

    /// How many addresses Services may have: all but the network's own, and over IPv4 the one for broadcasts. Of a block of
    /// IPv6 that is larger, the first 2^63.
    fn usable(self) -> u64 {
        match self.network {
            IpAddr::V4(_) => (1 << (32 - self.prefix)) - 2,
            IpAddr::V6(_) => (1 << (128 - self.prefix).min(63)) - 1,
        }
    }

    fn offset(self, offset: u64) -> IpAddr {
        let number = number(self.network).wrapping_add(offset.into());
        match self.network {
            IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(0)).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    /// The address of the Service `kubernetes`: the first of the block.
    pub fn first(self) -> IpAddr {
        self.offset(1)
    }

    /// Whether a Service may have this address.
    pub fn contains(self, address: IpAddr) -> bool {
        let offset = number(address).wrapping_sub(number(self.network));
        address.is_ipv4() == self.network.is_ipv4() && (1..=u128::from(self.usable())).contains(&offset)
    }

    fn random(self, rng: &Rng) -> IpAddr {
        let usable = self.usable();
        let band = ((usable + 2) / 16).clamp(16, 256);
        let band = if band >= usable { 0 } else { band };
        self.offset(1 + band + rng.below(usable - band))
    }
}

impl std::fmt::Display for ServiceCidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Fills what the user left open: families, addresses, node ports.
pub(super) fn fill(cidrs: &[ServiceCidr], rng: &Rng, service: &mut Value, old: Option<&Value>) {
    if is_external_name(service) {
        let was_external = old.is_none_or(is_external_name);
        if let Some(spec) = edit::child(service, "spec").filter(|_| !was_external) {
            for field in [
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "internalTrafficPolicy",
                "externalTrafficPolicy",
            ] {
                edit::remove(spec, field);
            }
            each(spec, "ports").for_each(|port| {
                edit::remove(port, "nodePort");
            });
        }
        return;
    }
    let node_ports = has_node_ports(service);
    let old_spec = old.filter(|old| !is_external_name(old)).map(|old| &old["spec"]);
    let Some(spec) = edit::child_or_new(service, "spec") else { return };
    if families::fill(cidrs, spec, old_spec) {
        fill_addresses(cidrs, rng, spec);
    }
    if node_ports {
        fill_node_ports(rng, spec);
    }
    let local = text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local";
    if local && edit::is_empty(&spec["healthCheckNodePort"]) {
        let port = random_port(rng, &[]);
        edit::set(spec, "healthCheckNodePort", port);
    }
}

/// An address of each family that has none yet.
fn fill_addresses(cidrs: &[ServiceCidr], rng: &Rng, spec: &mut Value) {
    let mut addresses = items(spec, "clusterIPs").to_vec();
    if addresses.first().is_some_and(|first| first == "None") {
        return;
    }
    for family in items(spec, "ipFamilies").iter().skip(addresses.len()) {
        let cidr = cidrs.iter().find(|cidr| *family == cidr.family());
        addresses.extend(cidr.map(|cidr| json!(cidr.random(rng))));
    }
    let Some(first) = addresses.first().cloned() else { return };
    if text(spec, "clusterIP").is_empty() {
        edit::set(spec, "clusterIP", first);
    }
    edit::set(spec, "clusterIPs", addresses);
}

fn random_port(rng: &Rng, taken: &[i64]) -> i64 {
    let count = (NODE_PORTS.end() - NODE_PORTS.start() + 1) as u64 - STATIC_NODE_PORTS;
    let lowest = NODE_PORTS.start() + STATIC_NODE_PORTS as i64;
    let start = rng.below(count) as i64;
    (0..count as i64)
        .map(|i| lowest + (start + i) % count as i64)
        .find(|port| !taken.contains(port))
        .unwrap_or(lowest)
}

fn fill_node_ports(rng: &Rng, spec: &mut Value) {
    let number = |port: &Value| port["nodePort"].as_i64().unwrap_or(0);
    let mut taken: Vec<i64> = items(spec, "ports").iter().map(number).filter(|n| *n != 0).collect();
    // One port in two protocols gets one number.
    let mut by_port: BTreeMap<i64, (Vec<String>, i64)> = BTreeMap::new();
    for port in each(spec, "ports") {
        let (own, protocol) = (port["port"].as_i64().unwrap_or(0), text(port, "protocol").to_owned());
        let chosen = match (number(port), by_port.get_mut(&own)) {
            (0, Some((protocols, shared))) if !protocols.contains(&protocol) => {
                protocols.push(protocol);
                *shared
            }
            (0, _) => {
                let chosen = random_port(rng, &taken);
                taken.push(chosen);
                by_port.entry(own).or_insert((vec![protocol], chosen)).1
            }
            (given, _) => {
                by_port.entry(own).or_insert((vec![protocol], given));
                given
            }
        };
        edit::set(port, "nodePort", chosen);
    }
}

/// Carries allocated values over to an update that leaves them out, and drops those that its type has no use for.
pub(super) fn keep(service: &mut Value, old: &Value) {
    if is_external_name(service) || is_external_name(old) {
        return;
    }
    let (new_ports, old_ports) = (has_node_ports(service), has_node_ports(old));
    let old = &old["spec"];
    let Some(spec) = edit::child_or_new(service, "spec") else { return };
    families::keep(spec, old);
    for port in each(spec, "ports") {
        let same = |p: &&Value| p["port"] == port["port"] && p["protocol"] == port["protocol"];
        let before = items(old, "ports").iter().find(same).map_or(Value::Null, |p| p["nodePort"].clone());
        if new_ports && old_ports && edit::is_empty(&port["nodePort"]) {
            edit::set(port, "nodePort", before);
        } else if !new_ports && old_ports && port["nodePort"] == before {
            edit::remove(port, "nodePort");
        }
    }
    let kind = text(spec, "type").to_owned();
    let balancer = kind == "LoadBalancer";
    if balancer && edit::is_empty(&spec["healthCheckNodePort"]) {
        edit::copy(spec, "healthCheckNodePort", old);
    }
    if !balancer {
        for field in ["healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if edit::same(&spec[field], &old[field]) {
                edit::remove(spec, field);
            }
        }
    }
    if kind == "ClusterIP" && edit::is_empty(&spec["externalIPs"]) {
        edit::remove(spec, "externalTrafficPolicy");
    }
}

/// The addresses and node ports that a Service holds.
pub(super) fn reservations(service: &Value) -> Vec<Reservation> {
    let spec = &service["spec"];
    let mut claims = Vec::new();
    if is_external_name(service) {
        return claims;
    }
    for address in items(spec, "clusterIPs").iter().filter_map(Value::as_str).filter(|a| *a != "None") {
        let all = &spec["clusterIPs"];
        let body = format!(
            "Invalid value: {all}: failed to allocate IP {address}: provided IP is already allocated"
        );
        let taken = ("spec.clusterIPs".to_owned(), body);
        let Ok(ip) = address.parse::<IpAddr>() else { continue };
        let shown = ip_address::of_service(ip, meta::namespace(service), meta::name(service));
        claims.push(Reservation { key: format!("serviceips/{ip}"), taken, shown: Some(shown) });
    }
    let mut claim_port = |protocol: &str, number: i64, path: String| {
        let key = format!("nodeports/{protocol}/{number}");
        let body = format!("Invalid value: {number}: provided port is already allocated");
        if number != 0 && !claims.iter().any(|c| c.key == key) {
            claims.push(Reservation { key, taken: (path, body), shown: None });
        }
    };
    for (i, port) in items(spec, "ports").iter().enumerate() {
        let number = port["nodePort"].as_i64().unwrap_or(0);
        claim_port(text(port, "protocol"), number, format!("spec.ports[{i}].nodePort"));
    }
    let health = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    claim_port("TCP", health, "spec.healthCheckNodePort".to_owned());
    claims
}

/// Whether a number may be a node port.
pub(super) fn is_node_port(port: i64) -> bool {
    NODE_PORTS.contains(&port)
}
