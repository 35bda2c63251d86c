//! What is where in the file: every version of every key, without the values.
//!
//! The model is etcd's: a version is named by the revision that wrote it and its place in that transaction, values lie
//! in the file under that name, and history is nothing but the versions that compaction has not removed yet.
//!
//! **Contract:** pure memory, no I/O; changed only after the file has been.

use std::collections::{BTreeMap, VecDeque};

use crate::expiry::Deadlines;
use crate::storage::{FIRST_REVISION, keys_after};
use crate::{Error, HistoryLimit, Key, Result, Revision};

/// The name of a version: its revision and its place in the transaction.
pub(super) type VersionId = (Revision, u32);

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) id: VersionId,
    pub(super) create_revision: Revision,
    /// When it expires, in milliseconds since 1970; 0 is never.
    pub(super) deadline: u64,
    /// Bytes of key and value.
    pub(super) bytes: u32,
    pub(super) deleted: bool,
}

impl Version {
    /// The version, unless it says that the key is gone.
    pub(super) fn live(self) -> Option<Version> {
        (!self.deleted).then_some(self)
    }
}

struct Entry {
    latest: Version,
    /// Oldest first.
    older: Vec<Version>,
}

impl Entry {
    fn versions(&self) -> impl DoubleEndedIterator<Item = Version> + '_ {
        self.older.iter().copied().chain([self.latest])
    }

    fn at(&self, revision: Revision) -> Option<Version> {
        self.versions().rev().find(|v| v.id.0 <= revision).and_then(Version::live)
    }
}

struct Logged {
    id: VersionId,
    key: Key,
    bytes: u32,
}

/// A change as history tells it.
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) version: Version,
    pub(super) prev: Option<Version>,
}

/// Every version that the file holds.
pub(super) struct Index {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    keys: BTreeMap<Key, Entry>,
    log: VecDeque<Logged>,
    log_bytes: usize,
    pub(super) deadlines: Deadlines,
}

impl Index {
    /// The index of an empty store, to which the versions of a file are then applied.
    pub(super) fn new(compacted: Revision) -> Self {
        Self {
            revision: compacted.max(FIRST_REVISION),
            compacted: compacted.max(FIRST_REVISION),
            keys: BTreeMap::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            deadlines: Deadlines::new(),
        }
    }

    /// Adds a version newer than all others of its key.
    pub(super) fn apply(&mut self, key: Key, version: Version) {
        self.revision = self.revision.max(version.id.0);
        if version.id.0 > self.compacted {
            self.log.push_back(Logged { id: version.id, key: key.clone(), bytes: version.bytes });
            self.log_bytes += version.bytes as usize;
        }
        if version.deadline != 0 {
            self.deadlines.insert((version.deadline, key.clone()));
        }
        match self.keys.get_mut(&key) {
            None => {
                self.keys.insert(key, Entry { latest: version, older: Vec::new() });
            }
            Some(entry) => {
                let old = std::mem::replace(&mut entry.latest, version);
                entry.older.push(old);
                if old.deadline != 0 && old.deadline != version.deadline {
                    self.deadlines.remove(&(old.deadline, key));
                }
            }
        }
    }

    /// The newest version of a key that exists now.
    pub(super) fn latest(&self, key: &Key) -> Option<Version> {
        self.keys.get(key).and_then(|entry| entry.latest.live())
    }

    /// The revision to read at, if its state can still be told.
    pub(super) fn readable(&self, revision: Option<Revision>) -> Result<Revision> {
        match revision {
            None => Ok(self.revision),
            Some(requested) if requested > self.revision => {
                Err(Error::FutureRevision { requested, current: self.revision })
            }
            Some(requested) if requested < self.compacted => {
                Err(Error::Compacted { requested, compacted: self.compacted })
            }
            Some(requested) => Ok(requested),
        }
    }

    /// A page of the keys under a prefix at a revision, and how many come after it.
    pub(super) fn page(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        revision: Revision,
    ) -> (Vec<(Key, Version)>, usize) {
        let mut items = Vec::new();
        let mut remaining = 0;
        let keys = self.keys.range::<str, _>(keys_after(prefix, start_after));
        for (key, entry) in keys.take_while(|(key, _)| key.starts_with(prefix)) {
            let Some(version) = entry.at(revision) else { continue };
            if items.len() < limit {
                items.push((key.clone(), version));
            } else {
                remaining += 1;
            }
        }
        (items, remaining)
    }

    /// About `limit` changes after `from`, whole transactions only, and the revision that they lead to.
    pub(super) fn changes(
        &self,
        prefix: &str,
        from: Revision,
        limit: usize,
    ) -> Result<(Vec<Change>, Revision)> {
        self.readable(Some(from.min(self.revision)))?;
        let first = self.log.partition_point(|logged| logged.id.0 <= from);
        let mut changes = Vec::new();
        let mut reached = from;
        for logged in self.log.range(first..) {
            if logged.id.0 != reached && changes.len() >= limit {
                return Ok((changes, reached));
            }
            reached = logged.id.0;
            if logged.key.starts_with(prefix) {
                changes.extend(self.change(logged));
            }
        }
        Ok((changes, self.revision.max(from)))
    }

    fn change(&self, logged: &Logged) -> Option<Change> {
        let entry = self.keys.get(&logged.key)?;
        let mut prev = None;
        for version in entry.versions() {
            if version.id == logged.id {
                return Some(Change { key: logged.key.clone(), version, prev });
            }
            prev = version.live();
        }
        None
    }

    /// The revision to compact to, so that history keeps within its limit with some room.
    pub(super) fn excess(&self, limit: &HistoryLimit) -> Option<Revision> {
        let room = (limit.events / 64).max(1);
        if self.log.len() <= limit.events.saturating_add(room) && self.log_bytes <= limit.bytes {
            return None;
        }
        let bytes_aim = limit.bytes - limit.bytes / 16;
        let (mut events, mut bytes) = (self.log.len(), self.log_bytes);
        let mut to = None;
        for logged in &self.log {
            if events <= limit.events && bytes <= bytes_aim {
                break;
            }
            events -= 1;
            bytes -= logged.bytes as usize;
            to = Some(logged.id.0);
        }
        to
    }

    /// Forgets history before `to`; returns the versions that the file no longer needs.
    pub(super) fn compact(&mut self, to: Revision) -> Vec<VersionId> {
        let mut removed = Vec::new();
        while self.log.front().is_some_and(|logged| logged.id.0 <= to) {
            let Some(logged) = self.log.pop_front() else { break };
            self.log_bytes -= logged.bytes as usize;
            let Some(entry) = self.keys.get_mut(&logged.key) else { continue };
            let superseded = entry.older.partition_point(|v| v.id < logged.id);
            removed.extend(entry.older.drain(..superseded).map(|v| v.id));
            if entry.latest.id == logged.id {
                if entry.latest.deleted {
                    removed.push(logged.id);
                    self.keys.remove(&logged.key);
                } else {
                    entry.older = Vec::new();
                }
            } else if entry.older.first().is_some_and(|v| v.id == logged.id && v.deleted) {
                removed.push(logged.id);
                entry.older.remove(0);
            }
        }
        self.compacted = self.compacted.max(to);
        removed
    }
}
