//! Which Job of a CronJob is due, and which of its Jobs have ended.
//!
//! **Upstream**: `pkg/controller/cronjob` (`cronjob_controllerv2.go`, `utils.go`).

use crate::controllers::job::plan::finished;
use crate::workload::{owned, seconds};
use api::cron::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ObjectMeta;
use std::sync::Arc;
use std::time::Duration;

/// On Jobs: when they were due.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed starts that are worth a warning.
const MANY: i64 = 100;
/// A moment after the due time, so that it is certainly over (`nextScheduleDelta`).
const DELTA: Duration = Duration::from_millis(100);

/// Something to tell: whether it is a warning, reason, message.
pub(super) type Told = (bool, &'static str, String);

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Jobs to delete first.
    pub(super) delete: Vec<ObjectReference>,
    /// The Job to make, and when it was due.
    pub(super) create: Option<(Box<Job>, Timestamp)>,
    pub(super) status: CronJobStatus,
    pub(super) events: Vec<Told>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

fn spec(cron: &CronJob) -> &CronJobSpec {
    &cron.spec
}

/// How a Job ended: `Complete` or `Failed`.
fn ended(job: &Job) -> Option<&str> {
    finished(job).map(|condition| condition.type_.as_str())
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

/// A Job as its CronJob's status names it.
pub(super) fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        namespace: job.metadata.namespace.clone(),
        name: job.metadata.name.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// Decides; `jobs` are those that the CronJob controls.
pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    plan.note_ends(jobs);
    plan.clean_up(cron, jobs);
    if cron.metadata.deletion_timestamp.is_none() {
        plan.schedule(cron, jobs, now);
    }
    if plan.status.active.as_ref().is_some_and(Vec::is_empty) {
        plan.status.active = None;
    }
    plan
}

impl Plan {
    fn is_active(&self, job: &Job) -> bool {
        self.status.active.iter().flatten().any(|active| active.uid == job.metadata.uid)
    }

    fn forget(&mut self, uid: Option<&String>) {
        if let Some(active) = &mut self.status.active {
            active.retain(|known| known.uid.as_ref() != uid);
        }
    }

    fn tell(&mut self, reason: &'static str, message: String) {
        self.events.push((false, reason, message));
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.events.push((true, reason, message));
    }

    /// Brings what the status says of Jobs up to date.
    fn note_ends(&mut self, jobs: &[Arc<Job>]) {
        for job in jobs {
            match (self.is_active(job), ended(job)) {
                (false, None) => {
                    let told =
                        format!("Saw a job that the controller did not create or forgot: {}", name(job));
                    self.warn("UnexpectedJob", told);
                }
                (true, Some(how)) => {
                    self.forget(job.metadata.uid.as_ref());
                    self.tell(
                        "SawCompletedJob",
                        format!("Saw completed job: {}, condition: {how}", name(job)),
                    );
                }
                _ => {}
            }
            let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
            if let (Some("Complete"), Some(time)) = (ended(job), completed) {
                let last = &mut self.status.last_successful_time;
                if last.as_ref().is_none_or(|last| last.0 < time.0) {
                    *last = Some(time);
                }
            }
        }
        let gone: Vec<_> = self.status.active.iter().flatten().cloned().collect();
        for active in gone.iter().filter(|active| !jobs.iter().any(|job| job.metadata.uid == active.uid)) {
            let told = format!("Active job went missing: {}", active.name.as_deref().unwrap_or_default());
            self.tell("MissingJob", told);
            self.forget(active.uid.as_ref());
        }
    }

    /// Deletes the oldest Jobs that have ended, as far as there are more than are to be kept.
    fn clean_up(&mut self, cron: &CronJob, jobs: &[Arc<Job>]) {
        let limits = [
            ("Complete", spec(cron).successful_jobs_history_limit),
            ("Failed", spec(cron).failed_jobs_history_limit),
        ];
        for (how, limit) in limits {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let going =
                |job: &&Arc<Job>| ended(job) == Some(how) && job.metadata.deletion_timestamp.is_none();
            let mut old: Vec<_> = jobs.iter().filter(going).collect();
            old.sort_by_key(|job| {
                let start = job.status.as_ref().and_then(|status| status.start_time.clone());
                (start.map(|time| time.0), name(job).to_owned())
            });
            let surplus = old.len().saturating_sub(limit);
            self.delete.extend(old.into_iter().take(surplus).map(|job| reference(job)));
        }
    }

    fn schedule(&mut self, cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) {
        let spec = spec(cron);
        let zone = match spec.time_zone.as_deref().map(TimeZone::get) {
            None => TimeZone::UTC,
            Some(Ok(zone)) => zone,
            Some(Err(error)) => {
                let zone = spec.time_zone.clone().unwrap_or_default();
                return self.warn("UnknownTimeZone", format!("invalid timeZone: {zone:?}: {error}"));
            }
        };
        if spec.suspend == Some(true) {
            return;
        }
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let told = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                return self.warn("UnparseableSchedule", told);
            }
        };
        let Some(Times { due, next, missed }) = times(cron, &schedule, &zone, now) else { return };
        if missed > MANY {
            let told = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.warn("TooManyMissedTimes", told.to_owned());
        }
        self.again =
            next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default() + DELTA);
        let Some(due) = due else { return };
        if let Some(deadline) = spec.starting_deadline_seconds
            && due + SignedDuration::from_secs(deadline) < now
        {
            let at = due.strftime("%a, %d %b %Y %H:%M:%S +0000");
            return self.warn("MissSchedule", format!("Missed scheduled time to start a job: {at}"));
        }
        let job = job(cron, due, &zone);
        let last = self.status.last_schedule_time.as_ref().map(|time| time.0);
        let active = |active: &ObjectReference| active.name == job.metadata.name;
        if last == Some(due) || self.status.active.iter().flatten().any(active) {
            return;
        }
        let running: Vec<_> = self.status.active.iter().flatten().cloned().collect();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !running.is_empty() => {
                let told =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.tell("JobAlreadyActive", told.to_owned());
            }
            Some("Replace") => {
                running.iter().for_each(|active| self.forget(active.uid.as_ref()));
                self.delete.extend(running);
            }
            _ => {}
        }
        // One of that name that is there already is the one, if it is ours: creating it again tells.
        let there = jobs.iter().find(|known| known.metadata.name == job.metadata.name);
        if let Some(there) = there.filter(|there| ended(there).is_some()) {
            self.status.last_schedule_time = Some(seconds(due));
            tracing::debug!(job = name(there), "has run already");
            return;
        }
        self.create = Some((Box::new(job), due));
    }
}

/// The last start that was missed, the next one, and how many were missed.
struct Times {
    due: Option<Timestamp>,
    next: Option<Timestamp>,
    missed: i64,
}

fn times(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Option<Times> {
    let created = cron.metadata.creation_timestamp.as_ref().map(|time| time.0)?;
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let mut earliest = last.unwrap_or(created);
    if let Some(deadline) = spec(cron).starting_deadline_seconds {
        // A start that is too late is looked at all the same once, to be told of.
        let bound = now.checked_sub(SignedDuration::from_secs(deadline)).unwrap_or(Timestamp::MIN);
        earliest = earliest.max(bound);
    }
    let first = schedule.next(earliest, zone)?;
    if now < first {
        return Some(Times { due: None, next: Some(first), missed: 0 });
    }
    let Some(second) = schedule.next(first, zone).filter(|second| *second <= now) else {
        return Some(Times { due: Some(first), next: schedule.next(now, zone), missed: 1 });
    };
    // Many may have been missed: jump close to the last of them.
    let step = second.duration_since(first).as_secs().max(1);
    let missed = now.duration_since(first).as_secs() / step + 1;
    let close = first.checked_add(SignedDuration::from_secs(step * (missed - 2).max(0))).unwrap_or(first);
    let mut due = first;
    let mut at = schedule.next(close.min(now) - SignedDuration::from_secs(1), zone);
    while let Some(time) = at.filter(|time| *time <= now) {
        due = due.max(time);
        at = schedule.next(time, zone);
    }
    Some(Times { due: Some(due), next: schedule.next(now, zone), missed })
}

/// The Job that is due then.
fn job(cron: &CronJob, due: Timestamp, zone: &TimeZone) -> Job {
    let template = &spec(cron).job_template;
    let wanted = template.metadata.clone().unwrap_or_default();
    let mut annotations = wanted.annotations.unwrap_or_default();
    let local = due.to_zoned(zone.clone());
    let shown = match local.offset().seconds() {
        0 => local.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        _ => local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    };
    annotations.insert(SCHEDULED.to_owned(), shown);
    let cron_name = cron.metadata.name.as_deref().unwrap_or_default();
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{cron_name}-{}", due.as_second() / 60)),
            namespace: cron.metadata.namespace.clone(),
            labels: wanted.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owned::controller_reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::at;

    /// Made at second 0 of the hour, each minute one Job.
    fn cron(more: Value, status: Value) -> CronJob {
        let mut spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {}}}, "concurrencyPolicy": "Allow"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "default", "uid": "u", "creationTimestamp": at(0).to_string()},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn child(name: &str, how: Option<&str>, start: i64) -> Arc<Job> {
        let conditions: Vec<_> = how.iter().map(|how| json!({"type": how, "status": "True"})).collect();
        let job = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {"template": {}},
            "status": {"conditions": conditions, "startTime": at(start).to_string()},
        });
        Arc::new(serde_json::from_value(job).unwrap())
    }

    fn created(plan: &Plan) -> Option<i64> {
        plan.create.as_ref().map(|(_, due)| due.as_second() - at(0).as_second())
    }

    fn reasons(plan: &Plan) -> Vec<&str> {
        plan.events.iter().map(|(_, reason, _)| *reason).collect()
    }

    #[test]
    fn the_last_start_that_was_missed_is_made_up_for() {
        let active = || json!({"active": [{"name": "a", "uid": "a"}]});
        for (name, more, status, now, expected, told) in [
            ("early", json!({}), json!({}), 30, None, vec![]),
            ("due", json!({}), json!({}), 61, Some(60), vec![]),
            ("several", json!({}), json!({}), 190, Some(180), vec![]),
            ("done already", json!({}), json!({"lastScheduleTime": at(180).to_string()}), 190, None, vec![]),
            ("suspended", json!({"suspend": true}), json!({}), 61, None, vec![]),
            ("very many", json!({}), json!({}), 60 * 500 + 5, Some(60 * 500), vec!["TooManyMissedTimes"]),
            ("too late", json!({"startingDeadlineSeconds": 10}), json!({}), 100, None, vec![]),
            ("just in time", json!({"startingDeadlineSeconds": 10}), json!({}), 65, Some(60), vec![]),
            (
                "forbidden",
                json!({"concurrencyPolicy": "Forbid"}),
                active(),
                61,
                None,
                vec!["JobAlreadyActive"],
            ),
            ("side by side", json!({}), active(), 61, Some(60), vec![]),
            ("bad zone", json!({"timeZone": "Nowhere/City"}), json!({}), 61, None, vec!["UnknownTimeZone"]),
        ] {
            let jobs = [child("a", None, 0)];
            let jobs = if status["active"].is_null() { &jobs[..0] } else { &jobs[..] };
            let plan = plan(&cron(more, status), jobs, at(now));
            assert_eq!((created(&plan), reasons(&plan)), (expected, told), "{name}");
        }
        let next = plan(&cron(json!({}), json!({})), &[], at(61));
        assert_eq!(next.again, Some(Duration::from_millis(59_100)));
        let (job, _) = next.create.unwrap();
        assert_eq!(job.metadata.name, Some(format!("c-{}", at(60).as_second() / 60)));
        assert_eq!(job.metadata.annotations.unwrap()[SCHEDULED], "2026-01-01T00:01:00Z");
    }

    #[test]
    fn a_replacement_deletes_what_runs_and_ends_are_noted() {
        let active = json!({"active": [{"name": "a", "uid": "a"}, {"name": "gone", "uid": "gone"}]});
        let replacing = cron(json!({"concurrencyPolicy": "Replace"}), active.clone());
        let plan = super::plan(&replacing, &[child("a", None, 0)], at(61));
        assert_eq!((plan.delete.len(), created(&plan), reasons(&plan)), (1, Some(60), vec!["MissingJob"]));
        assert_eq!(plan.status.active, None);
        let jobs = [child("a", Some("Complete"), 0), child("b", None, 10)];
        let plan = super::plan(&cron(json!({}), active), &jobs, at(30));
        assert_eq!(reasons(&plan), ["SawCompletedJob", "UnexpectedJob", "MissingJob"]);
    }

    #[test]
    fn the_oldest_that_ended_go() {
        let limits = cron(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}), json!({}));
        let jobs = [
            child("new", Some("Complete"), 100),
            child("old", Some("Complete"), 0),
            child("failed", Some("Failed"), 200),
        ];
        let plan = plan(&limits, &jobs, at(10));
        let names: Vec<_> = plan.delete.iter().filter_map(|job| job.name.as_deref()).collect();
        assert_eq!(names, ["old", "failed"]);
    }
}
