//! When a Job that has ended is to go.

use crate::controllers::job::plan::finished;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

/// What is to become of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    DeleteAt(Timestamp),
    Delete,
}

fn limit(job: &Job) -> Option<i32> {
    job.spec.as_ref()?.ttl_seconds_after_finished
}

/// Whether a Job goes some time after its end.
pub(super) fn has_limit(job: &Job) -> bool {
    limit(job).is_some() && job.metadata.deletion_timestamp.is_none()
}

/// Decides.
pub(super) fn decide(job: &Job, now: Timestamp) -> Decision {
    let ended = finished(job).and_then(|condition| condition.last_transition_time.as_ref());
    let (Some(seconds), Some(ended), true) = (limit(job), ended, has_limit(job)) else {
        return Decision::Keep;
    };
    let at = ended.0 + SignedDuration::from_secs(seconds.into());
    if at <= now { Decision::Delete } else { Decision::DeleteAt(at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::at;

    #[test]
    fn a_job_goes_when_it_has_ended_for_long_enough() {
        let job = |ttl: Value, conditions: Value| {
            serde_json::from_value::<Job>(json!({
                "metadata": {"name": "j"},
                "spec": {"template": {}, "ttlSecondsAfterFinished": ttl}, "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        let ended =
            || json!([{"type": "Failed", "status": "True", "lastTransitionTime": at(10).to_string()}]);
        for (name, job, now, expected) in [
            ("no limit", job(json!(null), ended()), 100, Decision::Keep),
            ("it runs", job(json!(5), json!([])), 100, Decision::Keep),
            ("early", job(json!(5), ended()), 12, Decision::DeleteAt(at(15))),
            ("due", job(json!(5), ended()), 15, Decision::Delete),
            ("at once", job(json!(0), ended()), 10, Decision::Delete),
        ] {
            assert_eq!(decide(&job, at(now)), expected, "{name}");
        }
    }
}
