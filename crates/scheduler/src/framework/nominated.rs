//! Pods for which preemption has made room on a node, and which are not bound yet.

use super::PodInfo;
use std::collections::HashMap;
use std::sync::Arc;

/// Nominations by node.
#[derive(Debug, Default)]
pub(super) struct Nominated {
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
    node_of: HashMap<String, String>,
}

impl Nominated {
    /// Of a pod for which no room is kept yet.
    pub(super) fn set(&mut self, pod: Arc<PodInfo>, node: &str) {
        if node.is_empty() {
            return;
        }
        self.node_of.insert(pod.uid().to_owned(), node.to_owned());
        self.by_node.entry(node.to_owned()).or_default().push(pod);
    }

    /// Says where room was kept for it.
    pub(super) fn remove(&mut self, uid: &str) -> Option<String> {
        let node = self.node_of.remove(uid)?;
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|pod| pod.uid() != uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
        Some(node)
    }

    pub(super) fn on(&self, node: &str) -> &[Arc<PodInfo>] {
        if self.by_node.is_empty() {
            return &[];
        }
        self.by_node.get(node).map(Vec::as_slice).unwrap_or_default()
    }
}
