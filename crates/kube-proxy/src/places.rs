//! Where clients are: the nodes on this machine, and which pods are on which of them.
//!
//! All nodes of a profile share this machine's kernel, so a packet's node is told by its source: a pod's address is that of
//! its node, everything else is the machine itself.
//! **Contract**: nothing is watched before a service asks where its clients are ([`needed`]).
//! **Upstream**: a kube-proxy a node, which knows its own name and zone.

use crate::family::Family;
use crate::rules::{Element, Objects, Value, named};
use client::{Delta, Informer, Informers, Key, Subscription};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node's zone. **Upstream**: `LabelTopologyZone`.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The nodes on this machine, and their zones as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine(BTreeMap<String, Option<String>>);

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its node; none for the machine itself, if that is several.
    pub node: Option<&'a str>,
    /// Its zone.
    pub zone: Option<&'a str>,
}

impl Machine {
    /// With these nodes, whose zones are not known.
    pub fn new(nodes: impl IntoIterator<Item = String>) -> Self {
        Self(nodes.into_iter().map(|name| (name, None)).collect())
    }

    /// Whether a node is here.
    pub fn has(&self, node: &str) -> bool {
        self.0.contains_key(node)
    }

    /// Takes over a node's zone; whether that is another.
    pub fn learn(&mut self, node: &str, zone: Option<String>) -> bool {
        match self.0.get_mut(node) {
            Some(known) if *known != zone => {
                *known = zone;
                true
            }
            _ => false,
        }
    }

    /// Where the machine itself is: if it is one node, there; otherwise in the zone of all of them, if that is one.
    pub fn itself(&self) -> Place<'_> {
        let mut zones = self.0.values();
        let zone = zones.next().and_then(Option::as_deref);
        Place {
            node: self.0.keys().next().filter(|_| self.0.len() == 1).map(String::as_str),
            zone: zone.filter(|zone| zones.all(|other| other.as_deref() == Some(zone))),
        }
    }

    /// The places of pods, where these are told apart.
    pub fn places(&self) -> impl Iterator<Item = (&str, Place<'_>)> {
        let several = self.0.len() > 1;
        self.0
            .iter()
            .filter(move |_| several)
            .map(|(node, zone)| (node.as_str(), Place { node: Some(node), zone: zone.as_deref() }))
    }

    /// The sets of pods' addresses, one a node.
    pub fn sets(&self) -> Vec<String> {
        self.places().map(|(node, _)| set(node)).collect()
    }
}

/// The set of the addresses of a node's pods.
pub fn set(node: &str) -> String {
    named("pods", node)
}

/// Whether endpoints of a service depend on where the client is.
pub fn needed(service: &Service, slices: &[Arc<EndpointSlice>], machine: &Machine) -> bool {
    let local =
        service.spec.as_ref().and_then(|spec| spec.internal_traffic_policy.as_deref()) == Some("Local");
    let mut endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    local && machine.0.len() > 1 || endpoints.any(|endpoint| endpoint.hints.is_some())
}

/// What is followed once somebody needs it.
pub(crate) struct Followed {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    pod_changes: Subscription<Pod>,
    node_changes: Subscription<Node>,
}

/// What has changed.
#[derive(Default)]
pub(crate) struct Moved {
    pub(crate) pods: BTreeSet<Key>,
    pub(crate) nodes: BTreeSet<String>,
}

impl Followed {
    /// Starts to follow, and waits until the nodes are known; pods follow as they are told, so that services need not wait.
    pub(crate) async fn start(pods: &Informers, nodes: &Informers) -> Self {
        let (pods, nodes) = (pods.of::<Pod>(), nodes.of::<Node>());
        let (pod_changes, node_changes) = (pods.subscribe(), nodes.subscribe());
        nodes.synced().await;
        Self { pods, nodes, pod_changes, node_changes }
    }

    /// The next change; none when there will be none.
    pub(crate) async fn changed(&mut self) -> Option<Moved> {
        let mut moved = Moved::default();
        tokio::select! {
            delta = self.pod_changes.recv() => moved.pod(&delta?),
            delta = self.node_changes.recv() => moved.node(&delta?),
        }
        Some(moved)
    }

    /// What else has gathered.
    pub(crate) fn gather(&mut self, moved: &mut Moved) {
        while let Some(delta) = self.pod_changes.try_recv() {
            moved.pod(&delta);
        }
        while let Some(delta) = self.node_changes.try_recv() {
            moved.node(&delta);
        }
    }

    pub(crate) fn zone(&self, node: &str) -> Option<String> {
        self.nodes.get("", node)?.metadata.labels.as_ref()?.get(ZONE).cloned()
    }

    /// What the table of a family needs of a pod.
    pub(crate) fn objects(&self, family: Family, pod: &Key, machine: &Machine) -> Objects {
        let found = self.pods.get_key(pod).and_then(|pod| element(family, &pod, machine));
        Objects {
            elements: found.map(|element| (element, Value::Member)).into_iter().collect(),
            ..Objects::default()
        }
    }
}

impl Moved {
    fn pod(&mut self, delta: &Delta<Pod>) {
        self.pods.extend(delta.object().map(|pod| Key::of(&**pod)));
    }

    fn node(&mut self, delta: &Delta<Node>) {
        self.nodes.extend(delta.object().and_then(|node| node.metadata.name.clone()));
    }
}

/// The key in the table of a pod, which no service has.
pub(crate) fn table_key(pod: &Key) -> Key {
    Key::new(format!("pod/{}", pod.namespace), pod.name.clone())
}

/// A pod's address of a family in the set of its node.
fn element(family: Family, pod: &Pod, machine: &Machine) -> Option<Element> {
    let node = pod.spec.as_ref()?.node_name.as_deref().filter(|node| machine.has(node))?;
    Some((set(node).into(), family.address_of(pod)?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn the_machine_is_where_all_its_nodes_are() {
        for (nodes, node, zone) in [
            (vec![("a", Some("z"))], Some("a"), Some("z")),
            (vec![("a", Some("z")), ("b", Some("z"))], None, Some("z")),
            (vec![("a", Some("z")), ("b", Some("y"))], None, None),
            (vec![("a", Some("z")), ("b", None)], None, None),
        ] {
            let mut machine = Machine::new(nodes.iter().map(|(name, _)| (*name).to_owned()));
            for (name, zone) in &nodes {
                machine.learn(name, zone.map(str::to_owned));
            }
            assert_eq!(machine.itself(), Place { node, zone }, "{nodes:?}");
            assert_eq!(machine.sets().len(), if nodes.len() > 1 { nodes.len() } else { 0 });
        }
    }

    #[test]
    fn pods_with_an_address_of_their_own_are_on_a_node() {
        let machine = Machine::new(["a".to_owned()]);
        let pod = |node: &str, spec: Value, phase: &str| -> Pod {
            let mut pod = json!({"spec": {"containers": [], "nodeName": node}, "status": {"podIP": "10.1.0.1", "phase": phase}});
            spec.as_object()
                .into_iter()
                .flatten()
                .for_each(|(name, value)| pod["spec"][name] = value.clone());
            from_value(pod).expect("a pod")
        };
        for (what, pod, found) in [
            ("here", pod("a", json!({}), "Running"), true),
            ("elsewhere", pod("b", json!({}), "Running"), false),
            ("ended", pod("a", json!({}), "Succeeded"), false),
            ("in the machine's network", pod("a", json!({"hostNetwork": true}), "Running"), false),
        ] {
            let expected = found.then(|| (set("a").into(), "10.1.0.1".to_owned()));
            assert_eq!(element(Family::V4, &pod, &machine), expected, "{what}");
            assert_eq!(element(Family::V6, &pod, &machine), None, "{what}");
        }
    }
}
