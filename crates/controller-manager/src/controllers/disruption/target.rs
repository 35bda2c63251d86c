//! The condition of a pod that goes for reasons that are not its own.
//!
//! **Upstream**: `DisruptionTarget` (`PodDisruptionConditions`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const TYPE: &str = "DisruptionTarget";

/// The pod's conditions with `DisruptionTarget` among them, once.
pub(in crate::controllers) fn conditions(
    pod: &Pod,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<PodCondition> {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.retain(|condition| condition.type_ != TYPE);
    conditions.push(PodCondition {
        type_: TYPE.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    });
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::build::{self, at};

    #[test]
    fn a_disrupted_pod_says_so_once() {
        let pod = build::pod("a").condition("Ready", "True").condition("DisruptionTarget", "False").get();
        let conditions = conditions(&pod, "DeletionByPodGC", "PodGC: node no longer exists", at(0));
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1].reason.as_deref(), Some("DeletionByPodGC"));
    }
}
