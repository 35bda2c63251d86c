//! What a Deployment's status says: counts, conditions, and whether a rollout progresses.
//!
//! **Upstream**: `pkg/controller/deployment/progress.go`, `sync.go` (`calculateStatus`), `deployment_util.go`.

use super::sets::{self, actual, max_unavailable, name, replicas, size, spec};
use crate::workload::seconds;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use std::time::Duration;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// Sets a condition unless it says the same already; its transition is that of its status.
fn set(
    status: &mut DeploymentStatus,
    kind: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let known = condition(status, kind);
    if known.is_some_and(|known| known.status == value && known.reason.as_deref() == Some(reason)) {
        return;
    }
    let since =
        known.filter(|known| known.status == value).and_then(|known| known.last_transition_time.clone());
    let new = DeploymentCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(seconds(now)),
        last_transition_time: since.or_else(|| Some(seconds(now))),
    };
    remove(status, kind);
    status.conditions.get_or_insert_default().push(new);
}

/// Whether somebody waits for progress.
fn has_deadline(deployment: &Deployment) -> bool {
    spec(deployment).progress_deadline_seconds.is_some_and(|deadline| deadline != i32::MAX)
}

/// Notes that the Deployment was paused, or goes on.
pub(super) fn pause(status: &mut DeploymentStatus, deployment: &Deployment, now: Timestamp) {
    if !has_deadline(deployment) {
        return;
    }
    let reason = condition(status, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    if reason == Some(TIMED_OUT) {
        return;
    }
    match (spec(deployment).paused == Some(true), reason == Some(PAUSED)) {
        (true, false) => set(status, PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned(), now),
        (false, true) => {
            let message = "Deployment is resumed".to_owned();
            set(status, PROGRESSING, "Unknown", "DeploymentResumed", message, now);
        }
        _ => {}
    }
}

/// Notes that a set with the present template was there already.
pub(super) fn found(status: &mut DeploymentStatus, deployment: &Deployment, set_name: &str, now: Timestamp) {
    if has_deadline(deployment) && condition(status, PROGRESSING).is_none() {
        let message = format!("Found new replica set \"{set_name}\"");
        set(status, PROGRESSING, "True", "FoundNewReplicaSet", message, now);
    }
}

/// Notes that a set was made.
pub(super) fn created(
    status: &mut DeploymentStatus,
    deployment: &Deployment,
    set_name: &str,
    now: Timestamp,
) {
    if has_deadline(deployment) {
        let message = format!("Created new replica set \"{set_name}\"");
        set(status, PROGRESSING, "True", "NewReplicaSetCreated", message, now);
    }
}

/// Notes that a set could not be made.
pub(super) fn not_created(
    status: &mut DeploymentStatus,
    deployment: &Deployment,
    message: String,
    now: Timestamp,
) {
    if has_deadline(deployment) {
        set(status, PROGRESSING, "False", "ReplicaSetCreateError", message, now);
    }
}

/// Counts pods by what the sets say, and judges availability.
pub(super) fn count<'a>(
    deployment: &Deployment,
    known: &DeploymentStatus,
    all: impl Iterator<Item = &'a ReplicaSet> + Clone,
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| all.clone().map(of).sum::<i32>();
    let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let going = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.terminating_replicas);
    let available = sum(&sets::available);
    let some = |count: i32| (count != 0).then_some(count);
    // Unknown of one set is unknown of all.
    let terminating = all.clone().map(going).sum::<Option<i32>>();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(&actual)),
        updated_replicas: some(new.map_or(0, actual)),
        ready_replicas: some(sum(&ready)),
        available_replicas: some(available),
        unavailable_replicas: some((sum(&size) - available).max(0)),
        terminating_replicas: terminating,
        collision_count: known.collision_count,
        conditions: known.conditions.clone(),
    };
    if available >= replicas(deployment) - max_unavailable(deployment) {
        let message = "Deployment has minimum availability.".to_owned();
        set(&mut status, AVAILABLE, "True", "MinimumReplicasAvailable", message, now);
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        set(&mut status, AVAILABLE, "False", "MinimumReplicasUnavailable", message, now);
    }
    status
}

/// Whether everything is as it was asked for.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = Some(replicas(deployment));
    let is = |count: Option<i32>| Some(count.unwrap_or(0)) == wanted;
    is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// Whether a status is nearer to the end than the one before.
fn has_progressed(new: &DeploymentStatus, old: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

/// When the deadline is over.
fn deadline(status: &DeploymentStatus, deployment: &Deployment) -> Option<Timestamp> {
    let seconds = spec(deployment).progress_deadline_seconds.filter(|_| has_deadline(deployment))?;
    let since = condition(status, PROGRESSING)?.last_update_time.as_ref()?.0;
    since.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// Judges the progress of a rollout between the status that was known and the new one.
pub(super) fn judge(
    status: &mut DeploymentStatus,
    known: &DeploymentStatus,
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    now: Timestamp,
) {
    if !has_deadline(deployment) {
        remove(status, PROGRESSING);
        return;
    }
    let present = condition(known, PROGRESSING).cloned();
    let reason = present.as_ref().and_then(|condition| condition.reason.as_deref());
    if status.replicas == status.updated_replicas && reason == Some(NEW_SET_AVAILABLE) {
        return;
    }
    let who = match new {
        Some(set) => format!("ReplicaSet \"{}\"", name(set)),
        None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    // What the status was before this look; conditions of this look are in `known` already.
    let before = deployment.status.clone().unwrap_or_default();
    if is_complete(deployment, status) {
        let message = format!("{who} has successfully progressed.");
        set(status, PROGRESSING, "True", NEW_SET_AVAILABLE, message, now);
    } else if has_progressed(status, &before) {
        let since = present.filter(|condition| condition.status == "True");
        let since = since.and_then(|condition| condition.last_transition_time);
        // Even if it says the same as before, it says it anew: the deadline counts from here.
        remove(status, PROGRESSING);
        set(status, PROGRESSING, "True", "ReplicaSetUpdated", format!("{who} is progressing."), now);
        if let Some(since) = since
            && let Some(condition) =
                status.conditions.iter_mut().flatten().find(|condition| condition.type_ == PROGRESSING)
        {
            condition.last_transition_time = Some(since);
        }
    } else if reason == Some(TIMED_OUT)
        || (reason != Some(NEW_SET_AVAILABLE) && deadline(status, deployment).is_some_and(|end| end < now))
    {
        set(status, PROGRESSING, "False", TIMED_OUT, format!("{who} has timed out progressing."), now);
    }
}

/// Passes on that a set cannot make or delete pods; the new one's troubles come first.
pub(super) fn failures(status: &mut DeploymentStatus, all: &[&ReplicaSet], new: Option<&ReplicaSet>) {
    let sets = new.into_iter().chain(all.iter().copied());
    let mut failures =
        sets.flat_map(|set| set.status.iter().flat_map(|status| status.conditions.iter().flatten()));
    let Some(failure) = failures.find(|condition| condition.type_ == REPLICA_FAILURE) else {
        return remove(status, REPLICA_FAILURE);
    };
    let known = condition(status, REPLICA_FAILURE);
    if known.is_some_and(|known| known.status == failure.status && known.reason == failure.reason) {
        return;
    }
    let condition = DeploymentCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time.clone(),
    };
    remove(status, REPLICA_FAILURE);
    status.conditions.get_or_insert_default().push(condition);
}

/// How long until a rollout that stands still is too late.
pub(super) fn again(status: &DeploymentStatus, deployment: &Deployment, now: Timestamp) -> Option<Duration> {
    let reason = condition(status, PROGRESSING)?.reason.as_deref();
    if is_complete(deployment, status)
        || [Some(TIMED_OUT), Some(NEW_SET_AVAILABLE)].contains(&reason)
        || spec(deployment).paused == Some(true)
    {
        return None;
    }
    let left = deadline(status, deployment)?.duration_since(now);
    // Times on the wire have whole seconds: a second later is certainly later.
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO) + Duration::from_secs(1))
}
