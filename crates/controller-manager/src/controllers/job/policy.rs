//! What a failed pod means to its Job, and which successes are enough.
//!
//! **Upstream**: `pkg/controller/job/pod_failure_policy.go`, `success_policy.go`.

use super::indexes;
use api::pod;
use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::collections::BTreeSet;

/// What a failure leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It counts towards the limit.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The Job has failed, for this reason.
    FailJob(String),
}

/// What the failure of a pod leads to by the Job's policy.
pub(super) fn failure(spec: &JobSpec, pod: &Pod) -> Failure {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (at, rule) in rules.enumerate() {
        let Some(matched) = matched(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Failure::Ignore,
            "FailIndex" => Failure::FailIndex,
            "FailJob" => Failure::FailJob(format!("{matched} matching FailJob rule at index {at}")),
            _ => Failure::Count,
        };
    }
    Failure::Count
}

/// How a rule fits a pod, in words.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let key = client::Key::of(pod);
    if let Some(codes) = &rule.on_exit_codes {
        let status = pod.status.as_ref()?;
        let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let mut fitting = statuses.filter_map(|status| Some((&status.name, exit_code(status, codes)?)));
        let (container, code) = fitting.next()?;
        return Some(format!("Container {container} for pod {key} failed with exit code {code}"));
    }
    for pattern in rule.on_pod_conditions.iter().flatten() {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        if pod::condition(pod, &pattern.type_).is_some_and(|condition| condition.status == wanted) {
            return Some(format!("Pod {key} has condition {}", pattern.type_));
        }
    }
    None
}

fn exit_code(status: &ContainerStatus, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<i32> {
    if wanted.container_name.as_ref().is_some_and(|name| *name != status.name) {
        return None;
    }
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let listed = wanted.values.contains(&code);
    (code != 0 && listed == (wanted.operator == "In")).then_some(code)
}

/// The message of the first success rule that is met.
pub(super) fn success(spec: &JobSpec, succeeded: &BTreeSet<i32>) -> Option<String> {
    let completions = spec.completions.unwrap_or(0);
    let met = |rule: &SuccessPolicyRule| {
        let among = rule.succeeded_indexes.as_deref().map(|text| indexes::parse(text, completions));
        let count = match &among {
            Some(among) => among.intersection(succeeded).count(),
            None => succeeded.len(),
        };
        match (rule.succeeded_count, among) {
            (Some(wanted), _) => i64::from(wanted) <= i64::try_from(count).unwrap_or(i64::MAX),
            (None, Some(among)) => among.is_subset(succeeded),
            (None, None) => false,
        }
    };
    let at = spec.success_policy.as_ref()?.rules.iter().position(met)?;
    Some(format!("Matched rules at index {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build;

    fn spec(value: Value) -> JobSpec {
        let mut spec = json!({"template": {}, "completions": 5});
        spec.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let pod = build::pod("p").phase("Failed").condition("DisruptionTarget", "True").with(|pod| {
            let status = json!([{"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 42}}}]);
            pod.status.as_mut().unwrap().container_statuses = Some(serde_json::from_value(status).unwrap());
        });
        let pod = pod.get();
        let codes = |operator: &str, values: Value, action: &str| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let disrupted = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
        for (rules, expected) in [
            (json!([]), Failure::Count),
            (json!([codes("In", json!([1]), "FailJob")]), Failure::Count),
            (json!([codes("NotIn", json!([1]), "FailIndex")]), Failure::FailIndex),
            (json!([codes("In", json!([1]), "FailJob"), disrupted]), Failure::Ignore),
            (
                json!([codes("In", json!([41, 42]), "FailJob")]),
                Failure::FailJob(
                    "Container main for pod default/p failed with exit code 42 matching FailJob rule at index 0".to_owned(),
                ),
            ),
        ] {
            let spec = spec(json!({"podFailurePolicy": {"rules": rules}}));
            assert_eq!(failure(&spec, &pod), expected, "{rules}");
        }
    }

    #[test]
    fn a_success_rule_wants_indexes_or_a_number_of_them() {
        let done = BTreeSet::from([0, 2, 3]);
        for (rules, expected) in [
            (json!([{"succeededIndexes": "0,2"}]), Some("Matched rules at index 0")),
            (json!([{"succeededIndexes": "0,1"}]), None),
            (json!([{"succeededCount": 4}, {"succeededCount": 3}]), Some("Matched rules at index 1")),
            (json!([{"succeededIndexes": "0-2", "succeededCount": 2}]), Some("Matched rules at index 0")),
            (json!([{"succeededIndexes": "0-2", "succeededCount": 3}]), None),
        ] {
            let spec = spec(json!({"successPolicy": {"rules": rules}}));
            assert_eq!(success(&spec, &done).as_deref(), expected, "{rules}");
        }
    }
}
