//! What a watch delivers: stored values, single changes, and batches of changes.

use bytes::Bytes;

use crate::{Key, Revision};

/// One stored value with its revisions. A clone shares key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The name.
    pub key: Key,
    /// The bytes, never interpreted here.
    pub value: Bytes,
    /// The revision that created this key (again, after its last deletion).
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: Key,
    /// The revision of the change.
    pub revision: Revision,
    /// The new value; `None` means deleted (by a transaction or because its time to live passed).
    pub value: Option<KeyValue>,
    /// The value before the change; `None` means created.
    pub prev: Option<KeyValue>,
}

/// A run of changes.
///
/// **Contract:** every change with a revision up to and including `revision`, that this watch asked for, is in this
/// batch or an earlier one. Events are in the order of their revisions, and within a transaction in the order of its
/// operations. A transaction is never split over two batches; one batch may hold several transactions.
/// A batch without events is progress only. `revision` never falls from one batch to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How far the watch has come.
    pub revision: Revision,
    /// The changes.
    pub events: Vec<Event>,
}
