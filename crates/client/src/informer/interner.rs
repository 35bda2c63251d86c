//! One copy of what several informers of a process were sent: the same object at the same revision.
//!
//! The scheduler, the controllers and a kubelet each watch pods. **Contract**: who was not sent an object does not get it
//! from here; only equal ones become one. An object is let go of when an informer learns that it is gone.

use super::Watched;
use super::kept::{Kept, Warm};
use super::sent::{Sent, identity};
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
    /// The copy to keep of this object, which is decoded only if no informer has it yet.
    pub(super) fn share<K: Watched>(&self, sent: &Sent<'_>) -> serde_json::Result<Arc<Kept<K>>> {
        let Some((uid, revision)) = sent.identity() else { return Ok(self.0.warm.keep(sent.decode()?)) };
        let known = self.with(|table: &mut Table<K>| {
            table.get(&uid).filter(|(known, _)| *known == revision).map(|(_, present)| present.clone())
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let kept = self.0.warm.keep(sent.decode()?);
        Ok(self.with(|table: &mut Table<K>| match table.get(&uid) {
            // Another informer was faster.
            Some((known, present)) if *known == revision => present.clone(),
            // Of an informer that lags behind.
            Some((known, _)) if *known > revision => kept,
            _ => {
                table.insert(uid, (revision, kept.clone()));
                kept
            }
        }))
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
        let meta = object.meta();
        let identity = identity(meta.uid.as_deref(), meta.resource_version.as_deref());
        let Some((uid, _)) = identity else { return };
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;
    use serde_json::value::to_raw_value;

    fn share(interner: &Interner, uid: &str, revision: &str) -> Arc<Kept<ConfigMap>> {
        let map = json!({"metadata": {"name": "m", "uid": uid, "resourceVersion": revision}});
        let raw = to_raw_value(&map).unwrap();
        let sent = Sent::parse(&raw).unwrap();
        let kept = interner.share(&sent).unwrap();
        assert_eq!(*interner.get(&kept), serde_json::from_value(map).unwrap());
        kept
    }

    #[test]
    fn equal_objects_become_one() {
        const ONE: &str = "7ba249f5-3414-4fc4-940d-8100bcaa10bd";
        const OTHER: &str = "7ba249f5-3414-4fc4-940d-8100bcaa10be";
        let interner = Interner::default();
        let first = share(&interner, ONE, "7");
        for (uid, revision, same) in [
            (ONE, "7", true),
            (OTHER, "7", false),
            (ONE, "6", false),
            ("?", "7", false),
            (ONE, "x", false),
            (ONE, "7", true),
        ] {
            let shared = share(&interner, uid, revision);
            assert_eq!(Arc::ptr_eq(&first, &shared), same, "{uid} {revision}");
        }
        // A newer one takes its place, for those that come later.
        let second = share(&interner, ONE, "8");
        assert!(Arc::ptr_eq(&second, &share(&interner, ONE, "8")));
        assert!(!Arc::ptr_eq(&first, &share(&interner, ONE, "7")));
    }

    #[test]
    fn what_is_forgotten_is_freed() {
        let interner = Interner::default();
        let shared = share(&interner, "7ba249f5-3414-4fc4-940d-8100bcaa10bd", "7");
        assert_eq!(Arc::strong_count(&shared), 2);
        interner.forget(&*interner.get(&shared));
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
