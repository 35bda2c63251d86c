//! Nodes whose resources would be used to like shares are better.

use crate::framework::{ClusterEvent, MAX_NODE_SCORE, NodeInfo, Plugin, PodInfo, Snapshot, State, View};

pub(super) const NAME: &str = "NodeResourcesBalancedAllocation";

/// `NodeResourcesBalancedAllocationArgs`.
#[derive(Clone, Debug)]
pub(crate) struct NodeResourcesBalancedAllocation {
    /// The resources that are balanced.
    pub(crate) resources: Vec<String>,
}

impl Default for NodeResourcesBalancedAllocation {
    fn default() -> Self {
        Self { resources: vec!["cpu".to_owned(), "memory".to_owned()] }
    }
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn default_weight(&self) -> i64 {
        1
    }

    /// A pod that requests nothing leaves every balance as it is.
    fn pre_score(&self, pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<State> {
        let asks = self.resources.iter().any(|name| pod.requests.amount(name) > 0);
        asks.then(|| Box::new(()) as State)
    }

    fn score(&self, view: &View<'_>, node: &NodeInfo) -> i64 {
        let shares = self.resources.iter().filter_map(|name| {
            let has = node.allocatable.amount(name);
            let requested = node.requested.amount(name) + view.pod.requests.amount(name);
            (has > 0).then(|| (requested as f64 / has as f64).min(1.0))
        });
        let shares: Vec<f64> = shares.collect();
        let count = shares.len() as f64;
        let deviation = if shares.len() > 1 {
            let mean = shares.iter().sum::<f64>() / count;
            (shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / count).sqrt()
        } else {
            0.0
        };
        ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
    }

    fn may_help(&self, _: &PodInfo, _: &ClusterEvent) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn like_shares_are_best() {
        let node = |name: &str, cpu: &str, memory: &str| json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": memory}}});
        let cluster =
            Cluster::of(&[node("even", "4", "4Gi"), node("odd", "4", "16Gi"), node("bare", "4", "0")]);
        let asks = pod(json!({"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "2", "memory": "2Gi"}}}]}));
        let plugin = NodeResourcesBalancedAllocation::default();
        let expected = vec![("bare".to_owned(), 100), ("even".to_owned(), 100), ("odd".to_owned(), 81)];
        assert_eq!(cluster.scores(&plugin, &asks), Some(expected));
        assert_eq!(cluster.scores(&plugin, &pod(json!({}))), None);
    }
}
