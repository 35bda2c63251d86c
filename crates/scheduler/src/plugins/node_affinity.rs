//! Node selectors and node affinity.

use crate::framework::{ClusterEvent, CycleState, NodeInfo, Plugin, PodInfo, Rejection, default_normalize};
use api::k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

const NAME: &str = "NodeAffinity";

pub(crate) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(spec) = pod.spec() else { return Ok(()) };
        let selected =
            spec.node_selector.iter().flatten().all(|(key, value)| node.label(key) == Some(value.as_str()));
        let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let matched =
            required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term_matches(term, node)));
        if selected && matched {
            return Ok(());
        }
        Err(Rejection::new(NAME, "node(s) didn't match Pod's node affinity/selector"))
    }

    fn weight(&self) -> i64 {
        2
    }

    /// The sum of the weights of the preferred terms that the node matches.
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let affinity = pod.spec().and_then(|s| s.affinity.as_ref()?.node_affinity.as_ref());
        let preferred =
            affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        let matching = preferred.into_iter().flatten().filter(|p| term_matches(&p.preference, node));
        matching.map(|p| i64::from(p.weight)).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        default_normalize(scores, false);
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels | ClusterEvent::PodUpdated)
    }
}

/// All requirements of a term hold; an empty term matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let field = |key: &str| (key == "metadata.name").then(|| node.name());
    labels.iter().all(|r| holds(r, node.label(&r.key))) && fields.iter().all(|r| holds(r, field(&r.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|v| v == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |than: fn(&i64, &i64) -> bool| {
        let bound = values.first().and_then(|v| number(v));
        value.and_then(number).zip(bound).is_some_and(|(value, bound)| than(&value, &bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod};
    use super::*;
    use serde_json::{Value, json};

    fn takes(spec: Value) -> bool {
        let node = node(json!({"metadata": {"name": "n", "labels": {"disk": "ssd", "size": "8"}}}));
        NodeAffinity.filter(&CycleState::default(), &pod(spec), &node).is_ok()
    }

    #[test]
    fn a_selector_wants_every_label() {
        assert!(takes(json!({"nodeSelector": {"disk": "ssd"}})));
        assert!(!takes(json!({"nodeSelector": {"disk": "hdd"}})));
        assert!(!takes(json!({"nodeSelector": {"disk": "ssd", "zone": "a"}})));
    }

    #[test]
    fn operators_hold_as_documented() {
        for (requirement, expected) in [
            (json!({"key": "disk", "operator": "In", "values": ["ssd", "x"]}), true),
            (json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]}), false),
            (json!({"key": "none", "operator": "NotIn", "values": ["ssd"]}), true),
            (json!({"key": "disk", "operator": "Exists"}), true),
            (json!({"key": "disk", "operator": "DoesNotExist"}), false),
            (json!({"key": "size", "operator": "Gt", "values": ["7"]}), true),
            (json!({"key": "size", "operator": "Lt", "values": ["8"]}), false),
            (json!({"key": "disk", "operator": "Gt", "values": ["1"]}), false),
        ] {
            let terms = json!([{"matchExpressions": [requirement]}]);
            let spec = json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
            assert_eq!(takes(spec), expected, "{requirement}");
        }
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_one_matches_nothing() {
        let with = |terms: Value| {
            json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
        };
        let by_name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]});
        assert!(takes(with(json!([{}, by_name]))));
        assert!(!takes(with(json!([{}]))));
    }
}
