//! Pods of lower priority give way to one that finds no node.
//!
//! **Contract**: decides only: which node, and who must leave it. Budgets of disruption are kept if that is possible, and
//! of all nodes the one is chosen on which the least is lost.
//! **Not here**: carrying it out (`crate::scheduler`).
//! **Upstream**: `pkg/scheduler/framework/preemption`, `plugins/defaultpreemption`.

use crate::cycle::{Cycle, Diagnosis, is_resolvable};
use crate::framework::{Change, NodeInfo, PodInfo, Rejection};
use api::pod::{condition, is_terminating};
use api::selector::LabelSelector;
use component_base::Rng;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::sync::Arc;

const NAME: &str = "DefaultPreemption";
/// The reason of victims' condition `DisruptionTarget`.
pub(crate) const REASON: &str = "PreemptionByScheduler";

/// `DefaultPreemptionArgs`.
#[derive(Clone, Debug)]
pub(crate) struct PreemptionArgs {
    /// How many nodes are tried at least, of all that may help, in percent.
    pub(crate) min_candidate_nodes_percentage: usize,
    /// The same in nodes.
    pub(crate) min_candidate_nodes_absolute: usize,
}

impl Default for PreemptionArgs {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

/// A node that can take the pod once these have left.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) node: String,
    /// The most important first.
    pub(crate) victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Preemption {
    /// Room is made on a node.
    Nominate(Candidate),
    /// It helps nowhere: nothing is kept for the pod any more.
    Hopeless(String),
    /// Not now: what is kept for the pod stays.
    NotEligible(&'static str),
}

/// Looks for the node on which the least has to go.
pub(crate) fn preempt(
    cycle: Option<Cycle<'_>>,
    pod: &PodInfo,
    diagnosis: &Diagnosis,
    args: &PreemptionArgs,
    now: Timestamp,
    rng: &Rng,
) -> Preemption {
    if pod.spec().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Preemption::NotEligible("not eligible due to preemptionPolicy=Never.");
    }
    let hopeless = |rejected| {
        let reason = Rejection::unresolvable(NAME, "Preemption is not helpful for scheduling");
        let told = Diagnosis { nodes: diagnosis.nodes, rejected, others: Some(reason), before: false };
        Preemption::Hopeless(told.message())
    };
    let Some(mut cycle) = cycle else { return hopeless(Vec::new()) };
    if waits_for_victims(&cycle, pod, diagnosis) {
        return Preemption::NotEligible("not eligible due to a terminating pod on the nominated node.");
    }
    let hopeful: Vec<usize> =
        diagnosis.rejected.iter().filter(|(_, why)| is_resolvable(why)).map(|(slot, _)| *slot).collect();
    let enough = (hopeful.len() * args.min_candidate_nodes_percentage / 100)
        .max(args.min_candidate_nodes_absolute)
        .min(hopeful.len());
    let offset = usize::try_from(rng.below(hopeful.len() as u64)).unwrap_or(0);
    let budgets = Budget::all(&cycle);
    let (mut candidates, mut rejected) = (Vec::new(), Vec::new());
    for place in 0..hopeful.len() {
        let node = cycle.cluster.at(hopeful[(offset + place) % hopeful.len()]);
        match victims(&mut cycle, node, &budgets, now) {
            Ok(candidate) => candidates.push(candidate),
            Err(rejection) => rejected.push((node.slot, rejection)),
        }
        // Nodes where no budget is hurt are looked for on.
        if candidates.len() >= enough && candidates.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    match candidates.into_iter().min_by_key(|candidate| loss(candidate, now)) {
        Some(best) => Preemption::Nominate(best),
        None => hopeless(rejected),
    }
}

/// Whether pods that it has preempted are still about to leave its node.
fn waits_for_victims(cycle: &Cycle<'_>, pod: &PodInfo, diagnosis: &Diagnosis) -> bool {
    let Some(node) = cycle.cluster.node(pod.nominated_node()) else { return false };
    let lost = diagnosis.rejected.iter().any(|(slot, why)| *slot == node.slot && !is_resolvable(why));
    let leaves = |other: &PodInfo| {
        let target = condition(&other.pod, "DisruptionTarget");
        is_terminating(&other.pod)
            && target.is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some(REASON))
    };
    !lost && node.pods().iter().any(|other| other.priority() < pod.priority() && leaves(other))
}

/// What may leave a node so that the pod fits: as little and as unimportant as possible.
fn victims(
    cycle: &mut Cycle<'_>,
    node: &NodeInfo,
    budgets: &[Budget],
    now: Timestamp,
) -> Result<Candidate, Rejection> {
    let priority = cycle.pod.priority();
    let mut possible: Vec<Arc<PodInfo>> =
        node.pods().iter().filter(|other| other.priority() < priority).cloned().collect();
    if possible.is_empty() {
        let reason = "No preemption victims found for incoming pod";
        return Err(Rejection::unresolvable(NAME, reason));
    }
    possible.sort_by_key(|pod| importance(pod, now));
    let mut trial = Trial { cycle, node: node.clone(), gone: Vec::new() };
    for pod in &possible {
        trial.remove(pod);
    }
    let outcome = trial.cycle.passes(&trial.node);
    let mut candidate = Candidate { node: node.name().to_owned(), victims: Vec::new(), violations: 0 };
    if outcome.is_ok() {
        let (violating, others) = split(&possible, budgets);
        for (pod, violates) in
            violating.iter().map(|pod| (pod, true)).chain(others.iter().map(|pod| (pod, false)))
        {
            trial.add(pod);
            if trial.cycle.passes(&trial.node).is_err() {
                trial.remove(pod);
                candidate.victims.push(pod.clone());
                candidate.violations += usize::from(violates);
            }
        }
        candidate.victims.sort_by_key(|pod| importance(pod, now));
    }
    trial.undo();
    outcome?;
    if candidate.victims.is_empty() {
        // A pod that fits with all of them there was kept away by nominations that have changed meanwhile.
        return Err(Rejection::new(NAME, "No preemption victims found for incoming pod"));
    }
    Ok(candidate)
}

/// A node in imagination, whose pods go and come back.
struct Trial<'a, 'b> {
    cycle: &'a mut Cycle<'b>,
    node: NodeInfo,
    gone: Vec<Arc<PodInfo>>,
}

impl Trial<'_, '_> {
    fn remove(&mut self, pod: &Arc<PodInfo>) {
        self.node.remove_pod(pod.uid());
        self.cycle.changed(pod, &self.node, Change::Removed);
        self.gone.push(pod.clone());
    }

    fn add(&mut self, pod: &Arc<PodInfo>) {
        self.node.add_pod(pod.clone());
        self.cycle.changed(pod, &self.node, Change::Added);
        self.gone.retain(|gone| gone.uid() != pod.uid());
    }

    /// What the cycle has computed is again as it was.
    fn undo(mut self) {
        for pod in std::mem::take(&mut self.gone) {
            self.cycle.changed(&pod, &self.node, Change::Added);
        }
    }
}

/// The more important, the smaller: higher priority, then the longer it runs.
fn importance(pod: &PodInfo, now: Timestamp) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority()), pod.started().unwrap_or(now))
}

/// What is lost with a candidate: budgets first, then priorities, numbers, and work done.
fn loss(candidate: &Candidate, now: Timestamp) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
    let priorities = candidate.victims.iter().map(|pod| pod.priority());
    let highest = priorities.clone().max().unwrap_or(i32::MIN);
    // Shifted, so that more pods are never a smaller sum.
    let sum = priorities.map(|priority| i64::from(priority) + i64::from(i32::MAX) + 1).sum();
    let most = candidate.victims.iter().filter(|pod| pod.priority() == highest);
    let earliest = most.map(|pod| pod.started().unwrap_or(now)).min().unwrap_or(now);
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
}

/// A budget of disruption and how much of it is left.
struct Budget {
    namespace: String,
    selector: LabelSelector,
    left: i64,
    /// Pods whose disruption is counted already.
    disrupted: Vec<String>,
}

impl Budget {
    fn all(cycle: &Cycle<'_>) -> Vec<Self> {
        let all = cycle.cluster.budgets.iter().map(|(key, budget)| {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let status = budget.status.as_ref();
            let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
            Self {
                namespace: key.namespace.clone(),
                selector: LabelSelector::from_object(selector),
                left: status.and_then(|status| status.disruptions_allowed).map_or(0, i64::from),
                disrupted: disrupted.into_iter().flat_map(|pods| pods.keys().cloned()).collect(),
            }
        });
        // An empty selector is no budget at all here, as upstream has it.
        all.filter(|budget| !budget.selector.is_everything()).collect()
    }

    fn covers(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.namespace()
            && self.selector.selects(pod.labels())
            && !self.disrupted.iter().any(|name| name == pod.name())
    }
}

/// Those whose leaving would hurt a budget, and the others; each in the given order.
fn split(pods: &[Arc<PodInfo>], budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<i64> = budgets.iter().map(|budget| budget.left).collect();
    pods.iter().cloned().partition(|pod| {
        let mut violates = false;
        // A pod without labels has no budget.
        if pod.labels().is_some_and(|labels| !labels.is_empty()) {
            for (_, left) in budgets.iter().zip(&mut left).filter(|(budget, _)| budget.covers(pod)) {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    })
}

#[cfg(test)]
mod tests;
