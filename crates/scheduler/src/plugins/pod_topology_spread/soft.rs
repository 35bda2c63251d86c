//! Constraints that nodes should meet: fewer matching pods in a node's domains are better.

use super::{Constraint, has_all};
use crate::framework::{MAX_NODE_SCORE, NodeInfo, PodInfo, Snapshot};
use api::well_known::label;

/// What should hold, with the counts of one cycle.
pub(super) struct Soft {
    constraints: Vec<Counted>,
    /// Slots of nodes that lack a label that is needed.
    ignored: Vec<usize>,
}

struct Counted {
    constraint: Constraint,
    /// Matching pods: by domain, or by slot if each node is a domain of its own.
    counts: Vec<i64>,
    by_slot: bool,
    /// Domains are worth more where there are many of them.
    weight: f64,
}

impl Soft {
    pub(super) fn of(
        constraints: Vec<Constraint>,
        needs_all: bool,
        pod: &PodInfo,
        cluster: &Snapshot,
        nodes: &[&NodeInfo],
    ) -> Self {
        let lacks = |slot: usize| needs_all && !has_all(&constraints, slot);
        let ignored: Vec<usize> = nodes.iter().map(|node| node.slot).filter(|slot| lacks(*slot)).collect();
        let counts: Vec<(Vec<i64>, f64)> = constraints
            .iter()
            .map(|constraint| {
                if constraint.key == label::HOSTNAME {
                    let size = nodes.len() - ignored.len();
                    (by_slot(constraint, pod, cluster), weight(size))
                } else {
                    let asked = nodes.iter().filter(|node| !lacks(node.slot));
                    let mut domains: Vec<Option<usize>> =
                        asked.map(|node| constraint.topology.domain(node.slot)).collect();
                    domains.sort_unstable();
                    domains.dedup();
                    (by_domain(constraint, pod, cluster, &lacks), weight(domains.len()))
                }
            })
            .collect();
        let constraints = constraints
            .into_iter()
            .zip(counts)
            .map(|(constraint, (counts, weight))| {
                let by_slot = constraint.key == label::HOSTNAME;
                Counted { constraint, counts, by_slot, weight }
            })
            .collect();
        Self { constraints, ignored }
    }

    /// The matching pods in the node's domains, weighed; fewer are better.
    pub(super) fn score(&self, node: &NodeInfo) -> i64 {
        if self.ignored.contains(&node.slot) {
            return 0;
        }
        let scores = self.constraints.iter().filter_map(|counted| {
            let domain = counted.constraint.topology.domain(node.slot)?;
            let count = counted.counts[if counted.by_slot { node.slot } else { domain }];
            Some(count as f64 * counted.weight + (counted.constraint.max_skew - 1) as f64)
        });
        scores.sum::<f64>().round() as i64
    }

    pub(super) fn normalize(&self, nodes: &[&NodeInfo], scores: &mut [i64]) {
        let counts = |slot: usize| !self.ignored.contains(&slot);
        let judged = || nodes.iter().zip(&*scores).filter(|(node, _)| counts(node.slot)).map(|(_, s)| *s);
        let (least, most) = (judged().min().unwrap_or(0), judged().max().unwrap_or(0));
        for (node, score) in nodes.iter().zip(scores) {
            *score = match (counts(node.slot), most) {
                (false, _) => 0,
                (true, 0) => MAX_NODE_SCORE,
                (true, most) => MAX_NODE_SCORE * (most + least - *score) / most,
            };
        }
    }
}

fn by_slot(constraint: &Constraint, pod: &PodInfo, cluster: &Snapshot) -> Vec<i64> {
    let mut counts = vec![0; cluster.slots()];
    constraint.matching(pod, cluster).for_each(|(slot, count)| counts[slot] += count);
    counts
}

fn by_domain(
    constraint: &Constraint,
    pod: &PodInfo,
    cluster: &Snapshot,
    lacks: &impl Fn(usize) -> bool,
) -> Vec<i64> {
    let mut counts = vec![0; constraint.topology.size];
    let all = constraint.includes_all(pod);
    for (slot, count) in constraint.matching(pod, cluster) {
        let Some(node) = &cluster.at(slot).node else { continue };
        if lacks(slot) || !(all || constraint.includes(pod, node)) {
            continue;
        }
        if let Some(domain) = constraint.topology.domain(slot) {
            counts[domain] += count;
        }
    }
    counts
}

/// **Upstream**: `topologyNormalizingWeight`.
fn weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}
