//! How far and how fast a proposal may be followed.
//!
//! **Upstream**: `pkg/controller/podautoscaler/horizontal.go` (`normalizeDesiredReplicasWithBehaviors`); its defaults
//! are those of `behavior`, so that there is one way.

use super::replicas::Tolerance;
use api::pod::parse_quantity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec};

/// `--horizontal-pod-autoscaler-tolerance`
const TOLERANCE: f64 = 0.1;
/// `--horizontal-pod-autoscaler-downscale-stabilization`, in seconds.
const DOWN_STABILIZATION: i32 = 300;

/// What was proposed and done before.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    recommendations: Vec<(Timestamp, i32)>,
    /// Changes of size: when, and by how much.
    changes: Vec<(Timestamp, i32)>,
}

impl History {
    /// Remembers a change that was made.
    pub(super) fn changed(&mut self, now: Timestamp, by: i32) {
        self.changes.push((now, by));
    }

    /// What was changed in one direction within the last seconds.
    fn changed_within(&self, seconds: i32, now: Timestamp, up: bool) -> i32 {
        let since = now - SignedDuration::from_secs(seconds.into());
        let recent = self.changes.iter().filter(|(at, by)| *at > since && (*by > 0) == up);
        recent.map(|(_, by)| by.abs()).sum()
    }
}

/// What limits a size, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) limited: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether an earlier proposal holds: its condition's reason and message.
    pub(super) stabilized: Option<(&'static str, &'static str)>,
}

fn policy(kind: &str, value: i32, period_seconds: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds }
}

/// The rules with upstream's defaults.
pub(super) fn rules(spec: &HorizontalPodAutoscalerSpec) -> (HPAScalingRules, HPAScalingRules) {
    let given = spec.behavior.clone().unwrap_or_default();
    let (mut up, mut down) = (given.scale_up.unwrap_or_default(), given.scale_down.unwrap_or_default());
    up.stabilization_window_seconds.get_or_insert(0);
    up.policies.get_or_insert_with(|| vec![policy("Pods", 4, 15), policy("Percent", 100, 15)]);
    down.stabilization_window_seconds.get_or_insert(DOWN_STABILIZATION);
    down.policies.get_or_insert_with(|| vec![policy("Percent", 100, 15)]);
    (up, down)
}

pub(super) fn tolerance(spec: &HorizontalPodAutoscalerSpec) -> Tolerance {
    let (up, down) = rules(spec);
    let of =
        |rules: HPAScalingRules| rules.tolerance.map_or(TOLERANCE, |given| parse_quantity(&given).as_f64());
    Tolerance { down: of(down), up: of(up) }
}

/// The size that may be had now.
pub(super) fn limit(
    spec: &HorizontalPodAutoscalerSpec,
    history: &mut History,
    current: i32,
    proposed: i32,
    now: Timestamp,
) -> (i32, Limited) {
    let (up, down) = rules(spec);
    let (stable, stabilized) = stabilize(history, &up, &down, current, proposed, now);
    let least = spec.min_replicas.unwrap_or(1);
    let told =
        |limited, reason, message: &str| Limited { limited, reason, message: message.to_owned(), stabilized };
    let (wanted, bound) = if stable > current {
        let fast = fastest_up(history, &up, current, now).max(current);
        if stable > fast.min(spec.max_replicas) {
            let why = if fast < spec.max_replicas {
                ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
            } else {
                ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
            };
            (fast.min(spec.max_replicas), Some(why))
        } else {
            (stable, None)
        }
    } else {
        let slow =
            if stable < current { fastest_down(history, &down, current, now).min(current) } else { i32::MIN };
        if stable < slow.max(least) {
            let why = if slow > least {
                (
                    "ScaleDownLimit",
                    "the desired replica count is decreasing faster than the maximum scale rate",
                )
            } else {
                ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
            };
            (slow.max(least), Some(why))
        } else if stable > spec.max_replicas {
            let why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
            (spec.max_replicas, Some(why))
        } else {
            (stable, None)
        }
    };
    let limited = match bound {
        Some((reason, message)) => told(true, reason, message),
        None => told(false, "DesiredWithinRange", "the desired count is within the acceptable range"),
    };
    (wanted, limited)
}

/// The proposal, unless one of the last moments was nearer to what is there.
fn stabilize(
    history: &mut History,
    up: &HPAScalingRules,
    down: &HPAScalingRules,
    current: i32,
    proposed: i32,
    now: Timestamp,
) -> (i32, Option<(&'static str, &'static str)>) {
    let since = |rules: &HPAScalingRules| {
        now - SignedDuration::from_secs(rules.stabilization_window_seconds.unwrap_or(0).into())
    };
    let (since_up, since_down) = (since(up), since(down));
    let of =
        |since: Timestamp| history.recommendations.iter().filter(move |(at, _)| *at > since).map(|(_, n)| *n);
    let lowest = of(since_up).fold(proposed, i32::min);
    let highest = of(since_down).fold(proposed, i32::max);
    let stable = if current < lowest { lowest } else { current.min(highest) };
    let oldest = since_up.min(since_down);
    history.recommendations.retain(|(at, _)| *at > oldest);
    history.recommendations.push((now, proposed));
    let longest = [up, down]
        .into_iter()
        .flat_map(|rules| rules.policies.iter().flatten())
        .map(|policy| policy.period_seconds)
        .max()
        .unwrap_or(0);
    let oldest = now - SignedDuration::from_secs(longest.into());
    history.changes.retain(|(at, _)| *at > oldest);
    let stabilized = (stable != proposed).then_some(if proposed < stable {
        (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        )
    } else {
        (
            "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        )
    });
    (stable, stabilized)
}

fn fastest_up(history: &History, rules: &HPAScalingRules, current: i32, now: Timestamp) -> i32 {
    if rules.select_policy.as_deref() == Some("Disabled") {
        return current;
    }
    let limits = rules.policies.iter().flatten().map(|policy| {
        let start = current - history.changed_within(policy.period_seconds, now, true)
            + history.changed_within(policy.period_seconds, now, false);
        match policy.type_.as_str() {
            "Pods" => start + policy.value,
            _ => percent(start, 100 + i64::from(policy.value), true),
        }
    });
    let limit = if rules.select_policy.as_deref() == Some("Min") { limits.min() } else { limits.max() };
    limit.unwrap_or(i32::MAX)
}

fn fastest_down(history: &History, rules: &HPAScalingRules, current: i32, now: Timestamp) -> i32 {
    if rules.select_policy.as_deref() == Some("Disabled") {
        return current;
    }
    let limits = rules.policies.iter().flatten().map(|policy| {
        let start = current - history.changed_within(policy.period_seconds, now, true)
            + history.changed_within(policy.period_seconds, now, false);
        match policy.type_.as_str() {
            "Pods" => start - policy.value,
            _ => percent(start, 100 - i64::from(policy.value), false),
        }
    });
    let limit = if rules.select_policy.as_deref() == Some("Min") { limits.max() } else { limits.min() };
    limit.unwrap_or(i32::MIN)
}

fn percent(of: i32, percent: i64, up: bool) -> i32 {
    let hundredfold = i64::from(of) * percent;
    let part = if up { (hundredfold + 99).div_euclid(100) } else { hundredfold.div_euclid(100) };
    i32::try_from(part).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::at;

    fn spec(behavior: Value) -> HorizontalPodAutoscalerSpec {
        serde_json::from_value(json!({
            "minReplicas": 2, "maxReplicas": 20, "behavior": behavior,
            "scaleTargetRef": {"kind": "Deployment", "name": "web"},
        }))
        .unwrap()
    }

    #[test]
    fn sizes_are_bounded_and_so_is_their_speed() {
        let slow = json!({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}});
        let quick = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        let fixed = json!({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"}});
        for (name, behavior, current, proposed, expected, reason) in [
            ("doubled at most", json!({}), 5, 15, 10, "ScaleUpLimit"),
            ("four more at least", json!({}), 2, 15, 6, "ScaleUpLimit"),
            ("the most", json!({}), 15, 25, 20, "TooManyReplicas"),
            ("one more", slow.clone(), 5, 15, 6, "ScaleUpLimit"),
            ("a tenth less", slow, 10, 3, 9, "ScaleDownLimit"),
            ("the least", quick.clone(), 10, 1, 2, "TooFewReplicas"),
            ("within range", quick, 10, 4, 4, "DesiredWithinRange"),
            ("never less", fixed, 10, 4, 10, "ScaleDownLimit"),
        ] {
            let (size, limited) = limit(&spec(behavior), &mut History::default(), current, proposed, at(0));
            assert_eq!((size, limited.reason), (expected, reason), "{name}");
        }
    }

    #[test]
    fn a_proposal_to_shrink_waits_for_the_window() {
        let (spec, mut history) = (spec(json!({})), History::default());
        assert_eq!(limit(&spec, &mut history, 10, 10, at(0)).0, 10);
        let (size, limited) = limit(&spec, &mut history, 10, 4, at(200));
        assert_eq!((size, limited.stabilized.map(|s| s.0)), (10, Some("ScaleDownStabilized")));
        assert_eq!(limit(&spec, &mut history, 10, 4, at(301)).0, 4);
        history.changed(at(301), -6);
        let down = json!({"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 6, "periodSeconds": 60}]}});
        assert_eq!(
            limit(&self::spec(down), &mut history, 4, 2, at(310)).0,
            4,
            "six a minute have gone already"
        );
    }
}
