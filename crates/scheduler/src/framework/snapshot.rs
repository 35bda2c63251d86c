//! The cluster as plugins see it: nodes with their pods, and everything that they are related by.
//!
//! **Contract**: it is never copied. A cycle reads it in place, between two changes; every change costs as much as what
//! changed, not as much as the cluster.
//! **Upstream**: `pkg/scheduler/backend/cache` (`Snapshot`, `nodeTree`).

use super::classes::Classes;
use super::nominated::Nominated;
use super::owners::Owners;
use super::{Devices, Namespaces, NodeInfo, PodClass, PodInfo, Topology, Volumes};
use api::k8s_openapi::api::core::v1::Node;
use api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use api::selector::LabelSelector;
use api::well_known::label;
use client::Key;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// Nodes, pods, namespaces, volumes, budgets.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By slot; a free slot has neither node nor pods.
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    free: Vec<usize>,
    /// Slots of the nodes that exist, zones in turn.
    order: Vec<usize>,
    /// The last that a node was given.
    version: u64,
    /// `order` is no longer true.
    disordered: bool,
    classes: Classes,
    topologies: RwLock<HashMap<String, Arc<Topology>>>,
    /// On how many nodes an image is.
    images: HashMap<String, usize>,
    /// How many pods on nodes mount a claim.
    claim_users: HashMap<Key, usize>,
    pub(super) nominated: Nominated,
    pub(super) owners: Owners,
    /// Labels of namespaces.
    pub namespaces: Namespaces,
    /// Claims and volumes.
    pub volumes: Volumes,
    /// Devices, and claims for them.
    pub devices: Devices,
    /// When it is looked at: of what a decision depends on, time is a part.
    pub now: Timestamp,
    /// Budgets of disruption.
    pub budgets: BTreeMap<Key, Arc<PodDisruptionBudget>>,
}

impl Snapshot {
    /// The nodes that exist, zones in turn.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInfo> {
        self.order.iter().map(|slot| &self.nodes[*slot])
    }

    /// The node at a place of that order.
    pub fn nth(&self, place: usize) -> &NodeInfo {
        &self.nodes[self.order[place]]
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// One more than the highest slot.
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// The node in a slot.
    pub fn at(&self, slot: usize) -> &NodeInfo {
        &self.nodes[slot]
    }

    /// A node by name, if it exists.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).map(|slot| &self.nodes[*slot]).filter(|info| info.node.is_some())
    }

    /// The domains of a label.
    pub fn topology(&self, key: &str) -> Arc<Topology> {
        if let Some(known) = self.topologies.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return known.clone();
        }
        let topology = Arc::new(Topology::of(key, &self.nodes));
        let mut all = self.topologies.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.to_owned(), topology.clone());
        topology
    }

    /// The classes of pods of a namespace.
    pub fn classes_of(&self, namespace: &str) -> impl Iterator<Item = &PodClass> {
        self.classes.of(namespace)
    }

    /// All classes of pods.
    pub fn classes(&self) -> impl Iterator<Item = &PodClass> {
        self.classes.all()
    }

    /// The classes of pods that have terms of affinity.
    pub fn affine_classes(&self) -> impl Iterator<Item = &PodClass> {
        self.classes.with_terms()
    }

    /// On how many nodes an image is.
    pub fn image_nodes(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or(0)
    }

    /// Whether a pod on some node mounts this claim.
    pub fn is_claim_used(&self, namespace: &str, claim: &str) -> bool {
        self.claim_users.contains_key(&Key::new(namespace, claim))
    }

    /// Pods for which room was made on a node.
    pub fn nominated(&self, node: &str) -> &[Arc<PodInfo>] {
        self.nominated.on(node)
    }

    /// What a pod's company is selected by: its services and its controller.
    pub fn company(&self, pod: &PodInfo) -> Option<LabelSelector> {
        self.owners.selector(pod)
    }

    /// Puts the nodes in order again, if that is needed.
    pub(crate) fn refresh(&mut self) {
        if !std::mem::take(&mut self.disordered) {
            return;
        }
        let mut zones: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (slot, info) in self.nodes.iter().enumerate().filter(|(_, info)| info.node.is_some()) {
            let part = |key| info.label(key).unwrap_or_default();
            zones.entry((part(label::TOPOLOGY_REGION), part(label::TOPOLOGY_ZONE))).or_default().push(slot);
        }
        let longest = zones.values().map(Vec::len).max().unwrap_or(0);
        let turns = (0..longest).flat_map(|turn| zones.values().filter_map(move |zone| zone.get(turn)));
        self.order = turns.copied().collect();
    }

    /// A node is new or changed; says how it was.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) -> Option<Arc<Node>> {
        let slot = self.slot(node.metadata.name.as_deref().unwrap_or_default());
        let old = self.nodes[slot].node.clone();
        let labels = |node: &Node| node.metadata.labels.clone();
        if old.as_deref().is_none_or(|old| labels(old) != labels(&node)) {
            self.disordered = true;
            self.forget_topologies();
        }
        let had = self.nodes[slot].images.clone();
        self.nodes[slot].set_node(node);
        self.touch(slot);
        let has = self.nodes[slot].images.clone();
        if !Arc::ptr_eq(&had, &has) {
            self.count_images(had.keys(), has.keys());
        }
        old
    }

    /// A node is gone; its pods count until they are gone too.
    pub(crate) fn remove_node(&mut self, name: &str) -> Option<Arc<Node>> {
        let slot = *self.by_name.get(name)?;
        let had = std::mem::take(&mut self.nodes[slot].images);
        self.count_images(had.keys(), [].iter());
        let node = self.nodes[slot].node.take();
        self.touch(slot);
        self.disordered = true;
        self.forget_topologies();
        self.release(slot, name);
        node
    }

    fn touch(&mut self, slot: usize) {
        self.version += 1;
        self.nodes[slot].version = self.version;
    }

    fn forget_topologies(&mut self) {
        self.topologies.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn count_images<'a>(
        &mut self,
        had: impl Iterator<Item = &'a String>,
        has: impl Iterator<Item = &'a String>,
    ) {
        for name in has {
            *self.images.entry(name.clone()).or_default() += 1;
        }
        for name in had {
            if let Some(count) = self.images.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(name);
                }
            }
        }
    }

    /// Puts a pod on a node, which may not be known yet.
    pub(crate) fn add_pod(&mut self, pod: &Arc<PodInfo>, node: &str) {
        let slot = self.slot(node);
        self.nodes[slot].add_pod(pod.clone());
        self.touch(slot);
        self.classes.add(pod, slot);
        for claim in &pod.claims {
            *self.claim_users.entry(Key::new(pod.namespace(), &claim.name)).or_default() += 1;
        }
    }

    /// Takes a pod off a node.
    pub(crate) fn remove_pod(&mut self, uid: &str, node: &str) -> Option<Arc<PodInfo>> {
        let slot = *self.by_name.get(node)?;
        let pod = self.nodes[slot].remove_pod(uid)?;
        self.touch(slot);
        self.classes.remove(&pod, slot);
        for claim in &pod.claims {
            let key = Key::new(pod.namespace(), &claim.name);
            if let Some(users) = self.claim_users.get_mut(&key) {
                *users -= 1;
                if *users == 0 {
                    self.claim_users.remove(&key);
                }
            }
        }
        self.release(slot, node);
        Some(pod)
    }

    /// Room on a node is kept for a pod; with an empty name no longer.
    pub(crate) fn nominate(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove_nomination(pod.uid());
        self.nominated.set(pod, node);
        self.mark_nominated(node);
    }

    /// Nothing is kept for a pod any more.
    pub(crate) fn remove_nomination(&mut self, uid: &str) {
        if let Some(node) = self.nominated.remove(uid) {
            self.mark_nominated(&node);
        }
    }

    fn mark_nominated(&mut self, node: &str) {
        if let Some(slot) = self.by_name.get(node) {
            self.nodes[*slot].is_nominated = !self.nominated.on(node).is_empty();
        }
    }

    /// A service's selector, or that it is gone or has none.
    pub(crate) fn set_service(&mut self, key: &Key, selector: Option<&BTreeMap<String, String>>) {
        self.owners.set_service(key, selector);
    }

    /// A workload's selector, or that it is gone.
    pub(crate) fn set_workload(&mut self, kind: &'static str, key: Key, selector: Option<LabelSelector>) {
        self.owners.set_workload(kind, key, selector);
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(NodeInfo::default());
            self.nodes.len() - 1
        });
        self.nodes[slot] = NodeInfo::default();
        self.nodes[slot].slot = slot;
        self.nodes[slot].is_nominated = !self.nominated.on(name).is_empty();
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    fn release(&mut self, slot: usize, name: &str) {
        let info = &self.nodes[slot];
        if info.node.is_none() && info.pods().is_empty() {
            self.by_name.remove(name);
            self.free.push(slot);
        }
    }
}
