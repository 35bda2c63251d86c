//! The next steps of a StatefulSet: one pod after the other, or all at once.
//!
//! **Contract**: pure. Replicas come in ascending order, condemned pods go in descending order, updates go downwards to
//! the partition; in order means that nothing is done while a pod before is not available.
//! **Upstream**: `pkg/controller/statefulset/stateful_set_control.go`.

use super::identity::{self, ordinals, parent_and_ordinal, revision, spec};
use crate::workload::availability::is_available;
use crate::workload::scaled::{Round, scaled};
use api::pod;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use std::sync::Arc;
use std::time::Duration;

/// A pod that has ended is made again at this age: one that its node refuses at once would come and go without end. (Upstream
/// has no such pause; there the limit of the client's requests, `--kube-api-qps`, slows it down.)
const LEAST_LIFE: SignedDuration = SignedDuration::from_secs(1);

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Make the claims and the pod of an ordinal.
    Create(Box<Pod>, i32),
    Delete(Arc<Pod>),
    /// Delete a pod that ended; it is made again.
    Recreate(Arc<Pod>),
    /// Make missing claims of a pod that waits.
    Claims(i32),
    /// Give a pod the labels that it lacks.
    Label(Box<Pod>),
}

/// A template with the name of its revision.
pub(super) struct Version<'a> {
    pub(super) name: &'a str,
    pub(super) template: &'a PodTemplateSpec,
}

/// What is known of a StatefulSet.
pub(super) struct View<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) current: Version<'a>,
    pub(super) update: Version<'a>,
    /// Its pods.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) collisions: Option<i32>,
    pub(super) now: Timestamp,
}

fn is_created(pod: &Pod) -> bool {
    !pod::phase(pod).is_empty()
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pod::phase(pod) == "Running" && pod::is_ready(pod)
}

pub(super) fn min_ready_seconds(set: &StatefulSet) -> i32 {
    spec(set).min_ready_seconds.unwrap_or(0)
}

impl View<'_> {
    fn is_available(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod) && is_available(pod, min_ready_seconds(self.set), self.now)
    }

    fn in_order(&self) -> bool {
        spec(self.set).pod_management_policy.as_deref() != Some("Parallel")
    }

    fn partition(&self) -> i32 {
        let strategy = spec(self.set).update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        rolling.and_then(|rolling| rolling.partition).unwrap_or(0)
    }

    fn is_on_delete(&self) -> bool {
        let strategy = spec(self.set).update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }

    fn max_unavailable(&self) -> usize {
        let strategy = spec(self.set).update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let total = spec(self.set).replicas.unwrap_or(1);
        let most = most.map_or(1, |most| scaled(most, total, Round::Down));
        usize::try_from(most).unwrap_or(1).max(1)
    }

    fn find(&self, ordinal: i32) -> Option<&Arc<Pod>> {
        self.pods.iter().find(|pod| parent_and_ordinal(pod).is_some_and(|(_, of)| of == ordinal))
    }

    /// The pod of an ordinal as it is to be made: below the partition by the current revision.
    fn new_pod(&self, ordinal: i32) -> Pod {
        let below = ordinal < ordinals(self.set).start + self.partition();
        let version = if below && !self.is_on_delete() { &self.current } else { &self.update };
        identity::pod(self.set, version.template, version.name, ordinal)
    }
}

/// Decides.
pub(super) fn plan(view: &View<'_>) -> Vec<Step> {
    if view.set.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for ordinal in ordinals(view.set) {
        let wait = replica(view, ordinal, &mut steps);
        if wait && view.in_order() {
            return steps;
        }
    }
    for pod in condemned(view) {
        let wait = condemn(view, pod, &mut steps);
        if wait && view.in_order() {
            return steps;
        }
    }
    if steps.is_empty() && !view.is_on_delete() {
        update(view, &mut steps);
    }
    steps
}

/// How long until a pod that has ended is made again.
fn rest(pod: &Pod, now: Timestamp) -> Option<Duration> {
    if !pod::is_terminal(pod) || pod::is_terminating(pod) {
        return None;
    }
    let until = pod.metadata.creation_timestamp.as_ref()?.0 + LEAST_LIFE;
    Duration::try_from(until.duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// How long until the first pod that has ended is made again, if there is one that waits for it.
pub(super) fn next_recreation(view: &View<'_>) -> Option<Duration> {
    view.pods.iter().filter_map(|pod| rest(pod, view.now)).min()
}

/// Sees to one ordinal; whether the next has to wait.
fn replica(view: &View<'_>, ordinal: i32, steps: &mut Vec<Step>) -> bool {
    let Some(pod) = view.find(ordinal) else {
        steps.push(Step::Create(Box::new(view.new_pod(ordinal)), ordinal));
        return true;
    };
    if pod::is_terminal(pod) {
        if !pod::is_terminating(pod) && rest(pod, view.now).is_none() {
            steps.push(Step::Recreate(pod.clone()));
        }
        return true;
    }
    if pod::phase(pod) == "Pending" && !pod::is_terminating(pod) {
        steps.push(Step::Claims(ordinal));
    }
    if pod::is_terminating(pod) || !view.is_available(pod) {
        return true;
    }
    let mut labelled = pod.as_ref().clone();
    if identity::label(&mut labelled, ordinal) {
        steps.push(Step::Label(Box::new(labelled)));
    }
    false
}

/// The pods that are too many, highest ordinal first.
fn condemned<'v>(view: &'v View<'_>) -> Vec<&'v Arc<Pod>> {
    let wanted = ordinals(view.set);
    let ordinal = |pod: &Arc<Pod>| parent_and_ordinal(pod).map(|(_, ordinal)| ordinal);
    let mut pods: Vec<_> = view
        .pods
        .iter()
        .filter(|pod| ordinal(pod).is_some_and(|ordinal| !wanted.contains(&ordinal)))
        .collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(ordinal(pod)));
    pods
}

/// Sees to a pod that is to go; whether the next has to wait.
fn condemn(view: &View<'_>, pod: &Arc<Pod>, steps: &mut Vec<Step>) -> bool {
    if pod::is_terminating(pod) {
        return true;
    }
    // The lowest that is not available may go out of turn: it is what everything waits for.
    let broken = condemned(view).into_iter().rev().find(|pod| !view.is_available(pod));
    let is_broken = broken.is_some_and(|broken| broken.metadata.uid == pod.metadata.uid);
    if view.in_order() && !view.is_available(pod) && !is_broken {
        return true;
    }
    steps.push(Step::Delete(pod.clone()));
    true
}

/// Takes the next pods of an old revision, from the highest ordinal down to the partition.
fn update(view: &View<'_>, steps: &mut Vec<Step>) {
    let wanted = ordinals(view.set);
    let lowest = wanted.start + view.partition();
    let most = view.max_unavailable();
    let pods: Vec<&Arc<Pod>> = wanted.rev().filter_map(|ordinal| view.find(ordinal)).collect();
    let is_old = |pod: &Pod| revision(pod) != view.update.name;
    let targets = pods.iter().filter(|pod| parent_and_ordinal(pod).is_some_and(|(_, of)| of >= lowest));
    if most == 1 {
        for pod in targets {
            if is_old(pod) && !pod::is_terminating(pod) {
                return steps.push(Step::Delete((*pod).clone()));
            }
            if pod::is_terminating(pod) || !view.is_available(pod) {
                return;
            }
        }
        return;
    }
    let missing = pods.iter().filter(|pod| pod::is_terminating(pod) || !view.is_available(pod)).count();
    let old = targets.filter(|pod| is_old(pod) && !pod::is_terminating(pod));
    steps.extend(old.take(most.saturating_sub(missing)).map(|pod| Step::Delete((*pod).clone())));
}

/// The status.
pub(super) fn status(view: &View<'_>) -> StatefulSetStatus {
    let count = |matching: &dyn Fn(&Pod) -> bool| {
        let count = view.pods.iter().filter(|pod| is_created(pod) && matching(pod)).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let of = |name: &str| count(&|pod| !pod::is_terminating(pod) && revision(pod) == name);
    let some = |count: i32| (count != 0).then_some(count);
    let known = view.set.status.clone().unwrap_or_default();
    let (replicas, ready) = (count(&|_| true), count(&is_running_and_ready));
    let mut status = StatefulSetStatus {
        observed_generation: view.set.metadata.generation,
        replicas,
        ready_replicas: some(ready),
        available_replicas: Some(count(&|pod| view.is_available(pod))),
        current_replicas: some(of(view.current.name)),
        updated_replicas: some(of(view.update.name)),
        current_revision: Some(view.current.name.to_owned()),
        update_revision: Some(view.update.name.to_owned()),
        collision_count: Some(view.collisions.unwrap_or(0)),
        conditions: known.conditions,
    };
    let wanted = spec(view.set).replicas.unwrap_or(1);
    let complete =
        [status.updated_replicas.unwrap_or(0), ready, replicas].iter().all(|count| *count == wanted);
    if complete && !view.is_on_delete() {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::{self, Builder, at};

    fn set(replicas: i32, more: Value) -> StatefulSet {
        let mut spec = json!({
            "replicas": replicas, "serviceName": "s", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c"}]}},
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(
            json!({"metadata": {"name": "db", "namespace": "default", "uid": "u"}, "spec": spec}),
        )
        .unwrap()
    }

    fn pod(ordinal: i32, revision: &str) -> Builder<Pod> {
        build::pod(&format!("db-{ordinal}"))
            .uid(&ordinal.to_string())
            .label(identity::REVISION, revision)
            .with(|pod| {
                identity::label(pod, ordinal);
            })
    }

    fn ready(ordinal: i32, revision: &str) -> Builder<Pod> {
        pod(ordinal, revision).phase("Running").condition("Ready", "True")
    }

    fn view<'a>(set: &'a StatefulSet, pods: &'a [Arc<Pod>]) -> View<'a> {
        let version = |name| Version { name, template: &spec(set).template };
        View { set, current: version("old"), update: version("new"), pods, collisions: None, now: at(0) }
    }

    fn told(set: &StatefulSet, pods: Vec<Builder<Pod>>) -> Vec<String> {
        let pods: Vec<_> = pods.into_iter().map(|pod| Arc::new(pod.get())).collect();
        let tell = |step: Step| match step {
            Step::Create(pod, ordinal) => format!("+{ordinal} {}", revision(&pod)),
            Step::Delete(pod) => format!("-{}", parent_and_ordinal(&pod).unwrap().1),
            Step::Recreate(pod) => format!("~{}", parent_and_ordinal(&pod).unwrap().1),
            Step::Claims(ordinal) => format!("claims {ordinal}"),
            Step::Label(_) => "label".to_owned(),
        };
        plan(&view(set, &pods)).into_iter().map(tell).collect()
    }

    #[test]
    fn pods_come_and_go_in_order() {
        let three = set(3, json!({}));
        let one = set(1, json!({}));
        for (name, set, pods, expected) in [
            ("the first", &three, vec![], vec!["+0 new"]),
            ("not before the first is ready", &three, vec![pod(0, "new").phase("Running")], vec![]),
            ("a waiting pod gets its claims", &three, vec![pod(0, "new").phase("Pending")], vec!["claims 0"]),
            ("the second", &three, vec![ready(0, "new")], vec!["+1 new"]),
            ("a gap", &three, vec![ready(0, "new"), ready(2, "new")], vec!["+1 new"]),
            ("a failed one", &three, vec![ready(0, "new").phase("Failed"), ready(1, "new")], vec!["~0"]),
            ("one that failed at once", &one, vec![ready(0, "new").phase("Failed").created(at(0))], vec![]),
            ("one that goes", &three, vec![ready(0, "new").deleted(at(0))], vec![]),
            ("down from the top", &one, vec![ready(0, "new"), ready(1, "new"), ready(2, "new")], vec!["-2"]),
            (
                "one at a time",
                &one,
                vec![ready(0, "new"), ready(1, "new"), ready(2, "new").deleted(at(0))],
                vec![],
            ),
            (
                "not while the first is not ready",
                &one,
                vec![pod(0, "new").phase("Running"), ready(1, "new")],
                vec![],
            ),
            (
                "a broken one among the condemned",
                &one,
                vec![ready(0, "new"), pod(1, "new").phase("Running")],
                vec!["-1"],
            ),
        ] {
            assert_eq!(told(set, pods), expected, "{name}");
        }
    }

    #[test]
    fn in_parallel_nobody_waits() {
        let parallel = |replicas| set(replicas, json!({"podManagementPolicy": "Parallel"}));
        assert_eq!(told(&parallel(3), vec![]), ["+0 new", "+1 new", "+2 new"]);
        let pods = vec![pod(0, "new").phase("Running"), ready(1, "new"), ready(2, "new")];
        assert_eq!(told(&parallel(1), pods), ["-2", "-1"]);
    }

    #[test]
    fn updates_go_down_to_the_partition() {
        let with = |strategy: Value| set(3, json!({"updateStrategy": strategy}));
        let rolling = |rolling: Value| with(json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
        let olds = || vec![ready(0, "old"), ready(1, "old"), ready(2, "old")];
        let all = rolling(json!({"partition": 0}));
        assert_eq!(told(&all, olds()), ["-2"]);
        assert_eq!(told(&all, vec![ready(0, "old"), ready(1, "old"), ready(2, "new")]), ["-1"]);
        assert_eq!(
            told(&all, vec![ready(0, "old"), ready(1, "old"), pod(2, "new").phase("Running")]),
            [""; 0]
        );
        assert_eq!(
            told(&rolling(json!({"partition": 2})), vec![ready(0, "old"), ready(1, "old"), ready(2, "new")]),
            [""; 0]
        );
        assert_eq!(
            told(&rolling(json!({"partition": 2})), vec![ready(0, "old"), ready(2, "new")]),
            ["+1 old"]
        );
        assert_eq!(told(&rolling(json!({"partition": 0, "maxUnavailable": 2})), olds()), ["-2", "-1"]);
        assert_eq!(told(&with(json!({"type": "OnDelete"})), olds()), [""; 0]);
    }

    #[test]
    fn the_update_is_complete_when_all_pods_are_new_and_ready() {
        let set = set(2, json!({}));
        let pods = |second: Builder<Pod>| vec![Arc::new(ready(0, "new").get()), Arc::new(second.get())];
        let amid = pods(ready(1, "old"));
        let status = super::status(&view(&set, &amid));
        assert_eq!((status.current_revision.as_deref(), status.updated_replicas), (Some("old"), Some(1)));
        let done = pods(ready(1, "new"));
        let status = super::status(&view(&set, &done));
        assert_eq!((status.current_revision.as_deref(), status.current_replicas), (Some("new"), Some(2)));
    }
}
