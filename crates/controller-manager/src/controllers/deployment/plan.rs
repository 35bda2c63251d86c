//! One look at a Deployment: what happens to its ReplicaSets, and what its status says afterwards.
//!
//! **Contract**: pure. The steps are in the order in which they are to be done; the status is that of the state after
//! them, as far as they change it.
//! **Upstream**: `pkg/controller/deployment` (`sync.go`, `rolling.go`, `recreate.go`).

use super::{rolling, sets, status};
use crate::workload::{hash, owned};
use api::pod;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Something to do to a ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Make it.
    Create(Box<ReplicaSet>),
    /// Change it, and tell this if it was scaled.
    Update(Box<ReplicaSet>, Option<String>),
    /// Delete it.
    Delete(String),
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: DeploymentStatus,
    /// The Deployment's revision annotation.
    pub(super) revision: Option<i64>,
    /// When to look again, should nothing happen.
    pub(super) again: Option<Duration>,
}

/// What is known of a Deployment.
pub(super) struct View<'a> {
    pub(super) deployment: &'a Deployment,
    /// Its ReplicaSets.
    pub(super) sets: Vec<ReplicaSet>,
    /// The pods of all of them, those that are about to end included.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// A Deployment while a plan is made: the sets as they will be.
pub(super) struct Draft<'a> {
    pub(super) deployment: &'a Deployment,
    /// The set with the present template.
    pub(super) new: Option<ReplicaSet>,
    /// All others, oldest first.
    pub(super) old: Vec<ReplicaSet>,
    pub(super) steps: Vec<Step>,
    pub(super) status: DeploymentStatus,
    revision: Option<i64>,
    now: Timestamp,
}

/// Whether a selector is empty: then the Deployment would take every pod there is, and nothing is done.
pub(super) fn selects_everything(deployment: &Deployment) -> bool {
    owned::selector(&sets::spec(deployment).selector).is_everything()
}

/// Decides.
pub(super) fn plan(view: View<'_>) -> Plan {
    let View { deployment, sets, pods, now } = view;
    let mut draft = Draft::new(deployment, sets, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        return draft.finish(Progress::Untouched);
    }
    status::pause(&mut draft.status, deployment, now);
    let paused = sets::spec(deployment).paused == Some(true);
    if paused || draft.is_scaling() {
        draft.find_new();
        rolling::scale(&mut draft);
        if paused {
            draft.clean_up();
        }
        return draft.finish(Progress::Untouched);
    }
    if sets::is_rolling(deployment) {
        draft.find_or_make_new();
        rolling::roll(&mut draft);
    } else {
        draft.recreate(pods);
    }
    draft.finish(Progress::Rollout)
}

/// Whether the progress of a rollout is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Rollout,
    Untouched,
}

impl<'a> Draft<'a> {
    fn new(deployment: &'a Deployment, mut sets: Vec<ReplicaSet>, now: Timestamp) -> Self {
        sets.sort_by(|a, b| sets::created(a).cmp(&sets::created(b)));
        let new = sets::find_new(deployment, &sets).map(|set| set.metadata.uid.clone());
        let at = new.and_then(|uid| sets.iter().position(|set| set.metadata.uid == uid));
        let new = at.map(|at| sets.remove(at));
        let status = deployment.status.clone().unwrap_or_default();
        Self { deployment, new, old: sets, steps: Vec::new(), status, revision: None, now }
    }

    /// All sets as they will be.
    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> + Clone {
        self.old.iter().chain(&self.new)
    }

    /// Whether the Deployment was scaled since its sets last were.
    fn is_scaling(&self) -> bool {
        let wanted = sets::replicas(self.deployment);
        let mut active = self.all().filter(|set| sets::size(set) > 0);
        active.any(|set| sets::desired(set).is_some_and(|desired| desired != wanted))
    }

    /// Brings the annotations of the new set up to date, if there is one.
    fn find_new(&mut self) {
        let Some(mut set) = self.new.take() else { return };
        let revision = self.old.iter().map(sets::revision).max().unwrap_or(0) + 1;
        let mut changed = sets::annotate_new(&mut set, self.deployment, revision);
        let min_ready = sets::spec(self.deployment).min_ready_seconds.unwrap_or(0);
        if let Some(spec) = &mut set.spec
            && spec.min_ready_seconds.unwrap_or(0) != min_ready
        {
            spec.min_ready_seconds = (min_ready != 0).then_some(min_ready);
            changed = true;
        }
        if changed {
            self.steps.push(Step::Update(Box::new(set.clone()), None));
        }
        self.revision = Some(sets::revision(&set)).filter(|revision| *revision > 0);
        status::found(&mut self.status, self.deployment, sets::name(&set), self.now);
        self.new = Some(set);
    }

    /// The new set; one is made if there is none.
    fn find_or_make_new(&mut self) {
        if self.new.is_some() {
            return self.find_new();
        }
        let mut set = new_set(self.deployment);
        let revision = self.old.iter().map(sets::revision).max().unwrap_or(0) + 1;
        let replicas = rolling::new_size(self.deployment, self.all(), 0);
        sets::annotate_new(&mut set, self.deployment, revision);
        sets::annotate_size(&mut set, self.deployment);
        if let Some(spec) = &mut set.spec {
            spec.replicas = Some(replicas);
        }
        self.steps.push(Step::Create(Box::new(set.clone())));
        self.revision = Some(revision);
        status::created(&mut self.status, self.deployment, sets::name(&set), self.now);
        self.new = Some(set);
    }

    /// Scales a set; `new_size` may be what it has: then only its annotations change.
    pub(super) fn resize(&mut self, name: &str, new_size: i32) {
        let Some(set) = self.old.iter_mut().chain(&mut self.new).find(|set| sets::name(set) == name) else {
            return;
        };
        let old_size = sets::size(set);
        let annotated = sets::annotate_size(set, self.deployment);
        if old_size == new_size && !annotated {
            return;
        }
        if let Some(spec) = &mut set.spec {
            spec.replicas = Some(new_size);
        }
        let way = if new_size > old_size { "up" } else { "down" };
        let told = format!("Scaled {way} replica set {name} from {old_size} to {new_size}");
        let told = (old_size != new_size).then_some(told);
        let changed = Box::new(set.clone());
        // One write a set: what was planned for it before is part of this one.
        self.steps.retain(|step| !matches!(step, Step::Update(planned, None) if sets::name(planned) == name));
        match self
            .steps
            .iter_mut()
            .find(|s| matches!(s, Step::Create(planned) if sets::name(planned) == name))
        {
            Some(Step::Create(planned)) => *planned = changed,
            _ => self.steps.push(Step::Update(changed, told)),
        }
    }

    /// Pods of the old template first go, then those of the new one come.
    fn recreate(&mut self, pods: &[Arc<Pod>]) {
        self.find_new();
        let active: Vec<String> =
            self.old.iter().filter(|set| sets::size(set) > 0).map(|set| sets::name(set).to_owned()).collect();
        for name in &active {
            self.resize(name, 0);
        }
        if !active.is_empty() || self.old_pods_run(pods) {
            return;
        }
        if self.new.is_none() {
            self.find_or_make_new();
        }
        let name = self.new.as_ref().map(|set| sets::name(set).to_owned()).unwrap_or_default();
        if self.new.as_ref().is_some_and(|set| sets::size(set) != sets::replicas(self.deployment)) {
            self.resize(&name, sets::replicas(self.deployment));
        }
        self.clean_up_when_complete();
    }

    fn old_pods_run(&self, pods: &[Arc<Pod>]) -> bool {
        let new = self.new.as_ref().and_then(|set| set.metadata.uid.as_deref());
        self.old.iter().any(|set| sets::actual(set) > 0)
            || pods.iter().any(|pod| !owned::is_controlled_by(pod.as_ref(), new) && !pod::is_terminal(pod))
    }

    pub(super) fn clean_up_when_complete(&mut self) {
        if status::is_complete(self.deployment, &self.deployment.status.clone().unwrap_or_default()) {
            self.clean_up();
        }
    }

    /// Deletes the oldest of the old sets that are empty and more than are to be kept.
    fn clean_up(&mut self) {
        let Some(limit) =
            sets::spec(self.deployment).revision_history_limit.filter(|limit| *limit != i32::MAX)
        else {
            return;
        };
        let mut old: Vec<&ReplicaSet> =
            self.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| (sets::revision(set), sets::created(set)));
        let idle = |set: &&ReplicaSet| {
            let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
            sets::actual(set) == 0 && sets::size(set) == 0 && set.metadata.generation.unwrap_or(0) <= observed
        };
        let names: Vec<String> =
            old.into_iter().take(surplus).filter(idle).map(|set| sets::name(set).to_owned()).collect();
        for name in names {
            self.old.retain(|set| sets::name(set) != name);
            self.steps.push(Step::Delete(name));
        }
    }

    fn finish(mut self, progress: Progress) -> Plan {
        let counted = status::count(self.deployment, &self.status, self.all(), self.new.as_ref(), self.now);
        let known = std::mem::replace(&mut self.status, counted);
        if progress == Progress::Rollout {
            let all: Vec<&ReplicaSet> = self.all().collect();
            let (deployment, new, now) = (self.deployment, self.new.as_ref(), self.now);
            let mut judged = self.status.clone();
            status::judge(&mut judged, &known, deployment, new, now);
            status::failures(&mut judged, &all, new);
            self.status = judged;
        }
        let again = status::again(&self.status, self.deployment, self.now);
        let present = self.deployment.metadata.annotations.as_ref().and_then(|all| all.get(sets::REVISION));
        let revision = self.revision.filter(|revision| present != Some(&revision.to_string()));
        Plan { steps: self.steps, status: self.status, revision, again }
    }
}

/// An empty set with the Deployment's template.
fn new_set(deployment: &Deployment) -> ReplicaSet {
    let spec = sets::spec(deployment);
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash::compute(&spec.template, collisions);
    let mark = |labels: Option<&BTreeMap<String, String>>| {
        let mut labels = labels.cloned().unwrap_or_default();
        labels.insert(sets::HASH.to_owned(), hash.clone());
        labels
    };
    let mut template = spec.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels = Some(mark(metadata.labels.as_ref()));
    let mut selector = spec.selector.clone();
    selector.match_labels = Some(mark(selector.match_labels.as_ref()));
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: metadata.labels.clone(),
            owner_references: Some(vec![owned::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds.filter(|seconds| *seconds != 0),
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests;
