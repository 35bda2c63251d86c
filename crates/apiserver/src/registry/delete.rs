//! Deletion: preconditions, grace, finalizers, and finally removal.
//!
//! **Contract**: an object with grace or finalizers is marked and stays; whoever takes the last of them away removes
//! it (`Store::update`). A repeated deletion may only shorten the grace.
//! **Upstream**: `rest.BeforeDelete`, `Store.Delete` and `updateForGracefulDeletionAndFinalizers`.

use super::admit::{Admitting, Phase};
use super::error::storage_status;
use super::{Deletion, Object, Propagation, Store, WriteOptions, metadata};
use crate::admission::Operation;
use crate::registry::object::encode;
use api::kind::Resource;
use api::meta;
use api::status::Status;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use storage::{Expect, Key, Txn};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const WRITE_TRIES: usize = 100;

/// What a deletion asks for (`DeleteOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds of grace; negative counts as 1.
    pub grace_period_seconds: Option<i64>,
    /// The object must have this identity.
    pub uid: Option<String>,
    /// The object must have this resourceVersion.
    pub resource_version: Option<String>,
    /// `Background`, `Foreground` or `Orphan`.
    pub propagation_policy: Option<String>,
    /// The older way to say `Orphan` or `Background`.
    pub orphan_dependents: Option<bool>,
}

impl DeleteOptions {
    /// At once.
    pub fn now() -> Self {
        Self { grace_period_seconds: Some(0), ..Self::default() }
    }
}

/// What became of the object.
#[derive(Debug)]
pub struct Deleted {
    /// Its last state.
    pub object: Arc<Object>,
    /// Whether it is gone; else it is marked.
    pub removed: bool,
}

/// What is to be done.
enum Plan {
    Remove,
    Mark(Value),
    Nothing,
}

impl Store {
    /// Deletes an object, or marks it for deletion.
    pub async fn delete(
        &self,
        options: &mut WriteOptions<'_>,
        namespace: &str,
        name: &str,
        delete: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let key = Key::from(self.key(namespace, name));
        for _ in 0..WRITE_TRIES {
            let existing = self.get(namespace, name).await?;
            let mut old = existing.to_value();
            check_preconditions(self.resource(), &old, delete)?;
            let revision = existing.revision();
            let write = Admitting { operation: Operation::Delete, namespace, old: Some(&old), revision };
            self.admit(options, &write, None, Phase::Mutate).await?;
            self.admit(options, &write, None, Phase::Validate).await?;
            metadata::of(&mut old).shift_remove("resourceVersion");
            let plan = self.plan(&old, delete, self.context.clock.now());
            let (txn, marked) = match plan {
                Plan::Nothing => return Ok(Deleted { object: existing, removed: false }),
                Plan::Remove => (self.remove_txn(&key, existing.revision(), &old), None),
                Plan::Mark(object) => {
                    let stored = encode(&*self.strategy, &object);
                    let txn = Txn::new().put(&key, stored.clone(), Expect::ModRevision(existing.revision()));
                    (txn, Some(stored))
                }
            };
            if options.dry_run {
                let object = match &marked {
                    Some(stored) => self.decode(key, existing.revision(), stored.clone())?,
                    None => existing,
                };
                return Ok(Deleted { object, removed: marked.is_none() });
            }
            match self.commit(txn).await {
                Ok(revision) => {
                    let object = match &marked {
                        Some(stored) => self.decode(key, revision, stored.clone())?,
                        None => Arc::new(existing.at_revision(revision)),
                    };
                    return Ok(Deleted { object, removed: marked.is_none() });
                }
                Err(storage::Error::Conflict { .. }) => {}
                Err(error) => return Err(storage_status(self.resource(), &error)),
            }
        }
        Err(Status::modified(self.resource(), name))
    }

    fn plan(&self, old: &Value, delete: &DeleteOptions, now: Timestamp) -> Plan {
        let strategy = &*self.strategy;
        let requested = delete.grace_period_seconds.map(|s| if s < 0 { 1 } else { s });
        let grace = match before_delete(old, requested, now, || strategy.deletion(old, requested)) {
            Grace::Pending => {
                // A deletion that is under way can still be the moment to find out that nothing holds the object.
                return Plan::Nothing;
            }
            grace => grace,
        };
        let wanted = self.garbage_finalizers(old, delete);
        let mut object = old.clone();
        if let Some(finalizers) = wanted {
            metadata::set_finalizers(&mut object, finalizers);
        }
        let held = meta::finalizers(&object).next().is_some() || strategy.is_held(&object);
        match grace {
            Grace::Set { seconds, at } => {
                if seconds == 0 && !held {
                    return Plan::Remove;
                }
                let first = meta::deletion_timestamp(old).is_none();
                mark(&mut object, at, Some(seconds), first);
            }
            Grace::None | Grace::Pending => {
                if !held {
                    return Plan::Remove;
                }
                let first = old["metadata"]["deletionGracePeriodSeconds"].is_null()
                    && meta::deletion_timestamp(old).is_none();
                let at = api::time::from_value(&old["metadata"]["deletionTimestamp"])
                    .filter(|earlier| *earlier <= now)
                    .unwrap_or(now);
                // What only the kind itself holds (a namespace) knows no grace.
                let seconds = meta::finalizers(&object).next().is_some().then_some(0);
                mark(&mut object, at, seconds, first);
            }
        }
        strategy.prepare_for_delete(&mut object);
        if object == *old { Plan::Nothing } else { Plan::Mark(object) }
    }

    /// The finalizers that propagation asks for, if they differ from those there are.
    fn garbage_finalizers(&self, object: &Value, delete: &DeleteOptions) -> Option<Vec<String>> {
        let has = |name: &str| meta::finalizers(object).any(|f| f == name);
        let (orphan, foreground) = match (delete.orphan_dependents, delete.propagation_policy.as_deref()) {
            (Some(orphan), _) => (orphan, false),
            (None, Some("Orphan")) => (true, false),
            (None, Some("Foreground")) => (false, true),
            (None, Some(_)) => (false, false),
            (None, None) if has(ORPHAN) => (true, false),
            (None, None) if has(FOREGROUND) => (false, true),
            (None, None) => (self.strategy.default_propagation() == Propagation::Orphan, false),
        };
        if (orphan, foreground) == (has(ORPHAN), has(FOREGROUND)) {
            return None;
        }
        let mut finalizers: Vec<String> =
            metadata::finalizers(object).into_iter().filter(|f| f != ORPHAN && f != FOREGROUND).collect();
        finalizers.extend(orphan.then(|| ORPHAN.to_owned()));
        finalizers.extend(foreground.then(|| FOREGROUND.to_owned()));
        Some(finalizers)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    /// The object knows no grace (any more): it goes unless a finalizer keeps it.
    None,
    /// It is being deleted, and this request does not hasten it.
    Pending,
    /// It gets this much.
    Set { seconds: i64, at: Timestamp },
}

fn before_delete(
    old: &Value,
    requested: Option<i64>,
    now: Timestamp,
    deletion: impl FnOnce() -> Deletion,
) -> Grace {
    let after = |start: Timestamp, seconds: i64| {
        start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    };
    if let Some(until) = api::time::from_value(&old["metadata"]["deletionTimestamp"]) {
        let Some(present) = old["metadata"]["deletionGracePeriodSeconds"].as_i64() else {
            return Grace::None;
        };
        return match requested {
            Some(seconds) if seconds < present => Grace::Set { seconds, at: after(until, seconds - present) },
            _ => Grace::Pending,
        };
    }
    match deletion() {
        Deletion::Immediate => Grace::None,
        Deletion::Graceful(seconds) => Grace::Set { seconds, at: after(now, seconds) },
    }
}

fn mark(object: &mut Value, at: Timestamp, seconds: Option<i64>, first: bool) {
    let generation = meta::generation(object);
    let metadata = metadata::of(object);
    metadata.insert("deletionTimestamp".to_owned(), api::time::format(at).into());
    if let Some(seconds) = seconds {
        metadata.insert("deletionGracePeriodSeconds".to_owned(), seconds.into());
    }
    if first && generation > 0 {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Whether the object is the one that the deletion is about.
pub(crate) fn check_preconditions(
    resource: &Resource,
    object: &Value,
    delete: &DeleteOptions,
) -> Result<(), Status> {
    let conflict = |why: String| {
        // Upstream names the Kind here, not the resource.
        let mut named = resource.clone();
        named.plural = resource.kind.clone();
        Err(Status::conflict(&named, meta::name(object), &why))
    };
    if let Some(uid) = delete.uid.as_deref().filter(|uid| *uid != meta::uid(object)) {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). \
             The object might have been deleted and then recreated",
            meta::uid(object)
        ));
    }
    let present = meta::resource_version(object);
    if let Some(version) = delete.resource_version.as_deref().filter(|version| *version != present) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in \
             record ({present}). The object might have been modified"
        ));
    }
    Ok(())
}
