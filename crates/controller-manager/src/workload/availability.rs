//! When a pod counts as available, and which pods are worth counting.
//!
//! **Upstream**: `podutil.IsPodAvailable`, `controller.IsPodActive`.

use api::pod;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// Whether a pod still works: neither ended nor about to end.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !pod::is_terminal(pod) && !pod::is_terminating(pod)
}

/// When a pod that is ready becomes (or became) available; none while it is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    let ready = pod::condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    if min_ready_seconds == 0 {
        return Some(Timestamp::MIN);
    }
    let since = ready.last_transition_time.as_ref()?.0;
    since.checked_add(SignedDuration::from_secs(min_ready_seconds.into())).ok()
}

/// Whether a pod has been ready for long enough.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_at(pod, min_ready_seconds).is_some_and(|at| at <= now)
}

/// How long until the next of these pods becomes available.
pub(crate) fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Option<Duration> {
    let times = pods.into_iter().filter_map(|pod| available_at(pod, min_ready_seconds));
    let next = times.filter(|at| *at > now).min()?;
    Duration::try_from(next.duration_since(now)).ok()
}

/// When its `Ready` condition last changed.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = pod::condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use testkit::build::{self, at};

    #[test]
    fn a_pod_is_available_when_it_was_ready_long_enough() {
        let ready = |seconds| {
            build::pod("a").condition("Ready", "True").with(|pod| {
                let conditions = pod.status.as_mut().unwrap().conditions.as_mut().unwrap();
                conditions[0].last_transition_time = Some(Time(at(seconds)));
            })
        };
        let pod = ready(10).get();
        for (min_ready, now, expected) in [(0, 0, true), (5, 14, false), (5, 15, true)] {
            assert_eq!(is_available(&pod, min_ready, at(now)), expected, "{min_ready} {now}");
        }
        assert!(!is_available(&build::pod("b").get(), 0, at(0)));
        let (early, late) = (ready(1).get(), ready(10).get());
        assert_eq!(next_available([&early, &late], 5, at(8)), Some(Duration::from_secs(7)));
        assert_eq!(next_available([&early, &late], 5, at(20)), None);
    }
}
