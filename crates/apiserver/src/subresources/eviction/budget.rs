//! What a PodDisruptionBudget says about one eviction. Pure.
//!
//! **Contract**: decides by the budget's status alone, which the disruption controller keeps.
//! **Upstream**: `pkg/registry/core/pod/storage/eviction.go` (`checkAndDecrement`, `canIgnorePDB`).

use crate::decode::text;
use api::kind::{Resource, Scope};
use api::meta;
use api::selector::LabelSelector;
use api::status::Status;
use serde_json::{Value, json};
use std::sync::Arc;

/// Evictions that the controller may be behind. **Upstream**: `MaxDisruptedPodSize`.
const MAX_DISRUPTED: usize = 2000;
/// Seconds after which an eviction may be tried again while its budget is being processed.
const RETRY_AFTER: u32 = 10;
const CAUSE: &str = "DisruptionBudget";
const CONDITION: &str = "DisruptionAllowed";

/// Whether a pod may go whatever budgets say: it does no work (any more).
pub(super) fn is_ignored(pod: &Value) -> bool {
    is_ending(pod) || pod["status"]["phase"] == "Pending"
}

/// Whether a pod has ended or is about to.
pub(super) fn is_ending(pod: &Value) -> bool {
    matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed") || meta::deletion_timestamp(pod).is_some()
}

/// The one budget that covers a pod, if any; several are more than an eviction can respect.
pub(super) fn covering(budgets: &[Arc<Value>], pod: &Value) -> Result<Option<Arc<Value>>, Status> {
    let covers = |budget: &Value| {
        LabelSelector::from_json(&budget["spec"]["selector"])
            .is_ok_and(|selector| selector.matches(|key| meta::label(pod, key)))
    };
    let mut covering = budgets.iter().filter(|budget| covers(budget));
    match (covering.next(), covering.next()) {
        (None, _) => Ok(None),
        (Some(budget), None) => Ok(Some(Arc::clone(budget))),
        (Some(_), Some(_)) => Err(Status::new(
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}

/// Whether a pod may go without using up any of the budget, because it is not ready and so not counted.
pub(super) fn is_uncounted(pod: &Value, budget: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let (current, desired) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    !ready && (always || (current >= desired && desired > 0))
}

/// The budget with one eviction less, or why it allows none.
pub(super) fn spend(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let name = meta::name(budget);
    let status = &budget["status"];
    if count(budget, "observedGeneration") < meta::generation(budget) {
        return Err(still_processing(name));
    }
    let allowed = count(budget, "disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden(name, "pdb disruptions allowed is negative"));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(forbidden(name, why));
    }
    if allowed == 0 {
        return Err(used_up(budget));
    }
    let mut spent = budget.clone();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if !spent["status"]["disruptedPods"].is_object() {
        spent["status"]["disruptedPods"] = json!({});
    }
    spent["status"]["disruptedPods"][pod] = now.into();
    if allowed == 1 {
        set_insufficient(&mut spent, now);
    }
    Ok(spent)
}

/// 429: the controller has not caught up.
pub(super) fn still_processing(budget: &str) -> Status {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    violation(RETRY_AFTER).with_cause(CAUSE, &why, "")
}

fn used_up(budget: &Value) -> Status {
    let name = meta::name(budget);
    let conditions = budget["status"]["conditions"].as_array();
    let failed = conditions.into_iter().flatten().find(|c| {
        c["type"] == CONDITION
            && c["status"] == "False"
            && c["reason"] == "SyncFailed"
            && !text(&c["message"]).is_empty()
    });
    let why = match failed {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            text(&condition["message"])
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count(budget, "desiredHealthy"),
            count(budget, "currentHealthy")
        ),
    };
    violation(0).with_cause(CAUSE, &why, "")
}

fn violation(retry_after: u32) -> Status {
    Status::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        retry_after,
    )
}

fn forbidden(name: &str, why: &str) -> Status {
    let one = "poddisruptionbudget";
    // Upstream names the singular here.
    let resource = Resource::new("policy", "v1", "PodDisruptionBudget", one, one, Scope::Namespaced);
    Status::forbidden(&resource, name, why)
}

fn count(budget: &Value, field: &str) -> i64 {
    budget["status"][field].as_i64().unwrap_or(0)
}

/// Says in the conditions that nothing more is allowed.
fn set_insufficient(budget: &mut Value, now: &str) {
    let observed = budget["status"]["observedGeneration"].clone();
    let status = &mut budget["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let mut condition = json!({"type": CONDITION, "status": "False", "observedGeneration": observed,
        "lastTransitionTime": now, "reason": "InsufficientPods", "message": ""});
    match conditions.iter_mut().find(|c| c["type"] == CONDITION) {
        Some(old) => {
            if old["status"] == "False" {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "spec": {"selector": {"matchLabels": {"a": "b"}}},
            "status": status})
    }

    #[test]
    fn allows_as_many_as_the_status_says() {
        let two = budget(json!({"observedGeneration": 1, "disruptionsAllowed": 2}));
        let one = spend(&two, "p", "t").unwrap();
        assert_eq!(one["status"]["disruptionsAllowed"], 1);
        assert!(one["status"]["conditions"].is_null());
        let none = spend(&one, "q", "t").unwrap();
        assert_eq!(none["status"]["disruptedPods"], json!({"p": "t", "q": "t"}));
        assert_eq!(none["status"]["conditions"][0]["reason"], "InsufficientPods");
        let refused = spend(&none, "r", "t").unwrap_err();
        assert_eq!(
            (refused.code, &*refused.details.unwrap().causes[0].message),
            (429, "The disruption budget b needs 0 healthy pods and has 0 currently")
        );
    }

    #[test]
    fn refuses_in_upstreams_words() {
        let many: serde_json::Map<String, Value> =
            (0..=MAX_DISRUPTED).map(|i| (i.to_string(), json!("t"))).collect();
        for (status, code, why) in [
            (json!({}), 429, "The disruption budget b is still being processed by the server."),
            (
                json!({"observedGeneration": 1, "disruptionsAllowed": -1}),
                403,
                "poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative",
            ),
            (
                json!({"observedGeneration": 1, "disruptionsAllowed": 1, "disruptedPods": many}),
                403,
                "poddisruptionbudget.policy \"b\" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            ),
            (
                json!({"observedGeneration": 1, "desiredHealthy": 3, "currentHealthy": 2}),
                429,
                "The disruption budget b needs 3 healthy pods and has 2 currently",
            ),
            (
                json!({"observedGeneration": 1, "conditions": [{"type": "DisruptionAllowed", "status": "False",
                "reason": "SyncFailed", "message": "no scale"}]}),
                429,
                "The disruption budget b does not allow evicting pods currently because it failed sync: no scale",
            ),
        ] {
            let refused = spend(&budget(status), "p", "t").unwrap_err();
            let said = match code {
                429 => refused.details.as_ref().unwrap().causes[0].message.clone(),
                _ => refused.message.clone(),
            };
            assert_eq!((refused.code, said.as_str()), (code, why));
        }
    }

    #[test]
    fn pods_that_do_no_work_are_not_counted() {
        let pod = |phase: &str, ready: &str| {
            json!({"status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": ready}]}})
        };
        assert!(is_ignored(&pod("Pending", "False")) && is_ignored(&pod("Failed", "False")));
        assert!(!is_ignored(&pod("Running", "False")));
        let enough = budget(json!({"currentHealthy": 2, "desiredHealthy": 2}));
        let few = budget(json!({"currentHealthy": 1, "desiredHealthy": 2}));
        let mut lenient = few.clone();
        lenient["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        for (ready, budget, uncounted) in [
            ("True", &enough, false),
            ("False", &enough, true),
            ("False", &few, false),
            ("False", &lenient, true),
            ("True", &lenient, false),
        ] {
            assert_eq!(is_uncounted(&pod("Running", ready), budget), uncounted, "{ready} {budget}");
        }
    }

    #[test]
    fn one_budget_covers_a_pod_or_none() {
        let pod = json!({"metadata": {"labels": {"a": "b"}}});
        let own = Arc::new(budget(json!({})));
        let mut none = budget(json!({}));
        none["spec"] = json!({});
        let mut all = budget(json!({}));
        all["spec"]["selector"] = json!({});
        assert!(covering(&[Arc::new(none)], &pod).unwrap().is_none());
        assert!(covering(std::slice::from_ref(&own), &pod).unwrap().is_some());
        assert_eq!(covering(&[own, Arc::new(all)], &pod).unwrap_err().code, 500);
    }
}
