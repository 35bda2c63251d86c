//! `metadata.managedFields`: who owns which field.
//!
//! **Contract**: pure. An object that was written without them is not tracked until the first apply. A write that
//! changes nothing changes no entry, not even its time. What a client sends counts (so that it can give fields up),
//! except through a subresource; an empty list is as good as none, `[{}]` forgets everything.
//! **Not here**: server-side apply (`patch::apply`), and how objects are compared.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/managedfields`.

#[cfg(test)]
mod tests;

use super::metadata;
use crate::patch::apply::{Changes, FieldSet};
use api::meta;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of updates that one object has at most. **Upstream**: `DefaultMaxUpdateManagers`.
const MAX_UPDATE_MANAGERS: usize = 10;
/// Who owns what the oldest updates changed.
const ANCIENT: &str = "ancient-changes";
const FIELD: &str = "managedFields";

/// What an entry's manager did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It applied a configuration.
    Apply,
    /// It wrote in any other way.
    Update,
}

/// Whose fields a write changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracking<'a> {
    /// Nobody's: the server's own doing.
    #[default]
    None,
    /// Those of a manager that updates.
    Update(&'a str),
    /// The object brings the entries that an apply made.
    Applied,
}

/// A manager's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub manager: String,
    /// What it did.
    pub operation: Operation,
    /// Through which subresource, or empty.
    pub subresource: String,
    /// The API version of the fields.
    pub api_version: String,
    /// When it last changed a field.
    pub time: Option<String>,
    /// Its fields.
    pub fields: FieldSet,
}

impl Entry {
    /// Whether both are the same manager's.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.operation, &self.manager, &self.subresource)
            == (other.operation, &other.manager, &other.subresource)
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().unwrap_or("").to_owned();
        let operation = match value["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Self {
            manager: text("manager"),
            operation,
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: value["time"].as_str().map(str::to_owned),
            fields: match &value["fieldsV1"] {
                Value::Null => FieldSet::default(),
                fields => FieldSet::from_value(fields)?,
            },
        })
    }

    fn into_value(self) -> Value {
        let mut value = Map::new();
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        value.insert("manager".to_owned(), self.manager.into());
        value.insert("operation".to_owned(), operation.into());
        value.insert("apiVersion".to_owned(), self.api_version.into());
        if let Some(time) = self.time {
            value.insert("time".to_owned(), time.into());
        }
        value.insert("fieldsType".to_owned(), "FieldsV1".into());
        value.insert("fieldsV1".to_owned(), self.fields.into_value());
        if !self.subresource.is_empty() {
            value.insert("subresource".to_owned(), self.subresource.into());
        }
        Value::Object(value)
    }
}

/// What a write changed, in the terms of each version of which an object has entries.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// In the version of the writer.
    pub own: Changes,
    /// In other versions, by `apiVersion`.
    pub others: BTreeMap<String, Changes>,
}

impl Written {
    /// In the terms of this version; those of the writer if it is not served.
    pub(crate) fn of(&self, api_version: &str) -> &Changes {
        self.others.get(api_version).unwrap_or(&self.own)
    }
}

/// The versions of entries.
pub(super) fn versions<'a>(entries: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    let entries = entries.flat_map(|entries| entries.as_array().into_iter().flatten());
    entries.filter_map(|entry| entry["apiVersion"].as_str()).map(str::to_owned).collect()
}

/// Every manager's fields of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedFields(pub Vec<Entry>);

impl ManagedFields {
    /// The entries of an object, as far as they can be read.
    pub fn of(object: &Value) -> Self {
        Self::parse(&object["metadata"][FIELD]).unwrap_or_default()
    }

    /// `None` if there is an entry that cannot be read.
    fn parse(value: &Value) -> Option<Self> {
        let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().map(Entry::parse).collect::<Option<_>>().map(Self)
    }

    /// Puts the entries into an object, in order.
    pub fn put(mut self, object: &mut Value) {
        self.0.retain(|entry| !entry.fields.is_empty());
        let order = |e: &Entry| {
            (e.operation, e.time.clone(), e.manager.clone(), e.api_version.clone(), e.subresource.clone())
        };
        self.0.sort_by_cached_key(order);
        let entries: Vec<Value> = self.0.into_iter().map(Entry::into_value).collect();
        if entries.is_empty() {
            metadata::of(object).shift_remove(FIELD);
        } else {
            metadata::of(object).insert(FIELD.to_owned(), entries.into());
        }
    }

    /// Notes what a manager changed; `entry` is the manager's, without fields.
    pub fn record(&mut self, written: &Written, mut entry: Entry) {
        for other in &mut self.0 {
            let changes = written.of(&other.api_version);
            other.fields.subtract(&changes.removed);
            if !other.is_of(&entry) {
                other.fields.subtract(&changes.changed);
            }
        }
        let changes = &written.own;
        if changes.changed.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|other| other.is_of(&entry)) {
            Some(own) => {
                own.fields.unite(&changes.changed);
                own.time = entry.time;
            }
            None => {
                entry.fields = changes.changed.clone();
                self.0.push(entry);
            }
        }
        self.cap();
    }

    /// Puts the oldest updates into one entry for each API version.
    fn cap(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
        let updates = self.0.iter().filter(|e| e.operation == Operation::Update).count();
        let mut excess = updates.saturating_sub(MAX_UPDATE_MANAGERS);
        if excess == 0 {
            return;
        }
        let (mut updates, mut kept): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.0).into_iter().partition(|e| e.operation == Operation::Update);
        updates.sort_by_cached_key(|e| (e.time.clone(), e.manager.clone()));
        let mut buckets: Vec<Entry> = Vec::new();
        for entry in updates {
            match buckets.iter_mut().find(|b| b.api_version == entry.api_version) {
                Some(bucket) if excess > 0 => {
                    bucket.fields.unite(&entry.fields);
                    bucket.time = entry.time;
                    ANCIENT.clone_into(&mut bucket.manager);
                    bucket.subresource.clear();
                    excess -= 1;
                }
                None if excess > 0 => buckets.push(entry),
                _ => kept.push(entry),
            }
        }
        kept.extend(buckets);
        self.0 = kept;
    }
}

/// What is wrong with the entries of an object.
pub(crate) fn fault(object: &Value) -> Option<String> {
    let entries = object["metadata"][FIELD].as_array()?;
    entries.iter().find(|entry| Entry::parse(entry).is_none()).map(|entry| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        format!("unable to decode managedFields entry {manager:?}: {}", entry["operation"])
    })
}

/// Takes the entries out of an object that a client sent.
pub(super) fn take(object: &mut Value) -> Option<Value> {
    metadata::of(object).shift_remove(FIELD)
}

/// Puts back what [`take`] took.
pub(super) fn put(object: &mut Value, entries: Option<&Value>) {
    if let Some(entries) = entries.filter(|e| e.as_array().is_some_and(|e| !e.is_empty())) {
        metadata::of(object).insert(FIELD.to_owned(), entries.clone());
    }
}

/// Notes an update of `old` (an empty object: there was none) to `object`, which has no entries yet.
pub(super) fn update(old: &Value, object: &mut Value, sent: Option<&Value>, written: &Written, entry: Entry) {
    let stored = &old["metadata"][FIELD];
    let sent = sent.filter(|_| entry.subresource.is_empty());
    let managed = match sent {
        Some(sent) if *sent == json!([{}]) => Some(ManagedFields::default()),
        Some(sent) if sent != stored => ManagedFields::parse(sent).filter(|m| !m.0.is_empty()),
        _ => None,
    };
    let untouched = managed.is_none();
    let tracked = managed.as_ref().map_or(!stored.is_null(), |m| !m.0.is_empty());
    if !tracked && !meta::uid(old).is_empty() {
        return;
    }
    let changes = &written.own;
    if untouched && changes.changed.is_empty() && changes.removed.is_empty() {
        return put(object, Some(stored));
    }
    let mut managed = managed.unwrap_or_else(|| ManagedFields::parse(stored).unwrap_or_default());
    managed.record(written, entry);
    managed.put(object);
}

/// Takes back an entry's new time if nothing else is new after all.
pub(super) fn settle(object: &mut Value, old: &Value) {
    let timeless = |object: &Value| -> Vec<Value> {
        let entries = object["metadata"][FIELD].as_array().into_iter().flatten().cloned();
        entries
            .map(|mut entry| {
                entry.as_object_mut().map(|fields| fields.shift_remove("time"));
                entry
            })
            .collect()
    };
    let stored = &old["metadata"][FIELD];
    // Most writes change something else, which is cheap to see.
    let agree = |object: &Value, other: &Value| {
        let fields = object.as_object().into_iter().flatten();
        fields.filter(|(name, _)| *name != "metadata").all(|(name, value)| other[name.as_str()] == *value)
    };
    if stored.is_null() || *stored == object["metadata"][FIELD] || !agree(object, old) || !agree(old, object)
    {
        return;
    }
    if timeless(object) != timeless(old) {
        return;
    }
    let new = metadata::of(object).insert(FIELD.to_owned(), stored.clone());
    if object != old
        && let Some(new) = new
    {
        metadata::of(object).insert(FIELD.to_owned(), new);
    }
}

/// The entry of an updating manager, without fields.
pub(super) fn entry(manager: &str, subresource: &str, api_version: String, now: Timestamp) -> Entry {
    Entry {
        manager: if manager.is_empty() { "unknown" } else { manager }.to_owned(),
        operation: Operation::Update,
        subresource: subresource.to_owned(),
        api_version,
        time: Some(api::time::format(now)),
        fields: FieldSet::default(),
    }
}
