//! Pods that wait for a node: those whose turn it is, those held back, those for which there is no node now.
//!
//! **Contract**: pure; the caller brings the time. A pod is in one of the three places. One that no node could take
//! comes back when something happened that one of the plugins that rejected it says may help, and after five minutes
//! in any case.
//! **Upstream**: `pkg/scheduler/backend/queue`.

use crate::framework::{ClusterEvent, PodInfo};
use client::Key;
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// `DefaultPodMaxInUnschedulablePodsDuration`.
const UNSCHEDULABLE_MAX: SignedDuration = SignedDuration::from_mins(5);

/// How long a pod is held back after its first attempt, and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// `podInitialBackoffSeconds`.
    pub(crate) initial: SignedDuration,
    /// `podMaxBackoffSeconds`.
    pub(crate) max: SignedDuration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: SignedDuration::from_secs(1), max: SignedDuration::from_secs(10) }
    }
}

impl Backoff {
    /// Doubling with each attempt.
    fn after(self, attempts: u32) -> SignedDuration {
        let doubled = self.initial.checked_mul(1 << attempts.saturating_sub(1).min(30));
        doubled.unwrap_or(self.max).min(self.max)
    }
}

/// A pod in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) info: Arc<PodInfo>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// When it came, for the order among equals.
    since: Timestamp,
    /// The plugins that rejected it at the last try.
    rejected_by: BTreeSet<&'static str>,
    /// Closed when it is written down why the last try failed; nothing about the pod is to be written before that.
    pub(crate) told: Option<watch::Receiver<()>>,
}

/// The order of turns: higher priority first, then who came first (`PrioritySort`).
type Turn = (Reverse<i32>, Timestamp, u64);

/// Why a pod is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    /// Something may have helped it meanwhile: it may go earlier if nobody else is there to be tried
    /// (`SchedulerPopFromBackoffQ`).
    Helped,
    /// Something of ours failed: it is not tried before its time.
    Failed,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    backoff: Backoff,
    active: BTreeMap<Turn, Waiting>,
    held: BTreeMap<(Held, Timestamp, u64), Waiting>,
    unschedulable: HashMap<Key, (Timestamp, Waiting)>,
    /// When pods became unschedulable, in that order.
    parked: BTreeSet<(Timestamp, Key)>,
    /// Where a pod is, if it is in one of the ordered places.
    places: HashMap<Key, Place>,
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Active(Turn),
    Held((Held, Timestamp, u64)),
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, ..Self::default() }
    }

    /// A pod is new or changed. A change may be what it was waiting for: `helps` says whether one plugin's rejection
    /// may be undone by it.
    pub(crate) fn set(
        &mut self,
        info: Arc<PodInfo>,
        helps: impl Fn(&str, &PodInfo, &ClusterEvent) -> bool,
        now: Timestamp,
    ) {
        let key = info.key();
        if let Some(waiting) = self.waiting_mut(&key) {
            waiting.info = info;
            return;
        }
        match self.take_parked(&key) {
            Some((parked, mut waiting)) => {
                let old = std::mem::replace(&mut waiting.info, info);
                // Its own status, which we write ourselves, changes nothing for it.
                let claims =
                    |pod: &PodInfo| pod.pod().status.as_ref().and_then(|s| s.resource_claim_statuses.clone());
                let same = old.spec() == waiting.info.spec()
                    && old.labels() == waiting.info.labels()
                    && claims(&old) == claims(&waiting.info);
                let event = ClusterEvent::PodUpdated(old);
                if !same && is_helped(&waiting, &event, &helps) {
                    self.release(parked, waiting, now);
                } else {
                    self.keep(parked, waiting);
                }
            }
            None => {
                let waiting =
                    Waiting { info, attempts: 0, since: now, rejected_by: BTreeSet::new(), told: None };
                self.activate(waiting);
            }
        }
    }

    /// A pod waits no longer.
    pub(crate) fn remove(&mut self, key: &Key) {
        match self.places.remove(key) {
            Some(Place::Active(turn)) => drop(self.active.remove(&turn)),
            Some(Place::Held(at)) => drop(self.held.remove(&at)),
            None => drop(self.take_parked(key)),
        }
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Waiting> {
        self.flush(now);
        let mut waiting = match self.active.pop_first() {
            Some((_, waiting)) => waiting,
            None => self.held.first_entry().filter(|entry| entry.key().0 == Held::Helped)?.remove(),
        };
        self.places.remove(&waiting.info.key());
        waiting.attempts += 1;
        Some(waiting)
    }

    /// A pod that no node could take, and who said so.
    pub(crate) fn park(&mut self, mut waiting: Waiting, rejected_by: BTreeSet<&'static str>, now: Timestamp) {
        waiting.rejected_by = rejected_by;
        self.keep(now, waiting);
    }

    /// A pod that waits for objects that it names; that was no try.
    pub(crate) fn wait(&mut self, mut waiting: Waiting, plugin: &'static str, now: Timestamp) {
        waiting.attempts -= 1;
        self.park(waiting, [plugin].into(), now);
    }

    /// A pod whose try failed for a reason of ours: it comes again after its back-off.
    pub(crate) fn hold_back(&mut self, waiting: Waiting, now: Timestamp) {
        let until = now + self.backoff.after(waiting.attempts);
        self.hold(Held::Failed, until, waiting);
    }

    /// A parked pod is to be tried again, whatever it waits for.
    pub(crate) fn retry(&mut self, key: &Key) {
        if let Some((_, waiting)) = self.take_parked(key) {
            self.activate(waiting);
        }
    }

    /// Something happened: whoever may be helped by it comes again.
    pub(crate) fn happened(
        &mut self,
        event: &ClusterEvent,
        helps: impl Fn(&str, &PodInfo, &ClusterEvent) -> bool,
        now: Timestamp,
    ) {
        let helped = self.unschedulable.iter().filter(|(_, (_, waiting))| is_helped(waiting, event, &helps));
        let helped: Vec<Key> = helped.map(|(key, _)| key.clone()).collect();
        for key in helped {
            if let Some((parked, waiting)) = self.take_parked(&key) {
                self.release(parked, waiting, now);
            }
        }
    }

    /// When `pop` may have something that it has not now.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        let held = self.held.keys().map(|(_, at, _)| *at).next();
        let parked = self.parked.first().map(|(at, _)| *at + UNSCHEDULABLE_MAX);
        match (held, parked) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    fn flush(&mut self, now: Timestamp) {
        for held in [Held::Helped, Held::Failed] {
            let due = (held, Timestamp::MIN, 0)..=(held, now, u64::MAX);
            let due: Vec<_> = self.held.range(due).map(|(at, _)| *at).collect();
            for at in due {
                if let Some(waiting) = self.held.remove(&at) {
                    self.activate(waiting);
                }
            }
        }
        while let Some((_, key)) =
            self.parked.first().filter(|(at, _)| *at + UNSCHEDULABLE_MAX <= now).cloned()
        {
            self.retry(&key);
        }
    }

    /// Out of the unschedulable pods: at once if its back-off is over, else when it is.
    fn release(&mut self, parked: Timestamp, waiting: Waiting, now: Timestamp) {
        let until = parked + self.backoff.after(waiting.attempts);
        if until <= now || waiting.attempts == 0 {
            self.activate(waiting);
        } else {
            self.hold(Held::Helped, until, waiting);
        }
    }

    fn hold(&mut self, why: Held, until: Timestamp, waiting: Waiting) {
        self.sequence += 1;
        let at = (why, until, self.sequence);
        self.places.insert(waiting.info.key(), Place::Held(at));
        self.held.insert(at, waiting);
    }

    fn activate(&mut self, waiting: Waiting) {
        self.sequence += 1;
        let turn = (Reverse(waiting.info.priority()), waiting.since, self.sequence);
        self.places.insert(waiting.info.key(), Place::Active(turn));
        self.active.insert(turn, waiting);
    }

    fn keep(&mut self, parked: Timestamp, waiting: Waiting) {
        let key = waiting.info.key();
        self.parked.insert((parked, key.clone()));
        self.unschedulable.insert(key, (parked, waiting));
    }

    fn take_parked(&mut self, key: &Key) -> Option<(Timestamp, Waiting)> {
        let (parked, waiting) = self.unschedulable.remove(key)?;
        self.parked.remove(&(parked, key.clone()));
        Some((parked, waiting))
    }

    fn waiting_mut(&mut self, key: &Key) -> Option<&mut Waiting> {
        match self.places.get(key)? {
            Place::Active(turn) => self.active.get_mut(turn),
            Place::Held(at) => self.held.get_mut(at),
        }
    }
}

fn is_helped(
    waiting: &Waiting,
    event: &ClusterEvent,
    helps: &impl Fn(&str, &PodInfo, &ClusterEvent) -> bool,
) -> bool {
    waiting.rejected_by.is_empty()
        || waiting.rejected_by.iter().any(|plugin| helps(plugin, &waiting.info, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::full;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).expect("a time")
    }

    fn pod(name: &str, priority: i32, label: &str) -> Arc<PodInfo> {
        full(json!({"metadata": {"name": name, "labels": {"l": label}}, "spec": {"priority": priority}}))
    }

    fn pop(queue: &mut Queue, second: i64) -> Option<String> {
        queue.pop(at(second)).map(|waiting| waiting.info.name().to_owned())
    }

    fn never(_: &str, _: &PodInfo, _: &ClusterEvent) -> bool {
        false
    }

    fn fits(plugin: &str, _: &PodInfo, event: &ClusterEvent) -> bool {
        plugin == "NodeResourcesFit" && matches!(event, ClusterEvent::AssignedPodDeleted(_))
    }

    /// A queue in which `a` was tried at second 0 and rejected by a plugin.
    fn parked(plugin: &'static str) -> Queue {
        let mut queue = Queue::default();
        queue.set(pod("a", 0, "x"), never, at(0));
        let waiting = queue.pop(at(0)).expect("its turn");
        queue.park(waiting, BTreeSet::from([plugin]), at(0));
        queue
    }

    #[test]
    fn higher_priority_goes_first_then_who_came_first() {
        let mut queue = Queue::default();
        for (name, priority, second) in [("b", 0, 1), ("a", 0, 2), ("c", 5, 3)] {
            queue.set(pod(name, priority, ""), never, at(second));
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 9)).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }

    #[test]
    fn a_parked_pod_comes_back_only_when_it_may_be_helped() {
        let mut queue = parked("NodeResourcesFit");
        queue.happened(&ClusterEvent::NamespaceChanged, fits, at(5));
        assert_eq!(pop(&mut queue, 5), None);
        queue.happened(&ClusterEvent::AssignedPodDeleted(pod("b", 0, "")), fits, at(5));
        assert_eq!(pop(&mut queue, 5).as_deref(), Some("a"));
    }

    #[test]
    fn back_off_lets_others_go_first_and_ends_early_where_there_are_none() {
        let mut queue = parked("NodeResourcesFit");
        queue.happened(&ClusterEvent::AssignedPodDeleted(pod("b", 0, "")), fits, at(0));
        queue.set(pod("c", 0, ""), never, at(0));
        assert_eq!(queue.next_at(), Some(at(1)));
        assert_eq!(pop(&mut queue, 0).as_deref(), Some("c"));
        assert_eq!(pop(&mut queue, 0).as_deref(), Some("a"));
    }

    #[test]
    fn a_pod_whose_try_failed_is_not_tried_before_its_time() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0, ""), never, at(0));
        let waiting = queue.pop(at(0)).expect("its turn");
        queue.hold_back(waiting, at(0));
        assert_eq!((pop(&mut queue, 0), queue.next_at()), (None, Some(at(1))));
        assert_eq!(pop(&mut queue, 1).as_deref(), Some("a"));
    }

    #[test]
    fn a_parked_pod_comes_back_after_five_minutes_anyway() {
        let mut queue = parked("NodeName");
        assert_eq!(queue.next_at(), Some(at(300)));
        assert_eq!(pop(&mut queue, 299), None);
        assert_eq!(pop(&mut queue, 300).as_deref(), Some("a"));
    }

    #[test]
    fn a_parked_pod_that_was_changed_comes_back_but_not_for_its_status() {
        let updated =
            |_: &str, _: &PodInfo, event: &ClusterEvent| matches!(event, ClusterEvent::PodUpdated(_));
        let mut queue = parked("NodeAffinity");
        queue.set(pod("a", 0, "x"), updated, at(1));
        assert_eq!(pop(&mut queue, 1), None);
        queue.set(pod("a", 0, "y"), never, at(2));
        assert_eq!(pop(&mut queue, 2), None);
        queue.set(pod("a", 0, "z"), updated, at(2));
        assert_eq!(pop(&mut queue, 2).as_deref(), Some("a"));
        queue.remove(&pod("a", 0, "").key());
        assert_eq!(queue.next_at(), None);
    }

    #[test]
    fn a_pod_that_waited_for_objects_comes_back_at_once() {
        let claims = |plugin: &str, _: &PodInfo, event: &ClusterEvent| {
            plugin == "DynamicResources" && matches!(event, ClusterEvent::DevicesChanged)
        };
        let mut queue = Queue::default();
        queue.set(pod("a", 0, "x"), never, at(0));
        let waiting = queue.pop(at(0)).expect("its turn");
        queue.wait(waiting, "DynamicResources", at(0));
        assert_eq!(pop(&mut queue, 0), None);
        queue.happened(&ClusterEvent::StorageChanged, claims, at(0));
        assert_eq!(pop(&mut queue, 0), None);
        queue.happened(&ClusterEvent::DevicesChanged, claims, at(0));
        let waiting = queue.pop(at(0)).expect("its turn");
        assert_eq!(waiting.attempts, 1, "waiting was no try");
    }

    #[test]
    fn back_off_doubles_up_to_ten_seconds() {
        let delays: Vec<_> = (1..7).map(|n| Backoff::default().after(n).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
    }
}
