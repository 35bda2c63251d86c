//! The scheduler's decisions without a cluster: its cache and its cycle, fed by hand.
//!
//! **Contract**: what it decides is what [`crate::run`] decides on the same nodes and pods; nothing is bound or evicted
//! but in its own memory. For measurements (`cargo xtask bench scheduler`) and what-if questions.

use crate::cache::Cache;
use crate::cycle::schedule;
use crate::framework::PodInfo;
use crate::memory::Memory;
use crate::preemption::{Preemption, best, preempt};
use crate::profile::Profile;
use crate::{Configuration, framework};
use api::k8s_openapi::api::core::v1::{Node, Pod};
use component_base::Rng;
use std::sync::Arc;

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on this node.
    Scheduled(String),
    /// It is on this node, and so many pods have left that for it.
    Preempted(String, usize),
    /// No node takes it, and why.
    Unschedulable(String),
}

/// Nodes and pods in memory.
pub struct Simulation {
    cache: Cache,
    profile: Profile,
    memory: Memory,
    rng: Rng,
    start: usize,
}

impl Simulation {
    /// Of these nodes, under the first profile of a configuration.
    pub fn new(configuration: &Configuration, nodes: impl IntoIterator<Item = Node>, rng: Rng) -> Self {
        let mut cache = Cache::default();
        for node in nodes {
            cache.set_node(Arc::new(node));
        }
        cache.snapshot.refresh();
        let profile = configuration.profiles().remove(0);
        Self { cache, profile, memory: Memory::default(), rng, start: 0 }
    }

    /// Decides on a pod and counts it on its node.
    pub fn schedule(&mut self, pod: Pod) -> Outcome {
        let pod = Arc::new(PodInfo::new(Arc::new(pod)));
        let snapshot = &self.cache.snapshot;
        let (decision, cycle) =
            schedule(&self.profile, &pod, snapshot, &mut self.memory, &mut self.start, &self.rng);
        if let Some(slot) = decision.chosen {
            let node = snapshot.at(slot).name().to_owned();
            drop(cycle);
            self.cache.assume(&pod, &node);
            return Outcome::Scheduled(node);
        }
        let args = self.profile.preemption.as_ref();
        let preemption = args.map(|args| preempt(cycle, &pod, &decision.diagnosis, args, &self.rng));
        match preemption {
            Some(Preemption::Candidates(candidates)) => {
                let candidate = best(candidates).expect("there are candidates, or it is hopeless");
                let node = snapshot.at(candidate.slot).name().to_owned();
                for victim in candidate.victims.iter() {
                    self.cache.remove_pod(victim.uid());
                }
                self.cache.assume(&pod, &node);
                Outcome::Preempted(node, candidate.victims.len())
            }
            _ => Outcome::Unschedulable(decision.diagnosis.message()),
        }
    }

    /// The nodes with what is on them.
    pub fn nodes(&self) -> impl Iterator<Item = &framework::NodeInfo> {
        self.cache.snapshot.nodes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_fill_nodes_and_then_push_others_out() {
        let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "9"}}});
        let nodes = [serde_json::from_value(node).expect("a node")];
        let mut simulation = Simulation::new(&Configuration::default(), nodes, Rng::seeded(1));
        let mut schedule = |name: &str, priority: i32| {
            let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"priority": priority,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
            simulation.schedule(serde_json::from_value(pod).expect("a pod"))
        };
        assert_eq!(schedule("a", 0), Outcome::Scheduled("n".to_owned()));
        assert_eq!(schedule("b", 0), Outcome::Scheduled("n".to_owned()));
        let why = "0/1 nodes are available: 1 Insufficient cpu.".to_owned();
        assert_eq!(schedule("c", 0), Outcome::Unschedulable(why));
        assert_eq!(schedule("d", 1), Outcome::Preempted("n".to_owned(), 1));
        let names: Vec<&str> = simulation.nodes().map(framework::NodeInfo::name).collect();
        assert_eq!(names, ["n"]);
    }

    #[test]
    fn what_is_remembered_changes_no_decision() {
        let rng = Rng::seeded(5);
        let node = |index: u64| {
            let taints = if index.is_multiple_of(7) {
                json!([{"key": "k", "effect": "NoSchedule"}])
            } else {
                json!([])
            };
            let node = json!({"metadata": {"name": format!("n{index}")}, "spec": {"taints": taints},
                "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "9"}}});
            serde_json::from_value(node).expect("a node")
        };
        let simulation = || Simulation::new(&Configuration::default(), (0..150).map(node), Rng::seeded(1));
        let (mut one, mut forgetful) = (simulation(), simulation());
        let mut preempted = 0;
        for number in 0..600 {
            let (cpu, priority) = (1 + rng.below(3), rng.below(4));
            let pod = || {
                let name = format!("p{number}");
                let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"priority": priority,
                    "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu.to_string()}}}]}});
                serde_json::from_value(pod).expect("a pod")
            };
            forgetful.memory = Memory::default();
            let outcome = one.schedule(pod());
            assert_eq!(outcome, forgetful.schedule(pod()), "pod {number}");
            preempted += usize::from(matches!(outcome, Outcome::Preempted(..)));
        }
        assert!(preempted > 50, "{preempted}");
    }
}
