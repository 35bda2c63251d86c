//! What is to be done about a namespace, and what its conditions say.
//!
//! **Upstream**: `pkg/controller/namespace/deletion`.

use api::well_known::finalizer;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long finalizers are given before the next look (`finalizerEstimateSeconds`).
pub(super) const FINALIZER_ESTIMATE: i64 = 15;

/// The next step for a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is not being deleted, or no longer ours.
    Leave,
    /// Its phase does not say yet that it is going away.
    MarkTerminating,
    /// Its content must go.
    Empty,
}

pub(super) fn step(namespace: &Namespace) -> Step {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default();
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    match &namespace.metadata.deletion_timestamp {
        None => Step::Leave,
        Some(_) if phase != "Terminating" => Step::MarkTerminating,
        Some(_) if finalizers.is_empty() => Step::Leave,
        Some(_) => Step::Empty,
    }
}

/// The namespace without our hold on it.
pub(super) fn finalized(mut namespace: Namespace) -> Namespace {
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != finalizer::KUBERNETES);
    }
    namespace
}

/// What is left of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    /// `pods.` or `deployments.apps`, as the conditions print it.
    pub(super) resource: String,
    pub(super) count: usize,
    pub(super) finalizers: BTreeMap<String, usize>,
}

/// What one attempt to empty a namespace found.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) discovery: Vec<String>,
    pub(super) failures: Vec<String>,
    pub(super) remaining: Vec<Remaining>,
}

impl Outcome {
    /// Whether nothing is left and nothing is unknown.
    pub(super) fn is_empty(&self) -> bool {
        self.discovery.is_empty() && self.failures.is_empty() && self.remaining.is_empty()
    }

    /// Resources whose objects should be gone: nothing holds them.
    pub(super) fn unexpected(&self) -> Vec<&str> {
        let left = self.remaining.iter().filter(|remaining| remaining.finalizers.is_empty());
        left.map(|remaining| remaining.resource.as_str()).collect()
    }
}

/// Seconds until the slowest pod must be gone; 0 if it should be.
pub(super) fn pod_estimate<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    deleted: Timestamp,
    now: Timestamp,
) -> i64 {
    let running = pods.filter(|pod| !api::pod::is_terminal(pod));
    let grace =
        running.filter_map(|pod| pod.spec.as_ref()?.termination_grace_period_seconds).max().unwrap_or(0);
    (grace - now.duration_since(deleted).as_secs().max(0)).max(0)
}

/// When to look again if this many seconds are expected (`estimate/2 + 1`).
pub(super) fn requeue_after(estimate: i64) -> Duration {
    Duration::from_secs(u64::try_from(estimate / 2 + 1).unwrap_or(1))
}

/// The conditions after an attempt; none if they say so already.
pub(super) fn conditions(
    known: &[NamespaceCondition],
    outcome: &Outcome,
    now: Timestamp,
) -> Option<Vec<NamespaceCondition>> {
    let mut conditions = known.to_vec();
    let mut changed = false;
    for wanted in wanted(outcome) {
        match conditions.iter_mut().find(|condition| condition.type_ == wanted.type_) {
            Some(known)
                if known.status == wanted.status
                    && known.reason == wanted.reason
                    && known.message == wanted.message => {}
            Some(known) => {
                let since = if known.status == wanted.status {
                    known.last_transition_time.clone()
                } else {
                    Some(Time(now))
                };
                *known = NamespaceCondition { last_transition_time: since, ..wanted };
                changed = true;
            }
            None => {
                conditions.push(NamespaceCondition { last_transition_time: Some(Time(now)), ..wanted });
                changed = true;
            }
        }
    }
    changed.then_some(conditions)
}

fn wanted(outcome: &Outcome) -> Vec<NamespaceCondition> {
    let listed = |items: Vec<String>| items.join(", ");
    let counted = |failures: &[String]| format!("{} remaining: {}", failures.len(), failures.join(", "));
    let discovery = (!outcome.discovery.is_empty()).then(|| {
        format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            outcome.discovery.len(),
            outcome.discovery.join(", ")
        )
    });
    let content = (!outcome.failures.is_empty())
        .then(|| format!("Failed to delete all resource types, {}", counted(&outcome.failures)));
    let remaining = (!outcome.remaining.is_empty()).then(|| {
        let items = outcome.remaining.iter();
        let items = items.map(|left| format!("{} has {} resource instances", left.resource, left.count));
        format!("Some resources are remaining: {}", listed(items.collect()))
    });
    let mut finalizers = BTreeMap::<&str, usize>::new();
    for (name, count) in outcome.remaining.iter().flat_map(|remaining| &remaining.finalizers) {
        *finalizers.entry(name).or_default() += count;
    }
    let finalizers = (!finalizers.is_empty()).then(|| {
        let items = finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances"));
        format!("Some content in the namespace has finalizers remaining: {}", listed(items.collect()))
    });
    // (type, failure, reason then, reason and message otherwise)
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            discovery,
            "DiscoveryFailed",
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "GroupVersionParsingFailed",
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            content,
            "ContentDeletionFailed",
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            remaining,
            "SomeResourcesRemain",
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            finalizers,
            "SomeFinalizersRemain",
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
    .into_iter()
    .map(|(kind, failure, reason, well)| {
        let status = if failure.is_some() { "True" } else { "False" };
        let (reason, message) = match failure {
            Some(message) => (reason, message),
            None => (well.0, well.1.to_owned()),
        };
        NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: None,
        }
    })
    .collect()
}

#[cfg(test)]
mod tests;
