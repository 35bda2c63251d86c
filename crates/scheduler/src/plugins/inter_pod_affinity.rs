//! Pods that want to be near others, or away from them, and others that want that of them.
//!
//! **Contract**: counts are by domain and made once a cycle, from the classes of pods; a node then costs a look-up a term.
//! **Upstream**: `pkg/scheduler/framework/plugins/interpodaffinity`.

use crate::framework::{
    Change, ClusterEvent, MAX_NODE_SCORE, NodeInfo, Plugin, PodAffinity, PodClass, PodInfo, PreFilter,
    Rejection, Snapshot, State, Term, Topology, View,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const NAME: &str = "InterPodAffinity";

/// `InterPodAffinityArgs`.
#[derive(Clone, Debug)]
pub(crate) struct InterPodAffinity {
    /// How much another pod's required affinity to this one counts.
    pub(crate) hard_pod_affinity_weight: i64,
    /// Whether other pods' preferences are nothing to a pod that has none.
    pub(crate) ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// A number for each domain of a topology.
struct Counts {
    topology: Arc<Topology>,
    by_domain: Vec<i64>,
}

impl Counts {
    fn new(topology: Arc<Topology>) -> Self {
        Self { by_domain: vec![0; topology.size], topology }
    }

    fn add(&mut self, slot: usize, count: i64) {
        if let Some(domain) = self.topology.domain(slot) {
            self.by_domain[domain] += count;
        }
    }

    /// None if the node is in no domain.
    fn at(&self, slot: usize) -> Option<i64> {
        self.topology.domain(slot).map(|domain| self.by_domain[domain])
    }
}

/// What matters to one pod, by topology key.
#[derive(Default)]
struct Matters {
    /// Pods in a domain that do not want this one there.
    repelling: BTreeMap<String, Counts>,
    /// Pods that meet all required terms, a term.
    near: Vec<Counts>,
    /// Pods that meet a required anti-affinity term, a term.
    far: Vec<Counts>,
    /// Whether it meets its own required terms.
    meets_own: bool,
}

impl Matters {
    fn of(pod: &PodInfo, cluster: &Snapshot) -> Self {
        let own = pod.affinity.as_ref();
        let counts = |term: &Term| Counts::new(cluster.topology(&term.topology_key));
        let mut matters = Self {
            repelling: BTreeMap::new(),
            near: own.iter().flat_map(|own| &own.required).map(counts).collect(),
            far: own.iter().flat_map(|own| &own.required_anti).map(counts).collect(),
            meets_own: own.is_some_and(|own| meets_all(&own.required, pod, cluster)),
        };
        for class in cluster.affine_classes() {
            matters.repel(pod, cluster, &class.example, || class.nodes());
        }
        if own.is_some_and(|own| !own.required.is_empty() || !own.required_anti.is_empty()) {
            for class in cluster.classes() {
                matters.attract(own, cluster, &class.example, || class.nodes());
            }
        }
        matters
    }

    fn repel<I: Iterator<Item = (usize, i64)>>(
        &mut self,
        pod: &PodInfo,
        cluster: &Snapshot,
        other: &PodInfo,
        nodes: impl Fn() -> I,
    ) {
        let terms = other.affinity.iter().flat_map(|affinity| &affinity.required_anti);
        for term in terms.filter(|term| term.matches(pod, &cluster.namespaces)) {
            let counts = self
                .repelling
                .entry(term.topology_key.clone())
                .or_insert_with(|| Counts::new(cluster.topology(&term.topology_key)));
            nodes().for_each(|(slot, count)| counts.add(slot, count));
        }
    }

    fn attract<I: Iterator<Item = (usize, i64)>>(
        &mut self,
        own: Option<&PodAffinity>,
        cluster: &Snapshot,
        other: &PodInfo,
        nodes: impl Fn() -> I,
    ) {
        let Some(own) = own else { return };
        if !own.required.is_empty() && meets_all(&own.required, other, cluster) {
            for counts in &mut self.near {
                nodes().for_each(|(slot, count)| counts.add(slot, count));
            }
        }
        for (term, counts) in own.required_anti.iter().zip(&mut self.far) {
            if term.matches(other, &cluster.namespaces) {
                nodes().for_each(|(slot, count)| counts.add(slot, count));
            }
        }
    }

    fn is_near(&self, slot: usize) -> bool {
        let mut met = true;
        for counts in &self.near {
            match counts.at(slot) {
                None => return false,
                Some(count) => met &= count > 0,
            }
        }
        // The first of a group that wants to be together has nobody to be with.
        let nobody = || self.near.iter().all(|counts| counts.by_domain.iter().all(|count| *count == 0));
        met || (self.meets_own && nobody())
    }
}

fn meets_all(terms: &[Term], pod: &PodInfo, cluster: &Snapshot) -> bool {
    terms.iter().all(|term| term.matches(pod, &cluster.namespaces))
}

impl InterPodAffinity {
    /// Points for being near the pods of a class, in both directions.
    fn weigh(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        class: &PodClass,
        scores: &mut BTreeMap<String, Counts>,
    ) {
        let mut add = |term: &Term, weight: i64| {
            let counts = scores
                .entry(term.topology_key.clone())
                .or_insert_with(|| Counts::new(cluster.topology(&term.topology_key)));
            class.nodes().for_each(|(slot, count)| counts.add(slot, count * weight));
        };
        for (weight, term) in pod.affinity.iter().flat_map(|own| &own.preferred) {
            if term.matches(&class.example, &cluster.namespaces) {
                add(term, *weight);
            }
        }
        let Some(theirs) = &class.example.affinity else { return };
        let hard = theirs.required.iter().map(|term| (self.hard_pod_affinity_weight, term));
        let soft = theirs.preferred.iter().map(|(weight, term)| (*weight, term));
        for (weight, term) in hard.chain(soft).filter(|(weight, _)| *weight != 0) {
            if term.matches(pod, &cluster.namespaces) {
                add(term, weight);
            }
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        let matters = Matters::of(pod, cluster);
        if matters.repelling.is_empty() && matters.near.is_empty() && matters.far.is_empty() {
            return Ok(PreFilter::Skip);
        }
        Ok(PreFilter::Run(Box::new(matters)))
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let matters = view.state::<Matters>();
        if !matters.is_near(node.slot) {
            return Err(Rejection::unresolvable(NAME, "node(s) didn't match pod affinity rules"));
        }
        if matters.far.iter().any(|counts| counts.at(node.slot).is_some_and(|count| count > 0)) {
            return Err(Rejection::new(NAME, "node(s) didn't match pod anti-affinity rules"));
        }
        if matters.repelling.values().any(|counts| counts.at(node.slot).is_some_and(|count| count > 0)) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Err(Rejection::new(NAME, reason));
        }
        Ok(())
    }

    fn pod_changed(
        &self,
        state: &mut (dyn Any + Send),
        pod: &PodInfo,
        cluster: &Snapshot,
        other: &PodInfo,
        node: &NodeInfo,
        change: Change,
    ) {
        let Some(matters) = state.downcast_mut::<Matters>() else { return };
        let count = if change == Change::Added { 1 } else { -1 };
        let nodes = || std::iter::once((node.slot, count));
        matters.repel(pod, cluster, other, nodes);
        matters.attract(pod.affinity.as_ref(), cluster, other, nodes);
    }

    fn default_weight(&self) -> i64 {
        2
    }

    fn pre_score(&self, pod: &PodInfo, cluster: &Snapshot, _: &[&NodeInfo]) -> Option<State> {
        let prefers = pod.affinity.as_ref().is_some_and(|own| !own.preferred.is_empty());
        let mut scores = BTreeMap::new();
        if prefers {
            cluster.classes().for_each(|class| self.weigh(pod, cluster, class, &mut scores));
        } else if !self.ignore_preferred_terms_of_existing_pods {
            cluster.affine_classes().for_each(|class| self.weigh(pod, cluster, class, &mut scores));
        }
        let scores: Vec<Counts> = scores.into_values().collect();
        (!scores.is_empty()).then(|| Box::new(scores) as State)
    }

    fn score(&self, view: &View<'_>, node: &NodeInfo) -> i64 {
        view.state::<Vec<Counts>>().iter().filter_map(|counts| counts.at(node.slot)).sum()
    }

    fn normalize(&self, _: &View<'_>, _: &[&NodeInfo], scores: &mut [i64]) {
        let least = scores.iter().copied().min().unwrap_or(0);
        let span = scores.iter().copied().max().unwrap_or(0) - least;
        for score in scores {
            *score = match span {
                0 => 0,
                span => (MAX_NODE_SCORE as f64 * ((*score - least) as f64 / span as f64)) as i64,
            };
        }
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        let own = pod.affinity.as_ref();
        // Namespace selectors are judged by the cycle: here everything that may be meant counts.
        let meant =
            |terms: &[Term], other: &PodInfo| terms.iter().any(|term| term.may_select(other.labels()));
        let attracts = |other: &PodInfo| own.is_some_and(|own| meant(&own.required, other));
        let repelled = |other: &PodInfo| own.is_some_and(|own| meant(&own.required_anti, other));
        let repels =
            |other: &PodInfo| other.affinity.as_ref().is_some_and(|theirs| meant(&theirs.required_anti, pod));
        match event {
            ClusterEvent::AssignedPodAdded(other) => attracts(other),
            ClusterEvent::AssignedPodDeleted(other) => repelled(other) || repels(other),
            ClusterEvent::AssignedPodUpdated { old, new } => {
                old.labels() != new.labels() && (attracts(new) || repelled(old))
            }
            ClusterEvent::NamespaceChanged => true,
            ClusterEvent::PodUpdated(old) => old.labels() != pod.labels(),
            event => event.node_labels().is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
