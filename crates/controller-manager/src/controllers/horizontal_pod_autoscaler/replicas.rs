//! How many replicas a metric asks for.
//!
//! **Contract**: pure; amounts are in thousandths. Pods that tell nothing (yet) never make the change larger: what is
//! missing counts as nothing when it would be more, and as the target when it would be fewer.
//! **Upstream**: `pkg/controller/podautoscaler/replica_calculator.go`.

use api::pod;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// For so long after its start a pod's CPU says nothing (`--horizontal-pod-autoscaler-cpu-initialization-period`).
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_secs(300);
/// Within this time a pod is expected to become ready (`--horizontal-pod-autoscaler-initial-readiness-delay`).
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What one pod uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) value: i64,
    pub(super) at: Timestamp,
    pub(super) window: SignedDuration,
}

/// What each pod is to use.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// This percentage of what it requests.
    Utilization { percent: i32, requests: BTreeMap<String, i64> },
    /// This much.
    Average(i64),
}

/// How far from the target is near enough, downwards and upwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerance {
    pub(super) fn holds(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What a metric comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// Percent of what is requested, if that is the measure.
    pub(super) utilization: Option<i32>,
    /// What a pod uses on average.
    pub(super) average: i64,
}

struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

fn group(pods: &[Arc<Pod>], samples: &BTreeMap<String, Sample>, cpu: bool, now: Timestamp) -> Groups {
    let mut groups =
        Groups { ready: 0, unready: BTreeSet::new(), missing: BTreeSet::new(), ignored: BTreeSet::new() };
    for pod in pods {
        let name = name(pod);
        if pod::is_terminating(pod) || pod::phase(pod) == "Failed" {
            groups.ignored.insert(name);
        } else if pod::phase(pod) == "Pending" {
            groups.unready.insert(name);
        } else if let Some(sample) = samples.get(&name) {
            if cpu && tells_nothing_yet(pod, *sample, now) {
                groups.unready.insert(name);
            } else {
                groups.ready += 1;
            }
        } else {
            groups.missing.insert(name);
        }
    }
    groups
}

fn tells_nothing_yet(pod: &Pod, sample: Sample, now: Timestamp) -> bool {
    let ready = pod::condition(pod, "Ready");
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let (Some(ready), Some(started)) = (ready, started) else { return true };
    let changed = ready.last_transition_time.as_ref().map_or(started, |time| time.0);
    if started + CPU_INITIALIZATION > now {
        ready.status == "False" || sample.at < changed + sample.window
    } else {
        ready.status == "False" && started + INITIAL_READINESS > changed
    }
}

/// What the pods' usage asks for; none if no pod tells anything.
pub(super) fn by_pods(
    current: i32,
    pods: &[Arc<Pod>],
    mut samples: BTreeMap<String, Sample>,
    target: &Target,
    cpu: bool,
    tolerance: Tolerance,
    now: Timestamp,
) -> Option<Proposal> {
    let groups = group(pods, &samples, cpu, now);
    samples.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
    let mut values: BTreeMap<String, i64> =
        samples.into_iter().map(|(name, sample)| (name, sample.value)).collect();
    let first = measure(&values, target)?;
    let proposal =
        |replicas| Some(Proposal { replicas, utilization: first.utilization, average: first.average });
    let grows_with_unready = !groups.unready.is_empty() && first.ratio > 1.0;
    if !grows_with_unready && groups.missing.is_empty() {
        let wanted = if tolerance.holds(first.ratio) { current } else { ceil(first.ratio, groups.ready) };
        return proposal(wanted);
    }
    for name in &groups.missing {
        let value = match target {
            _ if first.ratio >= 1.0 => 0,
            Target::Utilization { percent, requests } => {
                requests.get(name).copied().unwrap_or(0) * i64::from((*percent).max(100)) / 100
            }
            Target::Average(value) => *value,
        };
        values.insert(name.clone(), value);
    }
    if grows_with_unready {
        values.extend(groups.unready.iter().map(|name| (name.clone(), 0)));
    }
    let second = measure(&values, target)?;
    let turned = (first.ratio < 1.0 && second.ratio > 1.0) || (first.ratio > 1.0 && second.ratio < 1.0);
    if tolerance.holds(second.ratio) || turned {
        return proposal(current);
    }
    let wanted = ceil(second.ratio, values.len());
    let against = (second.ratio < 1.0 && wanted > current) || (second.ratio > 1.0 && wanted < current);
    proposal(if against { current } else { wanted })
}

struct Measure {
    ratio: f64,
    utilization: Option<i32>,
    average: i64,
}

fn measure(values: &BTreeMap<String, i64>, target: &Target) -> Option<Measure> {
    let count = i64::try_from(values.len()).ok().filter(|count| *count > 0)?;
    let total: i64 = values.values().sum();
    let average = total / count;
    Some(match target {
        Target::Average(target) => {
            Measure { ratio: average as f64 / (*target).max(1) as f64, utilization: None, average }
        }
        Target::Utilization { percent, requests } => {
            let requested: i64 = values.keys().filter_map(|name| requests.get(name)).sum();
            let utilization = i32::try_from(total.saturating_mul(100) / requested.max(1)).unwrap_or(i32::MAX);
            let ratio = f64::from(utilization) / f64::from((*percent).max(1));
            Measure { ratio, utilization: Some(utilization), average }
        }
    })
}

/// What a value that belongs to nobody in particular asks for: in proportion, or so much for each replica.
pub(super) fn by_value(current: i32, ready: usize, value: i64, target: i64, tolerance: Tolerance) -> i32 {
    let ratio = value as f64 / target.max(1) as f64;
    if tolerance.holds(ratio) { current } else { ceil(ratio, ready) }
}

/// The same with the value shared by all replicas.
pub(super) fn by_average(current: i32, value: i64, target: i64, tolerance: Tolerance) -> i32 {
    let ratio = value as f64 / (target.max(1) as f64 * f64::from(current.max(1)));
    if tolerance.holds(ratio) { current } else { ceil(value as f64 / target.max(1) as f64, 1) }
}

#[expect(clippy::cast_possible_truncation, reason = "rounded, and of the size of replica counts")]
fn ceil(ratio: f64, count: usize) -> i32 {
    (ratio * count as f64).ceil().min(f64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use testkit::build::{self, Builder, at};

    const NEAR: Tolerance = Tolerance { down: 0.1, up: 0.1 };

    fn pod(number: usize, ready: bool) -> Builder<Pod> {
        let pod = build::pod(&format!("p{number}")).phase("Running");
        pod.condition("Ready", if ready { "True" } else { "False" }).with(|pod| {
            let status = pod.status.as_mut().unwrap();
            status.start_time = Some(Time(at(0)));
            status.conditions.as_mut().unwrap()[0].last_transition_time = Some(Time(at(10)));
        })
    }

    fn samples(values: &[Option<i64>]) -> BTreeMap<String, Sample> {
        let all = values.iter().enumerate().filter_map(|(number, value)| {
            let sample = Sample { value: (*value)?, at: at(1000), window: SignedDuration::from_secs(60) };
            Some((format!("p{number}"), sample))
        });
        all.collect()
    }

    #[test]
    fn replicas_follow_utilization_and_silent_pods_dampen() {
        for (name, ready, values, percent, expected) in [
            ("double", vec![true; 3], vec![Some(600), Some(600), Some(600)], 30, 6),
            ("half", vec![true; 4], vec![Some(150); 4], 30, 2),
            ("near enough", vec![true; 3], vec![Some(310); 3], 30, 3),
            (
                "missing counts as nothing when growing",
                vec![true; 3],
                vec![Some(900), Some(900), None],
                50,
                4,
            ),
            ("missing counts as full when shrinking", vec![true; 3], vec![Some(100), Some(100), None], 50, 3),
            (
                "unready counts as nothing when growing",
                vec![true, true, false],
                vec![Some(900), Some(900), Some(0)],
                50,
                4,
            ),
        ] {
            let pods: Vec<_> =
                ready.iter().enumerate().map(|(n, ready)| Arc::new(pod(n, *ready).get())).collect();
            let requests = (0..pods.len()).map(|number| (format!("p{number}"), 1000)).collect();
            let target = Target::Utilization { percent, requests };
            let current = i32::try_from(pods.len()).unwrap();
            let proposal = by_pods(current, &pods, samples(&values), &target, true, NEAR, at(2000)).unwrap();
            assert_eq!(proposal.replicas, expected, "{name}");
        }
        let pods = [Arc::new(pod(0, true).get())];
        assert!(by_pods(1, &pods, BTreeMap::new(), &Target::Average(1), false, NEAR, at(0)).is_none());
    }

    #[test]
    fn values_are_shared_or_in_proportion() {
        assert_eq!(by_value(3, 3, 20_000, 10_000, NEAR), 6);
        assert_eq!(by_value(3, 3, 10_500, 10_000, NEAR), 3);
        assert_eq!(by_average(3, 60_000, 10_000, NEAR), 6);
        assert_eq!(by_average(3, 29_000, 10_000, NEAR), 3);
    }
}
