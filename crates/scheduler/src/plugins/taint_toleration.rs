//! A node's taints keep away the pods that do not tolerate them.

use crate::framework::{
    ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, State, View, default_normalize,
};
use api::scheduling::{DO_NOT_SCHEDULE, tolerates, untolerated};

pub(super) const NAME: &str = "TaintToleration";

pub(crate) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, _: &PodInfo, _: &Snapshot) -> Result<PreFilter, Rejection> {
        Ok(PreFilter::run())
    }

    fn sees_pods(&self) -> bool {
        false
    }

    fn is_local(&self) -> bool {
        true
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(object) = node.node.as_ref().filter(|_| node.is_tainted) else { return Ok(()) };
        if untolerated(view.pod.tolerations(), object, &DO_NOT_SCHEDULE).is_none() {
            return Ok(());
        }
        Err(Rejection::unresolvable(NAME, "node(s) had untolerated taint(s)"))
    }

    fn default_weight(&self) -> i64 {
        3
    }

    fn pre_score(&self, _: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<State> {
        Some(Box::new(()))
    }

    /// The number of `PreferNoSchedule` taints that the pod does not tolerate; fewer is better.
    fn score(&self, view: &View<'_>, node: &NodeInfo) -> i64 {
        if !node.is_tainted {
            return 0;
        }
        let soft = node.taints().filter(|taint| taint.effect == "PreferNoSchedule");
        let tolerations = view.pod.tolerations();
        soft.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint))).count() as i64
    }

    fn normalize(&self, _: &View<'_>, _: &[&NodeInfo], scores: &mut [i64]) {
        default_normalize(scores, true);
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::PodUpdated(old) => old.tolerations() != pod.tolerations(),
            event => event
                .node_taints()
                .is_some_and(|node| untolerated(pod.tolerations(), node, &DO_NOT_SCHEDULE).is_none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, node, pod, refusal};
    use super::*;
    use serde_json::json;

    #[test]
    fn only_taints_that_forbid_count_in_the_filter() {
        for (effect, taken) in [("NoSchedule", false), ("NoExecute", false), ("PreferNoSchedule", true)] {
            let tainted = node(json!({"spec": {"taints": [{"key": "k", "effect": effect}]}}));
            assert_eq!(refusal(&TaintToleration, &pod(json!({})), &tainted).is_none(), taken, "{effect}");
            let tolerant = pod(json!({"tolerations": [{"key": "k", "operator": "Exists"}]}));
            assert!(refusal(&TaintToleration, &tolerant, &tainted).is_none(), "{effect}");
        }
    }

    #[test]
    fn fewer_unwelcoming_taints_are_better() {
        let soft = |name: &str, keys: &[&str]| {
            let taint = |key: &&str| json!({"key": key, "effect": "PreferNoSchedule"});
            let taints: Vec<_> = keys.iter().map(taint).collect();
            json!({"metadata": {"name": name}, "spec": {"taints": taints}})
        };
        let cluster = Cluster::of(&[soft("a", &["k", "l"]), soft("b", &["k"]), soft("c", &[])]);
        let scores = cluster.scores(&TaintToleration, &pod(json!({})));
        assert_eq!(scores, Some(vec![("a".to_owned(), 0), ("b".to_owned(), 50), ("c".to_owned(), 100)]));
    }
}
