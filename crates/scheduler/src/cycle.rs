//! One scheduling cycle: from a pod and the nodes to a node, or to the reasons why there is none.
//!
//! **Contract**: pure but for the random choice among equals. Its cost grows with the nodes that are looked at, never
//! faster.
//! **Upstream**: `schedulePod` of `pkg/scheduler/schedule_one.go`.

use crate::framework::{Change, NodeInfo, PodInfo, PreFilter, Rejection, Remedy, Snapshot, State, View};
use crate::profile::Profile;
use component_base::Rng;
use std::collections::BTreeSet;
use std::sync::Arc;

/// With fewer nodes than this, all are looked at (`minFeasibleNodesToFind`).
const MIN_FEASIBLE: usize = 100;
/// Never fewer than this percentage of the nodes (`minFeasibleNodesPercentageToFind`).
const MIN_PERCENT: usize = 5;

/// How a cycle ended.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The slot of the chosen node.
    pub(crate) chosen: Option<usize>,
    /// Why nodes cannot take the pod.
    pub(crate) diagnosis: Diagnosis,
    /// How good those that can are; none if there was no choice.
    pub(crate) scores: Option<Scores>,
}

/// Why nodes cannot take a pod.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// By slot.
    pub(crate) rejected: Vec<(usize, Rejection)>,
    /// Why no other node was looked at.
    pub(crate) others: Option<Rejection>,
    /// Whether that was so before any node was looked at.
    pub(crate) before: bool,
}

/// The scores of the nodes that can take a pod.
#[derive(Debug)]
pub(crate) struct Scores {
    /// Slots of the nodes.
    pub(crate) nodes: Vec<usize>,
    /// By plugin: its weight, and what it gives each node.
    pub(crate) plugins: Vec<(&'static str, i64, Vec<i64>)>,
    /// The weighted sums.
    pub(crate) totals: Vec<i64>,
}

impl Diagnosis {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    pub(crate) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut text = format!("0/{} nodes are available:", self.nodes);
        // Few different ones, however many nodes.
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for reason in self.rejected.iter().flat_map(|(_, r)| &r.reasons) {
            add(&mut counts, reason, 1);
        }
        if let Some(others) = &self.others {
            if self.before {
                text.push_str(&format!(" {}.", others.reasons.join(", ")));
                return text;
            }
            for reason in others.reasons.iter().filter(|_| self.rejected.len() < self.nodes) {
                add(&mut counts, reason, self.nodes - self.rejected.len());
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
        self.rejected.iter().map(|(_, r)| r.plugin).chain(others).collect()
    }
}

fn add<'a>(counts: &mut Vec<(&'a str, usize)>, reason: &'a str, nodes: usize) {
    match counts.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, count)) => *count += nodes,
        None => counts.push((reason, nodes)),
    }
}

/// The filters of one cycle, with what they have computed about the pod.
pub(crate) struct Cycle<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) pod: &'a Arc<PodInfo>,
    pub(crate) cluster: &'a Snapshot,
    /// Index of the plugin, and its state.
    filters: Vec<(usize, State)>,
    /// The only nodes that can do, and who says so.
    only: Option<(BTreeSet<String>, Vec<&'static str>)>,
}

/// Looks for the node for a pod. `start` is where the search begins, so that large clusters are searched all round.
pub(crate) fn schedule<'a>(
    profile: &'a Profile,
    pod: &'a Arc<PodInfo>,
    cluster: &'a Snapshot,
    start: &mut usize,
    rng: &Rng,
) -> (Decision, Option<Cycle<'a>>) {
    let mut diagnosis = Diagnosis { nodes: cluster.len(), ..Diagnosis::default() };
    if cluster.is_empty() {
        return (Decision { chosen: None, diagnosis, scores: None }, None);
    }
    let mut cycle = match Cycle::begin(profile, pod, cluster) {
        Ok(cycle) => cycle,
        Err(rejection) => {
            diagnosis.others = Some(rejection);
            diagnosis.before = true;
            return (Decision { chosen: None, diagnosis, scores: None }, None);
        }
    };
    let feasible = cycle.feasible(start, &mut diagnosis);
    let (chosen, scores) = match feasible.as_slice() {
        [] => (None, None),
        [only] => (Some(only.slot), None),
        many => {
            let scores = cycle.scores(many);
            (Some(best(&scores, rng)), Some(scores))
        }
    };
    (Decision { chosen, diagnosis, scores }, Some(cycle))
}

impl<'a> Cycle<'a> {
    fn begin(profile: &'a Profile, pod: &'a Arc<PodInfo>, cluster: &'a Snapshot) -> Result<Self, Rejection> {
        let mut cycle = Self { profile, pod, cluster, filters: Vec::new(), only: None };
        for (index, enabled) in profile.plugins.iter().enumerate().filter(|(_, enabled)| enabled.filters) {
            match enabled.plugin.pre_filter(pod, cluster)? {
                PreFilter::Skip => {}
                PreFilter::Run(state) => cycle.filters.push((index, state)),
                PreFilter::Only(names, state) => {
                    cycle.filters.push((index, state));
                    cycle.narrow(names, enabled.plugin.name())?;
                }
            }
        }
        Ok(cycle)
    }

    fn narrow(&mut self, names: BTreeSet<String>, plugin: &'static str) -> Result<(), Rejection> {
        let (left, plugins) = match self.only.take() {
            None => (names, vec![plugin]),
            Some((left, mut plugins)) => {
                plugins.push(plugin);
                (left.intersection(&names).cloned().collect(), plugins)
            }
        };
        if left.is_empty() {
            let text = match plugins.as_slice() {
                [one] => format!("node(s) didn't satisfy plugin {one}"),
                all => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", all.join(" ")),
            };
            return Err(Rejection::unresolvable(plugin, text));
        }
        self.only = Some((left, plugins));
        Ok(())
    }

    /// The nodes that can take the pod: enough of them to choose from.
    fn feasible(&mut self, start: &mut usize, diagnosis: &mut Diagnosis) -> Vec<&'a NodeInfo> {
        let cluster = self.cluster;
        // Room was made for it there.
        if let Some(nominated) = cluster.node(self.pod.nominated_node())
            && self.only.as_ref().is_none_or(|(names, _)| names.contains(nominated.name()))
            && self.passes(nominated).is_ok()
        {
            return vec![nominated];
        }
        let mut feasible = Vec::new();
        if let Some((names, plugins)) = self.only.clone() {
            let text = format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "));
            diagnosis.others = Some(Rejection::unresolvable(plugins[0], text));
            for node in names.iter().filter_map(|name| cluster.node(name)) {
                match self.passes(node) {
                    Ok(()) => feasible.push(node),
                    Err(rejection) => diagnosis.rejected.push((node.slot, rejection)),
                }
            }
            return feasible;
        }
        let all = cluster.len();
        let enough = feasible_nodes_to_find(all, self.profile.percentage);
        for offset in 0..all {
            let node = cluster.nth((*start + offset) % all);
            match self.passes(node) {
                Ok(()) => feasible.push(node),
                Err(rejection) => diagnosis.rejected.push((node.slot, rejection)),
            }
            if feasible.len() == enough {
                break;
            }
        }
        *start = (*start + feasible.len() + diagnosis.rejected.len()) % all;
        feasible
    }

    /// Whether a node can take the pod, also when those come for which room was made there.
    ///
    /// Both with and without them: a pod may need one of them near, and they may never come.
    pub(crate) fn passes(&mut self, node: &NodeInfo) -> Result<(), Rejection> {
        let nominated = self.cluster.nominated(node.name());
        let before: Vec<Arc<PodInfo>> = nominated
            .iter()
            .filter(|other| other.priority() >= self.pod.priority() && other.uid() != self.pod.uid())
            .cloned()
            .collect();
        if before.is_empty() {
            return self.filter(node);
        }
        let mut crowded = node.clone();
        for other in &before {
            crowded.add_pod(other.clone());
            self.changed(other, &crowded, Change::Added);
        }
        let passed = self.filter(&crowded);
        for other in &before {
            self.changed(other, &crowded, Change::Removed);
        }
        passed.and_then(|()| self.filter(node))
    }

    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        self.filters.iter().try_for_each(|(index, state)| {
            let view = View { pod: self.pod, cluster: self.cluster, state: &**state };
            self.profile.plugins[*index].plugin.filter(&view, node)
        })
    }

    /// Another pod comes to a node or goes, in imagination.
    pub(crate) fn changed(&mut self, other: &PodInfo, node: &NodeInfo, change: Change) {
        for (index, state) in &mut self.filters {
            let plugin = &self.profile.plugins[*index].plugin;
            plugin.pod_changed(&mut **state, self.pod, self.cluster, other, node, change);
        }
    }

    fn scores(&self, nodes: &[&NodeInfo]) -> Scores {
        let mut totals = vec![0; nodes.len()];
        let mut plugins = Vec::new();
        for enabled in self.profile.plugins.iter().filter(|enabled| enabled.weight > 0) {
            let plugin = &enabled.plugin;
            let Some(state) = plugin.pre_score(self.pod, self.cluster, nodes) else { continue };
            let view = View { pod: self.pod, cluster: self.cluster, state: &*state };
            let mut scores: Vec<i64> = nodes.iter().map(|node| plugin.score(&view, node)).collect();
            plugin.normalize(&view, nodes, &mut scores);
            for (total, score) in totals.iter_mut().zip(&scores) {
                *total += score * enabled.weight;
            }
            plugins.push((plugin.name(), enabled.weight, scores));
        }
        Scores { nodes: nodes.iter().map(|node| node.slot).collect(), plugins, totals }
    }
}

/// How many nodes that can take the pod are enough to choose from: all of a small cluster, a sample of a large one.
fn feasible_nodes_to_find(all: usize, percentage: usize) -> usize {
    if all < MIN_FEASIBLE {
        return all;
    }
    let percent = match percentage {
        0 => 50_usize.saturating_sub(all / 125).max(MIN_PERCENT),
        set => set,
    };
    (all * percent / 100).max(MIN_FEASIBLE)
}

/// One of those with the most points.
fn best(scores: &Scores, rng: &Rng) -> usize {
    let most = scores.totals.iter().copied().max().unwrap_or(0);
    let winners: Vec<usize> =
        scores.nodes.iter().zip(&scores.totals).filter(|(_, t)| **t == most).map(|(slot, _)| *slot).collect();
    let chosen = rng.below(winners.len() as u64);
    winners[usize::try_from(chosen).unwrap_or(0)]
}

/// Whether room on the node could help.
pub(crate) fn is_resolvable(rejection: &Rejection) -> bool {
    rejection.remedy == Remedy::Preemption
}

#[cfg(test)]
mod tests;
