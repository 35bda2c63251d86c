//! Which nodes share a domain: the same value of one label.

use super::NodeInfo;
use std::collections::HashMap;

/// The domains of one label, numbered from 0.
#[derive(Debug, Default)]
pub struct Topology {
    /// The domain of the node in a slot.
    domains: Vec<Option<usize>>,
    /// How many there are.
    pub size: usize,
}

impl Topology {
    pub(super) fn of(key: &str, nodes: &[NodeInfo]) -> Self {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let domains = nodes
            .iter()
            .map(|node| {
                let next = numbers.len();
                node.label(key).map(|value| *numbers.entry(value).or_insert(next))
            })
            .collect();
        Self { domains, size: numbers.len() }
    }

    /// The domain of a node; none if it lacks the label.
    pub fn domain(&self, slot: usize) -> Option<usize> {
        self.domains.get(slot).copied().flatten()
    }
}
