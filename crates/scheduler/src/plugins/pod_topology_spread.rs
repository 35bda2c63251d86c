//! Pods of a kind are spread over domains: zones, hosts, whatever nodes are labelled by.
//!
//! **Contract**: counts are by domain and made once a cycle, from the classes of pods; a node then costs a look-up a
//! constraint.
//! **Upstream**: `pkg/scheduler/framework/plugins/podtopologyspread`.

mod soft;

use crate::framework::{
    Change, ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, State, Topology, View,
};
use api::k8s_openapi::api::core::v1::{Node, TopologySpreadConstraint};
use api::scheduling::{DO_NOT_SCHEDULE, selects_node, untolerated};
use api::selector::{LabelSelector, Operator};
use api::well_known::label;
use soft::Soft;
use std::any::Any;
use std::sync::Arc;

pub(super) const NAME: &str = "PodTopologySpread";

/// `PodTopologySpreadArgs`.
#[derive(Clone, Debug)]
pub(crate) struct PodTopologySpread {
    /// What counts for pods that say nothing themselves.
    pub(crate) defaults: Vec<TopologySpreadConstraint>,
    /// Whether those are the system's own, under which nodes need not have all labels.
    pub(crate) system_defaulted: bool,
}

impl Default for PodTopologySpread {
    /// `systemDefaultConstraints`.
    fn default() -> Self {
        let constraint = |key: &str, max_skew| TopologySpreadConstraint {
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            max_skew,
            ..TopologySpreadConstraint::default()
        };
        let defaults = vec![constraint(label::HOSTNAME, 3), constraint(label::TOPOLOGY_ZONE, 5)];
        Self { defaults, system_defaulted: true }
    }
}

/// A constraint of a pod, read.
struct Constraint {
    max_skew: i64,
    key: String,
    topology: Arc<Topology>,
    selector: LabelSelector,
    min_domains: i64,
    /// Nodes that the pod's node affinity excludes do not count.
    honors_affinity: bool,
    /// Nodes whose taints the pod does not tolerate do not count.
    honors_taints: bool,
}

impl Constraint {
    fn new(
        pod: &PodInfo,
        cluster: &Snapshot,
        constraint: &TopologySpreadConstraint,
        company: Option<&LabelSelector>,
    ) -> Self {
        let mut selector = match company {
            Some(company) => company.clone(),
            None => LabelSelector::from_object(constraint.label_selector.as_ref()),
        };
        let keys = constraint.match_label_keys.as_deref();
        crate::framework::with_label_keys(&mut selector, &pod.pod(), keys, Operator::In);
        Self {
            max_skew: i64::from(constraint.max_skew),
            key: constraint.topology_key.clone(),
            topology: cluster.topology(&constraint.topology_key),
            selector,
            min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Whether pods on a node count, by the policies for nodes.
    fn includes(&self, pod: &PodInfo, node: &Node) -> bool {
        (!self.honors_affinity || pod.spec().is_none_or(|spec| selects_node(spec, node)))
            && (!self.honors_taints || untolerated(pod.tolerations(), node, &DO_NOT_SCHEDULE).is_none())
    }

    /// Whether every node is included without looking at it.
    fn includes_all(&self, pod: &PodInfo) -> bool {
        let choosy = pod.spec().is_some_and(|spec| {
            spec.node_selector.is_some()
                || spec.affinity.as_ref().is_some_and(|affinity| affinity.node_affinity.is_some())
        });
        !(self.honors_taints || self.honors_affinity && choosy)
    }

    fn counts(&self, pod: &PodInfo, other: &PodInfo) -> bool {
        other.namespace() == pod.namespace()
            && !other.is_terminating()
            && self.selector.selects(other.labels())
    }

    /// How many pods of the pod's namespace count, by the slot of their node.
    fn matching<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
    ) -> impl Iterator<Item = (usize, i64)> + 'a {
        let classes = cluster.classes_of(pod.namespace());
        classes.filter(|class| self.counts(pod, &class.example)).flat_map(|class| class.nodes())
    }
}

/// Whether a node has every label that the constraints ask for.
fn has_all(constraints: &[Constraint], slot: usize) -> bool {
    constraints.iter().all(|constraint| constraint.topology.domain(slot).is_some())
}

/// What must hold, with the counts of one cycle.
struct Hard {
    constraints: Vec<Constraint>,
    counts: Vec<Domains>,
}

/// The matching pods of each domain that counts.
struct Domains {
    by_domain: Vec<Option<i64>>,
    least: i64,
    /// Whether the pod itself matches.
    own: i64,
}

impl Domains {
    fn of(index: usize, constraints: &[Constraint], pod: &PodInfo, cluster: &Snapshot) -> Self {
        let constraint = &constraints[index];
        let all = constraint.includes_all(pod);
        let counts = |slot: usize| {
            has_all(constraints, slot)
                && (all || cluster.at(slot).node.as_ref().is_some_and(|node| constraint.includes(pod, node)))
        };
        let mut by_domain = vec![None; constraint.topology.size];
        let mut included = vec![false; cluster.slots()];
        for node in cluster.nodes() {
            if let Some(domain) = constraint.topology.domain(node.slot).filter(|_| counts(node.slot)) {
                included[node.slot] = true;
                by_domain[domain] = Some(0);
            }
        }
        for (slot, count) in constraint.matching(pod, cluster).filter(|(slot, _)| included[*slot]) {
            if let Some(total) = constraint.topology.domain(slot).and_then(|d| by_domain[d].as_mut()) {
                *total += count;
            }
        }
        let own = i64::from(constraint.selector.selects(pod.labels()));
        let mut domains = Self { by_domain, least: 0, own };
        domains.find_least(constraint);
        domains
    }

    /// Too few domains count as if there were an empty one (`minDomains`).
    fn find_least(&mut self, constraint: &Constraint) {
        let present = self.by_domain.iter().flatten();
        let few = (present.clone().count() as i64) < constraint.min_domains;
        self.least = if few { 0 } else { present.copied().min().unwrap_or(0) };
    }
}

impl PodTopologySpread {
    /// The constraints of one kind that hold for a pod: its own, or the defaults if it has company.
    fn constraints(&self, pod: &PodInfo, cluster: &Snapshot, action: &str) -> Vec<Constraint> {
        let own = pod.spec().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default();
        let wanted = |all: &[TopologySpreadConstraint]| all.iter().any(|c| c.when_unsatisfiable == action);
        let company = match own {
            [] if wanted(&self.defaults) => match cluster.company(pod) {
                None => return Vec::new(),
                company => company,
            },
            _ => None,
        };
        let all = if own.is_empty() { &self.defaults } else { own };
        all.iter()
            .filter(|constraint| constraint.when_unsatisfiable == action)
            .map(|constraint| Constraint::new(pod, cluster, constraint, company.as_ref()))
            .collect()
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        let constraints = self.constraints(pod, cluster, "DoNotSchedule");
        if constraints.is_empty() {
            return Ok(PreFilter::Skip);
        }
        let counts = (0..constraints.len()).map(|i| Domains::of(i, &constraints, pod, cluster)).collect();
        Ok(PreFilter::Run(Box::new(Hard { constraints, counts })))
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let hard = view.state::<Hard>();
        for (constraint, counts) in hard.constraints.iter().zip(&hard.counts) {
            let Some(domain) = constraint.topology.domain(node.slot) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::unresolvable(NAME, reason));
            };
            let there = counts.by_domain[domain].unwrap_or(0);
            if there + counts.own - counts.least > constraint.max_skew {
                return Err(Rejection::new(NAME, "node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }

    fn pod_changed(
        &self,
        state: &mut (dyn Any + Send),
        pod: &PodInfo,
        _: &Snapshot,
        other: &PodInfo,
        node: &NodeInfo,
        change: Change,
    ) {
        let Some(Hard { constraints, counts }) = state.downcast_mut::<Hard>() else { return };
        let Some(object) = node.node.as_deref().filter(|_| has_all(constraints, node.slot)) else { return };
        for (constraint, counts) in constraints.iter().zip(counts) {
            if !constraint.counts(pod, other) || !constraint.includes(pod, object) {
                continue;
            }
            if let Some(domain) = constraint.topology.domain(node.slot) {
                let count = if change == Change::Added { 1 } else { -1 };
                *counts.by_domain[domain].get_or_insert(0) += count;
                counts.find_least(constraint);
            }
        }
    }

    fn default_weight(&self) -> i64 {
        2
    }

    fn pre_score(&self, pod: &PodInfo, cluster: &Snapshot, nodes: &[&NodeInfo]) -> Option<State> {
        let constraints = self.constraints(pod, cluster, "ScheduleAnyway");
        if constraints.is_empty() {
            return None;
        }
        // The system's defaults spread by host also where there are no zones.
        let own = pod.spec().is_some_and(|s| s.topology_spread_constraints.iter().flatten().next().is_some());
        let needs_all = own || !self.system_defaulted;
        Some(Box::new(Soft::of(constraints, needs_all, pod, cluster, nodes)))
    }

    fn score(&self, view: &View<'_>, node: &NodeInfo) -> i64 {
        view.state::<Soft>().score(node)
    }

    fn normalize(&self, view: &View<'_>, nodes: &[&NodeInfo], scores: &mut [i64]) {
        view.state::<Soft>().normalize(nodes, scores);
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        let constraints =
            pod.spec().and_then(|s| s.topology_spread_constraints.as_deref()).unwrap_or_default();
        let constraints = if constraints.is_empty() { self.defaults.as_slice() } else { constraints };
        let defaulted = constraints.iter().any(|c| c.label_selector.is_none());
        let matters = |other: &PodInfo| {
            other.namespace() == pod.namespace()
                && (defaulted
                    || constraints.iter().any(|constraint| {
                        LabelSelector::from_object(constraint.label_selector.as_ref()).selects(other.labels())
                    }))
        };
        match event {
            ClusterEvent::AssignedPodAdded(other) | ClusterEvent::AssignedPodDeleted(other) => matters(other),
            ClusterEvent::AssignedPodUpdated { old, new } => {
                old.class != new.class && (matters(old) || matters(new))
            }
            ClusterEvent::PodUpdated(old) => old.labels() != pod.labels(),
            ClusterEvent::NodeDeleted(_) => true,
            event => event.node_labels().or(event.node_taints()).is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
