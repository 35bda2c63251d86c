//! A pod needs a node with room for what it requests; nodes with more room left are better (LeastAllocated).

use crate::framework::{ClusterEvent, CycleState, MAX_NODE_SCORE, NodeInfo, Plugin, PodInfo, Rejection};

const NAME: &str = "NodeResourcesFit";

pub(crate) struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let (wants, used, has) = (&pod.requests, &node.requested, &node.allocatable);
        let mut reasons = Vec::new();
        if used.pods + 1 > has.pods {
            reasons.push("Too many pods".to_owned());
        }
        for (name, wants, used, has) in [
            ("cpu", wants.milli_cpu, used.milli_cpu, has.milli_cpu),
            ("memory", wants.memory, used.memory, has.memory),
            ("ephemeral-storage", wants.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage),
        ] {
            if wants > 0 && wants > has - used {
                reasons.push(format!("Insufficient {name}"));
            }
        }
        for (name, wants) in &wants.other {
            let amount = |of: &crate::framework::Resources| of.other.get(name).copied().unwrap_or(0);
            if *wants > 0 && *wants > amount(has) - amount(used) {
                reasons.push(format!("Insufficient {name}"));
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(Rejection { plugin: NAME, reasons }) }
    }

    fn weight(&self) -> i64 {
        1
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (wants, used, has) = (&pod.scored_requests, &node.scored_requested, &node.allocatable);
        let cpu = least_allocated(used.milli_cpu + wants.milli_cpu, has.milli_cpu);
        let memory = least_allocated(used.memory + wants.memory, has.memory);
        (cpu + memory) / 2
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeAllocatable
                | ClusterEvent::AssignedPodGone
                | ClusterEvent::PodUpdated
        )
    }
}

/// The share that stays free, of 100.
fn least_allocated(requested: i64, capacity: i64) -> i64 {
    if capacity == 0 || requested > capacity { 0 } else { (capacity - requested) * MAX_NODE_SCORE / capacity }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn says_everything_that_is_short() {
        let small = node(json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "0"}}}));
        let requests = json!({"cpu": "2", "memory": "512Mi", "example.com/gpu": "1"});
        let big = pod(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}));
        let rejection = NodeResourcesFit.filter(&CycleState::default(), &big, &small).expect_err("too big");
        assert_eq!(rejection.reasons, ["Too many pods", "Insufficient cpu", "Insufficient example.com/gpu"]);
    }

    #[test]
    fn counts_what_is_there() {
        let mut half = node(json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "9"}}}));
        let one = |cpu: &str| {
            pod(
                json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "0"}}}]}),
            )
        };
        half.add_pod(one("1"));
        let takes = |cpu: &str| NodeResourcesFit.filter(&CycleState::default(), &one(cpu), &half).is_ok();
        assert!(takes("1") && !takes("1001m"));
        assert_eq!(NodeResourcesFit.score(&CycleState::default(), &one("500m"), &half), (25 + 100) / 2);
    }
}
