//! Pods of lower priority give way to one that finds no node.
//!
//! **Contract**: decides only: which node, and who must leave it. Budgets of disruption are kept if that is possible, and
//! of all nodes the one is chosen on which the least is lost.
//! **Not here**: carrying it out (`crate::scheduler`).
//! **Upstream**: `pkg/scheduler/framework/preemption`, `plugins/defaultpreemption`.

use crate::cycle::{Cycle, Filters};
use crate::diagnosis::{Diagnosis, Rejections, is_resolvable};
use crate::framework::{Change, NodeInfo, PodInfo, Rejection};
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
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) slot: usize,
    /// The most important first.
    pub(crate) victims: Arc<[Arc<PodInfo>]>,
    /// How many of them hurt a budget.
    pub(crate) violations: usize,
    loss: Loss,
}

/// What is lost with a candidate: budgets first, then priorities, numbers, and work done.
type Loss = (usize, i32, i64, usize, Reverse<Timestamp>);

impl Candidate {
    /// Those who leave a node, the most important first.
    pub(crate) fn new(slot: usize, victims: Vec<Arc<PodInfo>>, violations: usize) -> Self {
        let priorities = victims.iter().map(|pod| pod.priority());
        let highest = priorities.clone().max().unwrap_or(i32::MIN);
        // Shifted, so that more pods are never a smaller sum.
        let sum = priorities.map(|priority| i64::from(priority) + i64::from(i32::MAX) + 1).sum();
        let most = victims.iter().filter(|pod| pod.priority() == highest);
        let earliest = most.map(|pod| started(pod)).min().unwrap_or(Timestamp::MAX);
        let loss = (violations, highest, sum, victims.len(), Reverse(earliest));
        Self { slot, victims: victims.into(), violations, loss }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Preemption {
    /// Room can be made on any of these nodes.
    Candidates(Vec<Candidate>),
    /// It helps nowhere: nothing is kept for the pod any more.
    Hopeless(String),
    /// Not now: what is kept for the pod stays.
    NotEligible(&'static str),
}

/// Looks for nodes on which room can be made.
pub(crate) fn preempt(
    cycle: Option<Cycle<'_>>,
    pod: &PodInfo,
    diagnosis: &Diagnosis,
    args: &PreemptionArgs,
    rng: &Rng,
) -> Preemption {
    if pod.spec().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Preemption::NotEligible("not eligible due to preemptionPolicy=Never.");
    }
    let hopeless = |rejected| {
        let reason = Rejection::unresolvable(NAME, "Preemption is not helpful for scheduling");
        let told =
            Diagnosis { nodes: diagnosis.nodes, rejected, others: Some(reason), ..Diagnosis::default() };
        Preemption::Hopeless(told.message())
    };
    let Some(mut cycle) = cycle else { return hopeless(Rejections::default()) };
    if waits_for_victims(&cycle, pod, diagnosis) {
        return Preemption::NotEligible("not eligible due to a terminating pod on the nominated node.");
    }
    let hopeful = diagnosis.rejected.resolvable();
    let enough = (hopeful.len() * args.min_candidate_nodes_percentage / 100)
        .max(args.min_candidate_nodes_absolute)
        .min(hopeful.len());
    let offset = usize::try_from(rng.below(hopeful.len() as u64)).unwrap_or(0);
    let budgets = Budget::all(&cycle);
    let cluster = cycle.cluster;
    let mut trial = Trial { cycle: &mut cycle, node: NodeInfo::default(), gone: Vec::new() };
    let mut rejected = Rejections::default();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut harmless = false;
    for slot in hopeful[offset..].iter().chain(&hopeful[..offset]) {
        match trial.room(cluster.at(*slot), &budgets) {
            Ok(candidate) => {
                harmless |= candidate.violations == 0;
                candidates.push(candidate);
            }
            Err(rejection) => rejected.push(*slot, &rejection),
        }
        // Nodes where no budget is hurt are looked for on.
        if candidates.len() >= enough && harmless {
            break;
        }
    }
    if candidates.is_empty() { hopeless(rejected) } else { Preemption::Candidates(candidates) }
}

/// The candidate with which the least is lost.
pub(crate) fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| candidate.loss)
}

/// Whether pods that it has preempted are still about to leave its node.
fn waits_for_victims(cycle: &Cycle<'_>, pod: &PodInfo, diagnosis: &Diagnosis) -> bool {
    let Some(node) = cycle.cluster.node(pod.nominated_node()) else { return false };
    let lost = diagnosis.rejected.iter().any(|(slot, why)| slot == node.slot && !is_resolvable(why));
    let leaves = |other: &PodInfo| {
        other.is_terminating()
            && other.disruption().is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some(REASON))
    };
    !lost && node.pods().iter().any(|other| other.priority() < pod.priority() && leaves(other))
}

/// A node in imagination, whose pods go and come back; one after the other, in the same memory.
struct Trial<'a, 'b> {
    cycle: &'a mut Cycle<'b>,
    node: NodeInfo,
    gone: Vec<Arc<PodInfo>>,
}

impl Trial<'_, '_> {
    /// The same from memory, if it is known for such pods and no budget has a say.
    fn room(&mut self, node: &NodeInfo, budgets: &[Budget]) -> Result<Candidate, Rejection> {
        let memorable = budgets.is_empty() && !node.is_nominated;
        let known = self.cycle.kind.as_ref().filter(|_| memorable).and_then(|kind| kind.room(node));
        if let Some(known) = known {
            return known.clone();
        }
        let found = self.victims(node, budgets);
        if let Some(kind) = self.cycle.kind.as_mut().filter(|_| memorable) {
            kind.learn_room(node, found.clone());
        }
        found
    }

    /// What may leave a node so that the pod fits: as little and as unimportant as possible.
    fn victims(&mut self, node: &NodeInfo, budgets: &[Budget]) -> Result<Candidate, Rejection> {
        let priority = self.cycle.pod.priority();
        if !node.pods().iter().any(|other| other.priority() < priority) {
            let reason = "No preemption victims found for incoming pod";
            return Err(Rejection::unresolvable(NAME, reason));
        }
        self.node.imitate(node);
        let mut possible: Vec<Arc<PodInfo>> =
            node.pods().iter().filter(|other| other.priority() < priority).cloned().collect();
        possible.sort_by_key(|pod| importance(pod));
        for pod in &possible {
            self.remove(pod);
        }
        let outcome = self.cycle.passes(&self.node, Filters::All);
        let (mut victims, mut violations) = (Vec::new(), 0);
        if outcome.is_ok() {
            let (violating, others) = split(possible, budgets);
            let hurting = violating.len();
            for (place, pod) in violating.into_iter().chain(others).enumerate() {
                self.add(&pod);
                // Nothing but pods has changed.
                if self.cycle.passes(&self.node, Filters::OfPods).is_err() {
                    self.remove(&pod);
                    victims.push(pod);
                    violations += usize::from(place < hurting);
                }
            }
            if violations > 0 {
                victims.sort_by_key(|pod| importance(pod));
            }
        }
        self.undo();
        outcome?;
        if victims.is_empty() {
            // A pod that fits with all of them there was kept away by nominations that have changed meanwhile.
            return Err(Rejection::new(NAME, "No preemption victims found for incoming pod"));
        }
        Ok(Candidate::new(node.slot, victims, violations))
    }

    fn remove(&mut self, pod: &Arc<PodInfo>) {
        self.node.put_aside(pod);
        self.cycle.changed(pod, &self.node, Change::Removed);
        self.gone.push(pod.clone());
    }

    fn add(&mut self, pod: &Arc<PodInfo>) {
        self.node.put_back(pod);
        self.cycle.changed(pod, &self.node, Change::Added);
        self.gone.retain(|gone| !Arc::ptr_eq(gone, pod));
    }

    /// What the cycle has computed is again as it was.
    fn undo(&mut self) {
        for pod in self.gone.drain(..) {
            self.cycle.changed(&pod, &self.node, Change::Added);
        }
    }
}

/// The more important, the smaller: higher priority, then the longer it runs.
fn importance(pod: &PodInfo) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority()), started(pod))
}

/// Since when a pod runs; one that does not yet is the youngest.
fn started(pod: &PodInfo) -> Timestamp {
    pod.started().unwrap_or(Timestamp::MAX)
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
fn split(pods: Vec<Arc<PodInfo>>, budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    if budgets.is_empty() {
        return (Vec::new(), pods);
    }
    let mut left: Vec<i64> = budgets.iter().map(|budget| budget.left).collect();
    pods.into_iter().partition(|pod| {
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
