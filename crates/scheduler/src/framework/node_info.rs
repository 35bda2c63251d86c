//! A node with the pods on it, and what they take together.

use super::{PodInfo, Resources, normalized_image};
use api::k8s_openapi::api::core::v1::{Node, Taint};
use api::pod::{HostPort, parse_quantity};
use std::collections::HashMap;
use std::sync::Arc;

/// A node as the scheduler sees it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; none if only pods of it are known yet.
    pub node: Option<Arc<Node>>,
    /// Its place in the snapshot.
    pub slot: usize,
    /// Of another number whenever it or a pod on it has changed.
    pub version: u64,
    /// What pods may use together.
    pub allocatable: Resources,
    /// What the pods on it request.
    pub requested: Resources,
    /// The same for scores.
    pub scored_requested: Resources,
    /// `spec.unschedulable`.
    pub is_unschedulable: bool,
    /// Whether it has any taint.
    pub is_tainted: bool,
    /// Whether room on it was made for pods ([`super::Snapshot::nominated`]).
    pub is_nominated: bool,
    /// Sizes of the images that it has, by name.
    pub images: Arc<HashMap<String, i64>>,
    pods: Vec<Arc<PodInfo>>,
}

impl NodeInfo {
    /// Takes over a node's new state.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let list = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
        let list = list.into_iter().flatten().map(|(name, q)| (name.clone(), parse_quantity(q))).collect();
        self.allocatable = Resources::from_list(&list);
        let images = |node: &Node| node.status.as_ref().and_then(|s| s.images.clone()).unwrap_or_default();
        let known = self.node.as_deref().map(images).unwrap_or_default();
        let present = images(&node);
        if known != present {
            let names = present.iter().flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image.names.iter().flatten().map(move |name| (normalized_image(name), size))
            });
            self.images = Arc::new(names.collect());
        }
        let spec = node.spec.as_ref();
        self.is_unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        self.is_tainted = spec.and_then(|spec| spec.taints.as_ref()).is_some_and(|taints| !taints.is_empty());
        self.node = Some(node);
    }

    /// Puts a pod on it; one that is there is replaced.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(pod.uid());
        self.requested.add(&pod.requests);
        self.scored_requested.add(&pod.scored_requests);
        self.pods.push(pod);
    }

    /// Takes a pod off it.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.uid() == uid)?;
        Some(self.take(at))
    }

    fn take(&mut self, at: usize) -> Arc<PodInfo> {
        let pod = self.pods.swap_remove(at);
        self.requested.remove(&pod.requests);
        self.scored_requested.remove(&pod.scored_requests);
        pod
    }

    /// Takes off one of its own pods.
    pub(crate) fn put_aside(&mut self, pod: &Arc<PodInfo>) {
        if let Some(at) = self.pods.iter().position(|own| Arc::ptr_eq(own, pod)) {
            self.take(at);
        }
    }

    /// Puts back a pod that was put aside.
    pub(crate) fn put_back(&mut self, pod: &Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scored_requested.add(&pod.scored_requests);
        self.pods.push(pod.clone());
    }

    /// Becomes a copy of another, in the same memory.
    pub(crate) fn imitate(&mut self, other: &Self) {
        let mut pods = std::mem::take(&mut self.pods);
        pods.clone_from(&other.pods);
        *self = Self {
            node: other.node.clone(),
            allocatable: other.allocatable.clone(),
            requested: other.requested.clone(),
            scored_requested: other.scored_requested.clone(),
            images: other.images.clone(),
            pods,
            ..*other
        };
    }

    /// The pods on it, assumed ones too.
    pub fn pods(&self) -> &[Arc<PodInfo>] {
        &self.pods
    }

    /// The ports that its pods claim.
    pub fn used_ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.iter().flat_map(|p| &p.host_ports)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.node.as_ref().and_then(|n| n.metadata.name.as_deref()).unwrap_or_default()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Its taints.
    pub fn taints(&self) -> impl Iterator<Item = &Taint> {
        self.node.iter().filter_map(|n| n.spec.as_ref()?.taints.as_ref()).flatten()
    }
}
