//! One scheduling cycle: from a pod and the nodes to a node, or to the reasons why there is none.
//!
//! **Contract**: pure but for the random choice among equals.
//! **Upstream**: `schedulePod` of `pkg/scheduler/schedule_one.go`.

use crate::framework::{CycleState, NodeInfo, Plugin, PodInfo, Rejection};
use component_base::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// With fewer nodes than this, all are looked at (`minFeasibleNodesToFind`).
const MIN_FEASIBLE: usize = 100;
/// Never fewer than this percentage of the nodes (`minFeasibleNodesPercentageToFind`).
const MIN_PERCENT: usize = 5;

/// Why no node can take a pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unschedulable {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    pub(crate) message: String,
    /// The plugins that said so.
    pub(crate) rejected_by: BTreeSet<&'static str>,
}

/// The node for a pod. `start` is where the search begins, so that large clusters are searched all round.
pub(crate) fn schedule(
    plugins: &[Box<dyn Plugin>],
    pod: &PodInfo,
    nodes: &[&NodeInfo],
    start: &mut usize,
    rng: &Rng,
) -> Result<String, Unschedulable> {
    if nodes.is_empty() {
        let message = "no nodes available to schedule pods".to_owned();
        return Err(Unschedulable { message, rejected_by: BTreeSet::new() });
    }
    let mut state = CycleState::default();
    for plugin in plugins {
        if let Err(rejection) = plugin.pre_filter(&mut state, pod) {
            return Err(unschedulable(nodes.len(), &[rejection]));
        }
    }
    let mut feasible = Vec::new();
    let mut rejections = Vec::new();
    let enough = feasible_nodes_to_find(nodes.len());
    for offset in 0..nodes.len() {
        let node = nodes[(*start + offset) % nodes.len()];
        match plugins.iter().try_for_each(|plugin| plugin.filter(&state, pod, node)) {
            Ok(()) => feasible.push(node),
            Err(rejection) => rejections.push(rejection),
        }
        if feasible.len() == enough {
            break;
        }
    }
    *start = (*start + feasible.len() + rejections.len()) % nodes.len();
    match feasible.as_slice() {
        [] => Err(unschedulable(nodes.len(), &rejections)),
        [only] => Ok(only.name().to_owned()),
        many => Ok(best(plugins, &state, pod, many, rng).to_owned()),
    }
}

/// How many nodes that can take the pod are enough to choose from: all of a small cluster, a sample of a large one.
fn feasible_nodes_to_find(all: usize) -> usize {
    if all < MIN_FEASIBLE {
        return all;
    }
    let percent = 50_usize.saturating_sub(all / 125).max(MIN_PERCENT);
    (all * percent / 100).max(MIN_FEASIBLE)
}

fn best<'a>(
    plugins: &[Box<dyn Plugin>],
    state: &CycleState,
    pod: &PodInfo,
    nodes: &[&'a NodeInfo],
    rng: &Rng,
) -> &'a str {
    let mut totals = vec![0; nodes.len()];
    for plugin in plugins.iter().filter(|p| p.weight() > 0) {
        let mut scores: Vec<i64> = nodes.iter().map(|node| plugin.score(state, pod, node)).collect();
        plugin.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * plugin.weight();
        }
    }
    let most = totals.iter().copied().max().unwrap_or(0);
    let winners: Vec<&'a str> =
        nodes.iter().zip(&totals).filter(|(_, total)| **total == most).map(|(node, _)| node.name()).collect();
    let chosen = rng.below(winners.len() as u64);
    winners[usize::try_from(chosen).unwrap_or(0)]
}

fn unschedulable(nodes: usize, rejections: &[Rejection]) -> Unschedulable {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in rejections.iter().flat_map(|r| &r.reasons) {
        *counts.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    reasons.sort();
    let message = format!("0/{nodes} nodes are available: {}.", reasons.join(", "));
    Unschedulable { message, rejected_by: rejections.iter().map(|r| r.plugin).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn node(name: &str, cpu: &str, unschedulable: bool) -> NodeInfo {
        let mut info = NodeInfo::default();
        let node = json!({
            "metadata": {"name": name}, "spec": {"unschedulable": unschedulable},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
        });
        info.set_node(Arc::new(serde_json::from_value(node).expect("a node")));
        info
    }

    fn pod(requests: Value) -> PodInfo {
        let pod = json!({
            "metadata": {"name": "p", "uid": "p"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}
        });
        PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    fn run(pod: &PodInfo, nodes: &[NodeInfo]) -> Result<String, Unschedulable> {
        let nodes: Vec<&NodeInfo> = nodes.iter().collect();
        schedule(&plugins::all(), pod, &nodes, &mut 0, &Rng::seeded(1))
    }

    #[test]
    fn the_node_with_most_room_is_chosen() {
        let nodes = [node("a", "2", false), node("b", "8", false), node("c", "4", false)];
        assert_eq!(run(&pod(json!({"cpu": "1"})), &nodes), Ok("b".to_owned()));
    }

    #[test]
    fn the_message_counts_nodes_by_reason() {
        let nodes = [node("a", "2", true), node("b", "1", false), node("c", "1", false)];
        let failure = run(&pod(json!({"cpu": "3"})), &nodes).expect_err("no room");
        assert_eq!(
            failure.message,
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
        );
        assert_eq!(failure.rejected_by, BTreeSet::from(["NodeResourcesFit", "NodeUnschedulable"]));
    }

    #[test]
    fn without_nodes_it_says_so() {
        let failure = run(&pod(json!({})), &[]).expect_err("no nodes");
        assert_eq!(failure.message, "no nodes available to schedule pods");
    }

    #[test]
    fn a_large_cluster_is_sampled() {
        for (all, enough) in [(50, 50), (100, 100), (1000, 420), (5000, 500), (6000, 300)] {
            assert_eq!(feasible_nodes_to_find(all), enough);
        }
    }
}
