//! What a budget's status should say.
//!
//! **Upstream**: `getExpectedPodCount`, `buildDisruptedPodMap`, `countHealthyPods`, `updatePdbStatus`.

use crate::workload::scaled::{Round, scaled};
use crate::workload::seconds;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long an evicted pod counts as away without being deleted. **Upstream**: `DeletionTimeout`.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
/// When owners that could not be found are looked for again.
pub(super) const RETRY: Duration = Duration::from_secs(30);
const CONDITION: &str = "DisruptionAllowed";

/// How many pods there should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) pods: i32,
    /// Pods of nobody, which nobody will replace.
    pub(super) unmanaged: usize,
}

impl Expected {
    /// As many as there are.
    pub(super) fn of_pods(pods: &[Arc<Pod>]) -> Self {
        Self { pods: i32::try_from(pods.len()).unwrap_or(i32::MAX), unmanaged: 0 }
    }
}

/// Pods that an eviction has taken from the budget and that are still there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Away {
    pods: BTreeMap<String, Time>,
    /// They should have been deleted by now, and count again.
    pub(super) overdue: Vec<Arc<Pod>>,
    /// When the next of them will be overdue.
    pub(super) again: Option<Duration>,
}

/// Whether the number of pods that there should be is needed, and not only those that there are.
pub(super) fn needs_owners(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    let least = spec.and_then(|spec| spec.min_available.as_ref());
    spec.is_some_and(|spec| spec.max_unavailable.is_some()) || matches!(least, Some(IntOrString::String(_)))
}

/// What is told of pods without an owner.
pub(super) fn unmanaged(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.and_then(|selector| serde_json::to_string(selector).ok()).unwrap_or_default();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// Which evicted pods still count as away.
pub(super) fn away(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) -> Away {
    let mut away = Away::default();
    let disrupted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let Some(disrupted) = disrupted else { return away };
    for pod in pods.iter().filter(|pod| !api::pod::is_terminating(pod)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(since) = disrupted.get(&name) else { continue };
        let left = DELETION_TIMEOUT - now.duration_since(since.0);
        match Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
            None => away.overdue.push(Arc::clone(pod)),
            Some(left) => {
                away.pods.insert(name, since.clone());
                away.again = Some(away.again.map_or(left, |known| known.min(left)));
            }
        }
    }
    away
}

fn desired(budget: &PodDisruptionBudget, expected: i32) -> i32 {
    let Some(spec) = &budget.spec else { return 0 };
    if let Some(most) = &spec.max_unavailable {
        return (expected - scaled(most, expected, Round::Up)).max(0);
    }
    spec.min_available.as_ref().map_or(0, |least| scaled(least, expected, Round::Up))
}

/// The status of a budget whose pods are known.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: &Expected,
    away: &Away,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let is_healthy = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        api::pod::is_ready(pod) && !api::pod::is_terminating(pod) && !away.pods.contains_key(name)
    };
    let healthy = i32::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i32::MAX);
    let desired = desired(budget, expected.pods);
    let allowed = if expected.pods <= 0 { 0 } else { (healthy - desired).max(0) };
    let (value, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    PodDisruptionBudgetStatus {
        conditions: Some(with_condition(budget, value, reason, "", now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!away.pods.is_empty()).then(|| away.pods.clone()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected.pods),
        observed_generation: budget.metadata.generation,
    }
}

/// The status of a budget that cannot be worked out: nothing is allowed.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus {
        conditions: Some(with_condition(budget, "False", "SyncFailed", why, now)),
        disruptions_allowed: Some(0),
        observed_generation: budget.metadata.generation,
        ..budget.status.clone().unwrap_or_default()
    }
}

fn with_condition(
    budget: &PodDisruptionBudget,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let known = budget.status.as_ref().and_then(|status| status.conditions.clone());
    let mut conditions = known.unwrap_or_default();
    let mut condition = Condition {
        type_: CONDITION.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: seconds(now),
        observed_generation: budget.metadata.generation,
    };
    match conditions.iter_mut().find(|known| known.type_ == CONDITION) {
        Some(known) => {
            if known.status == value {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::{self, at};

    fn budget(spec: Value, disrupted: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "b", "generation": 3}, "spec": spec, "status": {
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0, "disruptedPods": disrupted}}))
        .unwrap()
    }

    fn ready(count: usize) -> Vec<Arc<Pod>> {
        (0..count).map(|i| Arc::new(build::pod(&format!("p{i}")).condition("Ready", "True").get())).collect()
    }

    #[test]
    fn what_may_be_away_follows_from_what_should_be_there() {
        for (spec, ready_pods, expected, wanted) in [
            // (healthy, desired, allowed)
            (json!({"minAvailable": 2}), 3, 3, (3, 2, 1)),
            (json!({"minAvailable": 2}), 1, 1, (1, 2, 0)),
            (json!({"minAvailable": "50%"}), 3, 5, (3, 3, 0)),
            (json!({"maxUnavailable": 1}), 4, 5, (4, 4, 0)),
            (json!({"maxUnavailable": "25%"}), 5, 5, (5, 3, 2)),
            (json!({"maxUnavailable": 10}), 2, 2, (2, 0, 2)),
            (json!({"minAvailable": 0}), 0, 0, (0, 0, 0)),
        ] {
            let budget = budget(spec.clone(), json!({}));
            let expected = Expected { pods: expected, unmanaged: 0 };
            let status = status(&budget, &ready(ready_pods), &expected, &Away::default(), at(0));
            let found = [status.current_healthy, status.desired_healthy, status.disruptions_allowed]
                .map(Option::unwrap);
            assert_eq!(found, <[i32; 3]>::from(wanted), "{spec}");
            let condition = &status.conditions.unwrap()[0];
            assert_eq!(condition.status, if wanted.2 > 0 { "True" } else { "False" });
            assert_eq!(status.observed_generation, Some(3));
        }
    }

    #[test]
    fn an_evicted_pod_is_away_for_two_minutes() {
        let since = api::time::format(at(0));
        let budget = budget(json!({"minAvailable": 1}), json!({"p0": since, "gone": since}));
        let pods = ready(2);
        let early = away(&budget, &pods, at(30));
        assert_eq!(
            (early.pods.len(), early.overdue.len(), early.again),
            (1, 0, Some(Duration::from_secs(90)))
        );
        let expected = Expected::of_pods(&pods);
        assert_eq!(status(&budget, &pods, &expected, &early, at(30)).current_healthy, Some(1));
        let late = away(&budget, &pods, at(121));
        assert_eq!((late.pods.len(), late.overdue.len(), late.again), (0, 1, None));
        assert_eq!(status(&budget, &pods, &expected, &late, at(121)).current_healthy, Some(2));
    }

    #[test]
    fn a_budget_that_cannot_be_counted_allows_nothing() {
        let mut budget = budget(json!({"maxUnavailable": 1}), json!({}));
        budget.status.as_mut().unwrap().disruptions_allowed = Some(4);
        let status = failed(&budget, "found no controllers for pod \"p\"", at(0));
        assert_eq!(status.disruptions_allowed, Some(0));
        assert_eq!(status.conditions.unwrap()[0].reason, "SyncFailed");
    }
}
