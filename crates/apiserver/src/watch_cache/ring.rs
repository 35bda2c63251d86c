//! Recent changes of one resource, each with the object before and after it.

use super::selection::Selection;
use crate::registry::Object;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// Changes kept a resource; older ones are read from the storage.
const MAX_EVENTS: usize = 512;
/// Bytes of the objects in them.
const MAX_BYTES: usize = 1 << 20;

/// What a watcher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    /// The object is new, or now selected.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or no longer selected.
    Deleted,
}

impl ChangeType {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change as one watcher is told it. The revision is the object's.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub change: ChangeType,
    /// The object; for [`ChangeType::Deleted`] its last selected state, at the revision of the change.
    pub object: Arc<Object>,
}

/// One change of one object.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) revision: u64,
    pub(super) old: Option<Arc<Object>>,
    pub(super) new: Option<Arc<Object>>,
    gone: OnceLock<Arc<Object>>,
}

impl Event {
    pub(super) fn new(revision: u64, old: Option<Arc<Object>>, new: Option<Arc<Object>>) -> Self {
        Self { revision, old, new, gone: OnceLock::new() }
    }

    /// What a watcher with this selection is told, if anything.
    pub(super) fn for_watcher(&self, selection: &Selection) -> Option<Change> {
        let selected =
            |object: &Option<Arc<Object>>| object.as_ref().filter(|o| selection.matches(o)).cloned();
        match (selected(&self.old), selected(&self.new)) {
            (None, None) => None,
            (None, Some(object)) => Some(Change { change: ChangeType::Added, object }),
            (Some(_), Some(object)) => Some(Change { change: ChangeType::Modified, object }),
            (Some(old), None) => {
                let object = self.gone.get_or_init(|| Arc::new(old.at_revision(self.revision)));
                Some(Change { change: ChangeType::Deleted, object: Arc::clone(object) })
            }
        }
    }

    fn bytes(&self) -> usize {
        self.new.as_ref().or(self.old.as_ref()).map_or(0, |o| o.json_len())
    }
}

/// The most recent events; it holds every event after `oldest`.
#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    oldest: u64,
}

impl Ring {
    /// An empty ring that knows nothing of what happened up to `revision`.
    pub(super) fn starting_at(revision: u64) -> Self {
        Self { oldest: revision, ..Self::default() }
    }

    /// Takes one more event; the oldest are handed out, for which there is no room any longer.
    pub(super) fn push(&mut self, event: Arc<Event>) -> Vec<Arc<Event>> {
        self.bytes += event.bytes();
        self.events.push_back(event);
        let mut out = Vec::new();
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(event) = self.events.pop_front() else { break };
            self.bytes -= event.bytes();
            self.oldest = event.revision;
            out.push(event);
        }
        out
    }

    /// It has every event after this revision.
    pub(super) fn start(&self) -> u64 {
        self.oldest
    }

    /// Every event after `revision`, or `None` if some of them are no longer here.
    pub(super) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        (revision >= self.oldest).then(|| {
            let start = self.events.partition_point(|event| event.revision <= revision);
            self.events.range(start..)
        })
    }
}
