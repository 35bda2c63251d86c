//! What a service and its endpoints mean: for each port, where connections to which addresses go.
//!
//! **Contract**: pure. Endpoints that are ready; if none is, those that end but still serve. A policy of `Local` leaves only
//! endpoints on the client's node, for clients that are no pods those on this machine; hints leave those that are meant for
//! the client's node or zone, if every endpoint has one and some endpoint is. Each family of addresses by itself.
//! **Upstream**: `pkg/proxy/serviceport.go`, `pkg/proxy/topology.go`.

use crate::family::Family;
use crate::health::Health;
use crate::places::{Machine, Place};
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How long a client stays with its endpoint. **Upstream**: `DefaultClientIPServiceAffinitySeconds`.
const DEFAULT_AFFINITY: i32 = 10_800;
/// The proxy that a service asks for in this label is not us. **Upstream**: `LabelServiceProxyName`.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// A slice's service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As the API spells it; TCP by default.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    /// As nftables spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// One port of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name:port`, for people.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Where it is inside the cluster.
    pub cluster_ip: IpAddr,
    /// At that address and at those in `external`.
    pub port: u16,
    /// At every address of the machine.
    pub node_port: Option<u16>,
    /// External addresses of the service.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of its load balancer.
    pub balancer_ips: Vec<IpAddr>,
    /// Who may use those; empty is everybody.
    pub source_ranges: Vec<String>,
    /// Seconds for which a client stays with its endpoint.
    pub affinity: Option<u32>,
    /// Where connections to the cluster address go.
    pub inside: Vec<SocketAddr>,
    /// Where those of the pods of some nodes go instead.
    pub by_node: BTreeMap<String, Vec<SocketAddr>>,
    /// Where connections to all the others go.
    pub outside: Vec<SocketAddr>,
    /// Addresses of endpoints on nodes of this machine: a pod there may be led to itself.
    pub here: BTreeSet<IpAddr>,
    /// Whether there are endpoints elsewhere: then connections for which there is none here are dropped, not refused.
    pub elsewhere: bool,
}

impl ServicePort {
    /// That of all its addresses and endpoints.
    pub fn family(&self) -> Family {
        Family::of(self.cluster_ip)
    }
}

/// The ports of a service in a family; none for one without a cluster address of that.
pub fn service_ports(
    family: Family,
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    machine: &Machine,
) -> Vec<ServicePort> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let labels = service.metadata.labels.as_ref();
    let ours = labels.is_none_or(|labels| !labels.contains_key(OTHER_PROXY));
    let mut addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let cluster_ip = addresses.find_map(|address| family.parse(address));
    let (true, Some(cluster_ip)) = (ours && spec.type_.as_deref() != Some("ExternalName"), cluster_ip) else {
        return Vec::new();
    };
    let ports = spec.ports.iter().flatten();
    ports.filter_map(|port| service_port(service, spec, port, cluster_ip, slices, machine)).collect()
}

/// What load balancers are told of a service, if they ask: only where endpoints elsewhere do not count.
pub fn health(service: &Service, slices: &[Arc<EndpointSlice>], machine: &Machine) -> Option<Health> {
    let spec = service.spec.as_ref()?;
    let local = spec.external_traffic_policy.as_deref() == Some("Local");
    if !local || spec.type_.as_deref() != Some("LoadBalancer") {
        return None;
    }
    let port =
        spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)?;
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let here = endpoints.filter(|endpoint| endpoint.node_name.as_ref().is_some_and(|node| machine.has(node)));
    let ready = here.filter(|endpoint| Endpoints::conditions(endpoint).0);
    let addresses: BTreeSet<&String> = ready.filter_map(|endpoint| endpoint.addresses.first()).collect();
    Some(Health { port, endpoints: addresses.len() })
}

fn service_port(
    service: &Service,
    spec: &ServiceSpec,
    port: &ApiPort,
    cluster_ip: IpAddr,
    slices: &[Arc<EndpointSlice>],
    machine: &Machine,
) -> Option<ServicePort> {
    let protocol = Protocol::parse(port.protocol.as_deref())?;
    let family = Family::of(cluster_ip);
    let all = Endpoints::of(family, slices, port.name.as_deref().unwrap_or_default(), protocol);
    let here = |endpoint: &Found| endpoint.node.as_ref().is_some_and(|node| machine.has(node));
    let choose = |policy: Option<&str>, place: Place<'_>| match (policy, place.node) {
        (Some("Local"), Some(node)) => all.usable(|endpoint| endpoint.node.as_deref() == Some(node)),
        (Some("Local"), None) => all.usable(here),
        _ => all.near(place),
    };
    let internal = spec.internal_traffic_policy.as_deref();
    let inside = choose(internal, machine.itself());
    let by_node = machine.places().map(|(node, place)| (node.to_owned(), choose(internal, place)));
    let meta = &service.metadata;
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let addresses =
        |texts: &mut dyn Iterator<Item = &String>| texts.filter_map(|text| family.parse(text)).collect();
    let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    // A load balancer that proxies is not to be short-cut. **Upstream**: `LoadBalancerIPModeProxy`.
    let balancers =
        ingress.into_iter().flatten().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let blocks = spec.load_balancer_source_ranges.iter().flatten();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        config.and_then(|client| client.timeout_seconds).unwrap_or(DEFAULT_AFFINITY)
    });
    Some(ServicePort {
        name: format!("{}/{}:{}", of(&meta.namespace), of(&meta.name), of(&port.name)),
        protocol,
        cluster_ip,
        port: u16::try_from(port.port).ok()?,
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
        external_ips: addresses(&mut spec.external_ips.iter().flatten()),
        balancer_ips: addresses(&mut balancers.filter_map(|ingress| ingress.ip.as_ref())),
        source_ranges: blocks.filter_map(|block| family.block(block.trim())).map(str::to_owned).collect(),
        affinity: affinity.and_then(|seconds| u32::try_from(seconds).ok()),
        by_node: by_node.filter(|(_, endpoints)| *endpoints != inside).collect(),
        inside,
        // Who asks from outside asks the machine.
        outside: choose(spec.external_traffic_policy.as_deref(), machine.itself()),
        here: all
            .0
            .iter()
            .filter(|found| here(found) && found.serves())
            .map(|found| found.address.ip())
            .collect(),
        elsewhere: !all.usable(|_| true).is_empty(),
    })
}

struct Found {
    address: SocketAddr,
    node: Option<String>,
    ready: bool,
    ends: bool,
    /// For whom it is meant; none is for everybody.
    for_nodes: Vec<String>,
    for_zones: Vec<String>,
}

impl Found {
    fn serves(&self) -> bool {
        self.ready || self.ends
    }
}

struct Endpoints(Vec<Found>);

impl Endpoints {
    /// The endpoints of one port, in a stable order, each once.
    fn of(family: Family, slices: &[Arc<EndpointSlice>], name: &str, protocol: Protocol) -> Self {
        let mut found: Vec<Found> = Vec::new();
        for slice in slices.iter().filter(|slice| slice.address_type == family.api()) {
            let ports = slice.ports.iter().flatten();
            let ports = ports.filter(|port| {
                port.name.as_deref().unwrap_or_default() == name
                    && Protocol::parse(port.protocol.as_deref()) == Some(protocol)
            });
            for port in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
                found.extend(
                    slice.endpoints.iter().flatten().filter_map(|endpoint| Self::one(family, endpoint, port)),
                );
            }
        }
        found.sort_by_key(|endpoint| (endpoint.address, !endpoint.ready));
        found.dedup_by_key(|endpoint| endpoint.address);
        Self(found)
    }

    fn one(family: Family, endpoint: &Endpoint, port: u16) -> Option<Found> {
        let (ready, ends) = Self::conditions(endpoint);
        let hints = endpoint.hints.as_ref();
        let nodes = hints.and_then(|hints| hints.for_nodes.as_ref()).into_iter().flatten();
        let zones = hints.and_then(|hints| hints.for_zones.as_ref()).into_iter().flatten();
        Some(Found {
            address: SocketAddr::new(family.parse(endpoint.addresses.first()?)?, port),
            node: endpoint.node_name.clone(),
            ready,
            ends,
            for_nodes: nodes.map(|node| node.name.clone()).collect(),
            for_zones: zones.map(|zone| zone.name.clone()).collect(),
        })
    }

    /// Whether an endpoint is ready, and whether it ends but still serves.
    fn conditions(endpoint: &Endpoint) -> (bool, bool) {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        (ready, serving && terminating)
    }

    /// Those for a client there. **Upstream**: `topologyModeFromHints`.
    fn near(&self, place: Place<'_>) -> Vec<SocketAddr> {
        let hinted = |of: fn(&Found) -> &Vec<String>, name: Option<&str>| {
            let name = name?;
            let meant = move |endpoint: &Found| of(endpoint).iter().any(|hint| hint == name);
            let mut ready = self.0.iter().filter(|endpoint| endpoint.ready);
            let all = ready.clone().all(|endpoint| !of(endpoint).is_empty());
            (all && ready.any(meant)).then(|| self.usable(|endpoint| endpoint.ready && meant(endpoint)))
        };
        hinted(|endpoint| &endpoint.for_nodes, place.node)
            .or_else(|| hinted(|endpoint| &endpoint.for_zones, place.zone))
            .unwrap_or_else(|| self.usable(|_| true))
    }

    fn usable(&self, wanted: impl Fn(&Found) -> bool) -> Vec<SocketAddr> {
        let wanted: Vec<&Found> = self.0.iter().filter(|endpoint| wanted(endpoint)).collect();
        let of = |pick: fn(&Found) -> bool| -> Vec<SocketAddr> {
            wanted.iter().filter(|endpoint| pick(endpoint)).map(|endpoint| endpoint.address).collect()
        };
        match of(|endpoint| endpoint.ready) {
            ready if ready.is_empty() => of(|endpoint| endpoint.ends),
            ready => ready,
        }
    }
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
