//! Whether a pod may run on a node, as far as node selectors, affinity and taints say.
//!
//! **Not here**: resources, ports and all else that only the scheduler weighs.
//! **Upstream**: `component-helpers/scheduling/corev1`.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// Whether a pod's node selector and required node affinity take a node.
pub(crate) fn selects_node(spec: &PodSpec, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| label(key) == Some(value.as_str()));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_takes(term, node)))
}

/// Whether all requirements of a term hold; an empty term takes nothing.
fn term_takes(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|requirement| holds(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(&requirement.key)))
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
pub(crate) fn untolerated<'a>(
    tolerations: &[Toleration],
    node: &'a Node,
    effects: &[&str],
) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().find(|taint| {
        effects.contains(&taint.effect.as_str())
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })
}

/// Whether a toleration is meant for a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
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
    use testkit::build;

    #[test]
    fn selectors_affinity_and_taints_decide() {
        let node =
            build::node("n1").label("disk", "ssd").label("size", "8").taint("k", "NoSchedule", None).get();
        let spec = |value: Value| serde_json::from_value::<PodSpec>(value).unwrap();
        let affine = |term: Value| {
            spec(json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}}))
        };
        let expression = |operator: &str, key: &str, values: Value| {
            affine(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        for (name, spec, expected) in [
            ("nothing asked", spec(json!({"containers": []})), true),
            ("label", spec(json!({"containers": [], "nodeSelector": {"disk": "ssd"}})), true),
            ("other label", spec(json!({"containers": [], "nodeSelector": {"disk": "hdd"}})), false),
            ("in", expression("In", "disk", json!(["ssd"])), true),
            ("not in", expression("NotIn", "disk", json!(["ssd"])), false),
            ("greater", expression("Gt", "size", json!(["7"])), true),
            ("less", expression("Lt", "size", json!(["7"])), false),
            ("absent", expression("DoesNotExist", "zone", json!(null)), true),
            ("empty term", affine(json!({})), false),
            (
                "name",
                affine(
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
                ),
                true,
            ),
        ] {
            assert_eq!(selects_node(&spec, &node), expected, "{name}");
        }
        let tolerated: Vec<Toleration> =
            serde_json::from_value(json!([{"key": "k", "operator": "Exists"}])).unwrap();
        assert!(untolerated(&[], &node, &["NoSchedule"]).is_some());
        assert!(untolerated(&tolerated, &node, &["NoSchedule"]).is_none());
        assert!(untolerated(&[], &node, &["NoExecute"]).is_none());
    }
}
