//! One look at a Job: what is counted, which pods come and go, and whether it has ended.
//!
//! **Contract**: pure. A pod is counted exactly once: its uid is written to the status (`uncountedTerminatedPods`) while
//! its finalizer holds it, then the finalizer goes, then the uid becomes a number. An index is counted by the set of
//! indexes. A Job ends in two steps: the reason first, the end when no pod is left to wait for.
//! **Upstream**: `pkg/controller/job/job_controller.go`.

use super::{indexes, policy};
use crate::workload::availability::is_active;
use crate::workload::seconds;
use api::pod;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use policy::Failure;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Holds a pod until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// On pods: how often their index failed before.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// Pods that one look makes or deletes at most (`MaxPodCreateDeletePerSync`).
const MOST: usize = 500;
/// Uids that the status holds at most (`MaxUncountedPods`).
const MOST_UNCOUNTED: usize = 500;
/// Back-off of failing pods (`DefaultJobPodFailureBackOff`, `MaxJobPodFailureBackOff`).
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to make: their index and how often that failed before.
    pub(super) create: Vec<(Option<i32>, u32)>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods to let go and delete: they are too many now, and count for nothing.
    pub(super) forget: Vec<Arc<Pod>>,
    /// Pods whose finalizer goes once the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) status: JobStatus,
    /// Events: whether it is a warning, reason, message.
    pub(super) events: Vec<(bool, String, String)>,
    /// When to look again, should nothing happen.
    pub(super) again: Option<Duration>,
    pub(super) backoff: Backoff,
}

/// Failures in a row, which make the next pod wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// How long to wait still.
    fn left(self, now: Timestamp) -> Option<Duration> {
        let last = self.last.filter(|_| self.failures > 0)?;
        let wait = backoff(self.failures);
        let since = Duration::try_from(now.duration_since(last)).unwrap_or(Duration::ZERO);
        wait.checked_sub(since).filter(|left| !left.is_zero())
    }
}

fn backoff(failures: u32) -> Duration {
    let factor = 2u32.checked_pow(failures.saturating_sub(1));
    factor.and_then(|factor| BACKOFF.0.checked_mul(factor)).unwrap_or(BACKOFF.1).min(BACKOFF.1)
}

/// What is known of a Job.
pub(super) struct View<'a> {
    pub(super) job: &'a Job,
    /// Its pods.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) backoff: Backoff,
    pub(super) now: Timestamp,
}

pub(super) fn spec(job: &Job) -> &JobSpec {
    job.spec.as_ref().expect("a stored Job has a spec")
}

fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether a Job has ended, and how: its last condition.
pub(in crate::controllers) fn finished(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    condition(status, "Complete").or_else(|| condition(status, "Failed"))
}

pub(super) fn is_indexed(job: &Job) -> bool {
    spec(job).completion_mode.as_deref() == Some("Indexed")
}

fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// How often the index of a pod failed before it.
fn failures_before(pod: &Pod) -> u32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(FAILURES)).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// When a pod ended.
fn ended(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let terminated =
        statuses.into_iter().flatten().filter_map(|status| status.state.as_ref()?.terminated.as_ref());
    let last = terminated.filter_map(|state| state.finished_at.as_ref().map(|time| time.0)).max();
    let changed =
        || pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref()).map(|t| t.0);
    last.or_else(changed).or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Decides.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut look = Look::new(view);
    if finished(view.job).is_some() {
        look.plan.release = view.pods.iter().filter(|pod| has_finalizer(pod)).cloned().collect();
        return look.plan;
    }
    look.count();
    look.judge();
    look.act();
    look.finish();
    look.plan
}

/// A plan while it is made.
struct Look<'a> {
    view: &'a View<'a>,
    spec: &'a JobSpec,
    plan: Plan,
    active: Vec<Arc<Pod>>,
    terminating: usize,
    succeeded: i32,
    failed: i32,
    indexes: BTreeSet<i32>,
    failed_indexes: BTreeSet<i32>,
    /// Why it ends: condition, reason, message.
    verdict: Option<(&'static str, String, String)>,
}

impl<'a> Look<'a> {
    fn new(view: &'a View<'a>) -> Self {
        let status = view.job.status.clone().unwrap_or_default();
        let plan = Plan { status, backoff: view.backoff, ..Plan::default() };
        let active = view.pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        let going = |pod: &&Arc<Pod>| pod::is_terminating(pod) && !pod::is_terminal(pod);
        Self {
            view,
            spec: spec(view.job),
            plan,
            active,
            terminating: view.pods.iter().filter(going).count(),
            succeeded: 0,
            failed: 0,
            indexes: BTreeSet::new(),
            failed_indexes: BTreeSet::new(),
            verdict: None,
        }
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn replaces_failed_only(&self) -> bool {
        let policy = self.spec.pod_replacement_policy.as_deref();
        policy == Some("Failed") || (policy.is_none() && self.spec.pod_failure_policy.is_some())
    }

    fn is_failed(&self, pod: &Pod) -> bool {
        pod::phase(pod) == "Failed"
            || (!self.replaces_failed_only() && pod::is_terminating(pod) && pod::phase(pod) != "Succeeded")
    }

    /// Whether this failure is the last that its index may have.
    fn fails_index(&self, pod: &Pod) -> bool {
        let Some(limit) = self.spec.backoff_limit_per_index else { return false };
        match policy::failure(self.spec, pod) {
            Failure::FailIndex => true,
            Failure::Ignore => false,
            Failure::Count | Failure::FailJob(_) => i64::from(failures_before(pod)) >= i64::from(limit),
        }
    }

    /// Whether a failed pod still has to say how often its index failed: its replacement is not there yet.
    fn is_needed(&self, pod: &Pod, index: i32) -> bool {
        let replaced = self.view.pods.iter().any(|other| {
            indexes::of(other) == Some(index)
                && uid(other) != uid(pod)
                && failures_before(other) > failures_before(pod)
        });
        let ending = ["FailureTarget", "SuccessCriteriaMet"]
            .iter()
            .any(|kind| condition(&self.plan.status, kind).is_some());
        !replaced && !ending && !self.indexes.contains(&index) && !self.failed_indexes.contains(&index)
    }

    /// Moves what is released into the counts, and notes what ended.
    fn count(&mut self) {
        let completions = self.spec.completions.unwrap_or(0);
        let indexed = is_indexed(self.view.job);
        let status = &mut self.plan.status;
        let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
        let held: BTreeSet<&str> =
            self.view.pods.iter().filter(|pod| has_finalizer(pod)).map(|pod| uid(pod)).collect();
        let settle = |uids: &mut Option<Vec<String>>, total: &mut Option<i32>| {
            let all = uids.take().unwrap_or_default();
            let (still, done): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|uid| held.contains(uid.as_str()));
            if !done.is_empty() {
                *total = Some(total.unwrap_or(0) + i32::try_from(done.len()).unwrap_or(i32::MAX));
            }
            *uids = (!still.is_empty()).then_some(still);
        };
        settle(&mut uncounted.succeeded, &mut status.succeeded);
        settle(&mut uncounted.failed, &mut status.failed);
        if indexed {
            self.indexes =
                indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), completions);
            self.failed_indexes =
                indexes::parse(status.failed_indexes.as_deref().unwrap_or_default(), completions);
            let ended = self.view.pods.iter().filter(|pod| has_finalizer(pod));
            for pod in ended {
                let Some(index) = indexes::of(pod).filter(|index| *index < completions) else { continue };
                if pod::phase(pod) == "Succeeded" {
                    self.indexes.insert(index);
                } else if self.is_failed(pod) && self.fails_index(pod) {
                    self.failed_indexes.insert(index);
                }
            }
            self.failed_indexes.retain(|index| !self.indexes.contains(index));
        }
        let (mut new_failures, mut new_success) = (Vec::new(), None);
        let mut ignored_waiting = 0;
        for pod in self.view.pods.iter().filter(|pod| has_finalizer(pod)) {
            let known =
                uncounted.succeeded.iter().chain(&uncounted.failed).flatten().any(|known| known == uid(pod));
            let room = uncounted.succeeded.iter().chain(&uncounted.failed).map(Vec::len).sum::<usize>()
                < MOST_UNCOUNTED;
            if known {
                self.plan.release.push(pod.clone());
            } else if pod::phase(pod) == "Succeeded" {
                new_success = new_success.max(ended(pod));
                if !indexed && room {
                    uncounted.succeeded.get_or_insert_default().push(uid(pod).to_owned());
                }
                if indexed || room {
                    self.plan.release.push(pod.clone());
                }
            } else if self.is_failed(pod) {
                let ignored = policy::failure(self.spec, pod) == Failure::Ignore;
                let per_index = self.spec.backoff_limit_per_index.is_some();
                if !ignored {
                    new_failures.extend(ended(pod));
                }
                if per_index && indexes::of(pod).is_some_and(|index| self.is_needed(pod, index)) {
                    ignored_waiting += i32::from(!ignored);
                    continue;
                }
                if ignored {
                    self.plan.release.push(pod.clone());
                } else if room {
                    uncounted.failed.get_or_insert_default().push(uid(pod).to_owned());
                    self.plan.release.push(pod.clone());
                }
            } else if pod::is_terminating(pod) && pod::is_terminal(pod) {
                self.plan.release.push(pod.clone());
            }
        }
        self.note_backoff(new_success, new_failures);
        let status = &mut self.plan.status;
        let waiting =
            |uids: &Option<Vec<String>>| i32::try_from(uids.as_ref().map_or(0, Vec::len)).unwrap_or(0);
        self.failed = status.failed.unwrap_or(0) + waiting(&uncounted.failed) + ignored_waiting;
        self.succeeded = status.succeeded.unwrap_or(0) + waiting(&uncounted.succeeded);
        if indexed {
            self.succeeded = i32::try_from(self.indexes.len()).unwrap_or(i32::MAX);
            status.succeeded = (self.succeeded > 0).then_some(self.succeeded);
            status.completed_indexes = Some(indexes::format(&self.indexes)).filter(|text| !text.is_empty());
            if self.spec.backoff_limit_per_index.is_some() {
                status.failed_indexes = Some(indexes::format(&self.failed_indexes));
            }
        }
        status.uncounted_terminated_pods = Some(uncounted);
    }

    fn note_backoff(&mut self, success: Option<Timestamp>, mut failures: Vec<Timestamp>) {
        let backoff = &mut self.plan.backoff;
        if let Some(success) = success {
            *backoff = Backoff::default();
            failures.retain(|failure| *failure > success);
        }
        // A failure that was counted before is not new; those of one moment count one by one.
        failures.retain(|failure| backoff.last.is_none_or(|last| *failure > last));
        backoff.failures += u32::try_from(failures.len()).unwrap_or(u32::MAX);
        backoff.last = failures.into_iter().max().or(backoff.last);
    }

    /// Whether it ends, and why.
    fn judge(&mut self) {
        let status = &self.plan.status;
        for kind in ["FailureTarget", "SuccessCriteriaMet"] {
            if let Some(known) = condition(status, kind) {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                self.verdict = Some((kind, text(&known.reason), text(&known.message)));
                return;
            }
        }
        self.verdict = self.failure().or_else(|| self.success());
    }

    fn failure(&mut self) -> Option<(&'static str, String, String)> {
        let failed =
            |reason: &str, message: &str| Some(("FailureTarget", reason.to_owned(), message.to_owned()));
        for pod in self.view.pods.iter().filter(|pod| has_finalizer(pod) && self.is_failed(pod)) {
            if let Failure::FailJob(message) = policy::failure(self.spec, pod) {
                return failed("PodFailurePolicy", &message);
            }
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        if self.failed > limit || self.restarts_exceed(limit) {
            return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if let (Some(deadline), Some(start)) =
            (self.spec.active_deadline_seconds, &self.plan.status.start_time)
            && !self.is_suspended()
        {
            let end = start.0 + SignedDuration::from_secs(deadline);
            if end <= self.view.now {
                return failed("DeadlineExceeded", "Job was active longer than specified deadline");
            }
            self.look_again(Duration::try_from(end.duration_since(self.view.now)).unwrap_or_default());
        }
        if !is_indexed(self.view.job) || self.spec.backoff_limit_per_index.is_none() {
            return None;
        }
        let lost = self.failed_indexes.len();
        let most = self.spec.max_failed_indexes.and_then(|most| usize::try_from(most).ok());
        if most.is_some_and(|most| lost > most) {
            return failed(
                "MaxFailedIndexesExceeded",
                "Job has exceeded the specified maximal number of failed indexes",
            );
        }
        let all = usize::try_from(self.spec.completions.unwrap_or(0)).unwrap_or(0);
        if lost > 0 && lost + self.indexes.len() >= all {
            return failed("FailedIndexes", "Job has failed indexes");
        }
        None
    }

    /// Containers that restart in place count as failures, too.
    fn restarts_exceed(&self, limit: i32) -> bool {
        let policy = self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        if policy != Some("OnFailure") {
            return false;
        }
        let restarts: i32 = self.active.iter().map(|pod| pod::restarts(pod)).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    fn success(&mut self) -> Option<(&'static str, String, String)> {
        let met = |reason: &str, message: String| Some(("SuccessCriteriaMet", reason.to_owned(), message));
        if is_indexed(self.view.job)
            && let Some(message) = policy::success(self.spec, &self.indexes)
        {
            return met("SuccessPolicy", message);
        }
        let complete = match self.spec.completions {
            None => self.succeeded > 0 && self.active.is_empty(),
            Some(completions) => self.succeeded >= completions && self.active.is_empty(),
        };
        if complete && (!self.is_suspended() || self.spec.completions == Some(0)) {
            return met("CompletionsReached", "Reached expected number of succeeded pods".to_owned());
        }
        None
    }

    fn look_again(&mut self, after: Duration) {
        self.plan.again = Some(self.plan.again.map_or(after, |known| known.min(after)));
    }

    /// Which pods come and go.
    fn act(&mut self) {
        if self.view.job.metadata.deletion_timestamp.is_some() {
            return;
        }
        if self.verdict.is_some() {
            self.plan.delete = std::mem::take(&mut self.active);
            return;
        }
        if self.is_suspended() {
            self.plan.forget = std::mem::take(&mut self.active);
            return;
        }
        let active = i32::try_from(self.active.len()).unwrap_or(i32::MAX);
        let parallelism = self.spec.parallelism.unwrap_or(1);
        let wanted = match self.spec.completions {
            None if self.succeeded > 0 => active,
            None => parallelism,
            Some(completions) => {
                let lost = i32::try_from(self.failed_indexes.len()).unwrap_or(0);
                (completions - self.succeeded - lost).clamp(0, parallelism)
            }
        };
        let surplus = usize::try_from(active - wanted).unwrap_or(0);
        let mut delete = self.surplus(surplus);
        if !delete.is_empty() {
            delete.truncate(MOST);
            self.active.retain(|pod| !delete.iter().any(|gone| uid(gone) == uid(pod)));
            self.plan.forget = delete;
            return;
        }
        let going =
            if self.replaces_failed_only() { i32::try_from(self.terminating).unwrap_or(0) } else { 0 };
        let lacking = usize::try_from(wanted - active - going).unwrap_or(0).min(MOST);
        if lacking == 0 {
            return;
        }
        if self.spec.backoff_limit_per_index.is_none()
            && let Some(left) = self.plan.backoff.left(self.view.now)
        {
            return self.look_again(left);
        }
        self.plan.create =
            if is_indexed(self.view.job) { self.pending(lacking) } else { vec![(None, 0); lacking] };
    }

    /// Active pods to delete: what has no index of its own, then the least useful.
    fn surplus(&self, least: usize) -> Vec<Arc<Pod>> {
        let (mut delete, mut rest) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let completions = self.spec.completions.unwrap_or(0);
        for pod in &self.active {
            let fine = !is_indexed(self.view.job)
                || indexes::of(pod).is_some_and(|index| {
                    index < completions
                        && !self.indexes.contains(&index)
                        && !self.failed_indexes.contains(&index)
                        && seen.insert(index)
                });
            if fine { rest.push(pod.clone()) } else { delete.push(pod.clone()) }
        }
        rest.sort_by_key(|pod| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (pod::is_ready(pod), pod::phase(pod) == "Running", std::cmp::Reverse(created))
        });
        let more = least.saturating_sub(delete.len());
        delete.extend(rest.into_iter().take(more));
        delete
    }

    /// The next indexes to try, each with its failures so far; one that failed waits its time.
    fn pending(&mut self, count: usize) -> Vec<(Option<i32>, u32)> {
        let busy = |pod: &&Arc<Pod>| {
            is_active(pod)
                || (self.replaces_failed_only() && pod::is_terminating(pod) && !pod::is_terminal(pod))
        };
        let taken: BTreeSet<i32> =
            self.view.pods.iter().filter(busy).filter_map(|pod| indexes::of(pod)).collect();
        let (mut found, mut waits) = (Vec::new(), Vec::new());
        for index in 0..self.spec.completions.unwrap_or(0) {
            if found.len() == count {
                break;
            }
            if [&taken, &self.indexes, &self.failed_indexes].iter().any(|set| set.contains(&index)) {
                continue;
            }
            let mut failures = 0;
            if self.spec.backoff_limit_per_index.is_some()
                && let Some(last) = self.last_failure(index)
            {
                let counts = policy::failure(self.spec, last) != Failure::Ignore;
                failures = failures_before(last) + u32::from(counts);
                let wait = Backoff { failures: failures.max(1), last: ended(last) };
                if let Some(left) = wait.left(self.view.now) {
                    waits.push(left);
                    continue;
                }
            }
            found.push((Some(index), failures));
        }
        waits.into_iter().for_each(|wait| self.look_again(wait));
        found
    }

    fn last_failure(&self, index: i32) -> Option<&'a Arc<Pod>> {
        let failed =
            self.view.pods.iter().filter(|pod| indexes::of(pod) == Some(index) && self.is_failed(pod));
        failed.max_by_key(|pod| failures_before(pod))
    }

    /// Writes down what follows, and ends the Job if nothing is left to wait for.
    fn finish(&mut self) {
        let now = self.view.now;
        let making = self.plan.create.len();
        let (active, terminating) =
            (self.active.len() + making, self.terminating + self.plan.delete.len() + self.plan.forget.len());
        let ready = self.active.iter().filter(|pod| pod::is_ready(pod)).count();
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let suspended = self.is_suspended();
        let settled = {
            let status = &mut self.plan.status;
            if status.start_time.is_none() && !suspended {
                status.start_time = Some(seconds(now));
            }
            status.active = (active > 0).then(|| number(active));
            status.ready = Some(number(ready));
            status.terminating = Some(number(terminating));
            let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
            uncounted == UncountedTerminatedPods::default()
        };
        let Some((kind, reason, message)) = self.verdict.clone() else { return self.note_suspension() };
        let told_before = self.view.job.status.as_ref().is_some_and(|known| condition(known, kind).is_some());
        if !told_before {
            self.set_condition(kind, "True", &reason, &message);
            // The end itself comes with the next look: by then this is written.
            return;
        }
        let holding = self.view.pods.iter().any(|pod| has_finalizer(pod));
        if !settled || active > 0 || terminating > 0 || holding {
            return;
        }
        if kind == "FailureTarget" {
            self.set_condition("Failed", "True", &reason, &message);
            self.plan.events.push((true, reason, message));
        } else {
            self.set_condition("Complete", "True", &reason, &message);
            self.plan.status.completion_time = Some(seconds(now));
            self.plan.events.push((false, "Completed".to_owned(), "Job completed".to_owned()));
        }
    }

    fn note_suspension(&mut self) {
        let known =
            self.plan.status.conditions.iter().flatten().find(|condition| condition.type_ == "Suspended");
        let was = known.map(|known| known.status == "True");
        let now = seconds(self.view.now);
        match (self.is_suspended(), was) {
            (true, None | Some(false)) => {
                self.set_condition("Suspended", "True", "JobSuspended", "Job suspended");
                self.plan.events.push((false, "Suspended".to_owned(), "Job suspended".to_owned()));
                self.plan.status.start_time = None;
            }
            (false, Some(true)) => {
                self.set_condition("Suspended", "False", "JobResumed", "Job resumed");
                self.plan.events.push((false, "Resumed".to_owned(), "Job resumed".to_owned()));
                self.plan.status.start_time = Some(now);
            }
            _ => {}
        }
    }

    fn set_condition(&mut self, kind: &str, value: &str, reason: &str, message: &str) {
        let now = Some(seconds(self.view.now));
        let conditions = self.plan.status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != kind);
        conditions.push(JobCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: now.clone(),
            last_transition_time: now,
        });
    }
}

#[cfg(test)]
mod tests;
