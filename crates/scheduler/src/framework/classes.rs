//! Pods that no selector and no term of affinity can tell apart, and on which nodes they are.
//!
//! A Deployment of thousands of pods is one class, so that a selector is evaluated once for all of them and a count by
//! domain is a walk over the nodes that have any. **Contract**: kept up to date with every pod that comes or goes.

use super::PodInfo;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Pods alike: namespace, labels, terms of affinity, and whether they are about to go.
#[derive(Debug)]
pub struct PodClass {
    /// One of them.
    pub example: Arc<PodInfo>,
    /// How many are on a node, by the node's slot, in order.
    nodes: Vec<(usize, u32)>,
}

impl PodClass {
    /// Slots of nodes that have any, and how many.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, i64)> {
        self.nodes.iter().map(|(slot, count)| (*slot, i64::from(*count)))
    }

    fn add(&mut self, slot: usize) {
        match self.nodes.binary_search_by_key(&slot, |(at, _)| *at) {
            Ok(found) => self.nodes[found].1 += 1,
            Err(place) => self.nodes.insert(place, (slot, 1)),
        }
    }

    fn remove(&mut self, slot: usize) {
        if let Ok(found) = self.nodes.binary_search_by_key(&slot, |(at, _)| *at) {
            self.nodes[found].1 -= 1;
            if self.nodes[found].1 == 0 {
                self.nodes.remove(found);
            }
        }
    }
}

/// All classes.
#[derive(Debug, Default)]
pub(super) struct Classes {
    by_namespace: HashMap<String, HashMap<String, PodClass>>,
    /// Namespace and key of the classes that have terms of affinity.
    with_terms: BTreeSet<(String, String)>,
}

impl Classes {
    pub(super) fn add(&mut self, pod: &Arc<PodInfo>, slot: usize) {
        let classes = match self.by_namespace.get_mut(pod.namespace()) {
            Some(classes) => classes,
            None => self.by_namespace.entry(pod.namespace().to_owned()).or_default(),
        };
        match classes.get_mut(&pod.class) {
            Some(class) => class.add(slot),
            None => {
                classes.insert(pod.class.clone(), PodClass { example: pod.clone(), nodes: vec![(slot, 1)] });
                if pod.affinity.is_some() {
                    self.with_terms.insert((pod.namespace().to_owned(), pod.class.clone()));
                }
            }
        }
    }

    pub(super) fn remove(&mut self, pod: &PodInfo, slot: usize) {
        let Some(classes) = self.by_namespace.get_mut(pod.namespace()) else { return };
        let Some(class) = classes.get_mut(&pod.class) else { return };
        class.remove(slot);
        if class.nodes.is_empty() {
            classes.remove(&pod.class);
            self.with_terms.remove(&(pod.namespace().to_owned(), pod.class.clone()));
            if classes.is_empty() {
                self.by_namespace.remove(pod.namespace());
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &PodClass> {
        self.by_namespace.values().flat_map(HashMap::values)
    }

    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &PodClass> {
        self.by_namespace.get(namespace).into_iter().flat_map(HashMap::values)
    }

    pub(super) fn with_terms(&self) -> impl Iterator<Item = &PodClass> {
        self.with_terms.iter().filter_map(|(namespace, key)| self.by_namespace.get(namespace)?.get(key))
    }
}
