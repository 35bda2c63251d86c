//! A pod needs a node with room for what it requests; how full a node should be is the strategy's business.

use crate::framework::{
    ClusterEvent, MAX_NODE_SCORE, NodeInfo, Plugin, PodInfo, PreFilter, Reasons, Rejection, Remedy,
    Resources, Snapshot, State, View,
};
use api::k8s_openapi::api::core::v1::Node;
use api::pod::parse_quantity;
use std::borrow::Cow;

pub(super) const NAME: &str = "NodeResourcesFit";

/// Which nodes are better.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Strategy {
    /// Those with more room left.
    LeastAllocated,
    /// Those with less.
    MostAllocated,
    /// By a curve: points of (utilization in percent, score of 10).
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// `NodeResourcesFitArgs`.
#[derive(Clone, Debug)]
pub(crate) struct NodeResourcesFit {
    pub(crate) strategy: Strategy,
    /// The resources that count in scores, and how much.
    pub(crate) resources: Vec<(String, i64)>,
    /// Resources that somebody else looks after.
    pub(crate) ignored: Vec<String>,
    /// All resources of these groups (`example.com`).
    pub(crate) ignored_groups: Vec<String>,
}

impl Default for NodeResourcesFit {
    fn default() -> Self {
        Self {
            strategy: Strategy::LeastAllocated,
            resources: vec![("cpu".to_owned(), 1), ("memory".to_owned(), 1)],
            ignored: Vec::new(),
            ignored_groups: Vec::new(),
        }
    }
}

impl NodeResourcesFit {
    fn ignores(&self, name: &str) -> bool {
        let group = name.split_once('/').map_or(name, |(group, _)| group);
        self.ignored.iter().any(|ignored| ignored == name)
            || self.ignored_groups.iter().any(|ignored| ignored == group)
    }

    /// What is short, and whether the node has not even enough when it is empty. `is_claimed`: what a node does not offer
    /// itself may come from devices.
    fn shortages(
        &self,
        wants: &Resources,
        used: &Resources,
        has: &Resources,
        is_claimed: impl Fn(&str) -> bool,
    ) -> (Reasons, bool) {
        let (mut reasons, mut hopeless) = (Reasons::new(), false);
        if used.pods + 1 > has.pods {
            reasons.push(Cow::Borrowed("Too many pods"));
        }
        for (reason, wants, used, has) in [
            ("Insufficient cpu", wants.milli_cpu, used.milli_cpu, has.milli_cpu),
            ("Insufficient memory", wants.memory, used.memory, has.memory),
            (
                "Insufficient ephemeral-storage",
                wants.ephemeral_storage,
                used.ephemeral_storage,
                has.ephemeral_storage,
            ),
        ] {
            if wants > 0 && wants > has - used {
                reasons.push(Cow::Borrowed(reason));
                hopeless |= wants > has;
            }
        }
        for (name, wants) in wants.other.iter().filter(|(name, wants)| **wants > 0 && !self.ignores(name)) {
            let amount = |of: &Resources| of.other.get(name).copied().unwrap_or(0);
            if *wants > amount(has) - amount(used) && !(amount(has) == 0 && is_claimed(name)) {
                reasons.push(Cow::Owned(format!("Insufficient {name}")));
                hopeless |= *wants > amount(has);
            }
        }
        (reasons, hopeless)
    }

    fn strategy_score(&self, requested: i64, capacity: i64) -> i64 {
        match &self.strategy {
            Strategy::LeastAllocated if capacity == 0 || requested > capacity => 0,
            Strategy::LeastAllocated => (capacity - requested) * MAX_NODE_SCORE / capacity,
            Strategy::MostAllocated if capacity == 0 => 0,
            Strategy::MostAllocated => requested.min(capacity) * MAX_NODE_SCORE / capacity,
            Strategy::RequestedToCapacityRatio(shape) if capacity == 0 || requested > capacity => {
                along(shape, 100)
            }
            Strategy::RequestedToCapacityRatio(shape) => along(shape, requested * 100 / capacity),
        }
    }
}

/// The height of a broken line, whose scores of 10 become scores of 100.
fn along(shape: &[(i64, i64)], at: i64) -> i64 {
    let scaled = |score: i64| score * (MAX_NODE_SCORE / 10);
    let Some(next) = shape.iter().position(|(utilization, _)| at <= *utilization) else {
        return shape.last().map_or(0, |(_, score)| scaled(*score));
    };
    let (to_x, to_y) = (shape[next].0, scaled(shape[next].1));
    match next.checked_sub(1).map(|before| (shape[before].0, scaled(shape[before].1))) {
        None => to_y,
        Some((x, y)) => y + (to_y - y) * (at - x) / (to_x - x),
    }
}

/// One resource: wanted and used (as scores count them), and there.
pub(super) fn amounts(name: &str, pod: &PodInfo, node: &NodeInfo) -> (i64, i64, i64) {
    let (wants, used, has) = (&pod.scored_requests, &node.scored_requested, &node.allocatable);
    match name {
        "cpu" => (wants.milli_cpu, used.milli_cpu, has.milli_cpu),
        "memory" => (wants.memory, used.memory, has.memory),
        name => {
            let of = |resources: &Resources| resources.amount(name);
            (of(wants), of(used), of(has))
        }
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, _: &PodInfo, _: &Snapshot) -> Result<PreFilter, Rejection> {
        Ok(PreFilter::run())
    }

    fn is_local(&self) -> bool {
        true
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let is_claimed = |name: &str| view.cluster.devices.class_of(name).is_some();
        let (wants, used, has) = (&view.pod.requests, &node.requested, &node.allocatable);
        let (reasons, hopeless) = self.shortages(wants, used, has, is_claimed);
        if reasons.is_empty() {
            return Ok(());
        }
        let remedy = if hopeless { Remedy::None } else { Remedy::Preemption };
        Err(Rejection { plugin: NAME, reasons, remedy })
    }

    fn default_weight(&self) -> i64 {
        1
    }

    fn pre_score(&self, _: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<State> {
        Some(Box::new(()))
    }

    fn score(&self, view: &View<'_>, node: &NodeInfo) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for (name, weight) in &self.resources {
            let (wants, used, has) = amounts(name, view.pod, node);
            let counts = has > 0 && (wants > 0 || matches!(name.as_str(), "cpu" | "memory"));
            if counts {
                sum += self.strategy_score(used + wants, has) * weight;
                weights += weight;
            }
        }
        if weights == 0 { 0 } else { sum / weights }
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        let allocatable = |node: &Node| node.status.as_ref().and_then(|s| s.allocatable.clone());
        match event {
            ClusterEvent::PodUpdated(old) => old.requests != pod.requests,
            // A class may stand for what is short.
            ClusterEvent::DevicesChanged => !pod.requests.other.is_empty(),
            ClusterEvent::AssignedPodDeleted(_) => true,
            ClusterEvent::AssignedPodUpdated { old, new } => old.requests != new.requests,
            event => event.node(|old, new| allocatable(old) != allocatable(new)).is_some_and(|node| {
                let list = allocatable(node).unwrap_or_default();
                let list = list.iter().map(|(name, q)| (name.clone(), parse_quantity(q))).collect();
                let has = Resources::from_list(&list);
                self.shortages(&pod.requests, &Resources::default(), &has, |_| false).0.is_empty()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, named, node, refusal};
    use super::*;
    use serde_json::{Value, json};

    fn wants(name: &str, requests: Value) -> std::sync::Arc<PodInfo> {
        named(name, json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
    }

    #[test]
    fn says_everything_that_is_short_and_whether_there_is_hope() {
        let plugin = NodeResourcesFit::default();
        let mut small = node(json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "1"}}}));
        small.add_pod(wants("other", json!({"cpu": "1"})));
        for (requests, reasons, remedy) in [
            (json!({"cpu": "1"}), vec!["Too many pods"], Remedy::Preemption),
            (json!({"cpu": "2"}), vec!["Too many pods", "Insufficient cpu"], Remedy::Preemption),
            (json!({"cpu": "3"}), vec!["Too many pods", "Insufficient cpu"], Remedy::None),
            (
                json!({"memory": "2Gi", "example.com/gpu": "1"}),
                vec!["Too many pods", "Insufficient memory", "Insufficient example.com/gpu"],
                Remedy::None,
            ),
        ] {
            let rejection = refusal(&plugin, &wants("p", requests), &small).expect("too big");
            assert_eq!((rejection.reasons.join(" + "), rejection.remedy), (reasons.join(" + "), remedy));
        }
        let ignoring = NodeResourcesFit { ignored_groups: vec!["example.com".to_owned()], ..plugin };
        let empty = node(json!({"status": {"allocatable": {"pods": "1"}}}));
        assert_eq!(refusal(&ignoring, &wants("p", json!({"example.com/gpu": "1"})), &empty), None);
    }

    #[test]
    fn strategies_score_as_documented() {
        let ratio = Strategy::RequestedToCapacityRatio(vec![(0, 0), (100, 10)]);
        for (strategy, expected) in
            [(Strategy::LeastAllocated, (75 + 100) / 2), (Strategy::MostAllocated, 25 / 2), (ratio, 25 / 2)]
        {
            let plugin = NodeResourcesFit { strategy: strategy.clone(), ..NodeResourcesFit::default() };
            let node =
                json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
            let scores =
                Cluster::of(&[node]).scores(&plugin, &wants("p", json!({"cpu": "500m", "memory": "0"})));
            assert_eq!(scores, Some(vec![("n".to_owned(), expected)]), "{strategy:?}");
        }
        assert_eq!(along(&[(0, 10), (50, 0)], 25), 50);
        assert_eq!(along(&[(20, 10), (50, 0)], 10), 100);
        assert_eq!(along(&[(20, 10), (50, 4)], 90), 40);
    }

    #[test]
    fn wakes_for_room_that_is_enough() {
        let plugin = NodeResourcesFit::default();
        let pod = wants("p", json!({"cpu": "2"}));
        let with = |cpu: &str| {
            node(json!({"status": {"allocatable": {"cpu": cpu, "pods": "9"}}})).node.expect("a node")
        };
        assert!(plugin.may_help(&pod, &ClusterEvent::NodeAdded(with("2"))));
        assert!(!plugin.may_help(&pod, &ClusterEvent::NodeAdded(with("1"))));
        let same = ClusterEvent::NodeUpdated { old: with("2"), new: with("2") };
        assert!(!plugin.may_help(&pod, &same));
        assert!(
            plugin.may_help(&pod, &ClusterEvent::AssignedPodDeleted(super::super::testing::pod(json!({}))))
        );
    }
}
