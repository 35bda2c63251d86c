//! A node's taints keep away the pods that do not tolerate them.

use crate::framework::{ClusterEvent, CycleState, NodeInfo, Plugin, PodInfo, Rejection, default_normalize};
use api::k8s_openapi::api::core::v1::{Taint, Toleration};

const NAME: &str = "TaintToleration";

pub(crate) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        if node.taints().filter(hard).all(|taint| tolerates(pod, taint)) {
            return Ok(());
        }
        Err(Rejection::new(NAME, "node(s) had untolerated taint(s)"))
    }

    fn weight(&self) -> i64 {
        3
    }

    /// The number of `PreferNoSchedule` taints that the pod does not tolerate; fewer is better.
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let soft = node.taints().filter(|taint| taint.effect == "PreferNoSchedule");
        soft.filter(|taint| !tolerates(pod, taint)).count() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        default_normalize(scores, true);
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodUpdated)
    }
}

/// Whether one of the pod's tolerations covers the taint.
pub(super) fn tolerates(pod: &PodInfo, taint: &Taint) -> bool {
    let tolerations = pod.spec().and_then(|s| s.tolerations.as_ref());
    tolerations.into_iter().flatten().any(|toleration| covers(toleration, taint))
}

/// **Upstream**: `Toleration.ToleratesTaint`.
fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_cover_taints_as_documented() {
        for (toleration, takes) in [
            (json!(null), false),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "w"}), false),
            (json!({"key": "k", "value": "v", "effect": "NoSchedule"}), true),
            (json!({"key": "k", "value": "v", "effect": "NoExecute"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
        ] {
            let tainted =
                node(json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}));
            let tolerations = if toleration.is_null() { json!([]) } else { json!([toleration]) };
            let got = TaintToleration.filter(
                &CycleState::default(),
                &pod(json!({"tolerations": tolerations})),
                &tainted,
            );
            assert_eq!(got.is_ok(), takes, "{toleration}");
        }
    }

    #[test]
    fn a_preference_only_counts_in_the_score() {
        let tainted = node(json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}));
        let state = CycleState::default();
        assert!(TaintToleration.filter(&state, &pod(json!({})), &tainted).is_ok());
        assert_eq!(TaintToleration.score(&state, &pod(json!({})), &tainted), 1);
    }
}
