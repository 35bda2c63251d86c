//! What policies mean: for each pod that one selects, the packets that may leave it or reach it.
//!
//! **Contract**: pure. A pod that no policy selects for a direction is open in it; otherwise what any of its policies allows
//! is allowed. Each family of addresses by itself: a pod that is isolated is so in all of them. Pods in the machine's own network are the machine: no policy selects them, and none names them.
//! **Upstream**: `k8s.io/api/networking/v1`, the documentation of NetworkPolicy.

use super::state::{EGRESS, INGRESS, SELVES, Set, State};
use crate::family::Family;
use crate::rules::named;
use crate::services::Protocol;
use api::selector::LabelSelector;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

type Labels = BTreeMap<String, String>;

/// What policies ask of a pod.
#[derive(Clone, Debug)]
pub struct PodFacts {
    namespace: String,
    labels: Labels,
    address: IpAddr,
    /// Ports with names.
    ports: Vec<(String, Protocol, u16)>,
}

/// What policies are about.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Pods that have addresses of their own.
    pub pods: Vec<PodFacts>,
    /// The labels of namespaces, by name.
    pub namespaces: BTreeMap<String, Labels>,
}

/// Which packets of a pod.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    fn map(self) -> &'static str {
        match self {
            Self::Ingress => INGRESS,
            Self::Egress => EGRESS,
        }
    }

    /// The end of a packet that the peer is.
    fn peer(self) -> &'static str {
        match self {
            Self::Ingress => "saddr",
            Self::Egress => "daddr",
        }
    }
}

impl PodFacts {
    /// Of a pod that packets of this family can come from or go to.
    pub fn of(family: Family, pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let address = family.address_of(pod)?;
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let ports = containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
            let number = u16::try_from(port.container_port).ok()?;
            Some((port.name.clone()?, Protocol::parse(port.protocol.as_deref())?, number))
        });
        Some(Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            address,
            ports: ports.collect(),
        })
    }
}

/// What the table for packets of a family is to have; the cluster has its pods of that.
pub fn state(family: Family, policies: &[Arc<NetworkPolicy>], cluster: &Cluster) -> State {
    let mut state = State::default();
    // The policies' chains of each selected pod.
    let mut isolated: BTreeMap<(&str, IpAddr), BTreeSet<String>> = BTreeMap::new();
    for policy in policies {
        let Some(spec) = &policy.spec else { continue };
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let selector = Selector::of(spec.pod_selector.as_ref());
        let of_namespace = cluster.pods.iter().filter(|pod| pod.namespace == namespace);
        let subjects: Vec<&PodFacts> = of_namespace.filter(|pod| selector.selects(&pod.labels)).collect();
        if subjects.is_empty() {
            continue;
        }
        for direction in directions(spec) {
            let full = format!("{namespace}/{}", policy.metadata.name.as_deref().unwrap_or_default());
            let chain = named(direction.name(), &full);
            let writer = Writer { family, cluster, namespace, subjects: &subjects, direction, full: &full };
            let rules = writer.rules(spec, &mut state.sets);
            state.chains.insert(chain.clone(), rules);
            for pod in &subjects {
                isolated.entry((direction.map(), pod.address)).or_default().insert(chain.clone());
            }
        }
    }
    for ((map, address), policies) in isolated {
        let full: Vec<&str> = policies.iter().map(String::as_str).collect();
        let chain = named("pods", &format!("{map} {}", full.join(" ")));
        let mut rules: Vec<String> = policies.iter().map(|policy| format!("jump {policy}")).collect();
        rules.push("drop".to_owned());
        state.chains.insert(chain.clone(), rules);
        state.elements.insert((map, address.to_string()), format!("goto {chain}"));
        state.elements.insert((SELVES, format!("{address} . {address}")), String::new());
    }
    state
}

/// **Upstream**: the API server's defaults say it already; objects from elsewhere may not.
fn directions(spec: &NetworkPolicySpec) -> Vec<Direction> {
    let Some(types) = spec.policy_types.as_ref().filter(|types| !types.is_empty()) else {
        let egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
        return [Direction::Ingress].into_iter().chain(egress.then_some(Direction::Egress)).collect();
    };
    let named = |direction: &Direction| types.iter().any(|name| name.eq_ignore_ascii_case(direction.name()));
    [Direction::Ingress, Direction::Egress].into_iter().filter(named).collect()
}

struct Selector(LabelSelector);

impl Selector {
    /// Absent and empty select everything.
    fn of(selector: Option<&ApiSelector>) -> Self {
        let Some(selector) = selector else { return Self(LabelSelector::everything()) };
        let json = serde_json::to_value(selector).unwrap_or_default();
        Self(LabelSelector::from_json(&json).unwrap_or_else(|_| LabelSelector::nothing()))
    }

    fn selects(&self, labels: &Labels) -> bool {
        self.0.matches(|key| labels.get(key).map(String::as_str))
    }
}

/// With whom and at what ports a rule lets packets pass; none named is all.
type Allowed<'a> = (&'a [NetworkPolicyPeer], &'a [NetworkPolicyPort]);

fn listed<T>(items: &Option<Vec<T>>) -> &[T] {
    items.as_deref().unwrap_or_default()
}

/// Writes the rules of one policy in one direction.
struct Writer<'a> {
    family: Family,
    cluster: &'a Cluster,
    namespace: &'a str,
    subjects: &'a [&'a PodFacts],
    direction: Direction,
    full: &'a str,
}

impl Writer<'_> {
    fn rules(&self, spec: &NetworkPolicySpec, sets: &mut BTreeMap<String, Set>) -> Vec<String> {
        let allowed: Vec<Allowed<'_>> = match self.direction {
            Direction::Ingress => {
                spec.ingress.iter().flatten().map(|rule| (listed(&rule.from), listed(&rule.ports))).collect()
            }
            Direction::Egress => {
                spec.egress.iter().flatten().map(|rule| (listed(&rule.to), listed(&rule.ports))).collect()
            }
        };
        let mut rules = Vec::new();
        for (number, (peers, ports)) in allowed.into_iter().enumerate() {
            let peers: Vec<Option<String>> = match peers {
                [] => vec![Some(String::new())],
                peers => {
                    let numbered = peers.iter().enumerate();
                    numbered.map(|(at, peer)| self.peer(peer, &format!("{number}/{at}"), sets)).collect()
                }
            };
            let ports: Vec<Option<String>> = match ports {
                [] => vec![Some(String::new())],
                ports => ports.iter().map(|port| self.port(port, sets)).collect(),
            };
            for peer in peers.iter().flatten() {
                rules.extend(ports.iter().flatten().map(|port| format!("{peer}{port}accept")));
            }
        }
        rules
    }

    /// What a packet's other end must be; none if there is no such end.
    fn peer(
        &self,
        peer: &NetworkPolicyPeer,
        place: &str,
        sets: &mut BTreeMap<String, Set>,
    ) -> Option<String> {
        let end = format!("{} {}", self.family.nft(), self.direction.peer());
        if let Some(block) = &peer.ip_block {
            let mut text = format!("{end} {} ", self.family.block(&block.cidr)?);
            let except: Vec<&str> =
                block.except.iter().flatten().filter_map(|cidr| self.family.block(cidr)).collect();
            if !except.is_empty() {
                text.push_str(&format!("{end} != {{ {} }} ", except.join(", ")));
            }
            return Some(text);
        }
        let pods = Selector::of(peer.pod_selector.as_ref());
        let namespaces = peer.namespace_selector.as_ref().map(|selector| Selector::of(Some(selector)));
        let in_place = |pod: &&PodFacts| match &namespaces {
            None => pod.namespace == self.namespace,
            Some(selector) => {
                self.cluster.namespaces.get(&pod.namespace).is_some_and(|labels| selector.selects(labels))
            }
        };
        let selected = self.cluster.pods.iter().filter(in_place).filter(|pod| pods.selects(&pod.labels));
        let elements = selected.map(|pod| pod.address.to_string()).collect();
        let set = named(&format!("{}-peers", self.direction.name()), &format!("{}/{place}", self.full));
        sets.insert(set.clone(), Set { of: self.family.nft_type().to_owned(), elements });
        Some(format!("{end} @{set} "))
    }

    /// What a packet's destination port must be.
    fn port(&self, port: &NetworkPolicyPort, sets: &mut BTreeMap<String, Set>) -> Option<String> {
        let protocol = Protocol::parse(port.protocol.as_deref())?;
        let over = protocol.as_str();
        match (&port.port, port.end_port) {
            (None, _) => Some(format!("meta l4proto {over} ")),
            (Some(IntOrString::Int(first)), Some(last)) => Some(format!("{over} dport {first}-{last} ")),
            (Some(IntOrString::Int(number)), None) => Some(format!("{over} dport {number} ")),
            (Some(IntOrString::String(name)), _) => {
                // A name is a number of each pod's own.
                let receivers: Vec<&PodFacts> = match self.direction {
                    Direction::Ingress => self.subjects.to_vec(),
                    Direction::Egress => self.cluster.pods.iter().collect(),
                };
                let elements = receivers.iter().flat_map(|pod| {
                    let known = pod.ports.iter().filter(|(port, of, _)| port == name && *of == protocol);
                    known.map(move |(_, _, number)| format!("{} . {over} . {number}", pod.address))
                });
                let set = named(
                    &format!("{}-ports", self.direction.name()),
                    &format!("{}/{over}/{name}", self.full),
                );
                let of = format!("{} . inet_proto . inet_service", self.family.nft_type());
                sets.insert(set.clone(), Set { of, elements: elements.collect() });
                Some(format!("{} daddr . meta l4proto . th dport @{set} ", self.family.nft()))
            }
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
