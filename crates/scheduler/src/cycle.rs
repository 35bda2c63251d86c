//! One scheduling cycle: from a pod and the nodes to a node, or to the reasons why there is none.
//!
//! **Contract**: pure but for the random choice among equals. Its cost grows with the nodes that are looked at, never
//! faster.
//! **Upstream**: `schedulePod` of `pkg/scheduler/schedule_one.go`.

use crate::diagnosis::{Diagnosis, Rejections};
use crate::framework::{Change, NodeInfo, PodInfo, PreFilter, Rejection, Snapshot, State, View};
use crate::memory::{Kind, Memory};
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

/// A plugin that filters in a cycle.
struct Asked {
    /// Its index.
    plugin: usize,
    state: State,
    /// Whether it minds the other pods.
    sees_pods: bool,
}

/// Which filters are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    All,
    /// Those whose answer may change when pods come and go.
    OfPods,
}

/// The filters of one cycle, with what they have computed about the pod.
pub(crate) struct Cycle<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) pod: &'a Arc<PodInfo>,
    pub(crate) cluster: &'a Snapshot,
    filters: Vec<Asked>,
    /// What is known for such pods, if that is of use.
    pub(crate) kind: Option<&'a mut Kind>,
    /// The only nodes that can do, and who says so.
    only: Option<(BTreeSet<String>, Vec<&'static str>)>,
}

/// The nodes that can take a pod, before one of them is chosen.
pub(crate) struct Search<'a> {
    pub(crate) feasible: Vec<&'a NodeInfo>,
    pub(crate) diagnosis: Diagnosis,
    /// None if no node was looked at.
    cycle: Option<Cycle<'a>>,
    /// Whether only that node was looked at on which room was made.
    pub(crate) is_nominated: bool,
}

impl<'a> Search<'a> {
    /// Looks for nodes for a pod. `start` is where that begins, so that large clusters are searched all round.
    pub(crate) fn run(
        profile: &'a Profile,
        pod: &'a Arc<PodInfo>,
        cluster: &'a Snapshot,
        memory: &'a mut Memory,
        start: &mut usize,
    ) -> Self {
        let mut diagnosis = Diagnosis { nodes: cluster.len(), ..Diagnosis::default() };
        let mut search =
            Self { feasible: Vec::new(), diagnosis: Diagnosis::default(), cycle: None, is_nominated: false };
        if !cluster.is_empty() {
            match Cycle::begin(profile, pod, cluster, memory) {
                Ok(mut cycle) => {
                    let nominated = cycle.nominated();
                    search.is_nominated = nominated.is_some();
                    search.feasible = match nominated {
                        Some(nominated) => vec![nominated],
                        None => cycle.feasible(start, &mut diagnosis),
                    };
                    search.cycle = Some(cycle);
                }
                Err(rejection) => {
                    diagnosis.others = Some(rejection);
                    diagnosis.before = true;
                }
            }
        }
        Self { diagnosis, ..search }
    }

    /// Looks at all nodes, also if room was made on one.
    pub(crate) fn everywhere(&mut self, start: &mut usize) {
        self.diagnosis = Diagnosis { nodes: self.diagnosis.nodes, ..Diagnosis::default() };
        self.is_nominated = false;
        if let Some(cycle) = &mut self.cycle {
            self.feasible = cycle.feasible(start, &mut self.diagnosis);
        }
    }

    /// Chooses the best; `points`: what others than plugins give the nodes, if there are any.
    pub(crate) fn choose(self, points: Vec<i64>, rng: &Rng) -> (Decision, Option<Cycle<'a>>) {
        let Self { feasible, diagnosis, cycle, .. } = self;
        let (chosen, scores) = match (feasible.as_slice(), &cycle) {
            ([], _) | (_, None) => (None, None),
            ([only], _) => (Some(only.slot), None),
            (many, Some(cycle)) => {
                let scores = cycle.scores(many, points);
                (Some(best(&scores, rng)), Some(scores))
            }
        };
        (Decision { chosen, diagnosis, scores }, cycle)
    }
}

/// Looks for the node for a pod, without extenders.
pub(crate) fn schedule<'a>(
    profile: &'a Profile,
    pod: &'a Arc<PodInfo>,
    cluster: &'a Snapshot,
    memory: &'a mut Memory,
    start: &mut usize,
    rng: &Rng,
) -> (Decision, Option<Cycle<'a>>) {
    Search::run(profile, pod, cluster, memory, start).choose(Vec::new(), rng)
}

impl<'a> Cycle<'a> {
    fn begin(
        profile: &'a Profile,
        pod: &'a Arc<PodInfo>,
        cluster: &'a Snapshot,
        memory: &'a mut Memory,
    ) -> Result<Self, Rejection> {
        let mut cycle = Self { profile, pod, cluster, filters: Vec::new(), kind: None, only: None };
        for (index, enabled) in profile.plugins.iter().enumerate().filter(|(_, enabled)| enabled.filters) {
            let sees_pods = enabled.plugin.sees_pods();
            match enabled.plugin.pre_filter(pod, cluster)? {
                PreFilter::Skip => {}
                PreFilter::Run(state) => cycle.filters.push(Asked { plugin: index, state, sees_pods }),
                PreFilter::Only(names, state) => {
                    cycle.filters.push(Asked { plugin: index, state, sees_pods });
                    cycle.narrow(names, enabled.plugin.name())?;
                }
            }
        }
        if cycle.filters.iter().all(|asked| profile.plugins[asked.plugin].plugin.is_local()) {
            cycle.kind = Some(memory.of(&profile.name, pod));
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

    /// The node on which room was made for the pod, if it can take it.
    fn nominated(&mut self) -> Option<&'a NodeInfo> {
        let node = self.cluster.node(self.pod.nominated_node())?;
        let allowed = self.only.as_ref().is_none_or(|(names, _)| names.contains(node.name()));
        (allowed && self.passes(node, Filters::All).is_ok()).then_some(node)
    }

    /// The nodes that can take the pod: enough of them to choose from.
    fn feasible(&mut self, start: &mut usize, diagnosis: &mut Diagnosis) -> Vec<&'a NodeInfo> {
        let cluster = self.cluster;
        let mut feasible = Vec::new();
        if let Some((names, plugins)) = self.only.clone() {
            let text = format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "));
            diagnosis.others = Some(Rejection::unresolvable(plugins[0], text));
            for node in names.iter().filter_map(|name| cluster.node(name)) {
                if self.judge(node, &mut diagnosis.rejected) {
                    feasible.push(node);
                }
            }
            return feasible;
        }
        let all = cluster.len();
        diagnosis.rejected.expect(all);
        let enough = feasible_nodes_to_find(all, self.profile.percentage);
        let first = *start % all;
        for place in (first..all).chain(0..first) {
            let node = cluster.nth(place);
            if self.judge(node, &mut diagnosis.rejected) {
                feasible.push(node);
            }
            if feasible.len() == enough {
                break;
            }
        }
        *start = (*start + feasible.len() + diagnosis.rejected.len()) % all;
        feasible
    }

    /// Whether a node can take the pod; if that is known for such pods, from memory.
    fn judge(&mut self, node: &NodeInfo, rejected: &mut Rejections) -> bool {
        // Those for which room was made are not among its pods.
        let known = self.kind.as_ref().filter(|_| !node.is_nominated).and_then(|kind| kind.verdict(node));
        if let Some(known) = known {
            known.inspect(|rejection| rejected.push(node.slot, rejection));
            return known.is_none();
        }
        let outcome = self.passes(node, Filters::All);
        if let Some(kind) = self.kind.as_mut().filter(|_| !node.is_nominated) {
            kind.learn(node, outcome.as_ref().err());
        }
        outcome.as_ref().inspect_err(|rejection| rejected.push(node.slot, rejection)).is_ok()
    }

    /// Whether a node can take the pod, also when those come for which room was made there.
    ///
    /// Both with and without them: a pod may need one of them near, and they may never come.
    pub(crate) fn passes(&mut self, node: &NodeInfo, filters: Filters) -> Result<(), Rejection> {
        if !node.is_nominated {
            return self.filter(node, filters);
        }
        let nominated = self.cluster.nominated(node.name());
        let before: Vec<Arc<PodInfo>> = nominated
            .iter()
            .filter(|other| other.priority() >= self.pod.priority() && other.uid() != self.pod.uid())
            .cloned()
            .collect();
        if before.is_empty() {
            return self.filter(node, filters);
        }
        let mut crowded = node.clone();
        for other in &before {
            crowded.add_pod(other.clone());
            self.changed(other, &crowded, Change::Added);
        }
        let passed = self.filter(&crowded, filters);
        for other in &before {
            self.changed(other, &crowded, Change::Removed);
        }
        passed.and_then(|()| self.filter(node, filters))
    }

    fn filter(&self, node: &NodeInfo, filters: Filters) -> Result<(), Rejection> {
        let asked = self.filters.iter().filter(|asked| filters == Filters::All || asked.sees_pods);
        for asked in asked {
            let view = View { pod: self.pod, cluster: self.cluster, state: &*asked.state };
            self.profile.plugins[asked.plugin].plugin.filter(&view, node)?;
        }
        Ok(())
    }

    /// Another pod comes to a node or goes, in imagination.
    pub(crate) fn changed(&mut self, other: &PodInfo, node: &NodeInfo, change: Change) {
        for asked in self.filters.iter_mut().filter(|asked| asked.sees_pods) {
            let plugin = &self.profile.plugins[asked.plugin].plugin;
            plugin.pod_changed(&mut *asked.state, self.pod, self.cluster, other, node, change);
        }
    }

    fn scores(&self, nodes: &[&NodeInfo], points: Vec<i64>) -> Scores {
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
        if !points.is_empty() {
            totals.iter_mut().zip(&points).for_each(|(total, points)| *total += points);
            plugins.push(("Extender", 1, points));
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

#[cfg(test)]
mod tests;
