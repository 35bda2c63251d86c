//! The last decision on each pod, kept for those who ask why (`kctl why`).
//!
//! **Contract**: recording costs no more than the decision has: nothing is rendered before somebody asks. Only so many
//! judgements of nodes are kept; the oldest decisions go first.
//! **Not here**: who may ask: the API server serves it below `/debug`, with its own authorization.

use crate::cycle::{Decision, Scores};
use crate::diagnosis::Diagnosis;
use crate::framework::Snapshot;
use api::k8s_openapi::api::core::v1::Node;
use client::Key;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// How many judgements of one node about one pod are kept.
const KEPT: usize = 20_000;

/// Decisions by pod; cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Decisions(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    by_pod: HashMap<Key, Record>,
    /// In the order of decisions; the number tells an outdated entry.
    order: VecDeque<(Key, u64)>,
    judgements: usize,
    sequence: u64,
}

/// One decision.
struct Record {
    number: u64,
    time: Timestamp,
    chosen: Option<Arc<Node>>,
    message: String,
    diagnosis: Diagnosis,
    scores: Option<Scores>,
    /// The nodes that were judged, by their slots of that time.
    nodes: Vec<(usize, Arc<Node>)>,
}

impl Decisions {
    /// Keeps a decision instead of the pod's last one.
    pub(crate) fn record(
        &self,
        pod: Key,
        decision: Decision,
        message: String,
        cluster: &Snapshot,
        time: Timestamp,
    ) {
        let Decision { chosen, diagnosis, scores } = decision;
        let slots = diagnosis.rejected.iter().map(|(slot, _)| slot);
        let slots = slots.chain(scores.iter().flat_map(|scores| scores.nodes.iter().copied())).chain(chosen);
        let nodes = slots.filter_map(|slot| Some((slot, cluster.at(slot).node.clone()?))).collect();
        let chosen = chosen.and_then(|slot| cluster.at(slot).node.clone());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.sequence += 1;
        let number = kept.sequence;
        kept.insert(pod, Record { number, time, chosen, message, diagnosis, scores, nodes });
    }

    /// The last decision on a pod.
    pub(crate) fn page(&self, path: &[&str]) -> Option<Value> {
        let [namespace, name] = path else { return None };
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_pod.get(&Key::new(*namespace, *name)).map(Record::to_json)
    }
}

impl Kept {
    fn insert(&mut self, pod: Key, record: Record) {
        self.judgements += record.nodes.len();
        self.order.push_back((pod.clone(), record.number));
        if let Some(old) = self.by_pod.insert(pod, record) {
            self.judgements -= old.nodes.len();
        }
        while self.judgements > KEPT || self.order.len() > KEPT {
            let Some((pod, number)) = self.order.pop_front() else { return };
            if self.by_pod.get(&pod).is_some_and(|record| record.number == number)
                && let Some(old) = self.by_pod.remove(&pod)
            {
                self.judgements -= old.nodes.len();
            }
        }
    }
}

impl Record {
    fn to_json(&self) -> Value {
        let name = |node: &Arc<Node>| node.metadata.name.clone().unwrap_or_default();
        let by_slot: HashMap<usize, &Arc<Node>> =
            self.nodes.iter().map(|(slot, node)| (*slot, node)).collect();
        let named = |slot: &usize| by_slot.get(slot).map(|node| name(node)).unwrap_or_default();
        let mut nodes: Vec<Value> = self
            .diagnosis
            .rejected
            .iter()
            .map(|(slot, rejection)| {
                json!({"name": named(&slot), "plugin": rejection.plugin, "reasons": rejection.reasons.as_slice()})
            })
            .collect();
        if let Some(scores) = &self.scores {
            for (at, slot) in scores.nodes.iter().enumerate() {
                let of = |(plugin, weight, all): &(&str, i64, Vec<i64>)| json!({"plugin": plugin, "weight": weight, "score": all[at]});
                let each: Vec<Value> = scores.plugins.iter().map(of).collect();
                nodes.push(json!({"name": named(slot), "scores": each, "total": scores.totals[at]}));
            }
        } else if let Some(chosen) = &self.chosen {
            nodes.push(json!({"name": name(chosen)}));
        }
        let others = self.diagnosis.others.as_ref();
        let others =
            others.map(|others| json!({"plugin": others.plugin, "reasons": others.reasons.as_slice()}));
        json!({
            "time": self.time, "node": self.chosen.as_ref().map(name), "message": self.message,
            "nodesInCluster": self.diagnosis.nodes, "nodes": nodes, "others": others,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle::schedule;
    use crate::memory::Memory;
    use crate::plugins;
    use crate::plugins::testing::{Cluster, pod};
    use component_base::Rng;

    #[test]
    fn tells_each_nodes_reasons_and_scores() {
        let node = |name: &str, cpu: &str| json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "9"}}});
        let cluster = Cluster::of(&[node("big", "8"), node("middle", "4"), node("small", "1")]);
        let profile = plugins::default_profile();
        let pod = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}));
        let (decision, _) =
            schedule(&profile, &pod, &cluster.snapshot, &mut Memory::default(), &mut 0, &Rng::seeded(1));
        let decisions = Decisions::default();
        let time = Timestamp::from_second(1_767_225_600).expect("a time");
        decisions.record(pod.key(), decision, String::new(), &cluster.snapshot, time);
        let page = decisions.page(&["ns", "p"]).expect("a page");
        assert_eq!((page["node"].as_str(), page["nodesInCluster"].as_u64()), (Some("big"), Some(3)));
        let of = |name: &str| {
            let nodes = page["nodes"].as_array().expect("nodes");
            nodes.iter().find(|node| node["name"] == name).expect("a node").clone()
        };
        assert_eq!(of("small")["plugin"], "NodeResourcesFit");
        assert_eq!(of("small")["reasons"], json!(["Insufficient cpu"]));
        let fit = |name: &str| {
            let scores = of(name)["scores"].as_array().expect("scores").clone();
            scores.iter().find(|s| s["plugin"] == "NodeResourcesFit").expect("a score")["score"].as_i64()
        };
        assert!(fit("big") > fit("middle"));
        assert!(of("big")["total"].as_i64() > of("middle")["total"].as_i64());
        assert_eq!(decisions.page(&["ns", "other"]), None);
    }

    #[test]
    fn the_oldest_decisions_are_forgotten() {
        let decisions = Decisions::default();
        let cluster = Cluster::of(&[json!({})]);
        let profile = plugins::default_profile();
        let time = Timestamp::from_second(1_767_225_600).expect("a time");
        for number in 0..=KEPT {
            let pod = pod(json!({}));
            let (decision, _) =
                schedule(&profile, &pod, &cluster.snapshot, &mut Memory::default(), &mut 0, &Rng::seeded(1));
            let key = Key::new("ns", format!("p{number}"));
            decisions.record(key, decision, String::new(), &cluster.snapshot, time);
        }
        assert!(decisions.page(&["ns", "p0"]).is_none());
        assert!(decisions.page(&["ns", &format!("p{KEPT}")]).is_some());
    }
}
