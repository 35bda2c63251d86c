//! Node selectors and node affinity.

use crate::framework::{
    ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, State, View, default_normalize,
};
use api::k8s_openapi::api::core::v1::{
    Node, NodeAffinity as Affinity, NodeSelector, PreferredSchedulingTerm,
};
use api::scheduling::{node_selector_matches, node_term_matches, required_node_affinity, selects_node};
use std::collections::BTreeSet;

pub(super) const NAME: &str = "NodeAffinity";

/// `NodeAffinityArgs`.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeAffinity {
    /// What the scheduler demands of nodes beside what pods do.
    pub(crate) added: Option<Affinity>,
}

impl NodeAffinity {
    fn added_takes(&self, node: &Node) -> bool {
        let required = self.added.as_ref();
        required
            .and_then(|added| added.required_during_scheduling_ignored_during_execution.as_ref())
            .is_none_or(|required| node_selector_matches(required, node))
    }

    fn takes(&self, pod: &PodInfo, node: &Node) -> bool {
        self.added_takes(node) && pod.spec().is_none_or(|spec| selects_node(spec, node))
    }

    fn preferred<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a PreferredSchedulingTerm> {
        let own = pod.spec().and_then(|s| s.affinity.as_ref()?.node_affinity.as_ref());
        [own, self.added.as_ref()].into_iter().flatten().flat_map(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten()
        })
    }
}

/// The names of the nodes that required terms allow; none if they allow others too.
fn names(required: &NodeSelector) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for term in &required.node_selector_terms {
        let by_name = term.match_fields.iter().flatten();
        let mut of_term: Option<BTreeSet<String>> = None;
        for field in by_name.filter(|field| field.key == "metadata.name" && field.operator == "In") {
            let values: BTreeSet<String> = field.values.iter().flatten().cloned().collect();
            of_term = Some(match of_term {
                None => values,
                Some(before) => before.intersection(&values).cloned().collect(),
            });
        }
        all.extend(of_term?);
    }
    Some(all)
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, _: &Snapshot) -> Result<PreFilter, Rejection> {
        let Some(spec) = pod.spec() else { return Ok(PreFilter::Skip) };
        let required = required_node_affinity(spec);
        if required.is_none() && spec.node_selector.is_none() && self.added.is_none() {
            return Ok(PreFilter::Skip);
        }
        match required.filter(|r| !r.node_selector_terms.is_empty()).and_then(names) {
            None => Ok(PreFilter::run()),
            Some(names) if names.is_empty() => {
                Err(Rejection::unresolvable(NAME, "pod affinity terms conflict"))
            }
            Some(names) => Ok(PreFilter::Only(names, Box::new(()))),
        }
    }

    fn sees_pods(&self) -> bool {
        false
    }

    fn is_local(&self) -> bool {
        true
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(object) = &node.node else { return Ok(()) };
        if !self.added_takes(object) {
            let reason = "node(s) didn't match scheduler-enforced node affinity";
            return Err(Rejection::unresolvable(NAME, reason));
        }
        if view.pod.spec().is_none_or(|spec| selects_node(spec, object)) {
            return Ok(());
        }
        Err(Rejection::unresolvable(NAME, "node(s) didn't match Pod's node affinity/selector"))
    }

    fn default_weight(&self) -> i64 {
        2
    }

    fn pre_score(&self, pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<State> {
        self.preferred(pod).next().map(|_| Box::new(()) as State)
    }

    /// The sum of the weights of the preferred terms that the node matches.
    fn score(&self, view: &View<'_>, node: &NodeInfo) -> i64 {
        let Some(node) = &node.node else { return 0 };
        let matching = self.preferred(view.pod).filter(|p| node_term_matches(&p.preference, node));
        matching.map(|p| i64::from(p.weight)).sum()
    }

    fn normalize(&self, _: &View<'_>, _: &[&NodeInfo], scores: &mut [i64]) {
        default_normalize(scores, false);
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::PodUpdated(_) => true,
            event => event.node_labels().is_some_and(|node| self.takes(pod, node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, pod};
    use super::*;
    use serde_json::{Value, json};

    fn cluster() -> Cluster {
        Cluster::zoned(&[("a", "n1"), ("b", "n2")])
    }

    fn required(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    fn by_name(names: &[&str]) -> Value {
        json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]})
    }

    #[test]
    fn selectors_and_required_terms_decide() {
        let zone =
            |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
        for (spec, passing) in [
            (json!({}), vec!["n1", "n2"]),
            (json!({"nodeSelector": {"zone": "a"}}), vec!["n1"]),
            (required(json!([zone("b")])), vec!["n2"]),
            (required(json!([zone("c"), by_name(&["n2"])])), vec!["n2"]),
            (required(json!([{}])), vec![]),
        ] {
            assert_eq!(cluster().passing(&NodeAffinity::default(), &pod(spec.clone())), passing, "{spec}");
        }
    }

    #[test]
    fn terms_by_name_narrow_the_search() {
        let plugin = NodeAffinity::default();
        let narrowed = |terms: Value| match plugin.pre_filter(&pod(required(terms)), &Snapshot::default()) {
            Ok(PreFilter::Only(names, _)) => Ok(Some(names.into_iter().collect::<Vec<_>>())),
            Ok(_) => Ok(None),
            Err(rejection) => Err(rejection.reasons[0].clone().into_owned()),
        };
        assert_eq!(
            narrowed(json!([by_name(&["a"]), by_name(&["b"])])),
            Ok(Some(vec!["a".into(), "b".into()]))
        );
        assert_eq!(narrowed(json!([by_name(&["a"]), {"matchExpressions": []}])), Ok(None));
        let both = json!([{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["a"]},
            {"key": "metadata.name", "operator": "In", "values": ["b"]}]}]);
        assert_eq!(narrowed(both), Err("pod affinity terms conflict".to_owned()));
    }

    #[test]
    fn what_the_scheduler_adds_counts_too() {
        let added = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]}});
        let plugin = NodeAffinity { added: serde_json::from_value(added).expect("an affinity") };
        let reasons = cluster().filter(&plugin, &pod(json!({})));
        let reason = "node(s) didn't match scheduler-enforced node affinity";
        assert_eq!(reasons, [("n1".to_owned(), Some(reason.to_owned())), ("n2".to_owned(), None)]);
    }

    #[test]
    fn preferences_add_up() {
        let term = |weight: i32, key: &str, value: &str| {
            json!({"weight": weight, "preference": {"matchExpressions": [
                {"key": key, "operator": "In", "values": [value]}]}})
        };
        let terms = [term(2, "zone", "a"), term(3, "zone", "b"), term(1, "kubernetes.io/hostname", "n2")];
        let spec =
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}});
        let scores = cluster().scores(&NodeAffinity::default(), &pod(spec));
        assert_eq!(scores, Some(vec![("n1".to_owned(), 50), ("n2".to_owned(), 100)]));
        assert_eq!(cluster().scores(&NodeAffinity::default(), &pod(json!({}))), None);
    }
}
