//! The watchers of a resource, found by what they wait for.
//!
//! **Contract**: whoever waits for one value of a field (a kubelet for the pods of its node, whoever waits for one object)
//! costs nothing while others change. All are told of changes in the same order.
//! **Upstream**: `indexedWatchers` of the cacher, which has one such field a kind.

use super::ring::{Change, Event};
use super::selection::{Field, Selection};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::mpsc;

/// One watcher.
pub(super) struct Watcher {
    pub(super) selection: Selection,
    pub(super) sender: mpsc::Sender<Change>,
}

impl Watcher {
    /// Tells it of a change that concerns it; `false` if it is gone, or too slow.
    fn tell(&self, event: &Event) -> bool {
        match event.for_watcher(&self.selection) {
            Some(change) => self.sender.try_send(change).is_ok(),
            None => !self.sender.is_closed(),
        }
    }
}

/// All watchers.
#[derive(Default)]
pub(super) struct Watchers {
    /// Those that any object may concern.
    broad: Vec<Watcher>,
    /// Those that wait for one value of a field.
    waiting: BTreeMap<Field, HashMap<String, Vec<Watcher>>>,
    /// The number of the latter, some of which may be gone.
    count: usize,
    /// At so many those that are gone are looked for.
    sweep_at: usize,
}

impl Watchers {
    pub(super) fn add(&mut self, watcher: Watcher) {
        self.broad.retain(|watcher| !watcher.sender.is_closed());
        let Some((field, value)) = watcher.selection.only() else {
            self.broad.push(watcher);
            return;
        };
        if self.count >= self.sweep_at {
            self.sweep();
        }
        self.waiting.entry(field).or_default().entry(value.to_owned()).or_default().push(watcher);
        self.count += 1;
    }

    /// Forgets those that are gone.
    fn sweep(&mut self) {
        let mut left = 0;
        for values in self.waiting.values_mut() {
            values.retain(|_, watchers| {
                watchers.retain(|watcher| !watcher.sender.is_closed());
                left += watchers.len();
                !watchers.is_empty()
            });
        }
        self.count = left;
        self.sweep_at = 2 * left + 16;
    }

    pub(super) fn tell(&mut self, event: &Event) {
        self.broad.retain(|watcher| watcher.tell(event));
        for (field, values) in &mut self.waiting {
            let old = event.old.as_ref().map(|object| field.of(object));
            let new = event.new.as_ref().map(|object| field.of(object));
            for value in old.into_iter().chain(new.filter(|new| Some(*new) != old)) {
                if let Some(watchers) = values.get_mut(value) {
                    let before = watchers.len();
                    watchers.retain(|watcher| watcher.tell(event));
                    self.count -= before - watchers.len();
                    if watchers.is_empty() {
                        values.remove(value);
                    }
                }
            }
        }
    }

    /// Those that are told of every change.
    pub(super) fn crowd(&self) -> usize {
        self.broad.len()
    }

    pub(super) fn len(&self) -> usize {
        let waiting = self.waiting.values().flat_map(HashMap::values).flatten();
        self.broad.len() + waiting.filter(|watcher| !watcher.sender.is_closed()).count()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
