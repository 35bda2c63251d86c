//! Why nodes cannot take a pod, node by node, and in one sentence.
//!
//! **Contract**: thousands of nodes have few different reasons: a reason is kept once.
//! **Upstream**: `framework.Diagnosis`, `FitError`.

use crate::framework::{Rejection, Remedy};
use std::collections::{BTreeSet, HashMap};

/// Why nodes cannot take a pod.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// Of the nodes that were looked at.
    pub(crate) rejected: Rejections,
    /// Who has rejected nodes without saying why.
    pub(crate) unexplained: Option<&'static str>,
    /// Why no other node was looked at.
    pub(crate) others: Option<Rejection>,
    /// Whether that was so before any node was looked at.
    pub(crate) before: bool,
}

/// Nodes, by slot, each with the reason of its rejection.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    distinct: Vec<Rejection>,
    places: HashMap<Rejection, usize>,
    /// Slot, and index of the reason.
    nodes: Vec<(usize, usize)>,
}

impl Rejections {
    /// Room for so many nodes.
    pub(crate) fn expect(&mut self, nodes: usize) {
        self.nodes.reserve(nodes);
    }

    /// A node does not take the pod.
    pub(crate) fn push(&mut self, slot: usize, rejection: &Rejection) {
        // Most nodes say what the one before has said.
        let same = self.nodes.last().map(|(_, at)| *at).filter(|at| self.distinct[*at] == *rejection);
        let at = same.or_else(|| self.places.get(rejection).copied()).unwrap_or_else(|| {
            self.places.insert(rejection.clone(), self.distinct.len());
            self.distinct.push(rejection.clone());
            self.distinct.len() - 1
        });
        self.nodes.push((slot, at));
    }

    /// How many nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Each node's slot and reason, in the order in which they were looked at.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Rejection)> {
        self.nodes.iter().map(|(slot, at)| (*slot, &self.distinct[*at]))
    }

    /// Each reason once.
    pub(crate) fn distinct(&self) -> &[Rejection] {
        &self.distinct
    }

    /// How many nodes have each of the reasons.
    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.distinct.len()];
        self.nodes.iter().for_each(|(_, at)| counts[*at] += 1);
        counts
    }

    /// Slots of the nodes on which fewer pods may help.
    pub(crate) fn resolvable(&self) -> Vec<usize> {
        let hopeful: Vec<bool> = self.distinct.iter().map(is_resolvable).collect();
        self.nodes.iter().filter(|(_, at)| hopeful[*at]).map(|(slot, _)| *slot).collect()
    }
}

/// Whether room on the node could help.
pub(crate) fn is_resolvable(rejection: &Rejection) -> bool {
    rejection.remedy == Remedy::Preemption
}

impl Diagnosis {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    pub(crate) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut text = format!("0/{} nodes are available:", self.nodes);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (rejection, count) in self.rejected.distinct().iter().zip(self.rejected.counts()) {
            for reason in &rejection.reasons {
                *counts.entry(reason).or_default() += count;
            }
        }
        if let Some(others) = &self.others {
            if self.before {
                text.push_str(&format!(" {}.", others.reasons.join(", ")));
                return text;
            }
            for reason in others.reasons.iter().filter(|_| self.rejected.len() < self.nodes) {
                *counts.entry(reason).or_default() += self.nodes - self.rejected.len();
            }
        }
        let mut reasons: Vec<String> =
            counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        if !reasons.is_empty() {
            text.push_str(&format!(" {}.", reasons.join(", ")));
        }
        text
    }

    /// The plugins that said so.
    pub(crate) fn plugins(&self) -> BTreeSet<&'static str> {
        let others = self.others.iter().map(|r| r.plugin);
        self.rejected.distinct().iter().map(|r| r.plugin).chain(others).chain(self.unexplained).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_nodes_by_reason_and_keeps_each_nodes_own() {
        let (cpu, disk) = (
            Rejection::new("NodeResourcesFit", "Insufficient cpu"),
            Rejection::unresolvable("NodeName", "elsewhere"),
        );
        let mut diagnosis = Diagnosis { nodes: 4, ..Diagnosis::default() };
        for (slot, rejection) in [(7, &cpu), (1, &disk), (3, &cpu), (2, &cpu)] {
            diagnosis.rejected.push(slot, rejection);
        }
        assert_eq!(diagnosis.message(), "0/4 nodes are available: 1 elsewhere, 3 Insufficient cpu.");
        assert_eq!(diagnosis.rejected.distinct().len(), 2);
        assert_eq!(diagnosis.rejected.resolvable(), [7, 3, 2]);
        let of: Vec<_> = diagnosis.rejected.iter().collect();
        assert_eq!(of, [(7, &cpu), (1, &disk), (3, &cpu), (2, &cpu)]);
        assert_eq!(diagnosis.plugins().into_iter().collect::<Vec<_>>(), ["NodeName", "NodeResourcesFit"]);
    }
}
