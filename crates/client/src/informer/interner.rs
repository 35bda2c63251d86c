//! One copy of what several informers of a process were sent: the same object at the same revision.
//!
//! The scheduler, the controllers and a kubelet each watch pods. **Contract**: who was not sent an object does not get it
//! from here; only equal ones become one. An object is let go of when an informer learns that it is gone.

use super::Watched;
use super::kept::{Kept, Warm};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// The newest known of each object of a kind.
type Table<K> = HashMap<Uuid, (u64, Arc<Kept<K>>)>;

/// Objects that informers have in common; cloning shares them.
#[derive(Clone, Default)]
pub struct Interner(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tables: Mutex<HashMap<TypeId, Box<dyn Any + Send>>>,
    warm: Warm,
}

impl Debug for Interner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interner")
    }
}

impl Interner {
    /// The copy to keep of this object.
    pub(super) fn share<K: Watched>(&self, object: K) -> Arc<Kept<K>> {
        let Some((uid, revision)) = identity(&object) else { return self.0.warm.keep(object) };
        let known = self.with(|table: &mut Table<K>| {
            table.get(&uid).filter(|(known, _)| *known == revision).map(|(_, present)| present.clone())
        });
        if let Some(known) = known {
            return known;
        }
        let kept = self.0.warm.keep(object);
        self.with(|table: &mut Table<K>| match table.get(&uid) {
            // Another informer was faster.
            Some((known, present)) if *known == revision => present.clone(),
            // Of an informer that lags behind.
            Some((known, _)) if *known > revision => kept,
            _ => {
                table.insert(uid, (revision, kept.clone()));
                kept
            }
        })
    }

    /// The object itself.
    pub(super) fn get<K: Watched>(&self, kept: &Arc<Kept<K>>) -> Arc<K> {
        self.0.warm.get(kept)
    }

    /// Keeps most objects as JSON only, until they are used again; for now and then, when memory is given back.
    pub fn cool(&self) {
        self.0.warm.cool();
    }

    /// The object is gone, at least for one of them.
    pub(super) fn forget<K: Watched>(&self, object: &K) {
        let Some((uid, _)) = identity(object) else { return };
        self.with(|table: &mut Table<K>| {
            table.remove(&uid);
            if table.len() < table.capacity() / 8 {
                table.shrink_to_fit();
            }
        });
    }

    fn with<K: Watched, T>(&self, act: impl FnOnce(&mut Table<K>) -> T) -> T {
        let mut tables = self.0.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let table = tables.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(Table::<K>::new()));
        act(table.downcast_mut().expect("a table is kept under its type"))
    }
}

fn identity<K: Watched>(object: &K) -> Option<(Uuid, u64)> {
    let meta = object.meta();
    let uid = Uuid::try_parse(meta.uid.as_deref()?).ok()?;
    Some((uid, meta.resource_version.as_deref()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    fn map(uid: &str, revision: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "m", "uid": uid, "resourceVersion": revision}}))
            .unwrap()
    }

    #[test]
    fn equal_objects_become_one() {
        const ONE: &str = "7ba249f5-3414-4fc4-940d-8100bcaa10bd";
        const OTHER: &str = "7ba249f5-3414-4fc4-940d-8100bcaa10be";
        let interner = Interner::default();
        let first = interner.share(map(ONE, "7"));
        for (uid, revision, same) in [
            (ONE, "7", true),
            (OTHER, "7", false),
            (ONE, "6", false),
            ("?", "7", false),
            (ONE, "x", false),
            (ONE, "7", true),
        ] {
            let shared = interner.share(map(uid, revision));
            assert_eq!(Arc::ptr_eq(&first, &shared), same, "{uid} {revision}");
            assert_eq!(*interner.get(&shared), map(uid, revision));
        }
        // A newer one takes its place, for those that come later.
        let second = interner.share(map(ONE, "8"));
        assert!(Arc::ptr_eq(&second, &interner.share(map(ONE, "8"))));
        assert!(!Arc::ptr_eq(&first, &interner.share(map(ONE, "7"))));
    }

    #[test]
    fn what_is_forgotten_is_freed() {
        let interner = Interner::default();
        let shared = interner.share(map("7ba249f5-3414-4fc4-940d-8100bcaa10bd", "7"));
        assert_eq!(Arc::strong_count(&shared), 2);
        interner.forget(&*interner.get(&shared));
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
