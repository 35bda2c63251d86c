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

/// `podInitialBackoffSeconds`, `podMaxBackoffSeconds`.
const BACKOFF: SignedDuration = SignedDuration::from_secs(1);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(10);
/// `DefaultPodMaxInUnschedulablePodsDuration`.
const UNSCHEDULABLE_MAX: SignedDuration = SignedDuration::from_mins(5);

/// A pod in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) info: PodInfo,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// When it came, for the order among equals.
    since: Timestamp,
    /// The plugins that rejected it at the last try.
    rejected_by: BTreeSet<&'static str>,
}

/// The order of turns: higher priority first, then who came first (`PrioritySort`).
type Turn = (Reverse<i32>, Timestamp, u64);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    active: BTreeMap<Turn, Waiting>,
    backoff: BTreeMap<(Timestamp, u64), Waiting>,
    unschedulable: HashMap<Key, (Timestamp, Waiting)>,
    /// Where a pod is, if it is in one of the ordered places.
    places: HashMap<Key, Place>,
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Active(Turn),
    Backoff((Timestamp, u64)),
}

impl Queue {
    /// A pod is new or changed. A change may be what it was waiting for.
    pub(crate) fn set(&mut self, info: PodInfo, now: Timestamp) {
        let key = info.key();
        if let Some(Place::Active(_) | Place::Backoff(_)) = self.places.get(&key) {
            if let Some(waiting) = self.waiting_mut(&key) {
                waiting.info = info;
            }
            return;
        }
        match self.unschedulable.remove(&key) {
            Some((parked, mut waiting)) => {
                // Its own status, which we write ourselves, changes nothing for it.
                let same = waiting.info.pod.spec == info.pod.spec
                    && waiting.info.pod.metadata.labels == info.pod.metadata.labels;
                waiting.info = info;
                if same {
                    self.unschedulable.insert(key, (parked, waiting));
                } else {
                    self.activate(waiting);
                }
            }
            None => {
                let waiting = Waiting { info, attempts: 0, since: now, rejected_by: BTreeSet::new() };
                self.activate(waiting);
            }
        }
    }

    /// A pod waits no longer.
    pub(crate) fn remove(&mut self, key: &Key) {
        match self.places.remove(key) {
            Some(Place::Active(turn)) => drop(self.active.remove(&turn)),
            Some(Place::Backoff(at)) => drop(self.backoff.remove(&at)),
            None => drop(self.unschedulable.remove(key)),
        }
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Waiting> {
        self.flush(now);
        let (_, mut waiting) = self.active.pop_first()?;
        self.places.remove(&waiting.info.key());
        waiting.attempts += 1;
        Some(waiting)
    }

    /// A pod that no node could take, and who said so.
    pub(crate) fn park(&mut self, mut waiting: Waiting, rejected_by: BTreeSet<&'static str>, now: Timestamp) {
        waiting.rejected_by = rejected_by;
        self.unschedulable.insert(waiting.info.key(), (now, waiting));
    }

    /// A pod whose try failed for a reason of ours: it comes again after its back-off.
    pub(crate) fn hold_back(&mut self, waiting: Waiting, now: Timestamp) {
        let until = now + backoff(waiting.attempts);
        self.sequence += 1;
        let at = (until, self.sequence);
        self.places.insert(waiting.info.key(), Place::Backoff(at));
        self.backoff.insert(at, waiting);
    }

    /// Something happened: whoever may be helped by it comes again.
    pub(crate) fn happened(
        &mut self,
        event: ClusterEvent,
        may_help: impl Fn(&str, ClusterEvent) -> bool,
        now: Timestamp,
    ) {
        let helped: Vec<Key> = self
            .unschedulable
            .iter()
            .filter(|(_, (_, waiting))| {
                waiting.rejected_by.is_empty() || waiting.rejected_by.iter().any(|p| may_help(p, event))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in helped {
            if let Some((parked, waiting)) = self.unschedulable.remove(&key) {
                self.release(parked, waiting, now);
            }
        }
    }

    /// When `pop` may have something that it has not now.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        let held = self.backoff.keys().next().map(|(at, _)| *at);
        let parked = self.unschedulable.values().map(|(at, _)| *at + UNSCHEDULABLE_MAX).min();
        match (held, parked) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    fn flush(&mut self, now: Timestamp) {
        while let Some(entry) = self.backoff.first_entry().filter(|e| e.key().0 <= now) {
            let waiting = entry.remove();
            self.activate(waiting);
        }
        let old: Vec<Key> = self
            .unschedulable
            .iter()
            .filter(|(_, (at, _))| *at + UNSCHEDULABLE_MAX <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in old {
            if let Some((_, waiting)) = self.unschedulable.remove(&key) {
                self.activate(waiting);
            }
        }
    }

    /// Out of the unschedulable pods: at once if its back-off is over, else when it is.
    fn release(&mut self, parked: Timestamp, waiting: Waiting, now: Timestamp) {
        if parked + backoff(waiting.attempts) <= now {
            self.activate(waiting);
        } else {
            self.sequence += 1;
            let at = (parked + backoff(waiting.attempts), self.sequence);
            self.places.insert(waiting.info.key(), Place::Backoff(at));
            self.backoff.insert(at, waiting);
        }
    }

    fn activate(&mut self, waiting: Waiting) {
        self.sequence += 1;
        let turn = (Reverse(waiting.info.priority()), waiting.since, self.sequence);
        self.places.insert(waiting.info.key(), Place::Active(turn));
        self.active.insert(turn, waiting);
    }

    fn waiting_mut(&mut self, key: &Key) -> Option<&mut Waiting> {
        match self.places.get(key)? {
            Place::Active(turn) => self.active.get_mut(turn),
            Place::Backoff(at) => self.backoff.get_mut(at),
        }
    }
}

/// One second, doubling with each attempt, up to ten.
fn backoff(attempts: u32) -> SignedDuration {
    let doublings = attempts.saturating_sub(1).min(10);
    (BACKOFF * 2_i32.pow(doublings)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn pod(name: &str, priority: i32, label: &str) -> PodInfo {
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"l": label}},
            "spec": {"priority": priority, "containers": []}
        });
        PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    fn pop(queue: &mut Queue, second: i64) -> Option<String> {
        queue.pop(at(second)).and_then(|w| w.info.pod.metadata.name.clone())
    }

    #[test]
    fn higher_priority_goes_first_then_who_came_first() {
        let mut queue = Queue::default();
        for (name, priority, second) in [("b", 0, 1), ("a", 0, 2), ("c", 5, 3)] {
            queue.set(pod(name, priority, ""), at(second));
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 9)).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }

    #[test]
    fn a_parked_pod_comes_back_only_when_it_may_be_helped_and_after_its_back_off() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0, ""), at(0));
        let waiting = queue.pop(at(0)).expect("its turn");
        queue.park(waiting, BTreeSet::from(["NodeResourcesFit"]), at(0));
        let fits =
            |plugin: &str, event| plugin == "NodeResourcesFit" && event == ClusterEvent::AssignedPodGone;
        queue.happened(ClusterEvent::NodeTaints, fits, at(5));
        assert_eq!(pop(&mut queue, 5), None);
        queue.happened(ClusterEvent::AssignedPodGone, fits, at(0));
        assert_eq!(pop(&mut queue, 0), None);
        assert_eq!(queue.next_at(), Some(at(1)));
        assert_eq!(pop(&mut queue, 1).as_deref(), Some("a"));
    }

    #[test]
    fn a_parked_pod_comes_back_after_five_minutes_anyway() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0, ""), at(0));
        let waiting = queue.pop(at(0)).expect("its turn");
        queue.park(waiting, BTreeSet::from(["NodeName"]), at(0));
        assert_eq!(queue.next_at(), Some(at(300)));
        assert_eq!(pop(&mut queue, 299), None);
        assert_eq!(pop(&mut queue, 300).as_deref(), Some("a"));
    }

    #[test]
    fn a_parked_pod_that_was_changed_comes_back_but_not_for_its_status() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0, "x"), at(0));
        let waiting = queue.pop(at(0)).expect("its turn");
        queue.park(waiting, BTreeSet::from(["NodeAffinity"]), at(0));
        queue.set(pod("a", 0, "x"), at(1));
        assert_eq!(pop(&mut queue, 1), None);
        queue.set(pod("a", 0, "y"), at(2));
        assert_eq!(pop(&mut queue, 2).as_deref(), Some("a"));
    }

    #[test]
    fn back_off_doubles_up_to_ten_seconds() {
        let delays: Vec<_> = (1..7).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
    }
}
