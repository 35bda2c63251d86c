//! Whether a node suits a pod, as far as node selectors, affinity and taints say.
//!
//! **Not here**: resources, ports and all else that only the scheduler weighs.
//! **Upstream**: `component-helpers/scheduling/corev1`.

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// The effects of taints that keep new pods away.
pub const DO_NOT_SCHEDULE: [&str; 2] = ["NoSchedule", "NoExecute"];

/// Whether a pod's node selector and required node affinity take a node.
pub fn selects_node(spec: &PodSpec, node: &Node) -> bool {
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| label(node, key) == Some(value.as_str()));
    selected && required_node_affinity(spec).is_none_or(|required| node_selector_matches(required, node))
}

/// What a pod's node affinity requires.
pub fn required_node_affinity(spec: &PodSpec) -> Option<&NodeSelector> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity.required_during_scheduling_ignored_during_execution.as_ref()
}

/// Whether one of the terms takes a node.
pub fn node_selector_matches(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| node_term_matches(term, node))
}

/// Whether all requirements of a term hold; an empty term takes nothing.
pub fn node_term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|requirement| holds(requirement, label(node, &requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(&requirement.key)))
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|known| known == value);
    let compared = |than: fn(&i64, &i64) -> bool| {
        let bound = values.first().and_then(|bound| bound.parse::<i64>().ok());
        let value = value.and_then(|value| value.parse::<i64>().ok());
        value.zip(bound).is_some_and(|(value, bound)| than(&value, &bound))
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

/// The first taint with one of these effects that nothing tolerates.
pub fn untolerated<'a>(tolerations: &[Toleration], node: &'a Node, effects: &[&str]) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().find(|taint| {
        effects.contains(&taint.effect.as_str())
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })
}

/// Whether a toleration is meant for a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let any = |wanted: &Option<String>, value: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == value)
    };
    let value =
        || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    let operator = match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => value(),
        Some(_) => false,
    };
    any(&toleration.effect, &taint.effect) && any(&toleration.key, &taint.key) && operator
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node() -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"disk": "ssd", "size": "8"}},
            "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}
        }))
        .unwrap()
    }

    #[test]
    fn selectors_and_affinity_decide() {
        let spec = |value: Value| serde_json::from_value::<PodSpec>(value).unwrap();
        let terms = |terms: Value| {
            spec(json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}))
        };
        let expression = |operator: &str, key: &str, values: Value| {
            terms(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        let by_name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
        for (name, spec, expected) in [
            ("nothing asked", spec(json!({"containers": []})), true),
            ("label", spec(json!({"containers": [], "nodeSelector": {"disk": "ssd"}})), true),
            ("other label", spec(json!({"containers": [], "nodeSelector": {"disk": "hdd"}})), false),
            (
                "every label",
                spec(json!({"containers": [], "nodeSelector": {"disk": "ssd", "a": "b"}})),
                false,
            ),
            ("in", expression("In", "disk", json!(["hdd", "ssd"])), true),
            ("not in", expression("NotIn", "disk", json!(["ssd"])), false),
            ("not in, absent", expression("NotIn", "zone", json!(["a"])), true),
            ("greater", expression("Gt", "size", json!(["7"])), true),
            ("less", expression("Lt", "size", json!(["7"])), false),
            ("no number", expression("Gt", "disk", json!(["1"])), false),
            ("there", expression("Exists", "disk", json!(null)), true),
            ("absent", expression("DoesNotExist", "zone", json!(null)), true),
            ("empty term", terms(json!([{}])), false),
            ("terms are alternatives", terms(json!([{}, by_name])), true),
        ] {
            assert_eq!(selects_node(&spec, &node()), expected, "{name}");
        }
    }

    #[test]
    fn tolerations_cover_taints_as_documented() {
        for (toleration, covered) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "w"}), false),
            (json!({"key": "k"}), false),
            (json!({"key": "k", "value": "v", "effect": "NoSchedule"}), true),
            (json!({"key": "k", "value": "v", "effect": "NoExecute"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
        ] {
            let tolerations: Vec<Toleration> = serde_json::from_value(json!([toleration])).unwrap();
            let node = node();
            let left = untolerated(&tolerations, &node, &DO_NOT_SCHEDULE);
            assert_eq!(left.is_none(), covered, "{toleration}");
        }
        assert!(untolerated(&[], &node(), &["NoExecute"]).is_none());
    }
}
