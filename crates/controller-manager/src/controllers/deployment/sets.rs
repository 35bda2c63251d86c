//! A Deployment's ReplicaSets: which is the new one, how many there may be, what their annotations say.
//!
//! **Upstream**: `pkg/controller/deployment/util/deployment_util.go`.

use crate::workload::scaled::{Round, scaled};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use std::collections::BTreeMap;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not get (`annotationsToSkip`).
const NOT_COPIED: [&str; 6] = [
    api::well_known::annotation::LAST_APPLIED,
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// The label that tells the pods of one revision from another's.
pub(super) const HASH: &str = "pod-template-hash";
/// Length of the history of a ReplicaSet's former revisions (`maxRevHistoryLengthInChars`).
const MAX_HISTORY: usize = 2000;

/// The spec; a Deployment without one cannot be stored.
pub(super) fn spec(deployment: &Deployment) -> &DeploymentSpec {
    deployment.spec.as_ref().expect("a stored Deployment has a spec")
}

pub(super) fn replicas(deployment: &Deployment) -> i32 {
    spec(deployment).replicas.unwrap_or(1)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = spec(deployment).strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// (surge, unavailable) as numbers: the first rounded up, the second down, never both zero.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let rolling = spec(deployment).strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let total = replicas(deployment);
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let surge = surge.map_or(0, |surge| scaled(surge, total, Round::Up));
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let unavailable = unavailable.map_or(0, |unavailable| scaled(unavailable, total, Round::Down));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    let total = replicas(deployment);
    if !is_rolling(deployment) || total == 0 { 0 } else { fenceposts(deployment).1.min(total) }
}

/// What a ReplicaSet is asked to have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// What a ReplicaSet has.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub(super) fn created(set: &ReplicaSet) -> (Option<Timestamp>, &str) {
    let time = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (time, set.metadata.name.as_deref().unwrap_or_default())
}

pub(super) fn name(set: &ReplicaSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

fn annotation<'a>(set: &'a ReplicaSet, key: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn number(set: &ReplicaSet, key: &str) -> Option<i32> {
    annotation(set, key)?.parse().ok()
}

/// How many replicas the Deployment was to have when it last scaled this set.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED)
}

/// How many pods the Deployment was to have at most then.
pub(super) fn max_before(set: &ReplicaSet) -> Option<i32> {
    number(set, MAX)
}

/// The number of the revision that a set is; 0 if it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    annotation(set, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// Whether two templates make the same pods: all but the hash label counts.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let labels = |template: &PodTemplateSpec| -> BTreeMap<String, String> {
        let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        labels.unwrap_or_default().into_iter().filter(|(key, _)| key != HASH).collect()
    };
    let rest = |template: &PodTemplateSpec| {
        let mut metadata = template.metadata.clone().unwrap_or_default();
        metadata.labels = None;
        metadata.creation_timestamp = None;
        metadata.annotations = metadata.annotations.filter(|annotations| !annotations.is_empty());
        metadata
    };
    labels(a) == labels(b) && rest(a) == rest(b) && a.spec == b.spec
}

/// The oldest set with the Deployment's template.
pub(super) fn find_new<'a>(deployment: &Deployment, sets: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let template = &spec(deployment).template;
    let same = |set: &&ReplicaSet| {
        set.spec
            .as_ref()
            .and_then(|spec| spec.template.as_ref())
            .is_some_and(|of| same_template(of, template))
    };
    sets.iter().filter(same).min_by_key(|set| created(set))
}

/// Sets the annotations that tell later how a scaling was meant; whether one changed.
pub(super) fn annotate_size(set: &mut ReplicaSet, deployment: &Deployment) -> bool {
    let (desired, max) = (replicas(deployment), replicas(deployment) + max_surge(deployment));
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, value) in [(DESIRED, desired.to_string()), (MAX, max.to_string())] {
        changed |= annotations.insert(key.to_owned(), value.clone()) != Some(value);
    }
    changed
}

/// Copies the Deployment's annotations to its new set and counts its revision up; whether one changed.
pub(super) fn annotate_new(set: &mut ReplicaSet, deployment: &Deployment, new_revision: i64) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) && annotations.get(key) != Some(value) {
            annotations.insert(key.clone(), value.clone());
            changed = true;
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return changed,
        },
    };
    if old_number < new_revision {
        annotations.insert(REVISION.to_owned(), new_revision.to_string());
        if let Some(old) = old {
            let history = annotations.get(REVISION_HISTORY).map(String::as_str).unwrap_or_default();
            annotations.insert(REVISION_HISTORY.to_owned(), extend_history(history, &old));
        }
        changed = true;
    }
    changed
}

fn extend_history(history: &str, revision: &str) -> String {
    let mut all: Vec<&str> = history.split(',').filter(|one| !one.is_empty()).collect();
    all.push(revision);
    while all.iter().map(|one| one.len() + 1).sum::<usize>() > MAX_HISTORY + 1 && all.len() > 1 {
        all.remove(0);
    }
    all.join(",")
}
